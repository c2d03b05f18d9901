"""Convolutions of a frozen prefix as oneDNN likes them: weights laid out once, activations applied on the way out.

torch lays a convolution's weights out anew in every call, and makes another pass over memory for the activation behind
it. `torch.compile` does neither, but compiles for half a minute; the operators that it would call are called here. They
are not public, so `packs_convolutions` asks for them, and the tests hold them to the plain network's features.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Final, Self

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn import functional as F

from headstart.runtimes.graphs import called_module, count_calls, replace_module

# What oneDNN calls an activation, and its arguments.
_ACTIVATIONS: Final[Mapping[type[nn.Module], tuple[str, list[float]]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}


def packs_convolutions(device: str) -> bool:
    """Whether this torch can do it on a device."""
    return (
        torch.device(device).type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(
            hasattr(torch.ops.mkldnn, name)
            for name in ("_convolution_pointwise", "_reorder_convolution_weight")
        )
    )


@torch.no_grad()
def pack_convolutions(prefix: nn.Module, *, batch_size: int, size: int, bf16: bool) -> nn.Module:
    """The same function with packed convolutions.

    Args:
        prefix: in eval mode, on the CPU, left as it is. What has not been traced is given back.
        batch_size: of the inputs.
        size: side of the inputs, (batch_size, 3, size, size) float32.
        bf16: multiply in bfloat16; the convolutions then take any floating dtype, and give bfloat16.

    Returns:
        A network in eval mode that shares with the prefix what is no convolution. A copy of it shares the packed
        weights, too.
    """
    if not isinstance(prefix, GraphModule):
        return prefix
    prefix = GraphModule(prefix, deepcopy(prefix.graph)).eval()
    shapes = _input_shapes(prefix, torch.zeros(1, 3, size, size))
    calls = count_calls(prefix)
    for node in list(prefix.graph.nodes):
        convolution = called_module(prefix, node)
        if not isinstance(convolution, nn.Conv2d) or not _is_plain(convolution) or calls[node.target] > 1:
            continue
        name, scalars = "none", list[float]()
        following = next(iter(node.users))
        if (kind := _activation(prefix, node, following)) is not None:
            name, scalars = _ACTIVATIONS[kind]
            following.replace_all_uses_with(node)
            prefix.graph.erase_node(following)
        shape = torch.Size((batch_size, *shapes[str(node.target)][1:]))
        replacement = _PackedConvolution(convolution, shape, activation=name, scalars=scalars, bf16=bf16)
        replace_module(prefix, node, replacement)
    prefix.recompile()
    return prefix


class _PackedConvolution(nn.Module):
    """A convolution and the activation behind it, for inputs of one shape."""

    def __init__(
        self, convolution: nn.Conv2d, shape: torch.Size, *, activation: str, scalars: list[float], bf16: bool
    ) -> None:
        super().__init__()
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        # left, right, top, bottom, as `F.pad` wants them; timm pads as TensorFlow does, more at the end.
        self._pad = _padding(convolution, shape)
        symmetric = self._pad[0] == self._pad[1] and self._pad[2] == self._pad[3]
        within = [self._pad[2], self._pad[0]] if symmetric else [0, 0]
        if symmetric:
            self._pad = (0, 0, 0, 0)
        else:
            left, right, top, bottom = self._pad
            shape = torch.Size((*shape[:2], shape[2] + top + bottom, shape[3] + left + right))
        steps = (within, list(convolution.stride), list(convolution.dilation), convolution.groups)
        weight = convolution.weight.to(self._dtype, memory_format=torch.channels_last)
        # Not a buffer: such a tensor can be neither copied nor saved as others can.
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *steps, list(shape))
        self._bias = None if convolution.bias is None else convolution.bias.to(self._dtype)
        self._rest = (*steps, activation, scalars, "")

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # it never changes, and oneDNN's weights cannot be copied

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, C, H, W) -> (b, C', H', W')."""
        inputs = inputs.to(self._dtype, memory_format=torch.channels_last)
        if any(self._pad):
            inputs = F.pad(inputs, self._pad)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            inputs, self._weight, self._bias, *self._rest
        )
        return result


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Whether it does what its attributes say, and no more."""
    kind = type(convolution)
    known = kind is nn.Conv2d or (kind.__module__.startswith("timm.") and kind.__name__ == "Conv2dSame")
    return known and convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


def _padding(convolution: nn.Conv2d, shape: torch.Size) -> tuple[int, int, int, int]:
    if type(convolution) is nn.Conv2d:
        above, beside = (int(side) for side in convolution.padding)
        return beside, beside, above, above
    top, left = (
        max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
        for side, stride, kernel, dilation in zip(
            shape[2:], convolution.stride, convolution.kernel_size, convolution.dilation, strict=True
        )
    )
    return left // 2, left - left // 2, top // 2, top - top // 2


def _activation(graph_module: GraphModule, node: Node, following: Node) -> type[nn.Module] | None:
    """What is applied to a convolution's output alone, if it is known here."""
    module = called_module(graph_module, following)
    if module is None or len(node.users) > 1 or type(module) not in _ACTIVATIONS:
        return None
    return type(module)


def _input_shapes(graph_module: GraphModule, example: Tensor) -> dict[str, torch.Size]:
    """What each convolution is given."""
    shapes: dict[str, torch.Size] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: shapes.__setitem__(name, inputs[0].shape)
        )
        for name, module in graph_module.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        graph_module(example)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes
