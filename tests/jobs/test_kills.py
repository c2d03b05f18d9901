"""Real processes: killed at random moments and resumed, and two of them at one run."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.files import TEMPORARY_SUFFIX
from headstart.runs import CHECKPOINT_FILE, Run, load_run

DrawPhotos = Callable[..., Path]
Process = subprocess.Popen[str]

pytestmark = pytest.mark.slow

KILLS = 6
# A network with dropout and a convolution for a head: each step draws, and the optimiser remembers.
OPTIONS = {
    "--recipe": "finetune",
    "--backbone": "torchvision/squeezenet1_1",
    "--weights": "none",
    "--size": "48",
    "--epochs": "30",
    "--batch-size": "8",
    "--lr": "1e-4",
    "--flip": "yes",
    "--dtype": "float32",
}


def _start(*arguments: str | Path) -> Process:
    """`headstart train` in a process of its own."""
    command = [sys.executable, "-m", "headstart", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _begin(photos: Path, folder: Path) -> Process:
    return _start(photos, "--out", folder, *(word for option in OPTIONS.items() for word in option))


def _ended(process: Process) -> tuple[int, str]:
    """Its exit code, and what it said on standard error."""
    _, words = process.communicate()
    return process.returncode, words


def _finished(process: Process, folder: Path) -> Run:
    code, words = _ended(process)
    assert code == 0, words
    return load_run(folder)


def _state(folder: Path) -> tuple[int, int] | None:
    """Which checkpoint stands there; None for none."""
    try:
        found = (folder / CHECKPOINT_FILE).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _wait_for_epoch(process: Process, folder: Path, before: tuple[int, int] | None) -> None:
    """Until the process has written a checkpoint of its own, or has ended."""
    while _state(folder) in (before, None) and process.poll() is None:
        time.sleep(0.002)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(
    tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    photos, rng = draw_photos(tmp_path / "photos", per_class=24), random.Random(0)
    start = time.monotonic()
    whole = _finished(_begin(photos, tmp_path / "whole"), tmp_path / "whole")
    total, training = time.monotonic() - start, whole.result["seconds"]["finetune"]
    folder = tmp_path / "run"

    process, before, states = _begin(photos, folder), None, set()
    for kill in range(KILLS):
        if kill % 3 == 2:  # at any moment: while it starts, reads, trains, judges or writes
            time.sleep(rng.uniform(0, total))
        else:
            _wait_for_epoch(process, folder, before)
            time.sleep(rng.uniform(0, training / KILLS))
        process.kill()
        _ended(process)
        before = _state(folder)
        states.add(before)
        if (folder / "result.json").exists():
            break
        process = _start("--resume", folder)
    run = load_run(folder) if (folder / "result.json").exists() else _finished(process, folder)

    assert len(states - {None}) >= 2
    assert run.config == whole.config
    for name in ("classifier.safetensors", "classifier.json", "predictions.parquet"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert _figures(run) == _figures(whole)
    assert not [path for path in folder.rglob("*") if path.suffix == TEMPORARY_SUFFIX]
    assert _state(folder) is None


def _figures(run: Run) -> list[list[str]]:
    """The history without what the clock says."""
    rows = (run.folder / "history.csv").read_text().splitlines()
    return [row.split(",")[:-2] for row in rows]


def test_two_processes_do_not_write_to_one_run(tmp_path: Path, draw_photos: DrawPhotos) -> None:
    photos, folder = draw_photos(tmp_path / "photos", per_class=24), tmp_path / "run"
    processes = [_begin(photos, folder) for _ in range(2)]

    ends = [_ended(process) for process in processes]

    assert sorted(code for code, _ in ends) == [0, 2]
    (words,) = [words for code, words in ends if code == 2]
    assert "Traceback" not in words
    assert f"Another headstart is writing to {folder}." in words or "holds a finished run" in words
    assert load_run(folder).result["choice"]["completed"]
