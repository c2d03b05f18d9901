"""Temperature scaling: one number that makes a head's probabilities mean what they say."""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

# Beyond e^-5 to e^4 a temperature says that the logits tell nothing, or everything.
_BOUNDS = (-5.0, 4.0)
_TOLERANCE = 1e-2


def fit_temperature(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The temperature at which held-out images are least surprising.

    Guo et al. 2017 ("On Calibration of Modern Neural Networks", section 4.2), with the targets smoothed as in Platt
    1999 ("Probabilistic outputs for support vector machines", section 2.2): without it, a small held-out set that is
    all right would ask for infinite confidence.

    Args:
        logits: (n, K), of images the head has not been fitted to.
        labels: (n,) int64.

    Returns:
        The temperature T, to divide the logits by, and the smoothed mean cross-entropy (nats) at it.
    """
    smoothing = 1 / (len(labels) + 2)
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return float(torch.nn.functional.cross_entropy(scaled, labels, label_smoothing=smoothing))

    found = minimize_scalar(loss, bounds=_BOUNDS, method="bounded", options={"xatol": _TOLERANCE})
    return math.exp(float(found.x)), float(found.fun)
