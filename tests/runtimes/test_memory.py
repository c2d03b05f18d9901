import json
import platform
import subprocess
import sys

import pytest

from headstart.runtimes import memory
from headstart.runtimes.memory import freed_memory_kept

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

# In a process of its own: what an allocator does depends on all that went before.
_FAULTS = """
import json, resource
import numpy as np
from headstart.runtimes.memory import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(48 * 2**20, np.uint8)  # more than glibc's own threshold can grow to
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

first = faults()
with freed_memory_kept():
    np.ones(48 * 2**20, np.uint8)
    kept = faults()
    inside = resident()
print(json.dumps({"first": first, "kept": kept, "after": faults(), "inside": inside, "outside": resident()}))
"""


@glibc
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_blocks_are_kept_inside_and_given_back_outside() -> None:
    done = subprocess.run([sys.executable, "-c", _FAULTS], check=True, capture_output=True, text=True)
    got = json.loads(done.stdout)
    assert got["kept"] < got["first"] / 5
    assert got["after"] > 5 * got["kept"]
    assert got["inside"] - got["outside"] > 40 * 2**20


class Recorder:
    """Stands in for the C library."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.trimmed = 0

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.trimmed += 1
        return 1


def test_every_setting_is_given_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = Recorder()
    monkeypatch.setattr(memory, "_glibc", lambda: libc)
    with pytest.raises(RuntimeError, match="inside"), freed_memory_kept():
        changed = dict(libc.calls)
        raise RuntimeError("inside")
    final = dict(libc.calls)
    assert changed
    assert all(final[parameter] != value for parameter, value in changed.items())
    assert libc.trimmed == 1


def test_nothing_is_done_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: object) -> None:
        raise AssertionError("the C library was opened")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", refuse)
    with freed_memory_kept():
        pass
