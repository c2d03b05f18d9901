"""Stages: a network's parameters in groups from the input to the output, for learning rates that differ by depth."""

from collections.abc import Iterator
from typing import Any

from timm.models import group_parameters
from torch import nn

_SEQUENCES = (nn.Sequential, nn.ModuleList)


def list_stages(network: Any) -> list[list[str]]:
    """The names of all parameters of a network, each in one stage, from the input to the output.

    As timm says, where the network is one of timm's: the stem, the stages of a convolutional network or the blocks
    of a transformer, the classifier. Else the network's children, with the children of each sequence in its place;
    what has no matrix of its own, as a norm, belongs to the stage before it.

    Args:
        network: an nn.Module, with a `group_matcher` or without.
    """
    if hasattr(network, "group_matcher"):
        return [
            list(names) for names in group_parameters(network, network.group_matcher(coarse=True)).values()
        ]
    stages: list[list[str]] = []
    waiting: list[str] = []  # what has no stage before it, such as a class token, belongs to the first
    for names, has_matrix in _children(network, ""):
        if has_matrix:
            stages.append([*waiting, *names])
            waiting = []
        else:
            (stages[-1] if stages else waiting).extend(names)
    return [*stages, waiting] if waiting else stages


def _children(module: nn.Module, path: str) -> Iterator[tuple[list[str], bool]]:
    """A module's own parameters and those of its children, each with whether there is a layer with a matrix."""
    own = [f"{path}{name}" for name, _ in module.named_parameters(recurse=False)]
    if own:
        yield own, False
    for name, child in module.named_children():
        inside = f"{path}{name}."
        if isinstance(child, _SEQUENCES):
            for i, step in child.named_children():
                yield _all(step, f"{inside}{i}.")
        elif _is_mostly_a_sequence(child):
            yield from _children(child, inside)
        else:
            yield _all(child, inside)


def _all(module: nn.Module, path: str) -> tuple[list[str], bool]:
    parameters = dict(module.named_parameters())
    return [f"{path}{name}" for name in parameters], any(p.ndim > 1 for p in parameters.values())


def _is_mostly_a_sequence(module: nn.Module) -> bool:
    """Whether more than half of its parameters stand in one sequence, as in a transformer's encoder."""
    sequences = [child for child in module.children() if isinstance(child, _SEQUENCES)]
    return any(2 * _size(child) > _size(module) for child in sequences)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
