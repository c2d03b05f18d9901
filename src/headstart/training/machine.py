"""Where a training runs: device, precision, and how many processes share the work (through accelerate)."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn


class Machine:
    """A device, and this process' place among those that `accelerate launch` has started: usually the only one.

    Each process takes every n-th image of a batch, and their gradients are added up, so that a step is the same as
    that of one process but for the order of the sums. Precision is autocast's own and not accelerate's, which allows
    one for all trainings of a process.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps"; with several processes each has its own GPU.
        precision: "float32" or "bf16".
    """

    def __init__(self, device: str, precision: str) -> None:
        self._state = PartialState(cpu=torch.device(device).type == "cpu")
        self.device = self._state.device if self.processes > 1 else torch.device(device)
        self._precision = precision

    @property
    def processes(self) -> int:
        """How many there are."""
        return int(self._state.num_processes)

    @property
    def is_first(self) -> bool:
        """Whether it is this process that writes files."""
        return bool(self._state.is_main_process)

    def seed(self, number: int) -> None:
        """Let what is drawn from now on, as by dropout, follow from a number.

        As `torch.manual_seed`, for the generators of this device alone: that one looks for all kinds of devices, which
        takes as long as a step of a small head.
        """
        torch.default_generator.manual_seed(number)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(number)

    def share(self, rows: Tensor) -> Tensor:
        """This process' share of a batch's rows."""
        return rows if self.processes == 1 else rows[self._state.process_index :: self.processes]

    def autocast(self) -> AbstractContextManager[object]:
        """Products in bfloat16, where that was asked for."""
        if self._precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a value over all processes."""
        return value if self.processes == 1 else _sum(value)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all processes' gradients."""
        if self.processes > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad = _sum(parameter.grad)


def _sum(value: Tensor) -> Tensor:
    summed: Tensor = reduce(value, reduction="sum")
    return summed
