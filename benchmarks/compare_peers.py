"""headstart beside its peers, in alternation, on the same photos with the same weights: a table and a figure.

    benchmarks/peers/setup.sh PEERS
    python benchmarks/compare_peers.py --photos ../shared/data --env PEERS --out OUT [--only extract heads]

Every measurement runs in a fresh process, one at a time, in each repeat in the other order. What was measured stands
in OUT/measurements.jsonl and is not measured again, so the program can be stopped at any time and started again.
The comparisons:

- `train`: `headstart train`, defaults, against fastai's `vision_learner` and `fine_tune(5)`, on all sets, whole
  processes from start to end; headstart with an empty store, and again. fastai trains on the photos that headstart
  trains on, by its defaults; and on headstart's validation photos too, by the settings of --fastai-settings.
- `settings`: fastai's settings on validation, which is how those of --fastai-settings are found. Not run by default.
- `extract`: features against the ordinary script, the best-tuned one, timm's own way, and thingsvision.
- `keras`: features of MobileNetV2 with random weights against Keras on its torch backend.
- `heads`: 45 strengths of a linear head with validation against scikit-learn.
- `finetune`: an epoch of all layers against fastai and torchvision's reference step, at equal settings.
- `predict`: one photo, cold, against fastai's exported learner.

--per-class takes a few photos of each class, for a look at whether all works. At the end OUT holds table.md,
table.csv and peers.png. Exit code 1 when a side failed or a bar is missed, where enough was measured to tell.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from comparing.bench import Bench
from comparing.extraction import compare_extraction, compare_keras
from comparing.figure import draw_figure
from comparing.heads import compare_heads
from comparing.speed import compare_speed
from comparing.table import write_tables
from comparing.training import SETS, compare_prediction, compare_settings, compare_training
from comparing.verdict import judge
from figures import describe_machine

COMPARISONS: Mapping[str, Callable[[Bench], None]] = {
    "extract": compare_extraction,
    "keras": compare_keras,
    "heads": compare_heads,
    "finetune": compare_speed,
    "predict": compare_prediction,
    "train": compare_training,
    "settings": compare_settings,
}


def main() -> int:
    options = _options()
    machine = describe_machine()
    print(machine, flush=True)
    bench = Bench(options)
    try:
        for name in () if options.report else options.only:
            COMPARISONS[name](bench)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", flush=True)
        return 130
    words, reached = judge(bench.rows)
    write_tables(bench.rows, options.out, machine, words)
    draw_figure(bench.rows, options.out / "peers.png", machine)
    print("\n" + (options.out / "table.md").read_text())
    for failure in bench.failed:
        print(f"failed: {failure}")
    return 0 if reached and not bench.failed else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--env", type=Path, required=True, help="folder that peers/setup.sh was given")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for figures, and for what is going on"
    )
    usual = [name for name in COMPARISONS if name != "settings"]
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=usual, metavar="COMPARISON")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="of `train`")
    parser.add_argument("--repeats", type=int, default=3, help="of each side; also how many seeds")
    parser.add_argument("--per-class", type=int, help="use so many photos of each class of each part")
    parser.add_argument("--fastai-settings", default="bs16", help="see peers/fastai_side.py")
    parser.add_argument("--report", action="store_true", help="measure nothing, write table and figure anew")
    options = parser.parse_args()
    for name in ("photos", "env", "out"):
        setattr(options, name, getattr(options, name).resolve())
    if not options.photos.is_dir():
        parser.error(f"--photos: {options.photos} is no folder")
    if not options.report and not any((options.env / "main").glob("*/python*")):
        parser.error(f"--env: no peers in {options.env}; make them: benchmarks/peers/setup.sh {options.env}")
    if options.repeats < 1:
        parser.error("--repeats: at least 1")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
