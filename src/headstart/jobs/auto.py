"""`auto`: probe first, which takes seconds, then lp-ft where it pays; what is better on unseen images is kept."""

import math
import statistics
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from headstart.config import TrainConfig
from headstart.datasets import stratified_folds
from headstart.files import parse_duration
from headstart.heads import fit_temperature, new_linear_head
from headstart.jobs.epochs import (
    fit_by_epochs,
    interpolation_of,
    judge_by_epochs,
    logits_on_the_way,
    refit_by_epochs,
    with_precision,
)
from headstart.jobs.finishing import Finish, best_finish, said_of
from headstart.jobs.inputs import Inputs, open_inputs
from headstart.jobs.probing import ViewedFeatures, load_views, probe_photos, soft_head
from headstart.jobs.techniques import fresh_trainee, start_of, suit
from headstart.jobs.trainee import Rows, Trainee, make_trainee
from headstart.jobs.work import HeldOut, Observers, Outcome, RunData, Work
from headstart.recipes import CURVES, Recipe, read_recipe
from headstart.training import SHARES, Epoch
from headstart.views import ORIGINAL

_JUDGING = 1 / 3  # what it costs to judge an image, of what it costs to train on it
_SPARE = 1.15
_LEAST_PROBABILITY = 1e-12
_MOST_FOLDS = 3
# A few hundred validation images more to train on make a difference. Where training takes longer there are more
# photos, and a fifth of them matters less.
_REFIT_WITHIN = 300.0
_CURVE_EPOCHS, _CURVE_STEPS = 25, 2000


def auto(work: Work) -> Outcome:
    """Probe, then fine-tune from the probe's head, and keep the better of the two.

    What the clock decides (precision, number of epochs) is noted in the run's options, and the bound on time is taken
    out of them, so that repeating the run does the same however fast the machine is then.
    """
    probe = probe_photos(work, work.backbone.cut(work.config.layer), (ORIGINAL,), "linear")
    work.interim(probe.classifier)
    if probe.held_out is None:
        work.observers.tell("The probe is fitted. Nothing can be held out, so it is kept as it is.")
        return _chosen(probe, "nothing could be held out to judge fine-tuning on")
    work.observers.tell(
        f"The probe is fitted, and right on {_accuracy(work.data, probe.held_out):.1%} of "
        f"{len(probe.held_out.rows)} held-out images. It can be used from now on."
    )
    probe = replace(probe, history=_curves(work))
    if work.config.stop_after == 0:
        return _chosen(probe, "no epoch of fine-tuning was asked for")
    tuning = _Tuning.prepare(work).plan()
    if tuning is None:
        return _chosen(probe, "there was no time for an epoch of fine-tuning")
    return tuning.against(probe)


def _curves(work: Work) -> list[tuple[str, Epoch]]:
    """How a head learns by epochs from the stored features, to be drawn beside fine-tuning's curves.

    For comparison only: the probe that can be kept was solved for.
    """
    recipe = read_recipe(TrainConfig(work.config.data), technique="probe")
    steps = math.ceil(len(work.data.rows("train")) / recipe.batch_size)
    recipe = replace(recipe, epochs=min(_CURVE_EPOCHS, max(1, _CURVE_STEPS // steps)))
    config = replace(work.config, stop_after=None, dtype="float32")
    quiet = replace(work, observers=Observers(), config=config, stored=True)
    end = work.backbone.cut(work.config.layer)
    head = new_linear_head(math.prod(end.shape), len(work.data.dataset.classes), seed=work.config.seed)
    trainee = make_trainee(quiet.backbone, start=end, end=end, head=head)
    return list(
        judge_by_epochs(quiet, recipe, lambda _: trainee, open_inputs(quiet, recipe, start=end)).history
    )


@dataclass(frozen=True, kw_only=True)
class _Tuning:
    """Fine-tuning from a probe's head, at the size that suits the photos.

    Attributes:
        work: with a network of that size, which is copied for each training.
        recipe: as the options have it; how many epochs there is time for is seen later.
        features: at the head's cut, which heads to start from are fitted to.
        inputs: of the training.
    """

    work: Work
    recipe: Recipe
    features: ViewedFeatures
    inputs: Inputs

    @classmethod
    def prepare(cls, work: Work) -> "_Tuning":
        """All that a training needs."""
        work, recipe = suit(work, read_recipe(work.config, technique="lp-ft"))
        features = load_views(work, work.backbone.cut(work.config.layer), (ORIGINAL,))
        inputs = open_inputs(work, recipe, start=start_of(work))
        return cls(work=work, recipe=recipe, features=features, inputs=inputs)

    @property
    def folds(self) -> int:
        """In how many folds fine-tuning is judged; 0 where there is a validation part."""
        record = self.work.data.record
        return min(record.folds, _MOST_FOLDS) if record.choice == "cross-validation" else 0

    @property
    def epochs(self) -> int:
        """How many there are to be."""
        planned = self.recipe.rates().epochs
        return min(planned, self.work.config.stop_after or planned)

    def plan(self) -> "_Tuning | None":
        """The same with as many epochs as there is time for; None where there is not even time for one."""
        if self.work.checkpoint.exists():  # it goes on as it was planned
            return self
        with self.inputs.source.session():
            trainee = self._trainee(self.work.data.rows("train"))
            work, speed = with_precision(self.work, self.recipe, trainee, self.inputs)
        return replace(self, work=work)._in_time(speed)

    def _in_time(self, speed: float) -> "_Tuning | None":
        work, data = self.work, self.work.data
        train, judged = len(data.rows("train")), len(data.rows("train" if self.folds else "val"))
        per_epoch = (train + _JUDGING * len(data.rows("val"))) / speed * _SPARE
        per_epoch *= max(1, self.folds)  # each fold leaves out its share; the last training has all
        tries = len(SHARES) if self.recipe.interpolate == "yes" else 1
        at_the_end = tries * _JUDGING * judged / speed * _SPARE
        epochs = self.epochs
        if work.config.time is not None:
            left = work.began + parse_duration(work.config.time) - time.monotonic()
            epochs = min(epochs, int((left - at_the_end) / per_epoch))
            work.decide("time", None)
            if epochs < 1:
                work.observers.tell(
                    f"An epoch of fine-tuning takes about {_duration(per_epoch + at_the_end)}, and "
                    f"{_duration(max(left, 0))} are left: the probe is kept."
                )
                work.decide("stop_after", 0)
                return None
        kept = "the probe" if self.folds else "the best so far"
        work.observers.tell(
            f"Fine-tuning {epochs} epochs at {work.backbone.preprocess.size} pixels takes about "
            f"{_duration(epochs * per_epoch + at_the_end)}. Ctrl-C ends it and keeps {kept}."
        )
        return self if epochs == self.epochs else self._shortened(epochs)

    def _shortened(self, epochs: int) -> "_Tuning":
        """The same with fewer epochs: on a curve as a whole, from a list of learning rates the first ones."""
        if self.recipe.schedule in CURVES:
            self.work.decide("epochs", epochs)
            return replace(self, recipe=replace(self.recipe, epochs=epochs))
        self.work.decide("stop_after", epochs)
        return replace(self, work=replace(self.work, config=replace(self.work.config, stop_after=epochs)))

    def against(self, probe: Outcome) -> Outcome:
        """Fine-tune, and keep what is better on images that neither has seen."""
        if self.folds:
            return self._against_by_folds(probe)
        tuned = self._train()
        if tuned is None:
            return self._ended(probe, "before its first epoch was over")
        better = _better(self.work, probe, tuned, tuned.held_out)
        return self._refitted(better) if better.technique == "lp-ft" else better

    def _refitted(self, judged: Outcome) -> Outcome:
        """The same trained anew on all images, validation's too, where there is time for it."""
        work, history = self.work, [epoch for phase, epoch in judged.history if phase == "finetune"]
        images = len(work.data.rows("train")) + len(work.data.rows("val"))
        expected = len(history) * images / statistics.median(epoch.images_per_second for epoch in history)
        wanted = work.config.refit
        if not judged.choice["completed"]:  # whoever pressed Ctrl-C has waited enough
            wanted = "no"
        elif wanted is None:
            bound = _REFIT_WITHIN if work.config.time is None else parse_duration(work.config.time)
            wanted = "yes" if time.monotonic() + expected * _SPARE <= work.began + bound else "no"
        work.decide("refit", wanted)
        if wanted == "no":
            return judged
        work.observers.tell(
            f"Training anew on all {images} images, validation's too, takes about {_duration(expected)}. "
            "Ctrl-C ends it and keeps what there is."
        )
        work.interim(judged.classifier)
        again = refit_by_epochs(work, self.recipe, self._trainee, self.inputs, judged, keeps_best=True)
        if again is None:
            work.decide("refit", "no")
            return judged
        return again

    def _against_by_folds(self, probe: Outcome) -> Outcome:
        """Judge fine-tuning out of fold; where it wins, train on all of train."""
        judged = self._out_of_fold()
        if judged is None:
            return self._ended(probe, "before it was judged")
        finish, held_out = judged
        if not _wins(self.work.data, probe, held_out):
            return _better(self.work, probe, None, held_out)
        tuned = self._train(finish)
        if tuned is None:
            return self._ended(probe, "before its last training was over")
        return _better(self.work, probe, replace(tuned, held_out=held_out), held_out)

    def _ended(self, probe: Outcome, when: str) -> Outcome:
        """The probe, where fine-tuning came to nothing, as it will when the run is repeated."""
        self.work.decide("stop_after", 0)
        return _chosen(probe, f"fine-tuning was ended {when}")

    def _out_of_fold(self) -> tuple[Finish, HeldOut] | None:
        """What networks said of training images that they were not trained on, and the finish that suits these best.

        None where Ctrl-C came.
        """
        data = self.work.data
        rows = data.rows("train")
        folds = stratified_folds(
            data.labels[rows], self.folds, self.work.config.seed, groups=data.groups(rows)
        )
        views = len(self.inputs.views) if self.work.config.average_views else 1
        found: dict[float, torch.Tensor] = {}
        for fold in range(self.folds):
            self.work.observers.tell(f"Fold {fold + 1} of {self.folds}, to judge fine-tuning.")
            trainee = self._trainee(rows[folds != fold])
            interpolation = interpolation_of(self.recipe, trainee)
            with self.inputs.source.session():
                trained = fit_by_epochs(
                    self.work,
                    self.recipe,
                    trainee,
                    self.inputs,
                    fit=rows[folds != fold],
                    check=rows[:0],
                    keeps_best=True,
                )
                if not trained.complete:
                    return None
                said = logits_on_the_way(self.work, trainee, self.inputs, interpolation, rows[folds == fold])
            for share, logits in said.items():
                of_all = found.setdefault(share, torch.empty(views, len(rows), logits.shape[1]))
                of_all[:, torch.from_numpy(folds == fold)] = logits.reshape(views, -1, logits.shape[1])
        flat = {share: logits.flatten(end_dim=1) for share, logits in found.items()}
        finish = best_finish(flat, torch.from_numpy(np.tile(data.labels[rows], views)))
        return finish, said_of(rows, flat[finish.share], finish)

    def _trainee(self, rows: Rows) -> Trainee:
        """A fresh copy of the network with a head that knows these images only."""
        return fresh_trainee(self.work, self.recipe, soft_head(self.work, self.features, rows))

    def _train(self, finish: Finish | None = None) -> Outcome | None:
        """Train on train, with a finish where one is known; None where Ctrl-C came too early.

        With a validation part each epoch is judged, and Ctrl-C or the clock may end it. What was judged by folds is
        the training as a whole.
        """
        work, deadline = self.work, math.inf
        if work.config.time is not None and not self.folds:
            deadline = work.began + parse_duration(work.config.time)
        tuned = judge_by_epochs(
            work,
            self.recipe,
            self._trainee,
            self.inputs,
            finish=finish,
            deadline=deadline,
            keeps_best=True,
        )
        if not tuned.history or (self.folds and not tuned.choice["completed"]):
            return None
        if len(tuned.history) < self.epochs:
            work.decide("stop_after", len(tuned.history))
        return tuned


def _accuracy(data: RunData, held_out: HeldOut) -> float:
    return float((held_out.probabilities.argmax(axis=1) == data.labels[held_out.rows]).mean())


def _log_loss(data: RunData, held_out: HeldOut) -> float:
    """How surprising the held-out images' classes are, in nats, at the temperature that suits them best."""
    logits = torch.from_numpy(held_out.probabilities).clamp_min(_LEAST_PROBABILITY).log()
    return fit_temperature(logits, torch.from_numpy(data.labels[held_out.rows]))[1]


def _wins(data: RunData, probe: Outcome, tuned: HeldOut) -> bool:
    """Whether fine-tuning is to be kept: where held-out images are no more surprising to it.

    A few dozen images differ in being right or wrong by one or two; how sure each answer is tells far more of them. But
    of so few that they are judged in folds, a probe is the safe choice: fine-tuning must also be right more often.
    """
    assert probe.held_out is not None
    if data.record.choice == "cross-validation" and _accuracy(data, tuned) <= _accuracy(data, probe.held_out):
        return False
    return _log_loss(data, tuned) <= _log_loss(data, probe.held_out)


def _better(work: Work, probe: Outcome, tuned: Outcome | None, held_out: HeldOut | None) -> Outcome:
    """The outcome that is kept, with both figures."""
    assert probe.held_out is not None
    assert held_out is not None
    kept = tuned if tuned is not None and _wins(work.data, probe, held_out) else probe
    words = ", ".join(
        f"{name} {_log_loss(work.data, said):.3f} ({_accuracy(work.data, said):.1%} right)"
        for name, said in (("probe", probe.held_out), ("lp-ft", held_out))
    )
    work.observers.tell(f"Log loss on {len(held_out.rows)} held-out images: {words}. Kept: {kept.technique}.")
    chosen = _chosen(kept, f"log loss on {len(held_out.rows)} held-out images: {words}")
    if tuned is None:
        return chosen
    return replace(
        chosen,
        path=probe.path,
        history=[*probe.history, *tuned.history],
        kept=tuned.kept,
        seconds={**probe.seconds, **tuned.seconds},
    )


def _chosen(outcome: Outcome, why: str) -> Outcome:
    """The outcome with the reason why it was kept."""
    return replace(outcome, choice={"technique": outcome.technique, "because": why, **outcome.choice})


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
