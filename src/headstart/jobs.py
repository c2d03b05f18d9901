"""The two jobs: train a run from a folder of photos, and evaluate a run on photos."""

import hashlib
import os
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones import Backbone, load_backbone
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.datasets import (
    ImageDataset,
    Problem,
    SplitRecord,
    assign_splits,
    imbalance,
    load_dataset,
    overlapping_labels,
    shared_between_splits,
    stratified_folds,
)
from headstart.errors import DataError
from headstart.features import Extraction, FeatureStore, Progress, extract_features
from headstart.images import decode_image, read_image_file
from headstart.metrics import Scores, score_predictions
from headstart.report import RunRecord, draw_thumbnail, render_report
from headstart.runs import Predictions, Run, RunWriter, load_run, new_run
from headstart.runtimes import choose_device
from headstart.training import FittedHead, fit_head

_IMBALANCE_LIMIT = 10.0
_NAMED_OVERLAPS = 3


def train(
    config: TrainConfig,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train a classifier on a folder of photos, judge it, and write it all to a run folder.

    Args:
        config: the photos and all options.
        out: the run folder; by default the next free `runs/NAME-k`.
        force: replace a finished run that stands there.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.

    Returns:
        The finished run.

    Raises:
        DataError: the photos cannot be used as they are.
        BackboneError: there is no such backbone or layer.
        RunError: the run folder is taken.
        StoreError: the store cannot be used.
        DiskFullError: there is no room for the features or the run.
    """
    start = time.perf_counter()
    config = replace(config, data=os.path.abspath(config.data), device=choose_device(config.device))  # noqa: PTH100 - links stay
    listed = load_dataset(config.data)
    with new_run(config, out, force=force) as writer:
        backbone = load_backbone(config.backbone, weights=config.weights, seed=config.seed)
        data = _extract(listed, config, backbone, FeatureStore(store), progress)
        fitted, fit_seconds = _fit(data, config)
        classifier = Classifier(
            backbone=backbone, cut=backbone.cut(config.layer), head=fitted.head, classes=data.dataset.classes
        )
        evaluation_start = time.perf_counter()
        judged = _judge(data, fitted, classifier)
        seconds = {
            "extract": data.seconds,
            "fit": fit_seconds,
            "evaluate": time.perf_counter() - evaluation_start,
        }
        _write(writer, data, fitted, classifier, judged)
        result = _result(config, data, fitted, classifier, judged, seconds)
        result["seconds"]["total"] = time.perf_counter() - start
        _write_report(writer, config, data, fitted, judged, result)
        return writer.finish(result)


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The readable images of a run with their splits and features.

    Attributes:
        dataset: n readable images, each with a split.
        record: how they were split.
        sha256s: of the n files.
        features: (n, ...) float32.
        problems: what could not be read.
        extracted, from_store: forward passes made, and not needed.
        seconds: of the extraction.
    """

    dataset: ImageDataset
    record: SplitRecord
    sha256s: tuple[bytes, ...]
    features: NDArray[np.float32]
    problems: tuple[Problem, ...]
    extracted: int
    from_store: int
    seconds: float

    def part(self, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features and labels of one split."""
        rows = self.dataset.rows(split)  # type: ignore[arg-type]
        return self.features[rows], self.dataset.labels()[rows].astype(np.int64)


def _extract(
    listed: ImageDataset, config: TrainConfig, backbone: Backbone, store: FeatureStore, progress: Progress | None
) -> _Data:
    """Split, extract, and leave out what cannot be read, as if it had never been there.

    Which images are unreadable is known only once they have been decoded. So the splits are made again without
    them: the run is the same as that of a folder from which they were removed.
    """
    if listed.splits == ("train",):
        listed = listed.with_splits([None] * len(listed))  # there is no test: one is taken out
    problems = listed.problems
    extracted, seconds = 0, 0.0
    while True:
        dataset, record = assign_splits(listed, seed=config.seed, per_class=config.per_class)
        _require_classes(dataset, problems)
        got = extract_features(
            dataset.paths(), backbone, layer=config.layer, store=store, device=config.device, progress=progress
        )
        extracted, seconds = extracted + got.extracted, seconds + got.seconds
        if got.readable.all():
            break
        problems += _named(dataset, got)
        unreadable = set(np.array(dataset.names(), dtype=object)[~got.readable])
        listed = listed.subset(np.array([name not in unreadable for name in listed.names()]))
    return _Data(
        dataset=dataset,
        record=record,
        sha256s=got.features.sha256s,
        features=got.features.load(),
        problems=problems,
        extracted=extracted,
        from_store=len(dataset) - extracted,
        seconds=seconds,
    )


def _named(dataset: ImageDataset, got: Extraction) -> tuple[Problem, ...]:
    """The extraction's problems, under the data set's own names of the files."""
    reasons = {problem.path: problem.reason for problem in got.problems}
    rows = np.flatnonzero(~got.readable)
    names, paths = dataset.names(), dataset.paths()
    return tuple(Problem(path=names[row], reason=reasons[paths[row]]) for row in rows)


def _require_classes(dataset: ImageDataset, problems: Sequence[Problem]) -> None:
    """Every class has a training image left, and there is something to test on."""
    counts = dataset.counts("train")
    if len(missing := [name for name, n in zip(dataset.classes, counts, strict=True) if not n]):
        unreadable = f" ({len(problems)} files could not be read)" if problems else ""
        raise DataError(
            f"No readable training image is left of {_listing(missing)}{unreadable}.\n"
            "Add photos to these class folders, or remove the folders."
        )
    if not len(dataset.rows("test")):
        raise DataError(
            "There is no image to test on: no class has three images or more.\nAdd photos, or a test folder."
        )


def _fit(data: _Data, config: TrainConfig) -> tuple[FittedHead, float]:
    """The head, and the seconds it took."""
    start = time.perf_counter()
    features, labels = data.part("train")
    val_features, val_labels = data.part("val")
    validated = data.record.choice == "validation"
    folds = None
    if data.record.choice == "cross-validation":
        folds = stratified_folds(labels, data.record.folds, config.seed)
    fitted = fit_head(
        features,
        labels,
        n_classes=len(data.dataset.classes),
        validation_features=val_features if validated else None,
        validation_labels=val_labels if validated else None,
        folds=folds,
        class_weights=config.class_weights == "balanced",
    )
    return fitted, time.perf_counter() - start


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """The scores, and the test images' probabilities."""

    test: Scores
    validation: Scores | None
    train: Scores
    predictions: Predictions


def _judge(data: _Data, fitted: FittedHead, classifier: Classifier) -> _Judged:
    """Score the classifier; this is where test is read, once, after every choice has been made."""
    features, labels = data.part("test")
    predictions = Predictions(
        paths=tuple(data.dataset.names("test")), labels=labels, probabilities=classifier.probabilities(features)
    )
    validation = None
    if fitted.validation_probabilities is not None:
        held_out = "val" if data.record.choice == "validation" else "train"
        validation = score_predictions(fitted.validation_probabilities, data.part(held_out)[1])
    fitted_on = [data.part("train"), data.part("val")]
    train_scores = score_predictions(
        np.concatenate([classifier.probabilities(part) for part, _ in fitted_on if len(part)]),
        np.concatenate([truth for part, truth in fitted_on if len(part)]),
    )
    return _Judged(
        test=score_predictions(predictions.probabilities, labels),
        validation=validation,
        train=train_scores,
        predictions=predictions,
    )


def _write(
    writer: RunWriter, data: _Data, fitted: FittedHead, classifier: Classifier, judged: _Judged
) -> None:
    """Everything but the report and the result."""
    writer.classifier(classifier)
    writer.predictions(judged.predictions, data.dataset.classes)
    writer.images(
        {
            "path": data.dataset.names(),
            "class": [data.dataset.classes[label] for label in data.dataset.labels()],
            "split": list(data.dataset.split_names()),
            "sha256": [sha.hex() for sha in data.sha256s],
        }
    )
    writer.history([asdict(point) for point in fitted.path])
    writer.problems(data.problems)


def _result(
    config: TrainConfig,
    data: _Data,
    fitted: FittedHead,
    classifier: Classifier,
    judged: _Judged,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The content of `result.json`."""
    card = classifier.backbone.card
    return {
        "test": judged.test.to_dict(),
        "validation": judged.validation.to_dict() if judged.validation is not None else None,
        "train": {"accuracy": judged.train.accuracy, "loss": judged.train.log_loss, "n": judged.train.n},
        "choice": {
            "rule": str(data.record),
            "made_on": data.record.choice,
            "folds": data.record.folds,
            "strength": fitted.strength,
        },
        "backbone": {
            "name": card.name,
            "weights": classifier.backbone.weights,
            "weights_sha256": classifier.backbone.weights_sha256,
            "licence": card.licence,
            "layer": classifier.cut.name,
        },
        "classes": list(data.dataset.classes),
        "seconds": dict(seconds),
        "images": {
            **{split: len(data.dataset.rows(split)) for split in ("train", "val", "test")},
            "unreadable": len(data.problems),
            "passed_over": data.dataset.passed_over,
            "extracted": data.extracted,
            "from_store": data.from_store,
        },
        "warnings": _warnings(config, data),
        "environment": _environment(config.device),
        "data_fingerprint": _fingerprint(data),
    }


def _warnings(config: TrainConfig, data: _Data) -> list[str]:
    """What a careful person would want to know before believing the figures."""
    dataset = data.dataset
    found = list(dataset.notes)
    if data.problems:
        found.append(f"{len(data.problems)} files could not be read and were left out; problems.csv lists them.")
    if (ratio := imbalance(dataset.counts("train"))) > _IMBALANCE_LIMIT and config.class_weights == "none":
        found.append(
            f"The largest class has {ratio:.0f} times the training images of the smallest: look at the balanced "
            "accuracy, and consider --class-weights balanced."
        )
    overlaps = overlapping_labels(dataset, data.sha256s)
    if overlaps:
        named = "; ".join(" = ".join(overlap.paths) for overlap in overlaps[:_NAMED_OVERLAPS])
        more = f" and {len(overlaps) - _NAMED_OVERLAPS} more" if len(overlaps) > _NAMED_OVERLAPS else ""
        found.append(f"{len(overlaps)} images stand in more than one class, as identical files: {named}{more}.")
    shared = shared_between_splits(dataset, data.sha256s)
    for (first, second), count in shared.items():
        if count:
            found.append(f"{count} {second} images also stand in {first}, as identical files.")
    return found


def _fingerprint(data: _Data) -> str:
    """sha256 over content, class and split of every image, whatever the files are called."""
    lines = sorted(
        f"{split}\t{data.dataset.classes[label]}\t{sha.hex()}"
        for split, label, sha in zip(
            data.dataset.split_names(), data.dataset.labels(), data.sha256s, strict=True
        )
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _environment(device: str) -> dict[str, str]:
    """Versions and machine."""
    packages = ("headstart", "torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow", "simplejpeg")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "device": device,
    }


def _write_report(
    writer: RunWriter, config: TrainConfig, data: _Data, fitted: FittedHead, judged: _Judged, result: dict[str, Any]
) -> None:
    """The report and its figures."""
    paths = dict(zip(data.dataset.names(), data.dataset.paths(), strict=True))
    record = RunRecord(
        name=Path(config.data).name,
        result=result,
        classes=data.dataset.classes,
        paths=judged.predictions.paths,
        labels=judged.predictions.labels,
        probabilities=judged.predictions.probabilities,
        history=[asdict(point) for point in fitted.path],
        problems=[(problem.path, problem.reason) for problem in data.problems],
        config=asdict(config),
        command=f"headstart train --config {shlex.quote(str(writer.folder / 'config.toml'))}",
    )
    rendered = render_report(record, lambda name: draw_thumbnail(decode_image(read_image_file(paths[name]))))
    writer.report(rendered)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a run does on a folder of photos.

    Attributes:
        scores: the figures.
        predictions: of each image that was judged.
        classes: names of the run's classes, the order of the probabilities.
        part: which images were judged, in words.
        fitted_on: how many images were left out because the run was fitted on them (identical files).
        problems: what could not be read.
    """

    scores: Scores
    predictions: Predictions
    classes: tuple[str, ...]
    part: str
    fitted_on: int
    problems: tuple[Problem, ...]


def evaluate(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a run on a folder of photos in class folders.

    Where the folder has a test part, that is judged, else all of it; but never an image that the run was fitted
    on or that chose its strength.

    Args:
        run: a finished run's folder.
        data: the photos; their classes are among the run's.
        store: folder of the feature store; by default the user's own.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told how far the extraction is, in images.

    Returns:
        The scores and all predictions.

    Raises:
        RunError: the folder holds no finished run.
        DataError: a class is unknown to the run, or no image is left to judge.
        StoreError: the store cannot be used.
    """
    opened = load_run(run)
    classifier = opened.classifier()
    listed = load_dataset(data)
    dataset = listed.subset(listed.rows("test")) if "test" in listed.splits else listed
    labels = _labels_in(dataset, classifier.classes)
    got = extract_features(
        dataset.paths(),
        classifier.backbone,
        layer=classifier.cut.name,
        store=FeatureStore(store),
        device=choose_device(device),
        progress=progress,
    )
    fitted_on = _shas_fitted_on(opened)
    fresh = np.array([sha.hex() not in fitted_on for sha in got.features.sha256s], dtype=bool)
    if not fresh.any():
        raise DataError(
            f"No image in {data} can be judged: {len(fresh)} were used to fit this run, "
            f"{len(got.problems)} cannot be read.\nExpected photos that the run has not seen."
        )
    rows = np.flatnonzero(got.readable)[fresh]
    names = dataset.names()
    predictions = Predictions(
        paths=tuple(names[row] for row in rows),
        labels=labels[rows],
        probabilities=classifier.probabilities(got.features.load()[fresh]),
    )
    return Evaluation(
        scores=score_predictions(predictions.probabilities, predictions.labels),
        predictions=predictions,
        classes=classifier.classes,
        part="the test part" if dataset is not listed else "all images",
        fitted_on=int((~fresh).sum()),
        problems=listed.problems + _named(dataset, got),
    )


def _labels_in(dataset: ImageDataset, classes: Sequence[str]) -> NDArray[np.int64]:
    """The data set's labels as positions in the run's classes: matched by name, never by order."""
    present = [name for name, n in zip(dataset.classes, dataset.counts(), strict=True) if n]
    if unknown := [name for name in present if name not in classes]:
        raise DataError(
            f"The run does not know {_listing(unknown)}.\nIts classes are {_listing(list(classes))}; "
            "class folders must have these names."
        )
    position = {name: i for i, name in enumerate(classes)}
    translated = np.array([position.get(name, -1) for name in dataset.classes], dtype=np.int64)
    return translated[dataset.labels()]


def _shas_fitted_on(run: Run) -> set[str]:
    """sha256 (hex) of every image the run was fitted on or chosen by."""
    table = run.images()
    return {
        sha
        for sha, split in zip(table["sha256"].to_pylist(), table["split"].to_pylist(), strict=True)
        if split != "test"
    }


def _listing(names: Sequence[str], most: int = 8) -> str:
    """Names for an error's text."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
