"""Calibration: a trained network's probabilities are made to mean what they say."""

import torch
from torch import Tensor, nn

from headstart.heads import fit_temperature


def calibrate_head(head: nn.Module, logits: Tensor, labels: Tensor) -> float:
    """Divide a head's logits by the temperature that suits held-out images; see `fit_temperature` and `soften_head`.

    Args:
        head: changed in place.
        logits: (m, K) that it gave for images it has not been trained on.
        labels: (m,) int64, their classes.

    Returns:
        The temperature.
    """
    temperature, _ = fit_temperature(logits, labels)
    soften_head(head, temperature)
    return temperature


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
