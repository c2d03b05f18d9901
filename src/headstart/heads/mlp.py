"""The head with one hidden layer, as small classifiers on stored codes have it."""

import torch
from torch import Tensor, nn

from headstart.heads.linear import begin_dense

HIDDEN_UNITS = 1000


class MlpHead(nn.Module):
    """Flatten, a dense hidden layer, ReLU, a dense layer: features (N, D) or (N, C, H, W) to logits (N, K).

    Weights begin as Glorot's uniform ones (Glorot & Bengio 2010, equation 16), biases as 0, which are the defaults of
    TensorFlow's dense layers. They depend on the seed alone: no global generator is read or moved.

    Args:
        width: D, the values of an image's features.
        n_classes: K.
        hidden: units of the hidden layer.
        seed: of the weights.
    """

    def __init__(self, width: int, n_classes: int, *, hidden: int = HIDDEN_UNITS, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = begin_dense(nn.Linear(width, hidden, device="meta"), generator)
        self.output = begin_dense(nn.Linear(hidden, n_classes, device="meta"), generator)

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.output(torch.relu(self.hidden(features.flatten(1))))
        return logits
