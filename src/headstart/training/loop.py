"""The loop: a network, or the part of it behind a frozen prefix, trained in epochs of shuffled mini-batches.

Everything random is drawn from (seed, epoch, step), never from a generator that runs along: so a training that was
killed and taken up from its last checkpoint ends with the same bits as one that was not.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import RunError, TrainingError
from headstart.recipes import Recipe
from headstart.runtimes import freed_memory_kept
from headstart.threads import one_thread
from headstart.training.backward import Backward, WholeBatch, open_backward
from headstart.training.checkpoint import Checkpoint, Epoch, Progress, read_checkpoint, write_checkpoint
from headstart.training.interruption import Interruption
from headstart.training.logits import logits_of, placed
from headstart.training.machine import Machine
from headstart.training.optimisers import (
    keep_running_statistics,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    set_rate,
)
from headstart.training.sources import Source

# Multiply-adds of a step, below which a second thread brings little on an idle machine and costs much on a busy one.
_ONE_THREAD_PRODUCTS = 100_000_000


class StepProgress(Protocol):
    """Told of every step."""

    def __call__(
        self, done_images: int, total_images: int, *, epoch: int, epochs: int, loss: float, accuracy: float
    ) -> None:
        """`done_images` of the epoch's `total_images` are behind us, with this running loss and accuracy."""
        ...


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Images with their labels.

    Attributes:
        source: gives their inputs; its session is open.
        labels: (n,) int64.
    """

    source: Source
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What stands around a training: who is told, what is saved, and what may end it.

    Attributes:
        checkpoint: file of the complete state, written after each epoch and at an interruption; None for none.
        identity: what is trained on what; a checkpoint of another identity is refused.
        interruption: asked after each step.
        deadline: value of `time.monotonic` after which no epoch is begun that would not end before it.
        step: told of every step.
        epoch: told as every epoch ends: all finished epochs, and how many there will be.
    """

    checkpoint: Path | None = None
    identity: str = ""
    interruption: Interruption = field(default_factory=Interruption)
    deadline: float = math.inf
    step: StepProgress | None = None
    epoch: Callable[[Sequence[Epoch], int], object] | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gave; body and head hold the kept weights.

    Where nothing is validated these are the weights at its end, also at one that came in the midst of an epoch.

    Attributes:
        history: the figures of each epoch.
        kept: number of the epoch whose weights are kept.
        complete: whether it came to its end, instead of an interruption.
        validation_logits: (m, K) float32 of the kept weights; None where nothing was validated.
    """

    history: tuple[Epoch, ...]
    kept: int
    complete: bool
    validation_logits: Tensor | None


def train_network(
    body: nn.Module,
    head: nn.Module,
    train: Examples,
    recipe: Recipe,
    *,
    validation: Examples | None = None,
    stages: list[list[str]] | None = None,
    class_weights: Tensor | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    stop_after: int | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train `head(body(inputs))` in place, minimising the mean cross-entropy.

    Args:
        body: from a source's inputs to features; `nn.Identity()` where only the head is trained.
        head: from features to logits (N, K).
        train: the images to train on.
        recipe: how.
        validation: looked at after each epoch, to choose the epoch whose weights are kept; never trained on.
        stages: names of the body's parameters, stage by stage, for the recipe's layer decay.
        class_weights: (K,) float32, what the loss of each class's images is multiplied by.
        seed: of the order of the images, and of dropout.
        device: where it runs.
        precision: "float32" or "bf16" (products in bfloat16, weights and sums in float32).
        stop_after: end after so many epochs of the schedule.
        watch: checkpoints, interruptions and progress.

    Returns:
        The figures; the weights are in `body` and `head`.

    Raises:
        TrainingError: the loss is no longer a number.
        RunError: the checkpoint belongs to another training, or is damaged.
        DiskFullError: there is no room for the checkpoint.
    """
    training = _Training(
        body=body,
        head=head,
        train=train,
        validation=validation,
        recipe=recipe,
        stages=stages or [],
        class_weights=class_weights,
        seed=seed,
        device=device,
        precision=precision,
        epochs=min(recipe.rates().epochs, stop_after or recipe.rates().epochs),
        watch=watch or Watch(),
    )
    # Dropout draws from torch's global generator: the caller gets it back as it was.
    with freed_memory_kept(), torch.random.fork_rng(), _threads(body, head, recipe):
        return training.run()


class _Training:
    """One training: the loop, and the state it saves and restores."""

    def __init__(
        self,
        *,
        body: nn.Module,
        head: nn.Module,
        train: Examples,
        validation: Examples | None,
        recipe: Recipe,
        stages: list[list[str]],
        class_weights: Tensor | None,
        seed: int,
        device: str,
        precision: str,
        epochs: int,
        watch: Watch,
    ) -> None:
        self.machine = Machine(device, precision)
        self.model = placed(body, head, self.machine)
        self.parameters = list(self.model.parameters())
        self.optimizer = make_optimizer(recipe, body, head, stages=stages)
        self.train, self.validation = train, validation
        self.recipe, self.schedule, self.epochs = recipe, recipe.rates(), epochs
        self.class_weights = None if class_weights is None else class_weights.to(self.machine.device)
        self.seed, self.watch = seed, watch
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.best_logits: Tensor | None = None
        self.backward: Backward = WholeBatch(self.model, self.machine)

    def run(self) -> Trained:
        """All epochs, from the last checkpoint on."""
        self.restore()
        self.learn()
        example = self.train.source.inputs(torch.arange(1), 0).to(self.machine.device)
        with open_backward(self.model, self.machine, example) as self.backward:
            while self.progress.epoch < self.epochs and not self.patience_is_over() and self.in_time():
                if not self.run_epoch():
                    self.save()
                    return self.result(complete=False)
                self.save()
            return self.result(complete=True)

    def learn(self) -> None:
        """Put the model into train mode, but for batch norms that are to stay as they are."""
        self.model.train()
        if self.recipe.batch_norm == "eval":
            keep_running_statistics(self.model)

    def run_epoch(self) -> bool:
        """One epoch, or what is left of it; False where it was interrupted."""
        progress, start = self.progress, time.perf_counter()
        batches = self.batches(progress.epoch)
        self.learn()
        done = sum(map(len, batches[: progress.step]))
        for step in range(progress.step, len(batches)):
            loss, right = self.run_step(batches[step], self.rate(step, len(batches)), step)
            progress.step, done = step + 1, done + len(batches[step])
            progress.loss += loss * len(batches[step])
            progress.right += right
            self.tell_step(done)
            if self.watch.interruption:
                progress.seconds += time.perf_counter() - start
                return False
        trained = progress.seconds + time.perf_counter() - start
        logits = None if self.validation is None else self.logits(self.validation)
        rate = self.rate(len(batches) - 1, len(batches))
        self.end_epoch(rate, logits, trained, progress.seconds + time.perf_counter() - start)
        return True

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of one of an epoch's steps."""
        return self.schedule.rate(self.progress.epoch + step / steps)

    def run_step(self, rows: Tensor, rate: float, step: int) -> tuple[float, int]:
        """One step on a batch: its mean loss, and how many were right, before it."""
        self.machine.seed(derived_seed(self.seed, self.progress.epoch, step))
        set_rate(self.optimizer, rate)
        own = self.machine.share(rows)
        inputs = self.train.source.inputs(own, self.progress.epoch).to(self.machine.device)
        labels = self.train.labels[own].to(self.machine.device)
        weight = self.weight(rows)
        loss, right = self.backward(inputs, labels, lambda logits, y: self.summed_loss(logits, y) / weight)
        self.machine.add_gradients(self.parameters)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimizer.step()
        # Both at once: each value that Python looks at makes it wait for a GPU.
        value, n_right = self.machine.total(torch.stack([loss, right])).tolist()
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value} in epoch {self.progress.epoch + 1}, step {step + 1}, at a learning rate of "
                f"{rate:.2g}.\nTry a lower one: --lr {rate / 10:.1g}."
            )
        return value, int(n_right)

    def summed_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of some images, added up."""
        return F.cross_entropy(
            logits,
            labels,
            weight=self.class_weights,
            label_smoothing=self.recipe.label_smoothing,
            reduction="sum",
        )

    def weight(self, rows: Tensor) -> float:
        """What images count together."""
        if self.class_weights is None:
            return len(rows)
        return float(self.class_weights.cpu()[self.train.labels[rows]].sum())

    def end_epoch(self, rate: float, logits: Tensor | None, trained: float, seconds: float) -> None:
        """Note the epoch's figures, and its weights where they are the best so far."""
        progress, n = self.progress, len(self.train)
        loss, accuracy = None, None
        if logits is not None and self.validation is not None:
            loss = float(F.cross_entropy(logits.double(), self.validation.labels))
            accuracy = float((logits.argmax(dim=1) == self.validation.labels).double().mean())
        epoch = Epoch(
            number=progress.epoch + 1,
            lr=rate,
            train_loss=progress.loss / n,
            train_accuracy=progress.right / n,
            validation_loss=loss,
            validation_accuracy=accuracy,
            images_per_second=n / trained,
            seconds=seconds,
        )
        self.progress = Progress(epoch=epoch.number, history=[*progress.history, epoch], best=progress.best)
        if self.is_better(epoch):
            self.progress.best, self.best_logits = epoch.number, logits
            self.keep_weights()
        if self.watch.epoch is not None:
            self.watch.epoch(self.progress.history, self.epochs)

    def keep_weights(self) -> None:
        """Copy the weights of this moment; where nothing chooses among epochs, the model's own at the end are kept."""
        if self.validation is None:
            return
        state = {name: value.detach() for name, value in self.model.state_dict().items()}
        if not self.best:
            self.best = {name: torch.empty_like(value) for name, value in state.items()}
        for name, value in state.items():
            self.best[name].copy_(value)

    def is_better(self, epoch: Epoch) -> bool:
        """Whether this epoch's weights are to be kept: by accuracy, then by loss."""
        if self.recipe.keep == "last" or self.validation is None or not self.progress.best:
            return True
        return _merit(epoch) > _merit(self.progress.history[self.progress.best - 1])

    def patience_is_over(self) -> bool:
        """Whether validation has not gained for too long."""
        waited = self.progress.epoch - self.progress.best
        return 0 < self.recipe.patience <= waited and self.validation is not None

    def in_time(self) -> bool:
        """Whether another epoch would end before the deadline, going by the slowest so far."""
        slowest = max((epoch.seconds for epoch in self.progress.history), default=0.0)
        return time.monotonic() + slowest <= self.watch.deadline

    def result(self, *, complete: bool) -> Trained:
        """Put the kept weights into place."""
        if self.best:
            self.model.load_state_dict(self.best)
            if self.best_logits is None and self.validation is not None:  # they came from a checkpoint
                self.best_logits = self.logits(self.validation)
        self.model.eval().cpu()
        return Trained(
            history=tuple(self.progress.history),
            kept=self.progress.best,
            complete=complete,
            validation_logits=self.best_logits,
        )

    def batches(self, epoch: int) -> list[Tensor]:
        """The rows of each step of an epoch, shuffled by (seed, epoch)."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch))
        order = torch.randperm(len(self.train), generator=generator)
        rows = list(torch.split(order, self.recipe.batch_size))
        # A batch norm has nothing to normalise in a single image.
        if len(rows) > 1 and len(rows[-1]) < 2 * self.machine.processes:
            rows[-2:] = [torch.cat(rows[-2:])]
        return rows

    def logits(self, examples: Examples) -> Tensor:
        """Logits (n, K) float32 of images as they are, by the weights of this moment."""
        return logits_of(self.model, examples.source, self.machine, batch_size=self.recipe.batch_size)

    def tell_step(self, done: int) -> None:
        """Progress within the epoch."""
        if self.watch.step is not None:
            self.watch.step(
                done,
                len(self.train),
                epoch=self.progress.epoch + 1,
                epochs=self.epochs,
                loss=self.progress.loss / done,
                accuracy=self.progress.right / done,
            )

    def save(self) -> None:
        """Write the complete state."""
        if self.watch.checkpoint is None or not self.machine.is_first:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        write_checkpoint(
            self.watch.checkpoint,
            Checkpoint(identity=self.watch.identity, progress=self.progress, tensors=tensors),
        )

    def restore(self) -> None:
        """Go on from the checkpoint, where there is one."""
        if self.watch.checkpoint is None or (saved := read_checkpoint(self.watch.checkpoint)) is None:
            return
        if saved.identity != self.watch.identity:
            raise RunError(
                f"The checkpoint {self.watch.checkpoint} belongs to another training: photos, options or versions "
                "have changed since.\nRemove it, and the training begins anew."
            )
        self.model.load_state_dict(saved.part("model"))
        restore_optimizer(self.optimizer, saved.part("optimizer"))
        self.best, self.progress = saved.part("best"), saved.progress


def _threads(body: nn.Module, head: nn.Module, recipe: Recipe) -> AbstractContextManager[None]:
    """One thread for the small steps of a head alone."""
    products = recipe.batch_size * sum(parameter.numel() for parameter in head.parameters())
    alone = next(body.parameters(), None) is None
    return one_thread() if alone and products < _ONE_THREAD_PRODUCTS else nullcontext()


def derived_seed(seed: int, *numbers: int) -> int:
    """A seed of 63 bits from a run's seed and where in the training it is for."""
    text = ",".join(map(str, (seed, *numbers)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _merit(epoch: Epoch) -> tuple[float, float]:
    """What an epoch's weights are judged by."""
    return epoch.validation_accuracy or 0.0, -(epoch.validation_loss or 0.0)
