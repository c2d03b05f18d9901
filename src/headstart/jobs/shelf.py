"""What the runs of one process have in common, so that it is made once."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Shelf:
    """Keeps the last of each kind of thing: a data set's listing, a network with its cuts, how fast it is.

    One of each, because networks are large: runs that share a network come one after the other. What stands here is
    shared, so nobody changes it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Hashable, Any]] = {}

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """The thing of this kind that stands here under the key, else what `make` gives, which takes its place.

        Args:
            kind: what sort of thing it is.
            key: everything that decides what it is.
            make: makes it.
        """
        known, thing = self._kept.get(kind, (None, None))
        if known != key or kind not in self._kept:
            self._kept.pop(kind, None)  # before the next is made: two networks at once may not fit
            thing = make()
            self._kept[kind] = key, thing
        found: T = thing
        return found
