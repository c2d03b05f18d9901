"""The few globals that a pickle may name, and our own constructors behind them.

None of them is numpy's function of that name: those take hostile shapes, classes and dtypes as they come.
Each checks its arguments and makes its value from bytes that the file really holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headstart.safe_pickle.source import Refusal, Room

Array = npt.NDArray[Any]

_DTYPE: Final = re.compile(r"[?]|[biufcSUO][0-9]{0,9}")
_ORDERS: Final = {"<": "<", ">": ">", "|": "=", "=": "="}
_MOST_DIMENSIONS: Final = 32
_LARGEST_SIZE: Final = 2**48
_LARGEST_KEY: Final = 100
_LATIN1: Final = ("latin1", "latin-1", "iso-8859-1")


class Internal:
    """What the machine needs on its way; it must not get into a value."""


@dataclass(frozen=True)
class Symbol(Internal):
    """An admitted global: a function of ours, or numpy's array class as an argument of one."""

    name: str
    call: Callable[[Room, tuple[object, ...]], object] | None


@dataclass(frozen=True)
class Buffer(Internal):
    """The bytes of a protocol 5 array."""

    data: bytearray


@dataclass(frozen=True)
class Arguments(Internal):
    """A tuple that holds a `Symbol` or a `Buffer`: good as arguments of a call, and for nothing else."""

    items: tuple[object, ...]


@dataclass(eq=False)
class Unbuilt(Internal):
    """An array or dtype whose state has yet to come; `slots` are its places in the memo."""

    build: Callable[[Room, tuple[object, ...]], object]
    slots: list[int] = field(default_factory=list)


def find_global(module: str, name: str) -> Symbol:
    """The symbol for `module.name`.

    Raises:
        Refusal: it is not admitted.
    """
    symbol = _ADMITTED.get((module, name))
    if symbol is None:
        full = f"{module}.{name}"
        shown = full if len(full) <= 100 and full.isprintable() else ascii(full)[:100] + "..."
        raise Refusal(f"it asks for {shown}, which is not admitted", forbidden=full)
    return symbol


# Keys of dicts and elements of sets


def check_keys(keys: Iterable[object], room: Room) -> None:
    """See that keys can be hashed and compared in little time.

    Text and bytes have secret hashes, and few small numbers share one. For the others somebody can make
    thousands that collide, or tuples of tuples that take 2**n steps, so they are counted and must be small.

    Raises:
        Refusal: a key is of a kind that is no key, or too large, or there are too many of the rare kinds.
    """
    for key in keys:
        if type(key) is int and key.bit_length() > 64:
            raise Refusal("a key of one of its dicts or sets is a number of more than 64 bits")
        if type(key) not in _PLAIN_KEYS:
            room.rare_keys -= 1
            _check_rare_key(key, room.rare_keys)


_PLAIN_KEYS: Final = (str, int, bytes, float, bool, NoneType)


def _check_rare_key(key: object, left: int) -> None:
    if left < 0:
        raise Refusal("too many keys of its dicts and sets are neither text nor plain numbers")
    waiting = [key]
    for _ in range(_LARGEST_KEY):
        if not waiting:
            return
        part = waiting.pop()
        if isinstance(part, tuple | frozenset):
            if len(part) > _LARGEST_KEY:
                break
            waiting.extend(part)
        elif not isinstance(part, (*_PLAIN_KEYS, complex, np.generic)):
            raise Refusal(f"a {_kind(part)} is the key of a dict or in a set")
    raise Refusal("a key of one of its dicts or sets is a large tuple or frozenset")


def _kind(value: object) -> str:
    return "global" if isinstance(value, Internal) else type(value).__name__


# numpy


def _reconstruct(room: Room, arguments: tuple[object, ...]) -> Unbuilt:
    """`numpy.core.multiarray._reconstruct(ndarray, (0,), b"b")`: an array whose state comes next."""
    match arguments:
        case (Symbol(name="numpy.ndarray"), (0,), "b" | b"b"):
            return Unbuilt(_set_array_state)
    raise Refusal("an array in it starts in an unusual way")


def _set_array_state(room: Room, state: tuple[object, ...]) -> Array:
    """`ndarray.__setstate__((1, shape, dtype, is_fortran, data))`."""
    match state:
        case (
            1,
            tuple() as shape,
            np.dtype() as dtype,
            (bool() | 0 | 1) as fortran,
            (bytes() | str() | list()) as data,
        ):
            if isinstance(data, list):
                return _object_array(room, data, dtype, check_shape(shape), "F" if fortran else "C")
            # Python 2 kept bytes in its str, which latin1 has decoded.
            raw = data.encode("latin1") if isinstance(data, str) else data
            return make_array(room, raw, dtype, check_shape(shape), "F" if fortran else "C")
    raise Refusal("an array in it has an unusual state")


def _frombuffer(room: Room, arguments: tuple[object, ...]) -> Array:
    """`numpy.core.numeric._frombuffer(data, dtype, shape, order[, axis_order])`, in protocol 5."""
    match arguments:
        case (
            Buffer(data=data) | (bytes() as data),
            np.dtype() as dtype,
            tuple() as shape,
            ("C" | "F") as order,
        ):
            return make_array(room, data, dtype, check_shape(shape), str(order))
        case (
            Buffer(data=data) | (bytes() as data),
            np.dtype() as dtype,
            tuple() as shape,
            "K",
            tuple() as axes,
        ):
            if all(type(axis) is int for axis in axes) and sorted(axes) == list(range(len(shape))):
                return make_array(room, data, dtype, check_shape(shape), "C").transpose(axes)
    raise Refusal("an array in it is made in an unusual way")


def make_array(
    room: Room, data: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> Array:
    """An array of exactly these bytes, which can be written to.

    Raises:
        Refusal: dtype, shape and bytes do not fit together.
    """
    needed = math.prod(shape) * dtype.itemsize
    if dtype.kind == "O" or dtype.itemsize == 0 or needed != len(data):
        raise Refusal(f"an array of shape {_show(shape)} and dtype {dtype.str} comes with {len(data)} bytes")
    room.spend(128 + 16 * len(shape) + (0 if isinstance(data, bytearray) else len(data)))
    flat: Array = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
    _check_values(flat)
    owned = flat if isinstance(data, bytearray) else flat.copy()
    return owned.reshape(shape, order="F" if order == "F" else "C")


def _object_array(
    room: Room, items: list[object], dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> Array:
    """An array of references to values that have been read, and so are admitted."""
    if dtype.kind != "O" or math.prod(shape) != len(items):
        raise Refusal(
            f"an array of shape {_show(shape)} and dtype {dtype.str} comes with {len(items)} objects"
        )
    room.object_arrays -= 1
    if room.object_arrays < 0:  # freeing one inside another takes C stack
        raise Refusal("it holds too many arrays of objects")
    room.spend(128 + 8 * len(items))
    flat = np.empty(len(items), object)
    for i, item in enumerate(items):  # one by one: numpy would look into lists
        flat[i] = item
    return flat.reshape(shape, order="F" if order == "F" else "C")


def check_shape(shape: tuple[object, ...]) -> tuple[int, ...]:
    """See that an array can have this shape.

    Raises:
        Refusal: a size is no whole number, negative or absurd, or there are too many.
    """
    sizes = tuple(size for size in shape if type(size) is int and 0 <= size <= _LARGEST_SIZE)
    if (
        len(sizes) != len(shape)
        or len(shape) > _MOST_DIMENSIONS
        or math.prod(filter(None, sizes)) > _LARGEST_SIZE
    ):
        raise Refusal(f"an array in it has the impossible shape {_show(shape)}")
    return sizes


def _show(shape: tuple[object, ...]) -> str:
    parts = [str(size) if type(size) is int and size.bit_length() <= 64 else "?" for size in shape[:8]]
    return f"({', '.join([*parts, '...'] if len(shape) > 8 else parts)})"


def _check_values(flat: Array) -> None:
    """Bytes that are no value of their dtype would go wrong later, in numpy."""
    if flat.dtype.kind == "b" and flat.size and flat.view(np.uint8).max() > 1:
        raise Refusal("an array of booleans holds others than 0 and 1")
    if flat.dtype.kind == "U" and flat.size:
        points = flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder))
        if points.max() > 0x10FFFF:
            raise Refusal("an array of text holds what is no character")


def _dtype(room: Room, arguments: tuple[object, ...]) -> Unbuilt:
    """`numpy.dtype("f4", False, True)`, whose state (the byte order) comes next."""
    match arguments:
        case ((str() | bytes()) as code, bool() | 0 | 1, bool() | 0 | 1):
            text = code.decode("latin1") if isinstance(code, bytes) else code
            parse_dtype("|", text)
            return Unbuilt(lambda room, state: _set_dtype_state(text, state))
    raise Refusal("a dtype in it is made in an unusual way")


def _set_dtype_state(code: str, state: tuple[object, ...]) -> np.dtype[Any]:
    """`dtype.__setstate__((3, byte order, subdtype, names, fields, itemsize, alignment, flags))`."""
    match state:
        case (3, (str() | bytes()) as order, None, None, None, int() as size, int(), int()):
            dtype = parse_dtype(order.decode("latin1") if isinstance(order, bytes) else order, code)
            if size not in (-1, dtype.itemsize):
                raise Refusal(f"a dtype {dtype.str} in it claims {size % 2**64} bytes")
            return dtype
    raise Refusal("a dtype in it is structured, a date, or has metadata")


def parse_dtype(order: str, code: str) -> np.dtype[Any]:
    """A plain dtype.

    Args:
        order: byte order, one of `<>|=`; the last two mean that it is the machine's, or does not matter.
        code: kind and bytes, as `f4`, `u1`, `S10`, `U3`, `O`.

    Raises:
        Refusal: it is another kind, or no dtype.
    """
    if order not in _ORDERS or not _DTYPE.fullmatch(code):
        raise Refusal(f"it holds the dtype {ascii(code)[:40]}")
    try:
        return np.dtype(object if code.startswith("O") else _ORDERS[order] + code)
    except TypeError:
        raise Refusal(f"it holds the dtype {code!a}, which is none") from None


def _scalar(room: Room, arguments: tuple[object, ...]) -> object:
    """`numpy.core.multiarray.scalar(dtype, data)`."""
    match arguments:
        case (np.dtype() as dtype, (bytes() | str()) as data) if dtype.kind != "O":
            raw = data.encode("latin1") if isinstance(data, str) else data
            if dtype.itemsize == 0 and not raw:
                return dtype.type()
            return make_array(room, raw, dtype, (1,), "C")[0]
    raise Refusal("a numpy scalar in it is made in an unusual way")


# Python


def _codecs_encode(room: Room, arguments: tuple[object, ...]) -> bytes:
    """`_codecs.encode(text, "latin1")`: how Python 3 writes bytes in protocols 0 to 2."""
    match arguments:
        case (str() as text, str() as encoding) if encoding in _LATIN1:
            room.spend(len(text) + 33)
            return text.encode("latin1")
    raise Refusal("it encodes text other than as latin1")


def _elements(room: Room, arguments: tuple[object, ...]) -> list[object]:
    match arguments:
        case ((list() | tuple()) as items,):
            room.spend(216 + 64 * len(items))
            check_keys(items, room)
            return list(items)
        case ():
            return []
    raise Refusal("a set in it is made in an unusual way")


def _set(room: Room, arguments: tuple[object, ...]) -> set[object]:
    return set(_elements(room, arguments))


def _frozenset(room: Room, arguments: tuple[object, ...]) -> frozenset[object]:
    return frozenset(_elements(room, arguments))


def _complex(room: Room, arguments: tuple[object, ...]) -> complex:
    match arguments:
        case (float() | int() as real, float() | int() as imaginary):
            return complex(real, imaginary)
    raise Refusal("a complex number in it is made in an unusual way")


def _bytes(room: Room, arguments: tuple[object, ...]) -> bytes:
    """`bytes()`: how Python 3 writes empty bytes in protocols 0 to 2."""
    if arguments:
        raise Refusal("bytes in it are made in an unusual way")
    return b""


def _admit() -> Mapping[tuple[str, str], Symbol]:
    found = {
        ("numpy", "ndarray"): Symbol("numpy.ndarray", None),
        ("numpy", "dtype"): Symbol("numpy.dtype", _dtype),
        ("_codecs", "encode"): Symbol("_codecs.encode", _codecs_encode),
    }
    for core in ("numpy.core", "numpy._core"):  # before and since numpy 2
        found[f"{core}.multiarray", "_reconstruct"] = Symbol("_reconstruct", _reconstruct)
        found[f"{core}.multiarray", "scalar"] = Symbol("scalar", _scalar)
        found[f"{core}.numeric", "_frombuffer"] = Symbol("_frombuffer", _frombuffer)
    for builtins in ("__builtin__", "builtins"):  # Python 2 and 3
        found[builtins, "set"] = Symbol("set", _set)
        found[builtins, "frozenset"] = Symbol("frozenset", _frozenset)
        found[builtins, "complex"] = Symbol("complex", _complex)
        found[builtins, "bytes"] = Symbol("bytes", _bytes)
    return found


_ADMITTED: Final = _admit()
