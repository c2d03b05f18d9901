"""Kill `headstart train` at random moments, again and again; each next run must lose nothing and differ in nothing.

Every round has a store of its own. After the kill, the rows of the finished shards on disk are counted; the next run
must extract exactly the others and end with the figures of an undisturbed run.

    python benchmarks/kills.py PHOTOS [--kills 30] [--seed 0]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headstart.features.shards import read_shard
from headstart.features.store import FeatureStore, sound_rows


def command(photos: Path, work: Path) -> list[str]:
    run, store = work / "run", work / "store"
    return [sys.executable, "-m", "headstart", "train", str(photos), "--out", str(run), "--store", str(store)]


def finish(photos: Path, work: Path) -> dict:
    subprocess.run(command(photos, work), check=True, capture_output=True)
    return json.loads((work / "run" / "result.json").read_text())


def rows_on_disk(store: Path) -> list[bytes]:
    shards = [read_shard(path) for path in sorted(store.glob("v1/*/*.safetensors"))]
    return [sha for shard in shards for sha in sound_rows(shard)]


def kill_once(photos: Path, work: Path, after: float) -> str:
    """Returns in which stage the kill came."""
    process = subprocess.Popen(command(photos, work), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (work / "run" / "config.toml").exists():  # importing torch is not what is tested
        if process.poll() is not None:
            raise SystemExit("the run ended before it began")
        time.sleep(0.01)
    time.sleep(after)
    process.kill()
    process.wait()
    if (work / "run" / "result.json").exists():
        return "finished"
    return "fitting" if (work / "run" / "classifier.safetensors").exists() else "extracting"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("photos", type=Path)
    arguments.add_argument("--kills", type=int, default=30)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        reference = finish(options.photos, Path(folder))
        length = reference["seconds"]["total"]
    total = reference["images"]["extracted"]
    print(f"undisturbed: {total} images, {length:.1f} s, test accuracy {reference['test']['accuracy']:.4f}")
    worst = 0.0
    for kill in range(options.kills):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            stage = kill_once(options.photos, work, rng.uniform(0, length))
            kept = rows_on_disk(work / "store")
            assert len(kept) == len(set(kept)), "a row stands twice"
            if stage == "finished":
                (work / "run" / "result.json").unlink()
            again = finish(options.photos, work)
            assert again["images"]["extracted"] == total - len(kept), (again["images"], len(kept))
            assert again["test"]["accuracy"] == reference["test"]["accuracy"]
            worst = max(worst, abs(again["test"]["log_loss"] - reference["test"]["log_loss"]))
            assert worst <= 1e-5, worst
            assert FeatureStore(work / "store").verify().bad_rows == 0
            after = rows_on_disk(work / "store")
            assert len(after) == len(set(after)) == total
        print(
            f"kill {kill + 1:2}: {stage}, {len(kept)} rows kept, {total - len(kept)} extracted, figures equal"
        )
    print(f"all {options.kills} kills survived; largest difference of the test loss {worst:.1e}")


if __name__ == "__main__":
    main()
