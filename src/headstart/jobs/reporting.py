"""The report of a run, from its folder, and from the photos and features that are still there."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.audit import Audit
from headstart.classifier import Classifier
from headstart.config import AuditConfig, ExtractConfig
from headstart.datasets import ImageDataset, load_dataset
from headstart.download import Progress as DownloadProgress
from headstart.errors import (
    BackboneError,
    DataError,
    DownloadError,
    RunError,
    StoreError,
    UnreadableImageError,
)
from headstart.features import Features, FeatureStore, Progress
from headstart.features.extract import store_key
from headstart.jobs.audit import audit_images
from headstart.jobs.explaining import explain_images, require_explainer
from headstart.jobs.learning_curve import Steps, learning_curve
from headstart.jobs.pictures import draw_thumbnails
from headstart.report import MOST_TSNE, PHASES, Learning, RunRecord, render_report
from headstart.runs import Run, RunWriter, load_run
from headstart.runtimes import RuntimeName

MOST_TSNE_IN_TRAINING = 400
"""Where a training ends with more test images its report has a map by PCA: t-SNE of more takes over a second."""


def report(
    run: str | os.PathLike[str],
    *,
    explain: bool = False,
    audit: bool = False,
    learning_curve: bool = False,
    store: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    say: Callable[[str], object] | None = None,
    progress: Progress | None = None,
    pictures: Progress | None = None,
    steps: Steps | None = None,
    downloads: DownloadProgress | None = None,
) -> Path:
    """Write the report of a finished run anew: `report.html`, and the files in `figures`.

    Photos come from where the run had them, and the map's features from the store; what is gone is left out, and said.
    What is asked for beside that stands in this page only: a report without it is written without it.

    Args:
        run: a finished run's folder.
        explain: show by Grad-CAM where the classifier looks, on its surest mistakes and on some right answers.
        audit: show the surest findings of an audit of the run's photos (see `audit_images`).
        learning_curve: show what more photos would bring (see `learning_curve`).
        store: folder of the feature store; by default the user's own.
        device: where the network runs to explain: "auto", "cpu", "cuda" or "mps".
        say: told what is missing, in sentences.
        progress: told how far the extraction is, where an audit or a curve needs features that are not in the store.
        pictures: told how many images an audit has read.
        steps: told how far a curve's fits are.
        downloads: told how far the download of a data set that has a name is, in bytes.

    Returns:
        The page.

    Raises:
        RunError: the folder holds no finished run, or its files are damaged.
        DataError: photos are to be explained or audited, and they are no longer there.
        ConfigError: the grad-cam package is to explain, and not installed.
        BackboneError: the network has no layer that Grad-CAM could look at.
        DiskFullError: there is no room.
    """
    opened, tell = load_run(run), say if say is not None else _nobody
    if explain:
        require_explainer()
    photos = _photos(opened, store, downloads, tell)
    asked = {"--explain": explain, "--audit": audit, "--learning-curve": learning_curve}
    if photos is None and any(asked.values()):
        options = " and ".join(option for option, wanted in asked.items() if wanted)
        raise DataError(
            f"The photos of this run are no longer in {opened.config.data}.\nLeave out {options}, or put them there."
        )
    return write_report(
        opened,
        opened.classifier(),
        photos=photos,
        store=FeatureStore(store),
        explain=explain,
        audit=_audit(opened, store, tell, progress, pictures) if audit else None,
        learning=_learning(opened, store, progress, steps) if learning_curve else None,
        device=device,
        say=tell,
    )


def write_report(
    run: Run,
    classifier: Classifier,
    *,
    photos: ImageDataset | None,
    store: FeatureStore,
    most_tsne: int = MOST_TSNE,
    explain: bool = False,
    audit: Audit | None = None,
    learning: Learning | None = None,
    device: str = "cpu",
    say: Callable[[str], object] | None = None,
) -> Path:
    """Write the report of a run whose other files are written; `train` ends with it.

    Args:
        run: with all that its `result.json` holds, or will hold.
        classifier: the run's.
        photos: where its test images can be read, by the names the run has for them; None where they are gone.
        store: where features may be stored.
        most_tsne: of more test images the map is laid out by PCA alone.
        explain: see `report`.
        audit: what is suspect in the data, where it is to be shown.
        learning: the learning curve, likewise.
        device: likewise.
        say: likewise.

    Returns:
        The page.

    Raises:
        RunError: a file of the run is damaged.
    """
    tell = say if say is not None else _nobody
    record = read_record(run)  # before all else, as it says what is damaged
    features = _test_features(run, classifier, store)
    record = replace(record, features=features, audit=audit, learning=learning)
    if record.features is None:
        tell("No map: the features of the test images are not in the store.")
    if explain and photos is not None:
        wanted = partial(_read_all, photos)
        record = replace(record, explained=explain_images(record, classifier, wanted, device=device))
    draw = _no_thumbnails if photos is None else partial(draw_thumbnails, photos)
    RunWriter(run.folder, run.config).report(render_report(record, draw, most_tsne=most_tsne))
    return run.report


def read_record(run: Run) -> RunRecord:
    """All that a run's folder holds for a report.

    Raises:
        RunError: a file is missing or damaged.
    """
    classes = list(run.result["classes"])
    try:
        table = run.predictions()
        position = {name: i for i, name in enumerate(classes)}
        return RunRecord(
            name=run.result["name"],
            result=run.result,
            classes=classes,
            paths=[str(path) for path in table["path"].to_pylist()],
            labels=np.array([position[name] for name in table["true"].to_pylist()], dtype=np.int64),
            probabilities=np.stack([table[f"probability.{name}"].to_numpy() for name in classes], axis=1),
            path=run.path(),
            history=[row for row in run.history() if row["phase"] in PHASES],
            best_epoch=run.result["kept_epochs"],
            problems=run.problems(),
            config=asdict(run.config),
            command=f"headstart train --config {shlex.quote(str(run.folder / 'config.toml'))}",
        )
    except (OSError, KeyError, ValueError) as error:
        raise RunError(
            f"{run.folder} cannot be reported on: {error!s} is missing or damaged.\nTrain the run again."
        ) from error


def _audit(
    run: Run,
    store: str | os.PathLike[str] | None,
    say: Callable[[str], object],
    progress: Progress | None,
    pictures: Progress | None,
) -> Audit:
    """What is suspect in a run's photos; labels are judged where the library for it is installed."""
    labels: Literal["yes", "no"] = "yes" if find_spec("cleanlab") is not None else "no"
    if labels == "no":
        say("Labels are not judged: that takes cleanlab, by pip install 'headstart[audit]'.")
    config = AuditConfig(**_extraction_options(run), labels=labels)
    return audit_images(config, store=store, progress=progress, pictures=pictures)


def _learning(
    run: Run, store: str | os.PathLike[str] | None, progress: Progress | None, steps: Steps | None
) -> Learning:
    """What more of a run's photos would bring."""
    config = ExtractConfig(**_extraction_options(run))
    return learning_curve(config, store=store, progress=progress, steps=steps).shown()


def _extraction_options(run: Run) -> dict[str, Any]:
    """The options of a run that say which features its photos have, so that those in the store serve."""
    return {option.name: getattr(run.config, option.name) for option in fields(ExtractConfig)}


def _photos(
    run: Run,
    store: str | os.PathLike[str] | None,
    downloads: DownloadProgress | None,
    say: Callable[[str], object],
) -> ImageDataset | None:
    """The run's images where they were, as far as they still are there."""
    try:
        photos = load_dataset(run.config.data, cache=store, group=run.config.group, progress=downloads)
    except (DataError, DownloadError) as error:
        say(f"No photos: {str(error).splitlines()[0]}")
        return None
    tested = {
        row["path"] for row in run.images().select(["path", "split"]).to_pylist() if row["split"] == "test"
    }
    if gone := len(tested - set(photos.names())):
        say(f"{gone} of {len(tested)} test images are no longer in {run.config.data}; they are named only.")
    return photos


def _test_features(run: Run, classifier: Classifier, store: FeatureStore) -> NDArray[np.float32] | None:
    """The features of the test images that the run's network gave before it was trained, if they are stored."""
    if run.config.runtime == "auto":
        return None  # nothing was extracted
    try:
        cut = classifier.backbone.cut(run.config.layer)
    except BackboneError:
        return None  # a layer that the classifier, cut before it, does not have
    key = store_key(classifier.backbone, cut, RuntimeName(run.config.runtime), run.config.device)
    key = replace(key, weights=run.result["backbone"]["weights_sha256"])
    sha_of = {row["path"]: bytes.fromhex(row["sha256"]) for row in run.images().to_pylist()}
    sha256s = tuple(sha_of[path] for path in run.predictions()["path"].to_pylist())
    if store.count_rows(key, sha256s) < len(set(sha256s)):
        return None
    try:
        return Features(store=store, key=key, sha256s=sha256s, shape=cut.shape).load()
    except StoreError:
        return None  # pruned or damaged meanwhile


def _read_all(photos: ImageDataset, names: Sequence[str]) -> Mapping[str, bytes]:
    """The bytes of photos by name, without those that have gone."""
    wanted = set(names)
    ordered = [name for name in photos.names() if name in wanted]
    found = {}
    for name, read in zip(ordered, photos.files.readers(ordered), strict=True):
        try:
            found[name] = read()
        except UnreadableImageError:
            continue
    return found


def _no_thumbnails(names: Sequence[str], side: int) -> dict[str, bytes]:
    return {}


def _nobody(sentence: str) -> None:
    """Nobody listens."""
