"""Batch norms folded into the convolutions before them: the same function of an image, in fewer passes over memory."""

from copy import deepcopy

from torch import nn
from torch.fx import GraphModule, Node
from torch.nn.utils import fuse_conv_bn_eval


def fold_batch_norms(prefix: nn.Module) -> nn.Module:
    """A copy in which no batch norm follows a convolution that nothing else uses, and nothing does nothing.

    Args:
        prefix: in eval mode, left as it is. What has not been traced is copied without a change.

    Returns:
        The copy, in eval mode. It computes the same but for rounding.
    """
    folded = deepcopy(prefix).eval()  # a copied graph module is in train mode
    if not isinstance(folded, GraphModule):
        return folded
    calls: dict[object, int] = {}
    for node in folded.graph.nodes:
        calls[node.target] = calls.get(node.target, 0) + 1
    for node in list(folded.graph.nodes):
        before = node.args[0] if node.args else None
        if not isinstance(before, Node) or len(before.users) > 1:
            continue
        norm, convolution = _module_of(folded, node), _module_of(folded, before)
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(convolution, nn.Conv2d):
            continue
        # A module that is called twice is another function each time.
        if norm.running_mean is None or calls[node.target] > 1 or calls[before.target] > 1:
            continue
        _replace(folded, str(before.target), fuse_conv_bn_eval(convolution, norm))
        _replace(folded, str(node.target), _what_follows(norm))
    for node in list(folded.graph.nodes):
        if isinstance(_module_of(folded, node), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            folded.graph.erase_node(node)
    folded.recompile()
    return folded


def _module_of(graph_module: GraphModule, node: Node) -> nn.Module | None:
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _what_follows(norm: nn.BatchNorm2d) -> nn.Module:
    """What a batch norm does beside normalising: timm's have an activation of their own."""
    named = (getattr(norm, name, None) for name in ("drop", "act"))
    steps = [step for step in named if step is not None and not isinstance(step, nn.Identity)]
    if not steps:
        return nn.Identity()
    return steps[0] if len(steps) == 1 else nn.Sequential(*steps)


def _replace(graph_module: GraphModule, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(graph_module.get_submodule(parent), own, module)
