"""Train a run from a folder of photos."""

import os
import shlex
import tempfile
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

from headstart.backbones import Backbone, full_weights
from headstart.config import TrainConfig
from headstart.datasets import ImageDataset, Problem, SplitRecord, assign_splits, full_location
from headstart.download import Progress as DownloadProgress
from headstart.errors import DataError
from headstart.features import FeatureStore
from headstart.jobs.auto import auto
from headstart.jobs.checks import check_options
from headstart.jobs.common import listing
from headstart.jobs.images import (
    decoding_for,
    divide_and_extract,
    extract_layer_of,
    list_images_of,
    normalise_for,
)
from headstart.jobs.latency import HOW, measure_latency
from headstart.jobs.novelty import find_novelty
from headstart.jobs.reporting import MOST_TSNE_IN_TRAINING, write_report
from headstart.jobs.result import Judged, make_result
from headstart.jobs.shelf import Shelf
from headstart.jobs.start import load_start
from headstart.jobs.techniques import TECHNIQUES
from headstart.jobs.work import Observers, Outcome, RunData, Work
from headstart.metrics import score_predictions
from headstart.prediction import WEIGHTS_FILE
from headstart.recipes import expand_recipe, read_recipe
from headstart.runs import CHECKPOINT_FILE, REFIT_CHECKPOINT_FILE, Predictions, Run, RunWriter, new_run
from headstart.runtimes import choose_device
from headstart.training import Epoch


def train(
    config: TrainConfig | str,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    store: str | os.PathLike[str] | None = None,
    no_store: bool = False,
    observers: Observers | None = None,
    downloads: DownloadProgress | None = None,
    report: bool = True,
    may_end_early: bool = True,
    shelf: Shelf | None = None,
) -> Run:
    """Train a classifier on a folder of photos, judge it, and write it all to a run folder.

    Args:
        config: the photos and all options; a folder of photos alone stands for all defaults.
        out: the run folder; by default the next free `runs/NAME-k`. An unfinished run of the same options that stands
            there is gone on with from its last checkpoint.
        force: replace a finished run that stands there.
        store: folder of the feature store; by default the user's own.
        no_store: compute features anew wherever they are needed, and keep none: the plain way, with the same outcome.
        observers: told how far it is.
        downloads: told how far the download of a data set is, in bytes.
        report: also draw the report and its figures, which takes longer than fitting a head.
        may_end_early: whether Ctrl-C ends the fine-tuning of `auto` and keeps what there is; otherwise it is raised.
        shelf: holds what several runs in one process have in common; by default nothing.

    Returns:
        The finished run.

    Raises:
        ConfigError: options do not go together.
        DataError: the photos cannot be used as they are.
        BackboneError: there is no such backbone or layer.
        RunError: the run folder is taken.
        TrainingError: the loss is no longer a number.
        DownloadError: a data set that has a name cannot be fetched.
        StoreError: the store cannot be used.
        DiskFullError: there is no room for the features or the run.
        KeyboardInterrupt: it was interrupted; the same call takes it up again.
    """
    start, began = time.perf_counter(), time.monotonic()
    asked = written_out(config if isinstance(config, TrainConfig) else TrainConfig(config))
    resolved = config = replace(asked, device=choose_device(asked.device))
    observers = observers if observers is not None else Observers()
    shelf = shelf if shelf is not None else Shelf()
    listed = shelf.get("listing", _listing_key(config), lambda: list_images_of(resolved, store, downloads))
    # All before the folder: a mistyped name costs nobody a run that is replaced.
    begun = load_start(config, shelf)
    check_options(config, begun.backbone)
    with ExitStack() as stack:
        features = stack.enter_context(_store_of(store, no_store=no_store))
        writer = stack.enter_context(new_run(config, listed.name, out, force=force))
        backbone, data = _read(listed, config, begun.backbone, features, observers)
        writer.begin()
        if data.runtime is not None:
            writer.decide("runtime", data.runtime.value)
        config = writer.config
        work = Work(
            config=config,
            backbone=backbone,
            data=data,
            store=features,
            stored=not no_store,
            device=config.device,
            checkpoint=writer.folder / CHECKPOINT_FILE,
            refit_checkpoint=writer.folder / REFIT_CHECKPOINT_FILE,
            decide=writer.decide,
            decided=lambda: writer.config,
            note_history=lambda history: writer.history(_history(history)),
            interim=writer.classifier,
            began=began,
            start=begun,
            observers=observers,
            may_end_early=may_end_early,
        )
        stack.enter_context(_resumable(writer, observers))
        outcome = auto(work) if config.recipe == "auto" else _technique(work)
        outcome, judged, seconds = _judge(data, outcome)
        _write(writer, work, outcome, judged)
        result = make_result(
            writer.config, work, outcome, judged, {"read": data.seconds, **outcome.seconds, **seconds}
        )
        result["asked"] = {key: value for key, value in asdict(asked).items() if value is not None}
        result["classifier"] = _measures(writer, work, outcome, shelf)
        result["seconds"]["total"] = time.perf_counter() - start
        if report:
            write_report(
                Run(folder=writer.folder, config=writer.config, result=result),
                outcome.classifier,
                photos=data.dataset,
                store=features,
                most_tsne=MOST_TSNE_IN_TRAINING,
            )
        return writer.finish(result)


def written_out(config: TrainConfig) -> TrainConfig:
    """The configuration with places that mean the same tomorrow, and what follows from its recipe and precision.

    Raises:
        ConfigError: the recipe's file cannot be read or has bad values.
    """
    exact = config.precision == "exact" and config.dtype == "auto"
    return replace(
        expand_recipe(config),
        dtype="float32" if exact else config.dtype,
        data=full_location(config.data),
        weights=full_weights(config.weights),
        init=None if config.init is None else os.path.abspath(config.init),  # noqa: PTH100 - as a text
    )


def _listing_key(config: TrainConfig) -> tuple[Hashable, ...]:
    return (config.data, config.group, config.group_pattern)


@contextmanager
def _store_of(store: str | os.PathLike[str] | None, *, no_store: bool) -> Iterator[FeatureStore]:
    """The feature store; without one, a folder that is gone afterwards."""
    if not no_store:
        yield FeatureStore(store)
        return
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        yield FeatureStore(folder)


@contextmanager
def _resumable(writer: RunWriter, observers: Observers) -> Iterator[None]:
    """Whoever interrupts a training is told how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if (writer.folder / CHECKPOINT_FILE).exists():
            observers.tell(f"Go on with: headstart train --resume {shlex.quote(str(writer.folder))}")
        raise


def _read(
    listed: ImageDataset, config: TrainConfig, backbone: Backbone, store: FeatureStore, observers: Observers
) -> tuple[Backbone, RunData]:
    """The readable images with their splits, and the network with the run's normalisation.

    A probe's first act is to extract features, which shows what can be read; for the rest, decoding does.
    """
    listed = listed.without_empty_classes()

    def divide(images: ImageDataset, problems: Sequence[Problem]) -> tuple[ImageDataset, SplitRecord]:
        made, record = assign_splits(images, split=config.split, seed=config.seed, per_class=config.per_class)
        _require_classes(made, problems)
        return made, record

    begins_with_probe = config.recipe == "auto" or read_recipe(config).technique == "probe"
    probes = begins_with_probe and config.normalise == "weights"
    take = (
        extract_layer_of(config, backbone, store=store, progress=observers.extraction)
        if probes
        else decoding_for(backbone, store=store, progress=observers.extraction)
    )
    got = divide_and_extract(listed, divide, take)
    return normalise_for(got.dataset, backbone, config, store=store), RunData(
        dataset=got.dataset,
        record=got.record,
        sha256s=got.features.sha256s,
        problems=got.problems,
        extracted=got.extracted,
        from_store=got.from_store,
        seconds=got.seconds,
        runtime=got.runtime,
    )


def _technique(work: Work) -> Outcome:
    """The one technique that the configuration asks for."""
    recipe = read_recipe(work.config)
    return TECHNIQUES[recipe.technique](work, recipe)


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


def _judge(data: RunData, outcome: Outcome) -> tuple[Outcome, Judged, dict[str, float]]:
    """Score the classifier; this is where test is read, once, after every choice has been made.

    The last of these is from when on an image is unlike anything in training: the outcome comes back with it.
    """
    start = time.perf_counter()
    rows, labels = data.rows("test"), data.labels
    fitted = outcome.see(outcome.fitted_on)
    found = find_novelty(data, outcome, fitted)
    tested = outcome.see(rows)
    predictions = Predictions(
        paths=tuple(data.dataset.names("test")),
        labels=labels[rows],
        probabilities=tested.probabilities,
    )
    held_out = outcome.held_out
    judged = Judged(
        test=score_predictions(predictions.probabilities, labels[rows], groups=data.groups(rows)),
        validation=None
        if held_out is None
        else score_predictions(
            held_out.probabilities, labels[held_out.rows], groups=data.groups(held_out.rows)
        ),
        train=score_predictions(fitted.probabilities, labels[outcome.fitted_on]),
        predictions=predictions,
        unlike=found.account(tested),
    )
    outcome = replace(outcome, classifier=replace(outcome.classifier, novelty=found.novelty))
    return outcome, judged, {"evaluate": time.perf_counter() - start}


def _write(writer: RunWriter, work: Work, outcome: Outcome, judged: Judged) -> None:
    """Everything but the report and the result."""
    dataset = work.data.dataset
    writer.classifier(outcome.classifier)
    writer.predictions(judged.predictions, dataset.classes)
    columns = {
        "path": dataset.names(),
        "class": [dataset.classes[label] for label in dataset.labels()],
        "split": list(dataset.split_names()),
        "sha256": [sha.hex() for sha in work.data.sha256s],
    }
    if dataset.groups() is not None:
        columns["group"] = dataset.table["group"].to_pylist()
    writer.images(columns)
    writer.path(_path(outcome))
    writer.history(_history(outcome.history))
    writer.problems(work.data.problems)


def _measures(writer: RunWriter, work: Work, outcome: Outcome, shelf: Shelf) -> dict[str, Any]:
    """What using the classifier takes; its speed is that of its network, whatever has been trained in it."""
    classifier = outcome.classifier
    card, cut, head = classifier.backbone.card, classifier.cut.name, type(classifier.head)
    key = (
        card.name,
        card.architecture,
        classifier.backbone.preprocess.size,
        cut,
        head,
        classifier.views,
        work.device,
    )
    parts = (classifier.backbone.prefix(classifier.cut), classifier.head)
    return {
        "parameters": sum(values.numel() for part in parts for values in part.parameters()),
        "bytes": (writer.folder / WEIGHTS_FILE).stat().st_size,
        "ms_per_image": shelf.get("latency", key, lambda: measure_latency(classifier, work.device)),
        "ms_per_image_is": HOW,
    }


def _path(outcome: Outcome) -> list[dict[str, float | None]]:
    """The path of values tried, as rows."""
    return outcome.path.history() if outcome.path is not None else []


def _history(history: Sequence[tuple[str, Epoch]]) -> list[dict[str, Any]]:
    """The epochs, as rows."""
    rows = []
    for phase, epoch in history:
        figures = asdict(epoch)
        rows.append({"phase": phase, "epoch": figures.pop("number"), **figures})
    return rows
