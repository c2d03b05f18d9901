"""Train a run from a folder of photos."""

import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from headstart.backbones import Backbone, full_weights
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.datasets import (
    ImageDataset,
    Problem,
    Split,
    SplitRecord,
    assign_splits,
    full_location,
    stratified_folds,
)
from headstart.download import Progress as DownloadProgress
from headstart.errors import DataError, UnreadableImageError
from headstart.features import FeatureStore, Progress
from headstart.images import decode_image
from headstart.jobs.common import listing
from headstart.jobs.images import divide_and_extract, list_images_of, load_backbone_of
from headstart.jobs.result import Judged, RunData, make_result
from headstart.metrics import score_predictions
from headstart.report import RunRecord, draw_thumbnail, render_report
from headstart.runs import Predictions, Run, RunWriter, new_run
from headstart.runtimes import choose_device
from headstart.training import FittedHead, fit_head


def train(
    config: TrainConfig | str,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    downloads: DownloadProgress | None = None,
) -> Run:
    """Train a classifier on a folder of photos, judge it, and write it all to a run folder.

    Args:
        config: the photos and all options; a folder of photos alone stands for all defaults.
        out: the run folder; by default the next free `runs/NAME-k`.
        force: replace a finished run that stands there.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.
        downloads: told how far the download of a data set is, in bytes.

    Returns:
        The finished run.

    Raises:
        DataError: the photos cannot be used as they are.
        BackboneError: there is no such backbone or layer.
        RunError: the run folder is taken.
        DownloadError: a data set that has a name cannot be fetched.
        StoreError: the store cannot be used.
        DiskFullError: there is no room for the features or the run.
    """
    start = time.perf_counter()
    config = config if isinstance(config, TrainConfig) else TrainConfig(config)
    config = replace(
        config,
        data=full_location(config.data),
        weights=full_weights(config.weights),
        device=choose_device(config.device),
    )
    listed = list_images_of(config, store, downloads)
    backbone = load_backbone_of(config)
    # All before the folder: a mistyped name costs nobody a run that is replaced.
    cut = backbone.cut(config.layer)
    with new_run(config, listed.name, out, force=force) as writer:
        data = _extract(listed, config, backbone, FeatureStore(store), progress)
        writer.begin()
        fitted, fit_seconds = _fit(data, config)
        classifier = Classifier(backbone=backbone, cut=cut, head=fitted.head, classes=data.dataset.classes)
        evaluation_start = time.perf_counter()
        judged = _judge(data, fitted, classifier)
        seconds = {
            "extract": data.seconds,
            "fit": fit_seconds,
            "evaluate": time.perf_counter() - evaluation_start,
        }
        _write(writer, data, fitted, classifier, judged)
        result = make_result(config, data, fitted, classifier, judged, seconds)
        result["seconds"]["total"] = time.perf_counter() - start
        _write_report(writer, config, data, fitted, judged, result)
        return writer.finish(result)


def _extract(
    listed: ImageDataset,
    config: TrainConfig,
    backbone: Backbone,
    store: FeatureStore,
    progress: Progress | None,
) -> RunData:
    """The readable images with splits and features."""
    listed = listed.without_empty_classes()

    def divide(images: ImageDataset, problems: Sequence[Problem]) -> tuple[ImageDataset, SplitRecord]:
        made, record = assign_splits(images, split=config.split, seed=config.seed, per_class=config.per_class)
        _require_classes(made, problems)
        return made, record

    got = divide_and_extract(listed, config, backbone, divide=divide, store=store, progress=progress)
    return RunData(
        dataset=got.dataset,
        record=got.record,
        sha256s=got.features.sha256s,
        features=got.features.load(),
        problems=got.problems,
        extracted=got.extracted,
        from_store=got.from_store,
        seconds=got.seconds,
    )


def _require_classes(dataset: ImageDataset, problems: Sequence[Problem]) -> None:
    """There are two classes, every class has a training image left, and there is something to test on."""
    if len(dataset.classes) < 2:
        raise DataError(
            f"{dataset.name} holds images of one class only, {listing(dataset.classes)}.\n"
            "A classifier needs at least two classes."
        )
    counts = dataset.counts("train")
    if missing := [name for name, n in zip(dataset.classes, counts, strict=True) if not n]:
        unreadable = f" ({len(problems)} files could not be read)" if problems else ""
        advice = "Add training photos of them, or leave out these classes."
        raise DataError(
            f"No readable training image is left of {listing(missing)}{unreadable}.\n"
            + (f"One of them: {problems[-1].path}: {problems[-1].reason}." if problems else advice)
        )
    if not len(dataset.rows("test")):
        raise DataError(
            "There is no image to test on: no class has three images or more.\nAdd photos, or a test folder."
        )


def _fit(data: RunData, config: TrainConfig) -> tuple[FittedHead, float]:
    """The head, and the seconds it took."""
    start = time.perf_counter()
    features, labels = data.part("train")
    folds = None
    if data.record.choice == "cross-validation":
        folds = stratified_folds(labels, data.record.folds, config.seed, groups=data.groups("train"))
    fitted = fit_head(
        features,
        labels,
        n_classes=len(data.dataset.classes),
        validation=data.part("val") if data.record.choice == "validation" else None,
        folds=folds,
        class_weights=config.class_weights == "balanced",
    )
    return fitted, time.perf_counter() - start


def _judge(data: RunData, fitted: FittedHead, classifier: Classifier) -> Judged:
    """Score the classifier; this is where test is read, once, after every choice has been made."""
    features, labels = data.part("test")
    predictions = Predictions(
        paths=tuple(data.dataset.names("test")),
        labels=labels,
        probabilities=classifier.probabilities(features),
    )
    validation = None
    if fitted.validation_probabilities is not None:
        held_out: Split = "val" if data.record.choice == "validation" else "train"
        validation = score_predictions(
            fitted.validation_probabilities, data.part(held_out)[1], groups=data.groups(held_out)
        )
    fitted_on = [data.part("train"), data.part("val")]
    train_scores = score_predictions(
        np.concatenate([classifier.probabilities(part) for part, _ in fitted_on if len(part)]),
        np.concatenate([truth for part, truth in fitted_on if len(part)]),
    )
    return Judged(
        test=score_predictions(predictions.probabilities, labels, groups=data.groups("test")),
        validation=validation,
        train=train_scores,
        predictions=predictions,
    )


def _write(
    writer: RunWriter, data: RunData, fitted: FittedHead, classifier: Classifier, judged: Judged
) -> None:
    """Everything but the report and the result."""
    writer.classifier(classifier)
    writer.predictions(judged.predictions, data.dataset.classes)
    columns = {
        "path": data.dataset.names(),
        "class": [data.dataset.classes[label] for label in data.dataset.labels()],
        "split": list(data.dataset.split_names()),
        "sha256": [sha.hex() for sha in data.sha256s],
    }
    if data.dataset.groups() is not None:
        columns["group"] = data.dataset.table["group"].to_pylist()
    writer.images(columns)
    writer.history(fitted.history())
    writer.problems(data.problems)


def _write_report(
    writer: RunWriter,
    config: TrainConfig,
    data: RunData,
    fitted: FittedHead,
    judged: Judged,
    result: dict[str, Any],
) -> None:
    """The report and its figures."""
    record = RunRecord(
        name=data.dataset.name,
        result=result,
        classes=data.dataset.classes,
        paths=judged.predictions.paths,
        labels=judged.predictions.labels,
        probabilities=judged.predictions.probabilities,
        history=fitted.history(),
        problems=[(problem.path, problem.reason) for problem in data.problems],
        config=asdict(config),
        command=f"headstart train --config {shlex.quote(str(writer.folder / 'config.toml'))}",
    )
    writer.report(render_report(record, lambda names: _thumbnails(data.dataset, names)))


def _thumbnails(dataset: ImageDataset, names: Sequence[str]) -> dict[str, bytes]:
    """Small JPEGs of photos by name, without those that have gone since they were read."""
    wanted = set(names)
    in_order = [name for name in dataset.names() if name in wanted]  # as an archive is read in one pass
    drawn = {}
    for name, read in zip(in_order, dataset.files.readers(in_order), strict=True):
        with suppress(UnreadableImageError):
            drawn[name] = draw_thumbnail(decode_image(read()))
    return drawn
