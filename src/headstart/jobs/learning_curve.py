"""The learning curve: how a probe's accuracy grows with the number of training images, and what more would bring."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.config import DEFAULT_MOST, DEFAULT_REPEATS, ExtractConfig
from headstart.datasets import Problem
from headstart.download import Progress as DownloadProgress
from headstart.errors import ConfigError
from headstart.features import FeatureStore, Progress
from headstart.heads import fit_linear_path, fit_temperature
from headstart.jobs.images import (
    DividedImages,
    extract_divided,
    list_images_of,
    load_backbone_of,
)
from headstart.jobs.sampling import deal_folds, training_sample
from headstart.metrics import Extrapolation, extrapolate_curve
from headstart.report import Learning
from headstart.threads import one_thread

_WHAT_IT_MEANS: Final = (
    "The ranges hold 95 % of the power laws through resampled images. All of it is for probes and for photos like "
    "these; fine-tuning has a curve of its own."
)

SHARES: Final = (0.1, 0.16, 0.25, 0.4, 0.63, 1.0)
"""Of the images that a fold leaves to train on; each is about 1.6 times the one before."""

FACTORS: Final = (1.0, 2.0, 10.0)
"""For how many times the training images there are the accuracy is foretold."""

# Strengths of the probes, strongest first: of six data sets the best lay between 4e-5 and 0.4 (`default_strengths`).
_STRENGTHS: Final = torch.logspace(0, -5, 9, dtype=torch.float64)
_TOLERANCE: Final = 1e-3  # nearer to the optimum answers hardly change, and there are many fits
_BAND_POINTS: Final = 60
_FLAT: Final = 0.01  # a gain that nobody would collect as many photos again for
_WIDEST: Final = 0.15
# Below so many values a fit takes less time than its threads need to meet.
_ONE_THREAD_VALUES: Final = 2_000_000

Steps = Callable[[int, int], object]
"""Told how many of how many fits are done."""


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """Accuracies of probes that were trained on more and more images, judged on images they had not seen.

    Attributes:
        backbone: its name.
        sizes: (S,) mean number of training images of each point.
        accuracies: (R, S) of each repeat, 0 to 1.
        images: n, how many images took part; all that are given to train and validation, or a sample of these.
        classes: how many classes.
        folds: of the cross-validation.
        grouped: whether groups were kept whole.
        extrapolation: at n, twice and ten times n; None where there are too few points for it.
        band: the same from the first point to the last of these, for a picture.
        extracted: how many forward passes were made.
        problems: what could not be read.
        notes: whole sentences on what was left out.
    """

    backbone: str
    sizes: NDArray[np.float64]
    accuracies: NDArray[np.float64]
    images: int
    classes: int
    folds: int
    grouped: bool
    extrapolation: Extrapolation | None
    band: Extrapolation | None
    extracted: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def targets(self) -> tuple[float, ...]:
        """For which numbers of training images the accuracy is foretold; the first is what there is now."""
        return tuple(factor * self.images for factor in FACTORS)

    def shown(self) -> Learning:
        """The same for a picture or a page."""
        return Learning(
            sizes=self.sizes,
            accuracies=self.accuracies,
            band=self.band,
            targets=self.targets,
            words=self.words(),
        )

    def words(self) -> list[str]:
        """What the curve says, a sentence each; with a warning where that is not worth much."""
        found, n = self.extrapolation, f"{self.images:,} images"
        if found is None:
            points = f"{len(self.sizes)} different point{'s' * (len(self.sizes) > 1)}"
            words = f"Of {n} in {self.classes} classes a curve has {points}, too few to tell what more would bring."
            return [f"{words} Ask again with about ten of each class."]
        return [
            f"With all {n} expect {_about(found, 0)}, with twice as many {_about(found, 1)},",
            f"with ten times as many {_about(found, 2)}, which is far beyond what was measured.",
            _worth(found),
            _WHAT_IT_MEANS,
        ]


def _about(found: Extrapolation, place: int) -> str:
    """`91.4 % (89 to 94)`."""
    low, high = 100 * found.low[place], 100 * found.high[place]
    return f"{100 * found.expected[place]:.1f} % ({low:.0f} to {high:.0f})"


def _worth(found: Extrapolation) -> str:
    """What twice as many images are worth, or why that cannot be said."""
    gain = found.expected[1] - found.expected[0]
    if found.high[1] - found.low[1] > _WIDEST:
        return "These ranges are too wide to plan by: there are too few images for an extrapolation."
    if gain < _FLAT:
        return (
            f"The curve is flat: twice as many photos of the same kind would bring about {100 * gain:.1f} points. "
            "Photos of what is mistaken, another backbone or fine-tuning may bring more."
        )
    return f"Twice as many photos of the same kind are worth about {100 * gain:.1f} points."


def learning_curve(
    config: ExtractConfig,
    *,
    repeats: int = DEFAULT_REPEATS,
    most: int = DEFAULT_MOST,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    steps: Steps | None = None,
    downloads: DownloadProgress | None = None,
) -> LearningCurve:
    """Probe with 10 to 100 % of the training images, and foretell what more of them would bring.

    Training and validation images are dealt into folds; each fold is judged by probes on growing parts of the
    others, each part holding the one before and its share of every class. The strength of each probe is chosen on
    other folds than the one it is judged on. All of it is repeated with other folds and parts. Test is not looked at.

    Args:
        config: the photos, the network and its layer.
        repeats: how often, at least 2.
        most: of more images than this a stratified sample takes part.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.
        steps: told how far the fits are.
        downloads: told how far the download of a data set is, in bytes.

    Raises:
        ConfigError: a number cannot be used.
        DataError: the photos cannot be used, or fewer than two classes have several images.
        BackboneError: there is no such backbone or layer.
        StoreError: the store cannot be used.
    """
    if repeats < 2 or most < 10:
        raise ConfigError(
            f"Got {repeats} repeats and at most {most} images; expected at least 2 repeats and 10 images."
        )
    backbone = load_backbone_of(config)
    divide = training_sample(config, most, validation=True)
    listed = list_images_of(config, store, downloads)
    images = extract_divided(listed, divide, backbone, config, store=FeatureStore(store), progress=progress)
    return _measure(images, config, repeats, steps)


def _measure(
    images: DividedImages, config: ExtractConfig, repeats: int, steps: Steps | None
) -> LearningCurve:
    """The curve of images with stored features."""
    dataset = images.dataset
    features = torch.from_numpy(images.features.load()).flatten(start_dim=1)
    labels, groups = dataset.labels().astype(np.int64), dataset.groups()
    judged: list[_Judged] = []
    with one_thread() if features.numel() < _ONE_THREAD_VALUES else nullcontext():
        for repeat, share in product(range(repeats), SHARES):
            seed = config.seed + repeat
            folds, count = deal_folds(dataset, seed)
            draw = _Draw(features=features, labels=labels, folds=folds, seed=seed, groups=groups)
            judged.append(draw.judge(share))
            if steps is not None:
                steps(len(judged), repeats * len(SHARES))
    sizes, right = _without_repetition(judged, repeats)
    targets = len(dataset) * np.array(FACTORS)
    found = extrapolate_curve(
        sizes,
        right,
        targets=np.append(targets, np.geomspace(sizes[0], targets[-1], _BAND_POINTS)),
        groups=groups,
        seed=config.seed,
    )
    return LearningCurve(
        backbone=config.backbone,
        sizes=sizes,
        accuracies=right.mean(axis=2),
        images=len(dataset),
        classes=len(np.unique(labels)),
        folds=count,
        grouped=groups is not None,
        extrapolation=None if found is None else found.part(slice(len(FACTORS))),
        band=None if found is None else found.part(slice(len(FACTORS), None)),
        extracted=images.extracted,
        problems=images.problems,
        notes=dataset.notes,
    )


def _without_repetition(
    judged: Sequence["_Judged"], repeats: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Sizes (S,) and what was right (R, S, n), without shares that are the same images as the next larger one."""
    sizes = np.array([each.size for each in judged]).reshape(repeats, -1).mean(axis=0)
    right = np.array([each.right for each in judged]).reshape(repeats, len(sizes), -1)
    kept = np.append(np.diff(sizes) > 0, True)
    return sizes[kept], right[:, kept]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Probes on a share of the images.

    Attributes:
        size: mean number of training images.
        right: (n,) whether each image was classified right by the probe that had not seen its fold.
    """

    size: float
    right: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """One repeat: features (n, D), labels (n,), folds (n,), groups (n,) or None, and an order of the images."""

    features: torch.Tensor
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    seed: int
    groups: NDArray[np.int64] | None

    def judge(self, share: float) -> _Judged:
        """Fit probes without each fold, on a share of the rest, and judge them on the fold."""
        n_classes = int(self.labels.max()) + 1
        logits = torch.empty(len(_STRENGTHS), len(self.labels), n_classes)
        sizes = []
        for fold in np.unique(self.folds):
            rows = self._part(np.flatnonzero(self.folds != fold), share)
            path = fit_linear_path(
                self.features[rows],
                torch.from_numpy(self.labels[rows]),
                n_classes=n_classes,
                strengths=_STRENGTHS,
                tolerance=_TOLERANCE,
            )
            held_out = torch.from_numpy(np.flatnonzero(self.folds == fold))
            logits[:, held_out] = path.logits(self.features[held_out])
            sizes.append(len(rows))
        return _Judged(size=float(np.mean(sizes)), right=self._choose(logits) == self.labels)

    def _part(self, rows: NDArray[np.int64], share: float) -> NDArray[np.int64]:
        """The first images of each class, at least one; whole groups come one after the other."""
        rng = np.random.default_rng(self.seed)
        ties = rng.permutation(len(self.labels))
        order = ties if self.groups is None else rng.permutation(int(self.groups.max()) + 1)[self.groups]
        ordered = rows[np.lexsort((ties[rows], order[rows], self.labels[rows]))]
        labels = self.labels[ordered]
        counts = np.bincount(labels)
        rank = np.arange(len(ordered)) - (np.cumsum(counts) - counts)[labels]
        part: NDArray[np.int64] = ordered[rank < np.maximum(1, np.round(share * counts))[labels]]
        return part

    def _choose(self, logits: torch.Tensor) -> NDArray[np.int64]:
        """What is said of each image, (n,), at the strength that is best for the other folds: logits are (S, n, K).

        Best is the lowest loss, each strength at the temperature that suits it over all folds.
        """
        truth = torch.from_numpy(self.labels)
        present = torch.zeros(logits.shape[2], dtype=torch.bool)
        present[truth] = True
        logits, truth = logits[:, :, present], (torch.cumsum(present, dim=0) - 1)[truth]
        losses = torch.stack([_losses(each, truth) for each in logits])  # (S, n)
        said = torch.empty_like(truth)
        for fold in np.unique(self.folds):
            own = torch.from_numpy(self.folds == fold)
            best = int(losses[:, ~own].mean(dim=1).argmin())
            said[own] = logits[best, own].argmax(dim=1)
        chosen: NDArray[np.int64] = np.flatnonzero(present.numpy())[said.numpy()]
        return chosen


def _losses(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The loss of each image, (n,), at the temperature that suits logits (n, K)."""
    temperature, _ = fit_temperature(logits, truth)
    return nn.functional.cross_entropy(logits.double() / temperature, truth, reduction="none")
