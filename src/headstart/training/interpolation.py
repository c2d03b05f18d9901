"""Weights between those a training began with and those it ended with.

WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv:2109.01903, equation 1). A network that
was fine-tuned on few photos has learned them better than it has learned what they stand for. Part of the way back to
the pretrained weights, it is surer of the right things.
"""

from typing import Final

import torch
from torch import Tensor, nn

SHARES: Final[tuple[float, ...]] = (0.2, 0.4, 0.6, 0.8, 1.0)
"""How much of the way from the first weights to the last is tried where held-out images can tell."""
DEFAULT_SHARE: Final = 0.5
"""How much where none can: what the paper (section 4) advises."""


class Interpolation:
    """Moves a network between the weights it has now and those that it is trained to.

    Args:
        body: module before the head.
        head: module behind it. Both are to be trained in place after this.
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        self._model = nn.Sequential(body, head)
        self._first = self._copied()
        self._last: dict[str, Tensor] | None = None

    def go(self, share: float) -> None:
        """Set the weights, and running statistics, to `first + share * (last - first)`; 1 gives the last, bit for bit.

        The first call takes the weights of that moment for the last.
        """
        if self._last is None:
            self._last = self._copied()
        with torch.no_grad():
            for name, value in self._floats().items():
                value.copy_(self._last[name])
                if share != 1:
                    value.lerp_(self._first[name], 1 - share)

    def _floats(self) -> dict[str, Tensor]:
        state = self._model.state_dict()
        return {name: value for name, value in state.items() if value.is_floating_point()}

    def _copied(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self._floats().items()}
