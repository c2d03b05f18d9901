"""The instructions of pickle protocols 0 to 5 that are admitted, one function each.

What is not in this table makes objects of classes, asks for registered globals, or means something that is not in
the file.
"""

from __future__ import annotations

import codecs
import pickle
import pickletools
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from headstart.safe_pickle.admitted import Arguments, Buffer, Symbol, Unbuilt, check_keys, find_global
from headstart.safe_pickle.machine import Machine, check_values
from headstart.safe_pickle.source import Refusal

_LONGEST_NUMBER: Final = 1024
_LONGEST_NAME: Final = 256


@dataclass(frozen=True)
class Instruction:
    """What an instruction does, and how many bytes of memory it takes at most besides text and data."""

    do: Callable[[Machine], object]
    cost: int


INSTRUCTIONS: Final[dict[int, Instruction]] = {}


def _on(code: bytes, cost: int = 8) -> Callable[[Callable[[Machine], None]], Callable[[Machine], None]]:
    """Declare an instruction."""

    def declare(do: Callable[[Machine], None]) -> Callable[[Machine], None]:
        INSTRUCTIONS[code[0]] = Instruction(do, cost)
        return do

    return declare


def describe_unknown(code: int) -> str:
    """Why an instruction is not in the table."""
    name = next((known.name for known in pickletools.opcodes if ord(known.code) == code), None)
    if name is None:
        return "it is damaged, or no pickle at all"
    return f"its instruction {name} is not admitted: {_REASONS.get(name, 'it makes objects of classes')}"


_REASONS: Final = dict.fromkeys(("EXT1", "EXT2", "EXT4"), "it asks for a registered global") | dict.fromkeys(
    ("PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"), "what it means is not in the file"
)

# Constants and numbers

INSTRUCTIONS[pickle.NONE[0]] = Instruction(lambda m: m.push(None), 8)
INSTRUCTIONS[pickle.NEWTRUE[0]] = Instruction(lambda m: m.push(True), 8)
INSTRUCTIONS[pickle.NEWFALSE[0]] = Instruction(lambda m: m.push(False), 8)
INSTRUCTIONS[pickle.BININT1[0]] = Instruction(lambda m: m.push(m.number(1)), 8)
INSTRUCTIONS[pickle.BININT2[0]] = Instruction(lambda m: m.push(m.number(2)), 36)


@_on(pickle.BININT, 36)
def _binint(m: Machine) -> None:
    m.push(int.from_bytes(m.source.take(4), "little", signed=True))


@_on(pickle.LONG1, 36 + 255)
def _long1(m: Machine) -> None:
    m.push(int.from_bytes(m.source.take(m.number(1)), "little", signed=True))


@_on(pickle.LONG4, 36 + 2 * _LONGEST_NUMBER)
def _long4(m: Machine) -> None:
    size = m.number(4)
    if size > _LONGEST_NUMBER:
        raise Refusal("it holds a number of absurd length")
    m.push(int.from_bytes(m.source.take(size), "little", signed=True))


@_on(pickle.INT, 36 + _LONGEST_NUMBER)
def _int(m: Machine) -> None:
    line = m.source.take_line(_LONGEST_NUMBER)
    m.push(line == b"01" if line in (b"00", b"01") else int(line))


@_on(pickle.LONG, 36 + _LONGEST_NUMBER)
def _long(m: Machine) -> None:
    m.push(int(m.source.take_line(_LONGEST_NUMBER).removesuffix(b"L")))


@_on(pickle.FLOAT, 32)
def _float(m: Machine) -> None:
    m.push(float(m.source.take_line(_LONGEST_NUMBER)))


@_on(pickle.BINFLOAT, 32)
def _binfloat(m: Machine) -> None:
    m.push(struct.unpack(">d", m.source.take(8))[0])


# Text and bytes; what Python 2 wrote as `str` may be either


@_on(pickle.STRING, 56)
def _string(m: Machine) -> None:
    line = m.source.take_line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
        raise Refusal("it is damaged: a text in it has no quotes")
    data = codecs.escape_decode(line[1:-1])[0]
    m.source.room.spend(len(data))
    m.push(m.old_text(data))


def _on_sized(code: bytes, size: int, push: Callable[[Machine, int], object]) -> None:
    """Declare an instruction that is followed by a length of `size` bytes and by so many bytes of data."""
    INSTRUCTIONS[code[0]] = Instruction(lambda m: push(m, m.number(size)), 16)


def _push_old_text(m: Machine, size: int) -> None:
    m.push(m.old_text(_take_bytes(m, size)))


def _push_text(m: Machine, size: int) -> None:
    m.push(m.text(size))


def _push_bytes(m: Machine, size: int) -> None:
    m.push(_take_bytes(m, size))


def _push_buffer(m: Machine, size: int) -> None:
    m.push(Buffer(m.source.take_buffer(size)))


def _take_bytes(m: Machine, size: int) -> bytes:
    data = m.source.take(size)
    m.source.room.spend(sys.getsizeof(data))
    return data


_on_sized(pickle.SHORT_BINSTRING, 1, _push_old_text)
_on_sized(pickle.BINSTRING, 4, _push_old_text)
_on_sized(pickle.SHORT_BINUNICODE, 1, _push_text)
_on_sized(pickle.BINUNICODE, 4, _push_text)
_on_sized(pickle.BINUNICODE8, 8, _push_text)
_on_sized(pickle.SHORT_BINBYTES, 1, _push_bytes)
_on_sized(pickle.BINBYTES, 4, _push_bytes)
_on_sized(pickle.BINBYTES8, 8, _push_bytes)
_on_sized(pickle.BYTEARRAY8, 8, _push_buffer)


@_on(pickle.UNICODE, 64)
def _unicode(m: Machine) -> None:
    m.push(m.pay_for(m.source.take_line().decode("raw-unicode-escape")))


# Containers

INSTRUCTIONS[pickle.MARK[0]] = Instruction(lambda m: m.marks.append(len(m.stack)), 44)
INSTRUCTIONS[pickle.POP_MARK[0]] = Instruction(lambda m: m.pop_to_mark(), 8)
INSTRUCTIONS[pickle.EMPTY_LIST[0]] = Instruction(lambda m: m.push([]), 72)
INSTRUCTIONS[pickle.EMPTY_DICT[0]] = Instruction(lambda m: m.push({}), 72)
INSTRUCTIONS[pickle.EMPTY_SET[0]] = Instruction(lambda m: m.push(set()), 240)
INSTRUCTIONS[pickle.EMPTY_TUPLE[0]] = Instruction(lambda m: m.push(()), 8)
INSTRUCTIONS[pickle.LIST[0]] = Instruction(lambda m: m.push(m.pop_values_to_mark()), 88)
INSTRUCTIONS[pickle.TUPLE[0]] = Instruction(lambda m: _push_tuple(m, m.pop_to_mark()), 72)
INSTRUCTIONS[pickle.TUPLE1[0]] = Instruction(lambda m: _push_tuple(m, [m.pop()]), 72)
INSTRUCTIONS[pickle.TUPLE2[0]] = Instruction(lambda m: _push_tuple(m, [m.pop(), m.pop()][::-1]), 72)
INSTRUCTIONS[pickle.TUPLE3[0]] = Instruction(lambda m: _push_tuple(m, [m.pop(), m.pop(), m.pop()][::-1]), 80)


def _push_tuple(m: Machine, items: list[Any]) -> None:
    if any(isinstance(item, Symbol | Buffer) for item in items):
        m.push(Arguments(tuple(items)))
    else:
        check_values(items)
        m.push(tuple(items))


@_on(pickle.POP)
def _pop(m: Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.pop()


@_on(pickle.DUP)
def _dup(m: Machine) -> None:
    value = m.pop()
    m.stack += (value, value)


@_on(pickle.APPEND)
def _append(m: Machine) -> None:
    value = m.pop_value()
    m.top(list).append(value)


@_on(pickle.APPENDS)
def _appends(m: Machine) -> None:
    values = m.pop_values_to_mark()
    m.top(list).extend(values)


@_on(pickle.DICT, 88)
def _dict(m: Machine) -> None:
    pairs = m.pop_values_to_mark()
    m.push({})
    _set_pairs(m, pairs)


@_on(pickle.SETITEM)
def _setitem(m: Machine) -> None:
    value = m.pop_value()
    _set_pairs(m, [m.pop_value(), value])


@_on(pickle.SETITEMS)
def _setitems(m: Machine) -> None:
    _set_pairs(m, m.pop_values_to_mark())


def _set_pairs(m: Machine, pairs: list[Any]) -> None:
    keys, values = pairs[::2], pairs[1::2]
    if len(keys) != len(values):
        raise Refusal("it is damaged: a dict in it has a key without a value")
    m.source.room.spend(100 * len(keys))
    check_keys(keys, m.source.room)
    m.top(dict).update(zip(keys, values, strict=True))


@_on(pickle.ADDITEMS)
def _additems(m: Machine) -> None:
    items = m.pop_values_to_mark()
    m.source.room.spend(64 * len(items))
    check_keys(items, m.source.room)
    m.top(set).update(items)


@_on(pickle.FROZENSET, 240)
def _frozenset(m: Machine) -> None:
    items = m.pop_values_to_mark()
    m.source.room.spend(64 * len(items))
    check_keys(items, m.source.room)
    m.push(frozenset(items))


# The memo


def _put(m: Machine, slot: int) -> None:
    value = m.pop()
    m.push(value)
    m.memo[slot] = value
    if isinstance(value, Unbuilt):
        value.slots.append(slot)


INSTRUCTIONS[pickle.PUT[0]] = Instruction(lambda m: _put(m, int(m.source.take_line(_LONGEST_NAME))), 140)
INSTRUCTIONS[pickle.BINPUT[0]] = Instruction(lambda m: _put(m, m.number(1)), 140)
INSTRUCTIONS[pickle.LONG_BINPUT[0]] = Instruction(lambda m: _put(m, m.number(4)), 140)
INSTRUCTIONS[pickle.MEMOIZE[0]] = Instruction(lambda m: _put(m, len(m.memo)), 140)
INSTRUCTIONS[pickle.GET[0]] = Instruction(lambda m: m.push(m.memo[int(m.source.take_line(_LONGEST_NAME))]), 8)
INSTRUCTIONS[pickle.BINGET[0]] = Instruction(lambda m: m.push(m.memo[m.number(1)]), 8)
INSTRUCTIONS[pickle.LONG_BINGET[0]] = Instruction(lambda m: m.push(m.memo[m.number(4)]), 8)

# Calls


@_on(pickle.GLOBAL)
def _global(m: Machine) -> None:
    m.push(_read_global(m))


@_on(pickle.INST)
def _inst(m: Machine) -> None:
    _read_global(m)
    raise Refusal(describe_unknown(pickle.INST[0]))


def _read_global(m: Machine) -> Symbol:
    module, name = (m.source.take_line(_LONGEST_NAME).decode("utf-8", "backslashreplace") for _ in range(2))
    return find_global(module, name)


@_on(pickle.STACK_GLOBAL)
def _stack_global(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    if type(name) is not str or type(module) is not str:
        raise Refusal("it is damaged: the name of a global in it is no text")
    m.push(find_global(module, name))


@_on(pickle.REDUCE, 64)
def _reduce(m: Machine) -> None:
    arguments, function = m.pop(), m.pop()
    items = arguments.items if isinstance(arguments, Arguments) else arguments
    if not isinstance(function, Symbol) or function.call is None or not isinstance(items, tuple):
        raise Refusal("it calls what is no function")
    m.push(function.call(m.source.room, items))


@_on(pickle.BUILD, 64)
def _build(m: Machine) -> None:
    state, unbuilt = m.pop_value(), m.pop()
    if not isinstance(unbuilt, Unbuilt) or not isinstance(state, tuple):
        raise Refusal("it sets the state of what is no array or dtype")
    value = unbuilt.build(m.source.room, state)
    m.push(value)
    for slot in unbuilt.slots:
        if m.memo[slot] is unbuilt:
            m.memo[slot] = value


@_on(pickle.PROTO)
def _proto(m: Machine) -> None:
    if (protocol := m.number(1)) > 5:
        raise Refusal(f"it is damaged, or no pickle of protocol 0 to 5 (but {protocol})")


@_on(pickle.FRAME)
def _frame(m: Machine) -> None:
    if m.number(8) > m.source.remaining:
        raise Refusal("it ends too early: it is cut off or damaged")
