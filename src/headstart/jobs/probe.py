"""Probe features from files: the regularisation path, and beside it the usual epochs."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.config import ProbeConfig
from headstart.datasets import stratified_folds
from headstart.errors import ConfigError, DataError
from headstart.features import FeatureTable, read_features
from headstart.heads import new_linear_head
from headstart.jobs.common import listing
from headstart.metrics import Scores, score_predictions
from headstart.recipes import Recipe, read_recipe
from headstart.training import Epoch, Examples, FittedHead, StoredSource, Watch, fit_head, train_network

_MOST_FOLDS = 5

EpochReport = Callable[[Epoch, int], object]
"""Told of each epoch as it ends, and of how many there will be."""


@dataclass(frozen=True, kw_only=True)
class PathProbe:
    """What the regularisation path reaches.

    Attributes:
        rule: how its strength was chosen, in words.
        strength: the chosen lambda.
        train_accuracy: on the images the head was fitted to, 0 to 1.
        train_loss: mean cross-entropy on them, in nats.
        held_out: out of fold, within the training file, from which the strength was chosen; None where a class has
            a single image.
        validation: on the validation file, which had no say in the choice.
        seconds: how long it took.
    """

    rule: str
    strength: float
    train_accuracy: float
    train_loss: float
    held_out: Scores | None
    validation: Scores
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a probe found.

    Attributes:
        n_train: number of training images.
        n_validation: number of validation images.
        n_classes: number of classes.
        width: values of one image's features.
        epochs: the figures of each epoch, first to last; empty where none were wanted.
        path: what the regularisation path reaches.
        warnings: whole sentences on what makes the figures doubtful.
    """

    n_train: int
    n_validation: int
    n_classes: int
    width: int
    epochs: tuple[Epoch, ...]
    path: PathProbe
    warnings: tuple[str, ...]


def probe(config: ProbeConfig, *, report: EpochReport | None = None) -> Probe:
    """Train linear heads on one file of features and judge them on another.

    The head of the regularisation path is chosen honestly: its strength by cross-validation within the training
    file; the validation file is read once, after the choice, and takes no part in the fit. With epochs, a softmax
    layer is first trained as programs in Keras do, whose figures show the validation file after each epoch.

    Args:
        config: the two files (`.p`, `.npz`, `.parquet`, or a zip that holds one) and the options of the epochs. Where
            the training file knows of splits, its train part is taken, and of the validation file its val part, or
            where there is none, its test part.
        report: told of each epoch as it ends.

    Raises:
        ConfigError: there are photos instead of files, or the schedule cannot be understood.
        DataError: a file cannot be read or used, or the two do not belong together.
        TrainingError: the loss of the epochs is no longer a number.
    """
    training_file, validation_file = config.training_file, config.validation_file
    if training_file is None or validation_file is None:
        raise ConfigError(
            "A probe takes two files of features, and got photos.\nMake the files with `extract_bottleneck` first."
        )
    recipe = read_recipe(config)
    train = _part(read_features(training_file, part="train"), ("train",), training_file)
    held_out = _part(read_features(validation_file, part="validation"), ("val", "test"), validation_file)
    n_classes = _count_classes(train, held_out)
    epochs: tuple[Epoch, ...] = ()
    if recipe.rates().epochs:
        epochs = _train_epochs(train, held_out, n_classes, recipe, config.seed, report)
    path = _probe_path(train, held_out, n_classes, config.seed)
    return Probe(
        n_train=len(train),
        n_validation=len(held_out),
        n_classes=n_classes,
        width=_width(train),
        epochs=epochs,
        path=path,
        warnings=(*_doubts(train, held_out, n_classes), *_gap(path)),
    )


def _train_epochs(
    train: FeatureTable,
    held_out: FeatureTable,
    n_classes: int,
    recipe: Recipe,
    seed: int,
    report: EpochReport | None,
) -> tuple[Epoch, ...]:
    """Train a softmax layer; no weights are kept, so that the validation file chooses nothing."""
    trained = train_network(
        nn.Identity(),
        new_linear_head(_width(train), n_classes, seed=seed),
        _examples(train),
        replace(recipe, keep="last"),
        validation=_examples(held_out),
        seed=seed,
        watch=Watch(epoch=None if report is None else lambda history, epochs: report(history[-1], epochs)),
    )
    return trained.history


def _examples(table: FeatureTable) -> Examples:
    """The images of a table."""
    return Examples(source=StoredSource(table.features), labels=torch.from_numpy(table.labels))


def _width(table: FeatureTable) -> int:
    """Values of one image's features."""
    return int(np.prod(table.features.shape[1:]))


def _part(table: FeatureTable, wanted: tuple[str, ...], file: str) -> FeatureTable:
    """The first wanted split that has images; everything where the file knows of no splits."""
    if table.splits is None or not any(table.splits):
        return table
    splits = np.array(table.splits, dtype=object)
    for split in wanted:
        if len(rows := np.flatnonzero(splits == split)):
            return table.subset(rows)
    raise DataError(f"No image of {file} stands in its {' or '.join(wanted)} part.")


def _count_classes(train: FeatureTable, held_out: FeatureTable) -> int:
    """The number of classes, once the two files are known to belong together."""
    widths = [_width(table) for table in (train, held_out)]
    if widths[0] != widths[1]:
        raise DataError(
            f"The training features have {widths[0]:,} values an image, the validation features {widths[1]:,}.\n"
            "Both files must come from the same network and layer."
        )
    if train.classes and held_out.classes and train.classes != held_out.classes:
        differing = sorted(set(train.classes) ^ set(held_out.classes))
        what = f"{listing(differing)} are in one of them only" if differing else "their order differs"
        raise DataError(f"The two files do not have the same classes: {what}.")
    classes = train.classes or held_out.classes
    n_classes = len(classes) if classes else int(train.labels.max()) + 1
    if len(np.unique(train.labels)) < 2:  # whatever other classes the file has names of
        raise DataError("The training images are all of one class; a classifier needs at least two.")
    if (largest := int(max(train.labels.max(), held_out.labels.max()))) >= n_classes:
        raise DataError(
            f"There is a label {largest}, but the training file has the classes 0 to {n_classes - 1} only.\n"
            "Both files must number the same classes in the same way."
        )
    return n_classes


def _probe_path(train: FeatureTable, held_out: FeatureTable, n_classes: int, seed: int) -> PathProbe:
    """Choose within train, fit on all of it, and judge once."""
    start = time.perf_counter()
    folds = min(_MOST_FOLDS, _most_folds(train))
    fitted = fit_head(
        train.features,
        train.labels,
        n_classes=n_classes,
        folds=stratified_folds(train.labels, folds, seed, groups=train.groups) if folds > 1 else None,
    )
    out_of_fold = fitted.validation_probabilities
    return PathProbe(
        rule=_rule(folds, train),
        strength=fitted.value,
        train_accuracy=fitted.chosen.train_accuracy,
        train_loss=fitted.chosen.train_loss,
        held_out=None
        if out_of_fold is None
        else score_predictions(out_of_fold, train.labels, groups=train.groups),
        validation=score_predictions(
            _probabilities(fitted, held_out.features), held_out.labels, groups=held_out.groups
        ),
        seconds=time.perf_counter() - start,
    )


def _most_folds(train: FeatureTable) -> int:
    """In how many folds every class can stand: its images, or where there are groups its groups."""
    groups = np.arange(len(train)) if train.groups is None else train.groups
    counts = np.bincount(np.unique(np.stack([train.labels, groups]), axis=1)[0])
    return int(counts[counts > 0].min())


def _rule(folds: int, train: FeatureTable) -> str:
    """How the strength was chosen, in words."""
    if folds < 2:
        return f"not chosen, as a class has a single training {'image' if train.groups is None else 'group'}"
    whole = "" if train.groups is None else ", with whole groups"
    return f"chosen by {folds}-fold cross-validation within the training file{whole}"


def _probabilities(fitted: FittedHead, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, K) of a fitted head."""
    with torch.inference_mode():
        logits = fitted.head(torch.from_numpy(features).flatten(start_dim=1))
        probabilities: NDArray[np.float64] = logits.double().softmax(dim=1).numpy()
    return probabilities


def _doubts(train: FeatureTable, held_out: FeatureTable, n_classes: int) -> tuple[str, ...]:
    """What in the files makes the figures doubtful."""
    found = []
    known = set(_digests(train))
    if shared := sum(digest in known for digest in _digests(held_out)):
        found.append(
            f"{shared:,} of {len(held_out):,} validation images have exactly the features of a training image: "
            "the validation figures are too high."
        )
    unseen = np.setdiff1d(held_out.labels, train.labels)
    if len(unseen):
        found.append(f"{len(unseen)} of {n_classes} classes have validation images but no training image.")
    return tuple(found)


def _gap(path: PathProbe) -> tuple[str, ...]:
    """Out of fold better than on validation, by more than sampling explains: a choice made among look-alikes."""
    if path.held_out is None or path.held_out.accuracy_ci95[0] <= path.validation.accuracy_ci95[1]:
        return ()
    words = (
        f"{path.held_out.accuracy:.1%} are right out of fold within the training file, {path.validation.accuracy:.1%} "
        "on validation: training images resemble each other more than those of validation (frames of one object?), "
        "and the strength was probably chosen too weak."
    )
    return (words,)


def _digests(table: FeatureTable) -> list[bytes]:
    """A hash of each image's features."""
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in table.features]
