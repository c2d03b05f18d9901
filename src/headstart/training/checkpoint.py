"""Checkpoints: the complete state of a training in one file that is either whole or not there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from headstart.errors import RunError
from headstart.files import atomic_write

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The figures of one epoch.

    The train figures are running means over the epoch, as the reference programs print them: each image is judged by
    the weights just before the step that it takes part in, so they lag behind what the weights are worth at its end.
    The validation figures are those of the weights at the end of the epoch; None where nothing is validated.

    Attributes:
        number: from 1.
        lr: learning rate of the epoch's last step.
        train_loss: mean of what is minimised (label smoothing and class weights included), in nats.
        train_accuracy: 0 to 1.
        validation_loss: mean cross-entropy in nats.
        validation_accuracy: 0 to 1.
        images_per_second: trained on, validation not counted.
        seconds: wall time, validation included.
    """

    number: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    images_per_second: float
    seconds: float


@dataclass(kw_only=True)
class Progress:
    """Where a training stands.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished steps of the next epoch.
        loss: sum over the images of that epoch so far.
        right: how many of them were right.
        seconds: that epoch has taken so far.
        history: the finished epochs.
        best: number of the epoch whose weights are kept; 0 before the first.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    right: int = 0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    best: int = 0


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training at one moment.

    Attributes:
        identity: what is trained on what and how; a checkpoint serves no other training.
        progress: where it stands.
        tensors: `model.*`, `optimizer.*` and `best.*`.
    """

    identity: str
    progress: Progress
    tensors: Mapping[str, Tensor]

    def part(self, start: str) -> dict[str, Tensor]:
        """The tensors under one of these names, without it."""
        return {
            name.removeprefix(f"{start}."): value
            for name, value in self.tensors.items()
            if name.startswith(f"{start}.")
        }


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file in one step.

    Raises:
        DiskFullError: there is no room; the earlier checkpoint is still there.
    """
    state = {"format": _FORMAT, "identity": checkpoint.identity, "progress": asdict(checkpoint.progress)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    atomic_write(path, safetensors.torch.save(tensors, metadata={"state": json.dumps(state)}))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint in a file; None where there is none.

    Raises:
        RunError: the file is damaged or of another version.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        _require_format(state["format"])
        history = [Epoch(**row) for row in state["progress"].pop("history")]
        progress = Progress(**state["progress"], history=history)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"The checkpoint {path} cannot be read: {error}.\nRemove it, and the training begins anew."
        ) from error
    return Checkpoint(identity=state["identity"], progress=progress, tensors=tensors)


def _require_format(found: object) -> None:
    if found != _FORMAT:
        raise ValueError(f"it has format {found!r}, and this headstart reads {_FORMAT}")
