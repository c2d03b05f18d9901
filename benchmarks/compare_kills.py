"""Kill `headstart compare` at random moments; resumed, its leaderboard must be the undisturbed one, but for timings.

    python benchmarks/compare_kills.py [--data ../shared/data/hymenoptera] [--kills 5] [--seed 0] [--option ...]

A comparison of probe and lp-ft over two seeds, shortened by `--scale`, is run once undisturbed. Then the same in
another folder and store is killed (kill -9) so many times and run to its end. Each kill comes at a moment drawn from
the time after the process has locked the folder, as importing PyTorch is not what is tested, and soon enough that most
kills find something to do. Every column of both leaderboard.csv must be equal but those that are times, and so must
each run's predictions. Precision is exact, since `fast` would let the clock choose it. At last the second start with
everything finished is timed.
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import describe_machine

from headstart.runs import PREDICTIONS_FILE, RESULT_FILE
from headstart.study.leaderboard import CSV_FILE
from headstart.study.running import RUNS

_HYMENOPTERA = Path(__file__).resolve().parents[2] / "shared" / "data" / "hymenoptera"
_TIMES = ("seconds", "seconds_per_epoch", "ms_per_image")
_LOCK_FILE = ".lock"


def command(options: argparse.Namespace, work: Path) -> list[str]:
    words = [sys.executable, "-m", "headstart", "compare", *map(str, options.data)]
    words += ["--recipes", options.recipes, "--seeds", options.seeds, "--scale", str(options.scale)]
    words += ["--backbones", options.backbones, "--set", "precision=exact"]
    for setting in options.option:
        words += ["--set", setting]
    return [*words, "--out", str(work / "comparison"), "--store", str(work / "store")]


def finish(options: argparse.Namespace, work: Path) -> tuple[float, float]:
    """Let it come to its end; returns the seconds of all of it, and those since it has locked the folder."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command(options, work), stdout=subprocess.DEVNULL, stderr=errors)
        wait_for_lock(process, work)
        locked = time.perf_counter()
        if process.wait():
            errors.seek(0)
            raise SystemExit(f"ended with exit code {process.returncode}:\n{errors.read()}")
    return time.perf_counter() - start, time.perf_counter() - locked


def wait_for_lock(process: subprocess.Popen, work: Path) -> None:
    while not (work / "comparison" / _LOCK_FILE).exists() and process.poll() is None:
        time.sleep(0.01)


def kill_once(options: argparse.Namespace, work: Path, after: float) -> str:
    """Returns how far it was when the kill came."""
    process = subprocess.Popen(command(options, work), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_lock(process, work)
    time.sleep(after)
    process.kill()
    process.wait()
    (work / "comparison" / _LOCK_FILE).unlink(missing_ok=True)  # only so that the next one is waited for
    runs = sorted((work / "comparison" / RUNS).glob("*"))
    finished = sum((run / RESULT_FILE).exists() for run in runs)
    begun = [run.name for run in runs if not (run / RESULT_FILE).exists()]
    return f"{finished} runs finished" + "".join(f", {name} begun" for name in begun)


def rows_without_times(work: Path) -> list[dict[str, str]]:
    with (work / "comparison" / CSV_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key not in _TIMES} for row in rows]


def predictions(work: Path) -> dict[str, bytes]:
    found = (work / "comparison" / RUNS).glob(f"*/{PREDICTIONS_FILE}")
    return {path.parent.name: path.read_bytes() for path in found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs="+", default=[_HYMENOPTERA])
    parser.add_argument("--backbones", default="tf_efficientnet_lite0")
    parser.add_argument("--recipes", default="probe,lp-ft")
    parser.add_argument("--seeds", default="0-1")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument(
        "--option", action="append", default=[], help="KEY=VALUE for every run, such as size=64"
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(describe_machine(), flush=True)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        calm, disturbed = Path(folder) / "calm", Path(folder) / "disturbed"
        length, working = finish(options, calm)
        print(
            f"undisturbed: {len(predictions(calm))} runs, {length:.1f} s, {working:.1f} s at work", flush=True
        )
        for kill in range(1, options.kills + 1):
            moment = kill_once(options, disturbed, rng.uniform(0, 2 * working / (options.kills + 1)))
            print(f"kill {kill}: {moment}", flush=True)
        finish(options, disturbed)
        differing = [
            (a, b)
            for a, b in zip(rows_without_times(calm), rows_without_times(disturbed), strict=True)
            if a != b
        ]
        assert not differing, differing[0]
        assert predictions(calm) == predictions(disturbed), "a run predicts otherwise"
        print(
            f"all {options.kills} kills survived: {len(rows_without_times(calm))} rows and all predictions equal"
        )
        print(f"second start, everything finished: {finish(options, disturbed)[0]:.1f} s")


if __name__ == "__main__":
    main()
