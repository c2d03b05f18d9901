"""Kill a fine-tuning at random moments, again and again; resumed, it must end as the undisturbed one did.

    python benchmarks/training_kills.py [--data ../shared/data/hymenoptera] [--kills 60] [--signal kill] [--seed 0]

`headstart train DATA --recipe finetune` at a small size is killed (kill -9) at a random moment, taken up by
`headstart train --resume RUN`, killed again, and so on until a run ends; then the next run begins, until there have
been as many kills as asked for. A run that was killed twice after its last epoch is left to end. Every run that ends
must have the undisturbed run's classifier.safetensors and predictions.parquet byte for byte, and its history.csv but
for the two columns of speed. The moment is drawn from the time after the process has locked the run's folder, as
loading PyTorch is not what is tested, up to half of what the undisturbed run took, so that most processes get some
epochs further. Precision is fixed, since `auto` would let the clock choose it; every other option is as it comes.

With `--signal term` or `int` the process gets SIGTERM or SIGINT (Ctrl-C) instead, and must save its state within an
epoch and end with exit code 130; `any` draws one of the three each time.
"""

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from figures import describe_machine

from headstart.classifier import WEIGHTS_FILE
from headstart.files import TEMPORARY_SUFFIX
from headstart.runs import CHECKPOINT_FILE, CONFIG_FILE, HISTORY_FILE, PREDICTIONS_FILE, RESULT_FILE
from headstart.training.checkpoint import read_checkpoint

_HYMENOPTERA = Path(__file__).resolve().parents[2] / "shared" / "data" / "hymenoptera"
_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
_SPEED_COLUMNS = ("images_per_second", "seconds")
_INTERRUPTED = 130
_LOCK_FILE = ".lock"
_MOST_SECONDS_TO_STOP = 60
_AFTER_LAST = "after the last epoch"
_MOST_AFTER_LAST = 2


@dataclass
class Disturbed:
    """One run that is killed until it ends.

    Attributes:
        folder: its place.
        kills: how often it was killed so far.
        late: how many of these came after its last epoch.
        leftovers: temporary files that killed processes left behind and that were seen before.
    """

    folder: Path
    kills: int = 0
    late: int = 0
    leftovers: set[str] = field(default_factory=set)

    @property
    def finished(self) -> bool:
        """Whether its result stands there."""
        return (self.folder / RESULT_FILE).exists()

    def temporary_files(self) -> list[Path]:
        """Files that were being written when a process was killed."""
        return [path for path in self.folder.glob(".*") if path.name.endswith(TEMPORARY_SUFFIX)]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """How runs are begun, taken up, and where their store is."""

    options: argparse.Namespace
    store: Path

    def of(self, run: Path) -> list[str]:
        """The command that begins this run, or takes it up where it has begun."""
        headstart = [sys.executable, "-m", "headstart", "train"]
        if (run / CONFIG_FILE).exists():
            return [*headstart, "--resume", str(run), "--store", str(self.store)]
        asked = self.options
        choices = ["--recipe", "finetune", "--dtype", "float32", "--backbone", asked.backbone]
        choices += ["--size", str(asked.size), "--epochs", str(asked.epochs), "--batch-size", "16"]
        choices += ["--weights", asked.weights, "--out", str(run), "--store", str(self.store)]
        return [*headstart, str(asked.data), *choices]

    def finish(self, run: Path) -> None:
        """Let the run come to its end."""
        done = subprocess.run(self.of(run), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{run.name} ended with exit code {done.returncode}:\n{done.stderr}")


def main() -> None:
    options = _options()
    print(describe_machine(), flush=True)
    rng, begin = random.Random(options.seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        commands = Commands(options=options, store=work / "store")
        commands.finish(work / "undisturbed")
        within = _seconds(work / "undisturbed") / 2
        print(
            f"undisturbed: {_describe(work / 'undisturbed')}; each kill comes within {within:.1f} s",
            flush=True,
        )
        moments: Counter[str] = Counter()
        left, kills, number = 0, 0, 0
        while kills < options.kills:
            number += 1
            run = Disturbed(work / f"run-{number}")
            while not run.finished and kills < options.kills and run.late < _MOST_AFTER_LAST:
                moment = _disturb(run, commands, rng, within)
                if moment is not None:
                    kills, run.kills = kills + 1, run.kills + 1
                    run.late += moment.endswith(_AFTER_LAST)
                    moments[moment] += 1
                    print(f"  {run.folder.name}, {kills} of {options.kills}: {moment}", flush=True)
            if not run.finished:
                commands.finish(run.folder)
            _compare(run.folder, work / "undisturbed")
            left += len(run.temporary_files())
            print(f"{run.folder.name}: {run.kills} kills, nothing lost, nothing different", flush=True)
    print(
        f"{kills} kills in {number} runs, {time.perf_counter() - begin:.0f} s; all runs end as the undisturbed one"
    )
    for moment, count in moments.most_common():
        print(f"  {count:3} {moment}")
    print(f"temporary files that killed processes left in finished runs' folders: {left}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=_HYMENOPTERA)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--signal", choices=(*_SIGNALS, "any"), default="kill")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--size", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--epochs", type=int, default=12, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _disturb(run: Disturbed, commands: Commands, rng: random.Random, within: float) -> str | None:
    """Start or resume the run and kill it; in words where the kill hit it, None where the run had ended before."""
    chosen = commands.options.signal
    name = chosen if chosen in _SIGNALS else rng.choice(list(_SIGNALS))
    saved = _stamp(run.folder / CHECKPOINT_FILE)
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(commands.of(run.folder), stdout=told, stderr=complaints)
        try:
            begun = _has_begun(process)
            process.wait(rng.uniform(0, within))
        except subprocess.TimeoutExpired:
            process.send_signal(_SIGNALS[name])
            process.wait(_MOST_SECONDS_TO_STOP)
        told.seek(0)
        complaints.seek(0)
        epochs, words = _epochs_told(told.read()), complaints.read()
    if not begun:  # resuming a run that is never seen to begin would test nothing
        raise SystemExit(f"{run.folder.name} ended without having locked its folder:\n{words}")
    if run.finished:
        return None  # the signal came too late, or not at all
    if process.returncode != (_INTERRUPTED if name != "kill" else -signal.SIGKILL):
        raise SystemExit(
            f"{run.folder.name} was sent SIG{name.upper()} and ended with exit code {process.returncode}:\n{words}"
        )
    saves = _stamp(run.folder / CHECKPOINT_FILE) != saved
    return f"SIG{name.upper()} {_moment(run, epochs, commands.options.epochs, saves=saves)}"


def _has_begun(process: subprocess.Popen[bytes]) -> bool:
    """Wait until the process holds its run's folder locked; False where it ended before."""
    while process.poll() is None:
        with suppress(psutil.Error):  # it ended just now
            if any(Path(file.path).name == _LOCK_FILE for file in psutil.Process(process.pid).open_files()):
                return True
        time.sleep(0.01)
    return False


def _stamp(file: Path) -> int | None:
    """When a file was written; None where there is none."""
    return file.stat().st_mtime_ns if file.exists() else None


def _epochs_told(text: str) -> list[int]:
    """Numbers of the epochs that a process has told the end of."""
    lines = [line.split() for line in text.splitlines() if line.startswith("epoch ")]
    return [int(" ".join(words[1:]).split("/")[0]) for words in lines]


def _moment(run: Disturbed, told: list[int], epochs: int, *, saves: bool) -> str:
    """Where a kill hit a run, as far as files and the lines that it printed tell.

    A process tells an epoch, saves its state, and goes on; a file is written under a temporary name, which stays
    behind where the process is killed.

    Args:
        run: the run.
        told: the epochs whose ends the process told.
        epochs: how many there are.
        saves: whether the process has written a checkpoint.
    """
    new = [path for path in run.temporary_files() if path.name not in run.leftovers]
    run.leftovers |= {path.name for path in new}
    saved = read_checkpoint(run.folder / CHECKPOINT_FILE)
    if any(_is_checkpoint(path) for path in new):
        return "while a checkpoint was written"
    if new:
        return "while another file was written"
    if saves and saved is not None and saved.progress.step:
        return "within an epoch, its state saved"
    if told and (saved is None or saved.progress.epoch < told[-1]):
        return "between an epoch and its checkpoint"
    if saved is not None and saved.progress.epoch == epochs:
        return _AFTER_LAST
    return (
        "within a later epoch of its process"
        if told
        else "while reading, or within the first epoch of its process"
    )


def _is_checkpoint(path: Path) -> bool:
    """Whether a file that was being written begins as a checkpoint does; an empty one tells nothing."""
    with path.open("rb") as file:
        return b"optimizer." in file.read(1_000_000)


def _compare(run: Path, undisturbed: Path) -> None:
    """End the program where anything but speed is different."""
    for name in (WEIGHTS_FILE, PREDICTIONS_FILE):
        if (run / name).read_bytes() != (undisturbed / name).read_bytes():
            raise SystemExit(f"{run.name}: {name} is not that of the undisturbed run")
    ours, theirs = _history(run), _history(undisturbed)
    if ours != theirs:
        rows = [f"{a}\n{b}" for a, b in zip(ours, theirs, strict=False) if a != b]
        raise SystemExit(
            f"{run.name}: history.csv has {len(ours)} rows, the undisturbed run's {len(theirs)}; different:\n"
            + "\n".join(rows)
        )


def _history(run: Path) -> list[dict[str, str]]:
    """The epochs' figures as they are written, without those of speed."""
    with (run / HISTORY_FILE).open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in _SPEED_COLUMNS}
            for row in csv.DictReader(file)
        ]


def _seconds(run: Path) -> float:
    """What the whole run took, without loading PyTorch."""
    return float(json.loads((run / RESULT_FILE).read_text())["seconds"]["total"])


def _describe(run: Path) -> str:
    with (run / HISTORY_FILE).open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    size = (run / WEIGHTS_FILE).stat().st_size / 1e6
    epochs = f"{len(seconds)} epochs of {sum(seconds) / len(seconds):.2f} s"
    return f"{_seconds(run):.1f} s, {epochs}, a classifier of {size:.0f} MB"


if __name__ == "__main__":
    main()
