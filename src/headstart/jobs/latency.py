"""How long a classifier thinks about one image."""

import statistics
import time
from copy import deepcopy
from typing import Final

import torch
from torch import nn

from headstart.classifier import Classifier
from headstart.threads import one_thread

HOW: Final = (
    "median forward pass of one image at a time, plain PyTorch in float32 on one thread, without reading and "
    "decoding"
)
"""What the figure is, and what it leaves out."""

_SECONDS, _LEAST_PASSES, _MOST_PASSES = 0.25, 3, 20


def measure_latency(classifier: Classifier, device: str) -> float:
    """Milliseconds for one image, all of the classifier's views included; `HOW` says what is measured.

    Args:
        classifier: network and head.
        device: where it is to run.
    """
    network: nn.Module = nn.Sequential(
        classifier.backbone.prefix(classifier.cut).eval(), classifier.head.eval()
    )
    if device != "cpu":
        network = deepcopy(network).to(device)
    size = classifier.backbone.preprocess.size
    image = torch.zeros(1, 3, size, size, device=device)
    passes: list[float] = []
    # On one thread: on a machine that does other work too, several take most of their time to meet.
    with one_thread(), torch.inference_mode():
        network(image).cpu()  # the first one allocates
        while len(passes) < _LEAST_PASSES or (sum(passes) < _SECONDS and len(passes) < _MOST_PASSES):
            start = time.perf_counter()
            network(image).cpu()  # only what has arrived is done
            passes.append(time.perf_counter() - start)
    return 1000 * statistics.median(passes) * len(classifier.views)
