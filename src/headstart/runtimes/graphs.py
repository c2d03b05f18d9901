"""What is asked of a traced network, and done to it, before it is run."""

from collections import Counter

from torch import nn
from torch.fx import GraphModule, Node


def called_module(graph_module: GraphModule, node: Node) -> nn.Module | None:
    """The module that a node calls; None where it calls none."""
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def count_calls(graph_module: GraphModule) -> Counter[object]:
    """How often each target is called. A module that is called twice is another function each time."""
    return Counter(node.target for node in graph_module.graph.nodes)


def replace_module(graph_module: GraphModule, node: Node, module: nn.Module) -> None:
    """Put a module in the place of the one that a node calls."""
    parent, _, own = str(node.target).rpartition(".")
    setattr(graph_module.get_submodule(parent), own, module)
