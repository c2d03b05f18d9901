"""Evaluate a run on a folder of photos."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.datasets import ImageDataset, Problem, group_by_pattern, load_dataset
from headstart.download import Progress as DownloadProgress
from headstart.errors import DataError
from headstart.features import FeatureStore, Progress, extract_views
from headstart.jobs.common import listing
from headstart.metrics import Scores, score_predictions
from headstart.runs import Predictions, Run, load_run
from headstart.runtimes import choose_device


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a run does on a folder of photos.

    Attributes:
        scores: the figures.
        predictions: of each image that was judged.
        unlike: (n,) how unlike all training images each is, as `Prediction.unlike`; None where the run cannot tell.
        classes: names of the run's classes, the order of the probabilities.
        part: which images were judged, in words.
        fitted_on: how many images were left out because the run was fitted on them (identical files).
        problems: what could not be read.
    """

    scores: Scores
    predictions: Predictions
    unlike: NDArray[np.float64] | None
    classes: tuple[str, ...]
    part: str
    fitted_on: int
    problems: tuple[Problem, ...]


def evaluate(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    group: str | None = None,
    group_pattern: str | None = None,
    store: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    downloads: DownloadProgress | None = None,
) -> Evaluation:
    """Judge a run on a folder of photos in class folders.

    Where the folder has a test part, that is judged, else all of it; but never an image that the run was fitted
    on or that chose its strength.

    Args:
        run: a finished run's folder.
        data: the photos; their classes are among the run's.
        group: the column of a table that says what belongs together; the interval takes account of it.
        group_pattern: a regular expression on file names that says so; see `group_by_pattern`.
        store: folder of the feature store; by default the user's own.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told how far the extraction is, in images.
        downloads: told how far the download of a data set is, in bytes.

    Returns:
        The scores and all predictions.

    Raises:
        RunError: the folder holds no finished run.
        DataError: a class is unknown to the run, or no image is left to judge.
        DownloadError: a data set that has a name cannot be fetched.
        StoreError: the store cannot be used.
    """
    opened = load_run(run)
    classifier = opened.classifier()
    listed = load_dataset(data, cache=store, group=group, progress=downloads)
    if group_pattern is not None:
        listed = group_by_pattern(listed, group_pattern)
    dataset = listed.subset(listed.rows("test")) if "test" in listed.splits else listed
    labels = _labels_in(dataset, classifier.classes)
    views = extract_views(
        dataset,
        classifier.backbone,
        classifier.views,
        layer=classifier.cut.name,
        seed=classifier.seed,
        store=FeatureStore(store),
        device=choose_device(device),
        precision=opened.config.precision,
        progress=progress,
    )
    got = views[0]  # the same images are readable in all
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
        probabilities=classifier.averaged([view.features.load()[fresh] for view in views]),
    )
    return Evaluation(
        scores=score_predictions(
            predictions.probabilities,
            predictions.labels,
            groups=None if (groups := dataset.groups()) is None else groups[rows],
        ),
        predictions=predictions,
        unlike=classifier.unlike(got.features.load()[fresh]),
        classes=classifier.classes,
        part="the test part" if dataset is not listed else "all images",
        fitted_on=int((~fresh).sum()),
        problems=listed.problems + got.problems,
    )


def _labels_in(dataset: ImageDataset, classes: Sequence[str]) -> NDArray[np.int64]:
    """The data set's labels as positions in the run's classes: matched by name, never by order."""
    present = [name for name, n in zip(dataset.classes, dataset.counts(), strict=True) if n]
    if unknown := [name for name in present if name not in classes]:
        raise DataError(
            f"The run does not know {listing(unknown)}.\nIts classes are {listing(list(classes))}; "
            "class folders must have these names."
        )
    position = {name: i for i, name in enumerate(classes)}
    translated = np.array([position.get(name, -1) for name in dataset.classes], dtype=np.int64)
    return translated[dataset.labels()]


def _shas_fitted_on(run: Run) -> set[str]:
    """sha256 (hex) of every image the run was fitted on or chosen by."""
    table = run.images()
    return {
        str(sha)
        for sha, split in zip(table["sha256"].to_pylist(), table["split"].to_pylist(), strict=True)
        if split != "test"
    }
