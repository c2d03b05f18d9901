"""Runtimes: how a frozen prefix is run fast. The one seam for faster ones."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.errors import ConfigError
from headstart.images import Preprocess
from headstart.runtimes.memory import freed_memory_kept
from headstart.runtimes.torch_runtime import TorchRuntime

__all__ = ["Runtime", "choose_device", "freed_memory_kept", "load_runtime"]


class Runtime(Protocol):
    """Runs a frozen prefix on batches of prepared images; `run` may be called from several threads."""

    batch_size: int

    @property
    def identity(self) -> dict[str, str]:
        """The part of the store key that is the runtime's: its class and precision."""
        ...

    def run(self, images: list[Tensor]) -> NDArray[Any]:
        """(len(images), ...) float32 features of up to `batch_size` uint8 (3, size, size) images."""
        ...

    def session(self) -> AbstractContextManager[None]:
        """To be open around all calls of `run`."""
        ...

    def start_worker(self) -> None:
        """To be called first in each thread that will call `run`."""
        ...


def choose_device(device: str) -> str:
    """The device that `--device` means; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: torch does not know it, or cannot reach it on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).cpu()  # "meta" can be had, but computes nothing
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"Device {device!r} cannot be used here: {reason}\nUse cpu, cuda, mps or auto."
        ) from error
    return device


def load_runtime(prefix: nn.Module, preprocess: Preprocess, *, device: str = "cpu") -> Runtime:
    """The runtime for a frozen prefix on a device."""
    return TorchRuntime(prefix, preprocess, device=device)
