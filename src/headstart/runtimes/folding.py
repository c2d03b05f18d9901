"""Batch norms folded into the convolutions before them: the same function of an image, in fewer passes over memory."""

from copy import deepcopy

from torch import nn
from torch.fx import GraphModule, Node
from torch.nn.utils import fuse_conv_bn_eval

from headstart.runtimes.graphs import called_module, count_calls, replace_module


def fold_batch_norms(prefix: nn.Module) -> nn.Module:
    """The same function with no batch norm behind a convolution that nothing else uses, and nothing that does nothing.

    Args:
        prefix: in eval mode, left as it is. What has not been traced is given back.

    Returns:
        A network in eval mode that shares with the prefix what has not been folded. It computes the same but for
        rounding.
    """
    if not isinstance(prefix, GraphModule):
        return prefix
    folded = GraphModule(prefix, deepcopy(prefix.graph)).eval()  # a new graph module is in train mode
    calls = count_calls(folded)
    for node in list(folded.graph.nodes):
        before = node.args[0] if node.args else None
        if not isinstance(before, Node) or len(before.users) > 1:
            continue
        norm, convolution = called_module(folded, node), called_module(folded, before)
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(convolution, nn.Conv2d):
            continue
        if norm.running_mean is None or calls[node.target] > 1 or calls[before.target] > 1:
            continue
        replace_module(folded, before, fuse_conv_bn_eval(convolution, norm))
        replace_module(folded, node, _what_follows(norm))
    for node in list(folded.graph.nodes):
        if isinstance(called_module(folded, node), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            folded.graph.erase_node(node)
    folded.recompile()
    return folded


def _what_follows(norm: nn.BatchNorm2d) -> nn.Module:
    """What a batch norm does beside normalising: timm's have an activation of their own."""
    named = (getattr(norm, name, None) for name in ("drop", "act"))
    steps = [step for step in named if step is not None and not isinstance(step, nn.Identity)]
    if not steps:
        return nn.Identity()
    return steps[0] if len(steps) == 1 else nn.Sequential(*steps)
