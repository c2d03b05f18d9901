"""A machine for the instructions of a pickle that cannot do anything but build plain values.

It reads the same instructions as `pickle.Unpickler` (the standard library's `pickletools` describes them), one
after the other, without recursion. Calls reach only the constructors in `admitted`; no attribute is ever looked up
or set. Each instruction pays for its memory first, so that a small file cannot ask for much.
"""

from __future__ import annotations

import pickle
from typing import Any, Final

from headstart.safe_pickle.instructions import INSTRUCTIONS, describe_unknown
from headstart.safe_pickle.machine import Machine
from headstart.safe_pickle.source import OldText, Readable, Refusal, Source, opened

_STOP: Final = pickle.STOP[0]


def load_pickle(readable: Readable, *, encoding: OldText = "latin1", max_bytes: int | None = None) -> Any:
    """Read a pickle of protocol 0 to 5 without running anything in it.

    Args:
        readable: the file. What follows the pickle in it is left alone.
        encoding: how the `str` of Python 2 is decoded; numpy arrays of Python 2 want "latin1" or "bytes".
        max_bytes: the most memory its values may take; None for 256 MiB, or four times a larger file.

    Returns:
        numpy arrays, scalars or dtypes, dict, list, tuple, set, frozenset, str, bytes, numbers, bool or None.
        Values may share parts, nest deeply, and contain themselves, as the file says.

    Raises:
        PickleRefusedError: the file asks for any other global (see `forbidden`), or is damaged.
        OSError: the file cannot be read.
    """
    with opened(readable, max_bytes) as source:
        return run(source, encoding)


def run(source: Source, encoding: OldText) -> Any:
    """Read one pickle from where the source stands.

    Raises:
        Refusal: it asks for something that is not admitted, or is damaged.
        ValueError, LookupError, OverflowError: it is damaged.
    """
    machine = Machine(source, encoding)
    while (code := source.take(1)[0]) != _STOP:
        instruction = INSTRUCTIONS.get(code)
        if instruction is None:
            raise Refusal(describe_unknown(code))
        source.room.spend(instruction.cost)
        instruction.do(machine)
    return machine.pop_value()
