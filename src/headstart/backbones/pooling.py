"""Pooling: prefixes that end beside the network's own way to its output."""

from typing import Any

from torch import Tensor, nn


class Averaged(nn.Module):
    """A prefix with an average over positions behind it.

    Args:
        prefix: gives features (N, ...).
        positions: which of their dimensions, without the batch's, to average over.
    """

    def __init__(self, prefix: nn.Module, positions: tuple[int, ...]) -> None:
        super().__init__()
        self.prefix = prefix
        self._dimensions = [i + 1 for i in positions]
        self.training = prefix.training

    def forward(self, x: Tensor) -> Tensor:
        """From pixels (N, 3, size, size) to vectors (N, channels)."""
        features: Tensor = self.prefix(x)
        return features.mean(dim=self._dimensions)


class PooledHead(nn.Module):
    """What a network of timm's pools before its classifier, as its own methods give it.

    Args:
        network: has `forward_features` and `forward_head`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        """From pixels (N, 3, size, size) to vectors (N, channels)."""
        network: Any = self.network
        pooled: Tensor = network.forward_head(network.forward_features(x), pre_logits=True)
        return pooled
