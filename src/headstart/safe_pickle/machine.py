"""What a pickle's instructions work on: a stack of values, marks on it, a memo, and the file they stand in."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from headstart.safe_pickle.admitted import Internal, Symbol
from headstart.safe_pickle.source import OldText, Refusal, Source


class Machine:
    """The stack, the marks on it and the memo."""

    def __init__(self, source: Source, encoding: OldText) -> None:
        self.source = source
        self.encoding = encoding
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: object) -> None:
        """Put a value on top."""
        self.stack.append(value)

    def pop(self) -> Any:
        """The topmost value above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refusal("it is damaged, or no pickle at all")
        return self.stack.pop()

    def pop_value(self) -> Any:
        """The topmost value, which must be fit to stay."""
        value = self.pop()
        check_values((value,))
        return value

    def pop_to_mark(self) -> list[Any]:
        """All values above the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def pop_values_to_mark(self) -> list[Any]:
        """All values above the last mark, which must be fit to stay."""
        items = self.pop_to_mark()
        check_values(items)
        return items

    def top(self, kind: type) -> Any:
        """The topmost value, left where it is; it must be of that very kind."""
        value = self.pop()
        self.push(value)
        if type(value) is not kind:
            raise Refusal(f"it is damaged, or changes what is no {kind.__name__}")
        return value

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.source.take(size), "little")

    def text(self, size: int) -> str:
        """So many bytes of UTF-8, as pickle writes it."""
        return self.pay_for(self.source.take(size).decode("utf-8", "surrogatepass"))

    def pay_for(self, text: str) -> str:
        """Pay for a text, whose characters may take four times as many bytes as in the file."""
        self.source.room.spend(sys.getsizeof(text))
        return text

    def old_text(self, data: bytes) -> str | bytes:
        """A `str` of Python 2."""
        return data if self.encoding == "bytes" else self.pay_for(data.decode(self.encoding))


def check_values(values: Iterable[object]) -> None:
    """See that values are fit to stay.

    Raises:
        Refusal: one is of the machine's own kind, or an array that was begun and never built.
    """
    for value in values:
        if isinstance(value, Internal):
            _refuse_internal(value)


def _refuse_internal(value: Internal) -> None:
    if isinstance(value, Symbol):
        raise Refusal(f"it holds {value.name} itself, not a value of it", forbidden=value.name)
    raise Refusal("it is damaged: an array, a dtype or a bytearray in it stands where none can")
