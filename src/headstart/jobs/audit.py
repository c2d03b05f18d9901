"""Audit a data set: copies, leaks from training into test, doubtful labels, classes alike, images unlike all others."""

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.audit import (
    Audit,
    Duplicates,
    Finding,
    Judged,
    Leaks,
    Neighbours,
    PatternAdvice,
    SuggestedPattern,
    can_be_judged,
    candidate_pairs,
    find_confused_classes,
    find_duplicates,
    find_label_issues,
    find_neighbours,
    find_outliers,
    join_pairs,
    leaking_copies,
    leaking_groups,
    links_of_groups,
    list_classes,
    list_duplicates,
    list_labels,
    list_outliers,
    load_cleanlab,
    suggest_pattern,
)
from headstart.config import AuditConfig
from headstart.datasets import (
    SPLITS,
    ImageDataset,
    Problem,
    SplitRecord,
    assign_splits,
    stratified_folds,
)
from headstart.download import Progress as DownloadProgress
from headstart.errors import DataError
from headstart.features import FeatureStore, Progress
from headstart.files import make_folder
from headstart.jobs.auditing import write_audit
from headstart.jobs.images import (
    DividedImages,
    extract_divided,
    list_images_of,
    load_backbone_of,
)
from headstart.jobs.pictures import read_pictures
from headstart.metrics import score_predictions
from headstart.training import fit_head

_FOLDS = 5


def audit_images(
    config: AuditConfig,
    *,
    out: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    pictures: Progress | None = None,
    downloads: DownloadProgress | None = None,
) -> Audit:
    """Find what is wrong with a data set before a classifier learns it, and write a page and a table of it.

    The splits are those that `train` makes with the same options. Features come from the store.

    Args:
        config: the photos and the network that looks at them.
        out: folder for `audit.html`, `findings.csv` and `audit.json`; None to write nothing.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.
        pictures: told how many images have been read for the comparison of pixels.
        downloads: told how far the download of a data set is, in bytes.

    Returns:
        All findings.

    Raises:
        ConfigError: label errors are to be ranked and cleanlab is not installed.
        DataError: the photos cannot be used as they are, or the folder cannot be made.
        BackboneError: there is no such backbone or layer.
        DownloadError: a data set that has a name cannot be fetched.
        StoreError: the store cannot be used.
        DiskFullError: there is no room.
    """
    if config.labels == "yes":
        load_cleanlab()  # before an hour of extraction
    folder = None if out is None else make_folder(Path(out))
    clock = _Clock()
    with clock.phase("read"):
        images = _extract(config, store, progress, downloads)
    look = _look(images, config, clock, pictures)
    audit = _audit(look, config, clock)
    if folder is not None:
        with clock.phase("page"):
            write_audit(audit, folder, images.dataset, config.most)
    return audit


class _Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the body towards a phase."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The images, and what lies near what.

    Attributes:
        images: with splits.
        features: (n, D) float32.
        labels: (n,) int64.
        neighbours: by features.
        duplicates: by pixels.
        pattern: a suggestion, where the images have no groups.
        groups: (n,) those that are given, or suggested; None where there are none.
    """

    images: DividedImages
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    neighbours: Neighbours
    duplicates: Duplicates
    pattern: SuggestedPattern | None
    groups: NDArray[np.int64] | None

    @property
    def dataset(self) -> ImageDataset:
        """The images."""
        return self.images.dataset

    @property
    def belongings(self) -> NDArray[np.int64]:
        """(n,) numbers of what belongs together as copies or by groups."""
        links = [self.duplicates.pairs] + ([] if self.groups is None else [links_of_groups(self.groups)])
        return join_pairs(len(self.labels), *links)


def _extract(
    config: AuditConfig,
    store: str | os.PathLike[str] | None,
    progress: Progress | None,
    downloads: DownloadProgress | None,
) -> DividedImages:
    """The readable images with splits and features."""

    def divide(listed: ImageDataset, problems: Sequence[Problem]) -> tuple[ImageDataset, SplitRecord]:
        if not len(listed):
            raise DataError(f"No image of {listed.name} can be read.")
        return assign_splits(listed, split=config.split, seed=config.seed, per_class=config.per_class)

    listed = list_images_of(config, store, downloads)
    backbone, features = load_backbone_of(config), FeatureStore(store)
    return extract_divided(listed, divide, backbone, config, store=features, progress=progress)


def _look(images: DividedImages, config: AuditConfig, clock: _Clock, progress: Progress | None) -> _Look:
    dataset = images.dataset
    features = images.features.load().reshape(len(dataset), -1)
    labels = dataset.labels().astype(np.int64)
    with clock.phase("neighbours"):
        neighbours = find_neighbours(features)
    with clock.phase("pixels"):
        small = read_pictures(dataset, progress)
        duplicates = find_duplicates(images.features.sha256s, small, candidate_pairs(neighbours))
    given = dataset.groups()
    pattern = suggest_pattern(dataset.names(), labels, neighbours) if given is None else None
    return _Look(
        images=images,
        features=features,
        labels=labels,
        neighbours=neighbours,
        duplicates=duplicates,
        pattern=pattern,
        groups=given if pattern is None else pattern.groups,
    )


def _audit(look: _Look, config: AuditConfig, clock: _Clock) -> Audit:
    dataset, notes = look.dataset, list(look.dataset.notes)
    findings: list[Finding] = [*list_duplicates(dataset, look.duplicates)]
    with clock.phase("out of fold"):
        held_out = _held_out(look, config, notes)
    judged_labels = wrong = out_of_fold = None
    if held_out is not None and config.labels == "yes":
        issues = find_label_issues(held_out.probabilities, look.labels, held_out.judged)
        judged_labels, wrong = issues.judged, issues.wrong
        findings += list_labels(dataset, issues)
    confused = {}
    if held_out is not None:
        out_of_fold = held_out.accuracy(look.labels)
        pairs = find_confused_classes(held_out.probabilities, look.labels, held_out.judged)
        findings += list_classes(dataset, pairs)
        names = dataset.names()
        confused = {
            rank: tuple(names[row] for row in pair.rows.tolist()) for rank, pair in enumerate(pairs, start=1)
        }
    findings += list_outliers(dataset, find_outliers(look.neighbours))
    with clock.phase("leaks"):
        leaks = _leaks(look, held_out, config)
    return Audit(
        name=dataset.name,
        classes=dataset.classes,
        counts={split: len(dataset.rows(split)) for split in SPLITS},
        rule=look.images.record.rule,
        findings=tuple(findings),
        leaks=leaks,
        labels_judged=judged_labels,
        out_of_fold=out_of_fold,
        wrong_labels=wrong,
        pattern=_advice(look),
        confused=confused,
        problems=tuple((problem.path, problem.reason) for problem in look.images.problems),
        notes=tuple(notes),
        command=_command(config),
        seconds=clock.seconds,
    )


@dataclass(frozen=True, kw_only=True)
class _HeldOut:
    """What heads said of images when neither these, nor their copies and groups, were among what they were fitted to.

    Attributes:
        probabilities: (n, K); rows that are not judged hold no answer.
        judged: (n,) bool.
    """

    probabilities: NDArray[np.float64]
    judged: NDArray[np.bool_]

    def accuracy(self, labels: NDArray[np.int64]) -> float:
        """Share of the judged images whose label (n,) is the most probable class."""
        return float((self.probabilities.argmax(axis=1) == labels)[self.judged].mean())


def _held_out(look: _Look, config: AuditConfig, notes: list[str]) -> _HeldOut | None:
    """Out-of-fold probabilities of all images, whatever their split; None where no class can be held out."""
    together = look.belongings
    pairs = np.unique(np.stack([look.labels, together]), axis=1)
    parts = np.bincount(pairs[0], minlength=len(look.dataset.classes))
    among = parts[look.labels] >= 2
    if len(np.unique(look.labels[among])) < 2:
        notes.append(
            "Labels and classes could not be judged: fewer than two classes have two images that are no copies."
        )
        return None
    rows = np.flatnonzero(among)
    folds = np.zeros(len(look.labels), np.int64)
    folds[rows] = stratified_folds(
        look.labels[rows], min(_FOLDS, int(parts[parts >= 2].min())), config.seed, groups=together[rows]
    )
    fitted = fit_head(
        look.features[rows], look.labels[rows], n_classes=len(look.dataset.classes), folds=folds[rows]
    )
    probabilities = np.zeros((len(look.labels), len(look.dataset.classes)))
    probabilities[rows] = fitted.validation_probabilities
    judged = can_be_judged(look.labels, folds, among)
    if not judged.all():
        notes.append(
            f"{(~judged).sum()} images could not be judged out of fold: all images of their class belong together."
        )
    return _HeldOut(probabilities=probabilities, judged=judged)


def _leaks(look: _Look, held_out: _HeldOut | None, config: AuditConfig) -> Leaks | None:
    """Test images that training has seen, and a probe's scores with and without them."""
    splits = look.dataset.split_names()
    test = look.dataset.rows("test")
    if not len(test):
        return None
    copies = leaking_copies(look.duplicates.pairs, splits)
    grouped = None if look.groups is None else leaking_groups(look.groups, splits)
    either = copies if grouped is None else copies | grouped
    leaks = Leaks(
        test=len(test),
        copies=int(copies.sum()),
        grouped=None if grouped is None else int(grouped.sum()),
        leaking=int(either.sum()),
    )
    if len(look.dataset.classes) < 2:
        return leaks
    judge, is_test = _judge_test(look, config), splits == "test"
    judged = [judge("all test images", is_test)]
    if leaks.copies:
        judged.append(judge("without copies of other images", is_test & ~copies))
    if leaks.leaking > leaks.copies:
        judged.append(judge("without copies, and without groups that are divided", is_test & ~either))
    if leaks.many and held_out is not None:
        judged.append(
            _judged(
                "all images, each by a probe that saw no copy and no group of it (out of fold)",
                held_out.probabilities[held_out.judged],
                look,
                np.flatnonzero(held_out.judged),
            )
        )
    return replace(leaks, judged=tuple(judged))


def _judge_test(look: _Look, config: AuditConfig) -> Callable[[str, NDArray[np.bool_]], Judged]:
    """A probe fitted as `train --recipe probe` fits one; gives its scores on a mask (n,) of images."""
    data, record = look.dataset, look.images.record
    train, check = data.rows("train"), data.rows("val")
    groups = data.groups()
    folds = None
    if record.choice == "cross-validation":
        of_train = None if groups is None else groups[train]
        folds = stratified_folds(look.labels[train], record.folds, config.seed, groups=of_train)
    fitted = fit_head(
        look.features[train],
        look.labels[train],
        n_classes=len(data.classes),
        validation=(look.features[check], look.labels[check]) if record.choice == "validation" else None,
        folds=folds,
    )

    def judge(words: str, mask: NDArray[np.bool_]) -> Judged:
        rows = np.flatnonzero(mask)
        with torch.no_grad():
            logits = fitted.head(torch.from_numpy(look.features[rows]))
        return _judged(words, torch.softmax(logits.double(), dim=1).numpy(), look, rows)

    return judge


def _judged(words: str, probabilities: NDArray[np.float64], look: _Look, rows: NDArray[np.int64]) -> Judged:
    if not len(rows):
        return Judged(words=words, n=0, scores=None)
    groups = None if look.groups is None else look.groups[rows]
    return Judged(
        words=words,
        n=len(rows),
        scores=score_predictions(probabilities, look.labels[rows], groups=groups),
    )


def _advice(look: _Look) -> PatternAdvice | None:
    pattern = look.pattern
    if pattern is None:
        return None
    return PatternAdvice(
        pattern=pattern.pattern,
        groups=pattern.n_groups,
        images=len(look.labels),
        observed=pattern.observed,
        expected=pattern.expected,
        example=pattern.example,
    )


def _command(config: AuditConfig) -> str:
    """The command that audits the same."""
    words = ["headstart", "audit", config.data]
    for option in fields(config):
        value = getattr(config, option.name)
        if option.name != "data" and value != option.default:
            words += [f"--{option.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def default_folder(config: AuditConfig) -> Path:
    """Where an audit is written if nobody says where: `audits/NAME`."""
    name = re.sub(r"[^\w.-]+", "-", Path(config.data.rstrip("/\\")).name).strip("-.") or "data"
    return Path("audits") / name
