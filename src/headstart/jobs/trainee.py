"""The network that a training changes: what is frozen, what is trained, and the head."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.backbones import Backbone, Cut

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """A network to train: frozen up to a cut, trained from there on.

    Attributes:
        backbone: the network, this training's own to change.
        start: where the frozen prefix ends; None where training starts at the pixels.
        end: the cut whose features the head takes.
        head: module from these features to logits (N, K).
        body: what lies between the cuts.
        stages: names of the body's parameters, stage by stage.
    """

    backbone: Backbone
    start: Cut | None
    end: Cut
    head: nn.Module
    body: nn.Module
    stages: list[list[str]] = field(default_factory=list)

    @property
    def phase(self) -> str:
        """What the training is called in the history: only a head's is a probe."""
        return "probe" if self.start is not None and self.start.name == self.end.name else "finetune"


class ShowingFeatures(nn.Module):
    """A head that also shows what it was given: logits (N, K) and beside them features (N, C), as one.

    Args:
        head: from the features of a cut to logits.
        cut: the features are averaged over its positions.
    """

    def __init__(self, head: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.head, self._cut = head, cut

    def forward(self, x: Tensor) -> Tensor:
        """Both, float32."""
        # The features first: a head may begin with an in-place ReLU.
        features = self._cut.mean_over_positions(x).clone()
        return torch.cat([self.head(x).float(), features.float()], dim=1)


TraineeOf = Callable[[Rows], Trainee]
"""Makes a network to be trained on these images; each time a fresh one."""


def make_trainee(backbone: Backbone, *, start: Cut | None, end: Cut, head: nn.Module) -> Trainee:
    """Put a head behind a network."""
    return Trainee(
        backbone=backbone,
        start=start,
        end=end,
        head=head,
        body=backbone.part(start, end),
        stages=backbone.stages(start, end),
    )
