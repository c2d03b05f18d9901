"""Interruptions: Ctrl-C and SIGTERM wait for the end of a step, so that what is saved is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody wants the training to end.

    Attributes:
        signal: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; a second one ends the process at once, as it would without us."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def noticed_interruptions() -> Iterator[Interruption]:
    """While this is open, SIGINT and SIGTERM are noted instead of raised, outside the main thread as nothing can be."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption.receive) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
