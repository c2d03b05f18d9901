"""Keep freed memory instead of giving it back, while a network runs on the CPU.

glibc serves each large tensor with a fresh mmap and returns it when the tensor dies, so every layer of every
batch takes thousands of page faults: up to half of eager PyTorch's time on a CPU. For the length of an
extraction, large blocks come from the heap and stay there. `mallopt` is the only way to say so from inside a
process; where there is no glibc (macOS, Windows, musl) nothing is changed, and nothing needs to be.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Parameter numbers from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

_KEEP = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1}
# What glibc's own adaptive thresholds grow to in a process that frees large blocks, as torch does. Setting any
# threshold switches the adapting off for good, so giving back the values of a fresh process would leave one
# that is slower than before.
_AFTERWARDS = {
    _M_MMAP_MAX: 65536,
    _M_MMAP_THRESHOLD: 32 * 2**20,
    _M_TRIM_THRESHOLD: 64 * 2**20,
    _M_ARENA_MAX: 0,
}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While this is open, freed blocks stay with the process; at the end they go back to the system.

    Threads that are to profit must be started inside, so that they share the one arena.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _KEEP)
    try:
        yield
    finally:
        _set(libc, _AFTERWARDS)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
