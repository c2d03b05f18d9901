"""Features in bfloat16 against float32: how near they are, and whether probes on them are right as often.

    python benchmarks/precision.py --data ../shared/data --weights ../shared/weights --store STORE

For each data set and each of three networks with real ImageNet weights, the features of all images are extracted twice
(torch's float32, and its bfloat16) and a probe is fitted to each, as `headstart train --recipe probe` does. Printed
are the mean cosine between the two kinds of features (centred on float32's mean), the accuracies, and the share of test
images for which both say the same. The store must be empty: where bfloat16 is not near enough,
float32 is taken, as in any run. At the end stands a paired test on all test images pooled, as in `techniques.py`: of
each image the difference in being right, averaged over the networks, whose sign is changed at random 20,000 times.
Exit code 1 when the difference is significant at 5 %, or when fewer than 99 % of the answers are equal.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from figures import describe_machine
from networks import NETWORKS, weights_of
from numpy.typing import NDArray
from scipy.stats import permutation_test

from headstart.backbones import load_backbone
from headstart.config import TrainConfig
from headstart.datasets import load_dataset
from headstart.features import FeatureStore, extract_features
from headstart.features.choosing import LEAST_COSINE, centred_cosine
from headstart.jobs import train

SETS = ("cifar10", "flowers", "gtsrb", "hymenoptera", "pets", "scenes")
_NETWORKS = ("efficientnet_lite0", "squeezenet1_1", "mobilenetv2")
_RESAMPLES = 20_000
_LEAST_EQUAL = 0.99


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One network on one data set: who was right, (n,) each, and where both said the same."""

    exact: NDArray[np.bool_]
    fast: NDArray[np.bool_]
    equal: NDArray[np.bool_]


def main() -> int:
    options = _options()
    print(describe_machine())
    pairs: dict[tuple[str, str], Pair] = {}
    with TemporaryDirectory() as work:
        for network in _NETWORKS:
            weights = weights_of(NETWORKS[network], options.weights, Path(work))
            for name in options.sets:
                pairs[name, network] = _compare(options, name, NETWORKS[network].backbone, weights)
    return 0 if _report(pairs, options.sets, _NETWORKS) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--weights", type=Path, required=True, help="folder with the networks' weights")
    parser.add_argument("--store", type=Path, required=True, help="feature store")
    parser.add_argument("--sets", nargs="+", default=SETS)
    return parser.parse_args()


def _compare(options: argparse.Namespace, name: str, backbone: str, weights: str) -> Pair:
    exact, fast = (
        _probe(options, name, backbone, weights, runtime) for runtime in ("torch-float32", "torch-bf16")
    )
    pair = Pair(exact=_right(exact), fast=_right(fast), equal=_answers(exact) == _answers(fast))
    print(
        f"{name:>12} {backbone:>22}: cosine {_cosine(options, name, backbone, weights):.4f}, "
        f"exact {pair.exact.mean():.1%}, fast {pair.fast.mean():.1%} of {len(pair.exact)}, "
        f"{pair.equal.mean():.1%} equal",
        flush=True,
    )
    return pair


def _probe(options: argparse.Namespace, name: str, backbone: str, weights: str, runtime: str) -> pa.Table:
    """The test predictions of a probe."""
    config = TrainConfig(
        str(options.data / name),
        recipe="probe",
        backbone=backbone,
        weights=weights,
        runtime=runtime,  # type: ignore[arg-type]
    )
    with TemporaryDirectory() as folder:
        return train(config, out=Path(folder) / "run", store=options.store).predictions()


def _answers(table: pa.Table) -> NDArray[np.str_]:
    return np.array(table["predicted"].to_pylist())


def _right(table: pa.Table) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = np.array(table["true"].to_pylist()) == np.array(table["predicted"].to_pylist())
    return right


def _cosine(options: argparse.Namespace, name: str, backbone: str, weights: str) -> float:
    loaded = load_backbone(backbone, weights=weights)
    paths = load_dataset(str(options.data / name))
    exact, fast = (
        extract_features(paths, loaded, store=FeatureStore(options.store), runtime=runtime).features.load()
        for runtime in ("torch-float32", "torch-bf16")
    )
    return centred_cosine(exact, fast)


def _report(pairs: dict[tuple[str, str], Pair], sets: Sequence[str], networks: Sequence[str]) -> bool:
    differences = np.concatenate(
        [
            np.mean(
                [
                    pairs[name, each].fast.astype(float) - pairs[name, each].exact.astype(float)
                    for each in networks
                ],
                axis=0,
            )
            for name in sets
        ]
    )
    test = permutation_test(
        (differences, np.zeros_like(differences)),
        lambda first, second, axis: np.mean(first - second, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    equal = np.concatenate([pair.equal for pair in pairs.values()]).mean()
    print(
        f"{len(differences)} test images, {len(networks)} networks: fast is {100 * differences.mean():+.2f} points "
        f"from exact, p = {test.pvalue:.3f}; {equal:.2%} of the answers are equal (at least {_LEAST_EQUAL:.0%}); "
        f"features are taken from a cosine of {LEAST_COSINE} on"
    )
    return bool(test.pvalue >= 0.05 and equal >= _LEAST_EQUAL)


if __name__ == "__main__":
    raise SystemExit(main())
