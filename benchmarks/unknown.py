"""How well images unlike anything in training are told from those like it: several scores, six data sets, noise.

    python benchmarks/unknown.py --data ../shared/data --store STORE [--sets flowers pets] [--known flowers]
        [--nearer] [--recipe lp-ft] [--options epochs=3]

A classifier is trained on each data set in turn. Its own test images are the known ones; the test images of each
other set, and drawn noise (pixels at random, coarse blots, plain colours), are the unknown. Each score is fitted to the
run's training images alone. Printed are, for each known set, the mean over the unknown of the area under the ROC curve
(1 tells all apart, 0.5 nothing): of the classifier's own score, `headstart.novelty`, and beside it

    msp          1 - the largest probability (Hendrycks & Gimpel 2017, arXiv:1610.02136)
    knn K        distance to the K-th nearest training image, features of length 1 (Sun et al. 2022, arXiv:2204.06507)
    mahalanobis  to the nearest class mean, one covariance shrunk as Ledoit & Wolf do (Lee et al. 2018,
                 arXiv:1807.03888), features of length 1
    relative     the same less the distance to the mean of all (Ren et al. 2021, arXiv:2106.09022)

and last what the classifier's threshold does: the share of known test images beyond it (false alarms), with the share
that was asked for, and the shares of the unknown. With `--nearer` the unknown are instead half of the classes of the
known set itself, which the classifier was not trained on.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import describe_machine
from numpy.typing import NDArray
from PIL import Image
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.datasets import ImageDataset, load_dataset
from headstart.features import FeatureStore, extract_features
from headstart.jobs import train
from headstart.novelty import FALSE_ALARMS
from headstart.runs import Run

SETS = ("cifar10", "flowers", "gtsrb", "hymenoptera", "pets", "scenes")
_NOISE = 60
_NEIGHBOURS = (1, 5, 10)

Floats = NDArray[np.float32]
Score = Callable[[Floats], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A classifier with what it was trained on: features (n, C) and labels (n,) of its training images."""

    classifier: Classifier
    features: Floats
    labels: NDArray[np.int64]


def main() -> None:
    options = _options()
    print(describe_machine(), flush=True)
    rows: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        noise = _draw_noise(work / "noise")
        for name in options.known or options.sets:
            data = options.data / name
            if options.nearer:
                data = _half_of_the_classes(data, work / "half" / name)
            run = train(_config(options, data), out=work / "runs" / name, store=options.store)
            known = _known(run, options.store)
            unknown = {
                "noise": noise,
                **{other: options.data / other for other in options.sets if other != name},
            }
            if options.nearer:
                unknown = {"its other classes": _other_half(options.data / name, work / "other" / name)}
            rows[name] = _judge(run, known, unknown, options.store)
            _print_row(name, rows[name])
    if len(rows) > 1:
        means = {
            score: [float(np.mean([np.mean(row[score]) for row in rows.values()]))] for score in rows[name]
        }
        _print_row("mean", means)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--store", type=Path, required=True, help="feature store")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--known", nargs="+", help="train on these only; all of the sets stay unknown ones")
    parser.add_argument("--recipe", default="probe")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="of the training")
    parser.add_argument("--nearer", action="store_true", help="half of the set's own classes are the unknown")
    return parser.parse_args()


def _config(options: argparse.Namespace, data: Path) -> TrainConfig:
    own: dict[str, Any] = {}
    for option in options.options:
        key, _, value = option.partition("=")
        own[key] = int(value) if value.isdigit() else value
    return TrainConfig(str(data), recipe=options.recipe, **own)


def _half_of_the_classes(data: Path, to: Path, *, others: bool = False) -> Path:
    """A folder with every second class of a data set, or with the others."""
    for split in ("train", "test"):
        (to / split).mkdir(parents=True)
        for i, place in enumerate(sorted((data / split).iterdir())):
            if (i % 2 == 1) == others:
                (to / split / place.name).symlink_to(place.resolve(), target_is_directory=True)
    return to


def _other_half(data: Path, to: Path) -> Path:
    return _half_of_the_classes(data, to, others=True)


def _draw_noise(folder: Path) -> Path:
    """Images of nothing: pixels at random, coarse blots, plain colours."""
    folder.mkdir()
    for i in range(_NOISE):
        rng = np.random.default_rng(i)
        side = (224, 8, 1)[i % 3]
        pixels = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        pixels.resize((224, 224), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    return folder


def _features(classifier: Classifier, images: ImageDataset | Path, store: Path) -> Floats:
    paths = sorted(map(str, images.iterdir())) if isinstance(images, Path) else images
    extraction = extract_features(
        paths, classifier.backbone, layer=classifier.cut.name, store=FeatureStore(store), device="cpu"
    )
    return extraction.features.load()


def _known(run: Run, store: Path) -> Known:
    classifier, table = run.classifier(), run.images().to_pylist()
    split = {row["path"]: row["split"] for row in table}
    dataset = load_dataset(run.config.data)
    chosen = dataset.subset(np.array([split.get(name) == "train" for name in dataset.names()]))
    return Known(
        classifier=classifier,
        features=classifier.vectors(_features(classifier, chosen, store)),
        labels=chosen.labels().astype(np.int64),
    )


def _judge(run: Run, known: Known, unknown: Mapping[str, Path], store: Path) -> dict[str, list[float]]:
    """Score -> its area under the curve for each unknown set; and what the threshold does."""
    own = _test_features(known.classifier, Path(run.config.data), store)
    others = [_test_features(known.classifier, place, store) for place in unknown.values()]
    found = {
        name: [_area(score(own), score(other)) for other in others] for name, score in _scores(known).items()
    }
    if known.classifier.novelty is None:
        return found
    beyond = [float((_unlike(known)(each) > 1).mean()) for each in (own, *others)]
    return {**found, f"false alarms (of {FALSE_ALARMS:.0%})": beyond[:1], "found": beyond[1:]}


def _test_features(classifier: Classifier, place: Path, store: Path) -> Floats:
    if not (place / "test").is_dir():
        return _features(classifier, place, store)
    listed = load_dataset(str(place))
    return _features(classifier, listed.subset(listed.rows("test")), store)


def _area(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> float:
    truth = np.repeat([0, 1], [len(known), len(unknown)])
    return float(roc_auc_score(truth, np.concatenate([known, unknown])))


def _scores(known: Known) -> dict[str, Score]:
    """Each takes features as the classifier's head does."""
    classifier = known.classifier
    vectors = classifier.vectors
    scores: dict[str, Score] = {"msp": lambda x: 1 - classifier.probabilities(x).max(axis=1)}
    if classifier.novelty is not None:
        scores["headstart"] = _unlike(known)
    for k in _NEIGHBOURS:
        scores[f"knn {k}"] = lambda x, k=k: _kth_distance(known.features, vectors(x), k)
    mahalanobis = _mahalanobis(known.features, known.labels)
    overall = _mahalanobis(known.features, np.zeros_like(known.labels))
    scores["mahalanobis"] = lambda x: mahalanobis(vectors(x))
    scores["relative"] = lambda x: mahalanobis(vectors(x)) - overall(vectors(x))
    return scores


def _unlike(known: Known) -> Score:
    def score(x: Floats) -> NDArray[np.float64]:
        unlike = known.classifier.unlike(x)
        assert unlike is not None
        return unlike

    return score


def _unit(x: Floats) -> NDArray[np.float64]:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float64)


def _kth_distance(train: Floats, x: Floats, k: int) -> NDArray[np.float64]:
    cosines = np.sort(_unit(x) @ _unit(train).T, axis=1)
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosines[:, -min(k, len(train))], 0)), dtype=np.float64)


def _mahalanobis(train: Floats, labels: NDArray[np.int64]) -> Score:
    """Squared distance to the nearest class mean, by one covariance."""
    x = _unit(train)
    _, position = np.unique(labels, return_inverse=True)
    means = np.stack([x[position == c].mean(axis=0) for c in range(position.max() + 1)])
    covariance = LedoitWolf(assume_centered=True).fit(x - means[position]).covariance_
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(values)
    centres = means @ whiten

    def score(new: Floats) -> NDArray[np.float64]:
        z = _unit(new) @ whiten
        squared = (z**2).sum(axis=1)[:, None] - 2 * z @ centres.T + (centres**2).sum(axis=1)
        return np.asarray(squared.min(axis=1), dtype=np.float64)

    return score


def _print_row(name: str, row: Mapping[str, Sequence[float]]) -> None:
    print(
        f"{name:>12}: " + ", ".join(f"{score} {np.mean(values):.3f}" for score, values in row.items()),
        flush=True,
    )


if __name__ == "__main__":
    main()
