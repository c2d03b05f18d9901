"""Pooling: what a network of timm's classifies with, as its own methods give it, beside its way to the output."""

import copy
import inspect
from types import FunctionType
from typing import Any, Final

import torch
from torch import Tensor, nn

from headstart.backbones.cut import Cut
from headstart.backbones.keeping import attributes_kept
from headstart.errors import BackboneError
from headstart.threads import one_thread

POOLED_HEAD: Final = "forward_head"


def has_pooling(network: nn.Module) -> bool:
    """Whether a network has the methods."""
    return hasattr(network, "forward_features") and hasattr(network, POOLED_HEAD)


def pooling(network: Any) -> nn.Module:
    """The network, but from pixels (N, 3, size, size) to what it pools, (N, channels).

    It is the same network, with the same modules and tensors under the same names; only its forward is another.

    Args:
        network: has `forward_features` and `forward_head`.
    """
    kind = type(network)
    # torch.fx looks in a forward's own globals for the functions of timm's that it must not follow.
    forward = FunctionType(_pool.__code__, inspect.unwrap(kind.forward_features).__globals__, "forward")
    other: nn.Module = copy.copy(network)
    other.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return other


def _pool(network: Any, x: Tensor) -> Tensor:
    pooled: Tensor = network.forward_head(network.forward_features(x), pre_logits=True)
    return pooled


def pooled_cut(network: nn.Module, size: int) -> Cut:
    """The cut that `pooling` ends in, found by running it on one image of zeros.

    Raises:
        BackboneError: the network does not take images of that size.
    """
    device = next(network.parameters()).device
    with attributes_kept(network), one_thread(), torch.inference_mode():
        try:
            features = pooling(network).eval()(torch.zeros(1, 3, size, size, device=device))
        except Exception as error:  # whatever a foreign forward() raises
            raise BackboneError(
                f"{type(network).__name__} does not run on images of {size} pixels: {error}"
            ) from error
    parameters = sum(p.numel() for p in network.parameters())
    return Cut(name=POOLED_HEAD, shape=tuple(features.shape[1:]), parameters=parameters, goes_on=False)
