"""Optimisers: which parameter takes which step."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from headstart.recipes import Recipe

RATE_FACTOR = "rate_factor"
"""Key of a parameter group: what the schedule's learning rate is multiplied by."""


def make_optimizer(
    recipe: Recipe, body: nn.Module, head: nn.Module, *, stages: Sequence[Iterable[str]] = ()
) -> Optimizer:
    """An optimiser over the parameters of a body and a head.

    Weights decay; vectors (biases, the scales and shifts of norms) do not, as their size is no capacity (He et al.
    2019, arXiv:1812.01187, section 3.1). With a `layer_decay` below 1 the learning rate falls by that factor from
    the head to the last stage of the body, and from each stage to the one before it (Howard & Ruder 2018,
    arXiv:1801.06146, section 3.2).

    Args:
        recipe: optimizer, weight decay, momentum and layer decay.
        body: its parameters come first in the data's way.
        head: the rest.
        stages: names of the body's parameters, stage by stage from the input; those of no stage count to the first.
    """
    stage_of = {name: i for i, names in enumerate(stages) for name in names}
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in body.named_parameters():
        depth = len(stages) - stage_of.get(name, 0) if stages else 1
        _put(groups, recipe, parameter, recipe.layer_decay**depth)
    for parameter in head.parameters():
        _put(groups, recipe, parameter, 1.0)
    return _make(
        recipe,
        [
            {"params": parameters, "weight_decay": decay, RATE_FACTOR: factor}
            for (factor, decay), parameters in groups.items()
        ],
    )


def _put(
    groups: dict[tuple[float, float], list[Tensor]], recipe: Recipe, parameter: nn.Parameter, factor: float
) -> None:
    if parameter.requires_grad:
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)


def _make(recipe: Recipe, groups: list[dict[str, object]]) -> Optimizer:
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(groups, lr=recipe.lr, fused=True)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group its learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[RATE_FACTOR]


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's memory (moments, numbers of steps) as `PARAMETER.KEY`, parameters by number."""
    return {
        f"{number}.{key}": value
        for number, memory in optimizer.state_dict()["state"].items()
        for key, value in memory.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser of the same parameters the memory that `optimizer_tensors` took."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        # A fused step walks through parameter and moments side by side: they must lie in memory in the same order.
        like = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        state.setdefault(int(number), {})[key] = like
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def keep_running_statistics(model: nn.Module) -> None:
    """Put batch norms into eval mode within a model in train mode: they use their statistics as they are."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
