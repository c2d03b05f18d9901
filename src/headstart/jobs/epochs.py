"""Train by epochs: a head on frozen features, the layers from a cut on, or the whole network."""

import hashlib
import json
import math
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.classifier import Classifier
from headstart.datasets import balanced_weights
from headstart.jobs.finishing import (
    Finish,
    averaged,
    best_finish,
    possible_shares,
    said_of,
    unjudged_finish,
)
from headstart.jobs.inputs import Inputs
from headstart.jobs.trainee import Rows, ShowingFeatures, Trainee, TraineeOf
from headstart.jobs.work import HeldOut, Outcome, Seen, Work
from headstart.recipes import Recipe
from headstart.training import (
    Epoch,
    Interpolation,
    Trained,
    Watch,
    choose_precision,
    images_per_second,
    network_logits,
    noticed_interruptions,
    train_network,
)
from headstart.views import ORIGINAL


def with_precision(work: Work, recipe: Recipe, trainee: Trainee, inputs: Inputs) -> tuple[Work, float]:
    """The work with its precision decided, by measuring where that is worth it; and how many images it does a second.

    The inputs' session is open.
    """
    train = inputs.examples(work.data.rows("train"), all_views=False)
    parts = (trainee.body, trainee.head, train, recipe)
    if work.config.dtype != "auto":
        return work, images_per_second(*parts, device=work.device, precision=work.config.dtype)
    dtype, speed = choose_precision(*parts, device=work.device)
    work.decide("dtype", dtype)
    return replace(work, config=replace(work.config, dtype=dtype)), speed


def fit_by_epochs(
    work: Work,
    recipe: Recipe,
    trainee: Trainee,
    inputs: Inputs,
    *,
    fit: Rows,
    check: Rows,
    checkpoint: Path | None = None,
    earlier: Sequence[tuple[str, Epoch]] = (),
    deadline: float = math.inf,
    keeps_best: bool = False,
) -> Trained:
    """Train it in place; the inputs' session is open.

    Args:
        work: the run.
        recipe: how.
        trainee: the network.
        inputs: of all images.
        fit: rows of the images to train on.
        check: rows of those that choose the epoch; may be empty.
        checkpoint: file of the complete state.
        earlier: (phase, epoch) of what was trained before, for the history on disk.
        deadline: see `Watch`.
        keeps_best: whether Ctrl-C ends the training only, and the best epoch so far counts.

    Returns:
        The training; not complete where Ctrl-C ended it.

    Raises:
        KeyboardInterrupt: Ctrl-C without `keeps_best`, or SIGTERM; the checkpoint has been written.
    """
    phase = "refit" if earlier else trainee.phase

    def note(history: Sequence[Epoch], epochs: int) -> None:
        if work.observers.epoch is not None:
            work.observers.epoch(phase, history[-1], epochs)
        if checkpoint is not None:
            work.note_history([*earlier, *((phase, epoch) for epoch in history)])

    with noticed_interruptions() as interruption:
        trained = train_network(
            trainee.body,
            trainee.head,
            inputs.examples(fit, all_views=True),
            recipe,
            validation=inputs.examples(check, all_views=work.config.average_views) if len(check) else None,
            stages=trainee.stages,
            class_weights=_class_weights(work, fit),
            seed=work.config.seed,
            device=work.device,
            precision=_precision(work),
            stop_after=work.config.stop_after,
            watch=Watch(
                checkpoint=checkpoint,
                identity=_identity(work, recipe, trainee, fit),
                interruption=interruption,
                deadline=deadline,
                step=work.observers.step,
                epoch=note,
            ),
        )
    keeps_best = keeps_best and work.may_end_early
    if interruption and not (keeps_best and interruption.signal == signal.SIGINT):
        raise KeyboardInterrupt
    return trained


def see(work: Work, trainee: Trainee, inputs: Inputs, rows: Rows) -> Seen:
    """What a trained network makes of images; probabilities are averaged over views where that was asked for."""
    source = inputs.examples(rows, all_views=work.config.average_views).source
    shown = ShowingFeatures(trainee.head, trainee.end)
    with inputs.source.session():
        both = network_logits(trainee.body, shown, source, device=work.device)
    logits, features = both[:, : -trainee.end.channels], both[: len(rows), -trainee.end.channels :]
    return Seen(probabilities=averaged(logits, len(rows)), features=features.contiguous().numpy())


def interpolation_of(recipe: Recipe, trainee: Trainee) -> Interpolation | None:
    """Where the recipe asks for it, the way from the network as it is to what it will be trained to."""
    return Interpolation(trainee.body, trainee.head) if recipe.interpolate == "yes" else None


def logits_on_the_way(
    work: Work, trainee: Trainee, inputs: Inputs, interpolation: Interpolation | None, rows: Rows
) -> dict[float, torch.Tensor]:
    """What a trained network says of images it has not seen, with each share of its training that may be kept.

    The inputs' session is open.

    Returns:
        share -> logits (views * n, K), view after view, in the training's precision.
    """
    source = inputs.examples(rows, all_views=work.config.average_views).source
    found = {}
    for share in possible_shares(interpolation):
        if interpolation is not None:
            interpolation.go(share)
        found[share] = network_logits(
            trainee.body, trainee.head, source, device=work.device, precision=_precision(work)
        )
    return found


def _precision(work: Work) -> str:
    """What a training's products are computed in, where that has been decided."""
    return "bf16" if work.config.dtype == "bf16" else "float32"


def _outcome(
    work: Work,
    recipe: Recipe,
    trainee: Trainee,
    inputs: Inputs,
    trained: Trained,
    finish: Finish,
    *,
    fit: Rows,
    held_out: HeldOut | None,
    seconds: float,
) -> Outcome:
    """A trained network as the outcome of a technique."""
    classifier = Classifier(
        backbone=trainee.backbone.trained(),
        cut=trainee.end,
        head=trainee.head,
        classes=work.data.dataset.classes,
        views=inputs.views if work.config.average_views else (ORIGINAL,),
        seed=work.config.seed,
    )
    return Outcome(
        technique=recipe.technique,
        classifier=classifier,
        see=lambda rows: see(work, trainee, inputs, rows),
        frozen=trainee.phase == "probe",
        fitted_on=fit,
        held_out=held_out,
        history=[(trainee.phase, epoch) for epoch in trained.history],
        kept={trainee.phase: trained.kept},
        choice={
            "epoch": trained.kept,
            "of_epochs": recipe.rates().epochs,
            "completed": trained.complete,
            **finish.to_dict(recipe),
            "precision": _precision(work),
            "trained_from": "the pixels" if trainee.start is None else trainee.start.name,
        },
        seconds={trainee.phase: seconds},
    )


def _judged(
    work: Work,
    recipe: Recipe,
    trainee: Trainee,
    inputs: Inputs,
    interpolation: Interpolation | None,
    trained: Trained,
    check: Rows,
) -> tuple[Finish, HeldOut | None]:
    """What is to be done to a trained network, and what it says of validation images then."""
    if trained.validation_logits is None:
        return unjudged_finish(interpolation), None
    if interpolation is None:
        logits = {1.0: trained.validation_logits}
    else:
        logits = logits_on_the_way(work, trainee, inputs, interpolation, check)
    finish = best_finish(logits, inputs.examples(check, all_views=work.config.average_views).labels)
    return finish, said_of(check, logits[finish.share], finish)


def train_by_epochs(work: Work, recipe: Recipe, trainee_of: TraineeOf, inputs: Inputs) -> Outcome:
    """Train a network on train, and once validation has judged it, where the recipe says so, on both anew.

    Args:
        work: the run.
        recipe: how.
        trainee_of: makes the network.
        inputs: of all images.

    Raises:
        KeyboardInterrupt: see `fit_by_epochs`.
    """
    outcome = judge_by_epochs(work, recipe, trainee_of, inputs)
    if recipe.refit == "no" or outcome.held_out is None:
        return outcome
    again = refit_by_epochs(work, recipe, trainee_of, inputs, outcome)
    assert again is not None
    return again


def judge_by_epochs(
    work: Work,
    recipe: Recipe,
    trainee_of: TraineeOf,
    inputs: Inputs,
    *,
    finish: Finish | None = None,
    deadline: float = math.inf,
    keeps_best: bool = False,
) -> Outcome:
    """Train a network on train, the epoch chosen on validation where there is a validation part.

    Args:
        work: the run.
        recipe: how.
        trainee_of: makes the network.
        inputs: of all images.
        finish: what is done in the end, where that is known; by default what validation likes best.
        deadline: see `Watch`.
        keeps_best: see `fit_by_epochs`; `choice["completed"]` and `history` of the outcome say what came of it.

    Raises:
        KeyboardInterrupt: see `fit_by_epochs`.
    """
    start = time.perf_counter()
    fit, check = work.data.rows("train"), work.data.rows("val")
    trainee = trainee_of(fit)
    tuned = trainee.phase == "finetune"
    interpolation = interpolation_of(recipe, trainee)
    with inputs.source.session():
        if tuned and work.config.dtype == "auto":
            work, _ = with_precision(work, recipe, trainee, inputs)
        trained = fit_by_epochs(
            work,
            recipe,
            trainee,
            inputs,
            fit=fit,
            check=check,
            checkpoint=work.checkpoint if tuned else None,
            deadline=deadline,
            keeps_best=keeps_best,
        )
        held_out = None
        if finish is None:
            finish, held_out = _judged(work, recipe, trainee, inputs, interpolation, trained, check)
    finish.apply(trainee, interpolation)
    seconds = time.perf_counter() - start
    return _outcome(
        work, recipe, trainee, inputs, trained, finish, fit=fit, held_out=held_out, seconds=seconds
    )


def refit_by_epochs(
    work: Work,
    recipe: Recipe,
    trainee_of: TraineeOf,
    inputs: Inputs,
    judged: Outcome,
    *,
    keeps_best: bool = False,
) -> Outcome | None:
    """Train a fresh network on train and validation together, as long as the one that validation has judged.

    What validation said stands for it too, and so does what was done in the end. No epoch is chosen: the last is kept.

    Returns:
        The outcome; None where Ctrl-C ended it, with `keeps_best`.

    Raises:
        KeyboardInterrupt: see `fit_by_epochs`.
    """
    start = time.perf_counter()
    fit = np.concatenate([work.data.rows("train"), work.data.rows("val")])
    trainee = trainee_of(fit)
    interpolation = interpolation_of(recipe, trainee)
    epochs = [epoch for phase, epoch in judged.history if phase == trainee.phase]
    as_judged = replace(work.config, stop_after=len(epochs), dtype=judged.choice["precision"])
    work = replace(work, config=as_judged)
    with inputs.source.session():
        trained = fit_by_epochs(
            work,
            recipe,
            trainee,
            inputs,
            fit=fit,
            check=fit[:0],
            checkpoint=work.refit_checkpoint if trainee.phase == "finetune" else None,
            earlier=judged.history,
            keeps_best=keeps_best,
        )
    if not trained.complete:
        return None
    finish = Finish(
        share=judged.choice.get("share_of_training", 1.0), temperature=judged.choice["temperature"]
    )
    finish.apply(trainee, interpolation)
    seconds = time.perf_counter() - start
    outcome = _outcome(
        work, recipe, trainee, inputs, trained, finish, fit=fit, held_out=None, seconds=seconds
    )
    return replace(
        judged,
        classifier=outcome.classifier,
        see=outcome.see,
        fitted_on=fit,
        judged=judged,
        history=[*judged.history, *(("refit", epoch) for _, epoch in outcome.history)],
        choice={
            **judged.choice,
            **outcome.choice,
            "refit": f"on all {len(fit)} images of train and validation, after validation had judged a network trained "
            f"on {len(work.data.rows('train'))}",
        },
        seconds={**judged.seconds, "refit": outcome.seconds[trainee.phase]},
    )


def _class_weights(work: Work, fit: Rows) -> torch.Tensor | None:
    """(K,) float32, the rarer the heavier, with mean 1 over the images; None for equal ones."""
    if work.config.class_weights == "none":
        return None
    labels, n_classes = work.data.labels[fit], len(work.data.dataset.classes)
    weights = np.zeros(n_classes, dtype=np.float32)
    weights[labels] = balanced_weights(labels, n_classes)
    return torch.from_numpy(weights)


def _identity(work: Work, recipe: Recipe, trainee: Trainee, fit: Rows) -> str:
    """What is trained on what, so that no checkpoint serves another training."""
    facts: dict[str, Any] = {
        "recipe": recipe.to_dict(),
        "weights": work.backbone.weights_sha256,
        "preprocess": work.backbone.preprocess.to_dict(),
        "start": None if trainee.start is None else trainee.start.name,
        "end": trainee.end.name,
        "images": [work.data.sha256s[row].hex() for row in fit],
        "labels": work.data.labels[fit].tolist(),
        "seed": work.config.seed,
        "class_weights": work.config.class_weights,
        "precision": work.config.dtype,
        "versions": [version(name) for name in ("headstart", "torch", "torchvision", "timm")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
