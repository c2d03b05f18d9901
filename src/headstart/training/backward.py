"""Gradients of a batch: of all of it at once, or piece by piece on a thread each, which a CPU likes better.

One product spread over all cores makes them wait for each other at every layer, and on a machine that does other work
too they wait many times longer than they compute. A piece of a few images stays in one core's cache from the first
layer to the last.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from headstart.threads import usable_cores
from headstart.training.machine import Machine

LossOf = Callable[[Tensor, Tensor], Tensor]
"""From logits (b, K) float32 and labels (b,) to their share of the batch's loss."""

# Whatever the number of cores: the order of sums, and with it the bits, do not depend on it.
_LEAST_PIECE, PIECE = 4, 8
"""Images that a thread works on at once: a quarter of a batch, but so many at least and at most."""


class Backward(Protocol):
    """Gives every parameter of a model the gradient of a batch's loss."""

    def __call__(self, inputs: Tensor, labels: Tensor, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """The loss, and how many of the labels were right; gradients are in the parameters."""
        ...


class WholeBatch:
    """All of a batch at once."""

    def __init__(self, model: nn.Module, machine: Machine) -> None:
        self._model, self._machine = model, machine
        self._parameters = list(model.parameters())

    def __call__(self, inputs: Tensor, labels: Tensor, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """See `Backward`."""
        with self._machine.autocast():
            logits = self._model(inputs)
        loss = loss_of(logits.float(), labels)
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), _right(logits, labels)


class Pieces:
    """A batch in pieces of four to eight images, each on one thread, forward and back; gradients add up in order."""

    def __init__(self, model: nn.Module, machine: Machine, pool: ThreadPoolExecutor) -> None:
        self._model, self._machine, self._pool = model, machine, pool
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def __call__(self, inputs: Tensor, labels: Tensor, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """See `Backward`."""

        def piece(rows: slice) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
            with self._machine.autocast():
                logits = self._model(inputs[rows])
            loss = loss_of(logits.float(), labels[rows])
            gradients = torch.autograd.grad(loss, self._parameters, materialize_grads=True)
            return loss.detach(), _right(logits, labels[rows]), gradients

        size = min(PIECE, max(_LEAST_PIECE, len(inputs) // 4))
        done = self._pool.map(piece, [slice(start, start + size) for start in range(0, len(inputs), size)])
        loss, right, gradients = next(done)
        for more_loss, more_right, more in done:
            loss, right = loss + more_loss, right + more_right
            torch._foreach_add_(list(gradients), list(more))
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            # A fused step walks through both side by side: they must lie in memory in the same order.
            same = gradient.stride() == parameter.stride()
            parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
        return loss, right


@contextmanager
def open_backward(model: nn.Module, machine: Machine, example: Tensor) -> Iterator[Backward]:
    """The better way for a model in train mode: in pieces on a CPU, where no image's share depends on the others.

    It does in a batch norm that takes its statistics from the batch, and in a dropout that draws for one image after
    the other from one generator.

    Args:
        model: as it is trained.
        machine: where.
        example: (b, ...) a few inputs.
    """
    if not suits_pieces(model, machine, example) or _mixes(model) or _draws(model, example):
        yield WholeBatch(model, machine)
        return
    with worker_pool(model) as pool:
        yield Pieces(model, machine, pool)


def suits_pieces(model: nn.Module, machine: Machine, example: Tensor) -> bool:
    """Whether pieces are faster: for maps on a CPU, but not where they are flattened and all layers are dense.

    There each piece would go through all the weights again.
    """
    if machine.device.type != "cpu" or example.ndim != 4:
        return False
    layers = (m for m in model.modules() if next(m.parameters(recurse=False), None) is not None)
    return not all(isinstance(layer, nn.Linear) for layer in layers)


@contextmanager
def worker_pool(model: nn.Module) -> Iterator[ThreadPoolExecutor]:
    """A thread for each core, whose products take that core only; all of a model's by oneDNN.

    Fewer than 16 images on one thread torch would convolve with kernels of 1 x 1 by a routine of its own, which takes
    a third longer for a training step of EfficientNet-Lite0 (`use_mkldnn` in its Convolution.cpp). With a dilation,
    which means nothing to a kernel of one position, it takes oneDNN's. On a GPU the model stays as it is.
    """
    pool = ThreadPoolExecutor(
        usable_cores(), "headstart-train", initializer=torch.set_num_threads, initargs=(1,)
    )
    pointwise = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and {*module.kernel_size, *module.dilation} == {1}
        and module.weight.device.type == "cpu"
    ]
    for convolution in pointwise:
        convolution.dilation = (2, 2)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for convolution in pointwise:
            convolution.dilation = (1, 1)


def _mixes(model: nn.Module) -> bool:
    """Whether a batch norm takes its statistics from the batch."""
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return any(norm.training or not norm.track_running_stats for norm in norms)


@torch.no_grad()
def _draws(model: nn.Module, example: Tensor) -> bool:
    """Whether a forward pass draws random numbers."""
    before = torch.get_rng_state()
    model(example)
    return not torch.equal(torch.get_rng_state(), before)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).sum()
