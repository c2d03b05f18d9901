"""The bench: runs the sides of a comparison in turn, each measurement in a fresh process, and keeps what comes."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparing.rows import Row, Rows

_ADAPTERS = Path(__file__).resolve().parents[1] / "peers"
_ALLOCATOR = ("MALLOC_", "GLIBC_", "LD_PRELOAD")
KEPT_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_ARENA_MAX": "1",
}
"""glibc's settings under which freed memory stays with the process, as headstart sets them from inside."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a process gave: its answer, and the seconds it took from start to end."""

    answer: dict[str, Any]
    wall: float
    processor: float
    load: float


Sides = Mapping[tuple[str, ...], Callable[[int], list[Row]]]
"""What each side is called in the rows it gives, and how it is measured in a repeat."""


class SideFailedError(Exception):
    """A process ended with an error; its text says where its output is."""


class Bench:
    """Where processes run, and where what they give is kept.

    Args:
        options: of the command line.

    Attributes:
        rows: all measurements so far.
        work: a folder for what passes between processes.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows = Rows(options.out)
        self.work = options.out / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.failed: list[str] = []

    def python(self, environment: str) -> Path | None:
        """A peer environment's Python; None where it has not been made."""
        places = [self.options.env / environment / part for part in ("bin/python", "Scripts/python.exe")]
        return next((place for place in places if place.exists()), None)

    def peer(self, script: str, job: Mapping[str, Any], *, keep_memory: bool = False) -> Done:
        """Run an adapter with a job by the peer's Python: its own environment where there is one, else `main`."""
        name = script.removeprefix("extract_")
        python = self.python(name) or self.python("main")
        if python is None:
            raise SystemExit(
                f"{self.options.env} holds no environment of the peers.\n"
                f"Make it: benchmarks/peers/setup.sh {self.options.env}"
            )
        plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return self._adapter(python, script, job, plain | (KEPT_MEMORY if keep_memory else {}))

    def headstart(self, job: Mapping[str, Any]) -> Done:
        """Run headstart's own adapter."""
        return self._adapter(Path(sys.executable), "headstart_side", job, dict(os.environ))

    def command(self, *arguments: str) -> Done:
        """Run a command of headstart's; its answer is empty."""
        return self._run([sys.executable, "-m", "headstart", *arguments], dict(os.environ), arguments[0])

    def alternate(self, comparison: str, case: str, sides: Sides) -> None:
        """Measure what is missing, one side after the other, in each repeat in the other order."""
        for repeat in range(self.options.repeats):
            names = list(sides) if repeat % 2 == 0 else list(reversed(sides))
            for name in names:
                if all(self.rows.has(comparison, case, each, repeat) for each in name):
                    continue
                self._measure(f"{comparison}, {case}, {name[0]}, repeat {repeat}", sides[name], repeat)

    def _measure(self, words: str, side: Callable[[int], list[Row]], repeat: int) -> None:
        try:
            found = side(repeat)
        except SideFailedError as error:
            self.failed.append(f"{words}: {error}")
            print(f"{words}: FAILED, {error}", flush=True)
            return
        for row in found:
            if self.rows.has(row.comparison, row.case, row.side, row.repeat):
                continue  # a killed process had kept some of a side's rows
            self.rows.add(row)
            accuracy = "" if row.accuracy is None else f", {row.accuracy:.1%} right"
            print(
                f"{row.comparison}, {row.case}, {row.side}, repeat {repeat}: {row.seconds:.2f} s{accuracy}, "
                f"load {row.load:.2f}",
                flush=True,
            )

    def _adapter(
        self, python: Path, script: str, job: Mapping[str, Any], environment: dict[str, str]
    ) -> Done:
        file = self.work / "job.json"
        file.write_text(json.dumps(job))
        return self._run([str(python), str(_ADAPTERS / f"{script}.py"), str(file)], environment, script)

    def _run(self, command: Sequence[str], environment: dict[str, str], name: str) -> Done:
        """One process. What it prints on stderr goes to a file, whose name an error gives."""
        tuned = set(KEPT_MEMORY.items())
        clean = {
            key: value
            for key, value in environment.items()
            if not key.startswith(_ALLOCATOR) or (key, value) in tuned
        }
        log = self.work / f"{name}.log"
        load, before, start = os.getloadavg()[0], _processor(), time.perf_counter()
        with log.open("w") as errors:
            done = subprocess.run(
                command,
                check=False,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=clean | {"HF_HUB_OFFLINE": "1"},
            )
        wall, processor = time.perf_counter() - start, _processor() - before
        if done.returncode:
            raise SideFailedError(f"exit code {done.returncode}, see {log}")
        last = done.stdout.splitlines()[-1] if done.stdout.strip() else ""
        answer = json.loads(last) if last.startswith("{") else {}
        return Done(answer=answer, wall=wall, processor=processor, load=load)


def _processor() -> float:
    """Seconds of processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
