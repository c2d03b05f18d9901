"""Whether learning curves foretell what more photos bring: from a part of each set to what all of it reaches.

    python benchmarks/learning_curves.py --data DIR [--sets flowers scenes] [--seeds 0 1] [--backbone NAME]

For each set, seed and share, `learning_curve` sees that share of the images of each class, and says what to expect of
as many training images as the folds of the whole set have (2 and 4 times as many as it saw). Beside it stands what the
curve of the whole set reaches there, which is judged on the same kind of photos, not on the same ones. Prints each, how
far off they are on average, and how often the range held the truth.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from figures import describe_machine

from headstart.config import DEFAULT_BACKBONE, ExtractConfig
from headstart.jobs import LearningCurve, learning_curve

# The sets that have enough for a curve of a fifth, and how many images of each class their train part has.
SETS = {"hymenoptera": 40, "flowers": 80, "scenes": 70, "cifar10": 100, "gtsrb": 30}
FACTORS = (2, 4)
_HELD_IN = 0.8  # of five folds four train


def main() -> None:
    options = _options()
    print(describe_machine(), flush=True)
    off: dict[int, list[float]] = {factor: [] for factor in FACTORS}
    held: dict[int, list[bool]] = {factor: [] for factor in FACTORS}
    for name in options.sets:
        whole = _curve(name, 0, None, options)
        reached, size = float(whole.accuracies[:, -1].mean()), float(whole.sizes[-1])
        print(f"{name}: {reached:.1%} with {size:.0f} training images", flush=True)
        for factor, seed in itertools.product(FACTORS, options.seeds):
            part = _curve(name, seed, round(_HELD_IN * SETS[name] / factor), options)
            if part.band is None:
                print(f"  {factor} x, seed {seed}: {part.words()[0]}", flush=True)
                continue
            expected, low, high = (
                float(np.interp(np.log(size), np.log(part.band.targets), values))
                for values in (part.band.expected, part.band.low, part.band.high)
            )
            off[factor].append(expected - reached)
            held[factor].append(low <= reached <= high)
            print(
                f"  {size / part.images:.1f} x, seed {seed}: of {part.images} images expected {expected:.1%} "
                f"({low:.1%} to {high:.1%}), off by {100 * (expected - reached):+.1f} points",
                flush=True,
            )
    for factor in FACTORS:
        print(
            f"{factor} x: off by {100 * np.mean(np.abs(off[factor])):.1f} points on average "
            f"({100 * np.mean(off[factor]):+.1f} with sign), the range held {sum(held[factor])} of {len(held[factor])}"
        )


def _curve(name: str, seed: int, per_class: int | None, options: argparse.Namespace) -> LearningCurve:
    config = ExtractConfig(
        str(options.data / name), backbone=options.backbone, per_class=per_class, seed=seed
    )
    return learning_curve(config, store=options.store)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--store", type=Path, help="feature store; by default the user's own")
    return parser.parse_args()


if __name__ == "__main__":
    main()
