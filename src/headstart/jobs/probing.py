"""Probe photos: a head that is solved for on frozen features, its one free number chosen on what it has not seen."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.backbones import Cut
from headstart.classifier import Classifier
from headstart.datasets import balanced_weights, stratified_folds
from headstart.features import extract_views
from headstart.files import parse_bytes
from headstart.heads import fit_linear_path
from headstart.jobs.work import HeldOut, Outcome, Seen, Work
from headstart.training import FittedHead, HeadKind, fit_head
from headstart.views import ORIGINAL, View

Rows = NDArray[np.int64]

# Of features scaled to unit variance. On validation images of four data sets, 10 was as good as or better than the
# strengths that probes choose for themselves (0.1 to 8).
_SOFT_STRENGTH = 10.0


@dataclass(frozen=True, kw_only=True)
class ViewedFeatures:
    """Stored features of all of a run's images in some views.

    Attributes:
        arrays: (n, *cut.shape) float32 of each view; the first is the original.
    """

    arrays: tuple[NDArray[np.float32], ...]

    def stacked(self, rows: Rows, views: int) -> NDArray[np.float32]:
        """The first so many views of some images, view after view."""
        return np.concatenate([array[rows] for array in self.arrays[:views]])


def load_views(work: Work, cut: Cut, views: tuple[View, ...]) -> ViewedFeatures:
    """The features of all images at a cut, extracted where they are not stored yet."""
    got = extract_views(
        work.data.dataset,
        work.backbone,
        views,
        layer=cut.name,
        seed=work.config.seed,
        store=work.store,
        device=work.device,
        runtime=work.runtime,
        precision=work.config.precision,
        max_store=parse_bytes(work.config.max_store),
        progress=work.observers.extraction,
    )
    if work.runtime is None and got[0].runtime is not None:
        work.decide("runtime", got[0].runtime.value)
    return ViewedFeatures(arrays=tuple(extraction.features.load() for extraction in got))


def fit_probe(work: Work, features: ViewedFeatures, kind: HeadKind) -> tuple[FittedHead, HeldOut | None]:
    """Fit a head by the run's rule of choice, and what it said of images it had not seen."""
    data, views = work.data, len(features.arrays)
    judged = views if work.config.average_views else 1
    fit, check = data.rows("train"), data.rows("val")
    folds = None
    if data.record.choice == "cross-validation":
        folds = np.tile(
            stratified_folds(data.labels[fit], data.record.folds, work.config.seed, groups=data.groups(fit)),
            views,
        )
    fitted = fit_head(
        features.stacked(fit, views),
        np.tile(data.labels[fit], views),
        n_classes=len(data.dataset.classes),
        kind=kind,
        validation=(features.stacked(check, judged), np.tile(data.labels[check], judged))
        if data.record.choice == "validation"
        else None,
        folds=folds,
        class_weights=work.config.class_weights == "balanced",
    )
    if fitted.validation_probabilities is None or fitted.uncalibrated_probabilities is None:
        return fitted, None
    rows = check if data.record.choice == "validation" else fit

    def averaged(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        of_views = probabilities.reshape(-1, len(rows), len(data.dataset.classes))
        return np.asarray(of_views[:judged].mean(axis=0), dtype=np.float64)

    return fitted, HeldOut(
        rows=rows,
        probabilities=averaged(fitted.validation_probabilities),
        uncalibrated=averaged(fitted.uncalibrated_probabilities),
    )


def soft_head(work: Work, features: ViewedFeatures, rows: Rows) -> nn.Module:
    """A linear head to fine-tune from, fitted to these images only, with a strong penalty.

    A head whose strength was chosen for itself fits a few hundred training images all but perfectly, and leaves the
    layers below it nothing to learn; one with a strong penalty points the same way and is modest.
    """
    labels = work.data.labels[rows]
    balanced = work.config.class_weights == "balanced"
    weights = balanced_weights(labels, len(work.data.dataset.classes)) if balanced else None
    path = fit_linear_path(
        torch.from_numpy(features.arrays[0][rows]),
        torch.from_numpy(labels),
        n_classes=len(work.data.dataset.classes),
        strengths=torch.tensor([_SOFT_STRENGTH], dtype=torch.float64),
        sample_weights=None if weights is None else torch.from_numpy(weights),
    )
    return path.head(0)


def probe_photos(work: Work, cut: Cut, views: tuple[View, ...], kind: HeadKind) -> Outcome:
    """Fit a head on the features of a cut; the one that is kept is fitted on train and validation."""
    features = load_views(work, cut, views)
    start = time.perf_counter()
    fitted, held_out = fit_probe(work, features, kind)
    seconds = time.perf_counter() - start
    classifier = Classifier(
        backbone=work.backbone,
        cut=cut,
        head=fitted.head,
        classes=work.data.dataset.classes,
        views=views if work.config.average_views else (ORIGINAL,),
        seed=work.config.seed,
    )
    return Outcome(
        technique="probe",
        classifier=classifier,
        see=lambda rows: Seen(
            probabilities=classifier.averaged(
                [array[rows] for array in features.arrays[: len(classifier.views)]]
            ),
            features=classifier.vectors(features.arrays[0][rows]),
        ),
        frozen=True,
        fitted_on=np.concatenate([work.data.rows("train"), work.data.rows("val")]),
        held_out=held_out,
        path=fitted,
        choice=fitted.choice(),
        seconds={"fit": seconds},
    )
