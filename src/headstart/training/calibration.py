"""Calibration: a trained network's probabilities are made to mean what they say."""

import torch
from torch import nn


def soften_head(head: nn.Module, temperature: float) -> None:
    """Divide a head's logits by a temperature, in place.

    The temperature goes into the last layer's weights. Behind it there is at most what a positive factor passes
    through: a ReLU, an average, a flattening.
    """
    last = [module for module in head.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight /= temperature
        if last.bias is not None:
            last.bias /= temperature
