"""Runtimes: how a frozen prefix is run fast. The one seam for faster ones.

The package imports torch when it is first called for it, because what is compiled already needs none.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from headstart.errors import ConfigError
from headstart.images import Preprocess
from headstart.runtimes.kinds import DEFAULT_PRECISION, Precision, RuntimeName
from headstart.runtimes.memory import freed_memory_kept

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "DEFAULT_PRECISION",
    "Precision",
    "Runtime",
    "RuntimeName",
    "choose_device",
    "freed_memory_kept",
    "has_bf16",
    "load_runtime",
    "runtime_identity",
    "runtimes_for",
]


class Runtime(Protocol):
    """Runs a frozen prefix on batches of prepared images; `run` may be called from several threads."""

    batch_size: int

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
    import torch

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


def has_bf16(device: str) -> bool:
    """Whether the device may multiply bfloat16 itself, so that trying it is worth the time."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def runtimes_for(device: str, precision: Precision) -> tuple[RuntimeName, ...]:
    """What may compute features on a device here, the plainest first."""
    names = [RuntimeName.TORCH_FLOAT32]
    openvino = device == "cpu" and find_spec("openvino") is not None
    if openvino:
        names.append(RuntimeName.OPENVINO_FLOAT32)
    if precision == "fast" and has_bf16(device):
        names += [RuntimeName.TORCH_BF16, RuntimeName.OPENVINO_BF16] if openvino else [RuntimeName.TORCH_BF16]
    return tuple(names)


def runtime_identity(name: RuntimeName, device: str) -> dict[str, str]:
    """The part of the store key that is a runtime's: its class with the kind of device, and its precision."""
    import torch

    from headstart.runtimes.packing import packs_convolutions

    kind = torch.device(device).type
    torch_class = f"torch-{kind}-{'packed' if packs_convolutions(device) else 'folded'}"
    return {
        "runtime": f"openvino-{kind}" if name.compiled else torch_class,
        "precision": name.dtype,
    }


def load_runtime(
    prefix: nn.Module,
    preprocess: Preprocess,
    *,
    device: str = "cpu",
    name: RuntimeName = RuntimeName.TORCH_FLOAT32,
    converted: Path | None = None,
) -> Runtime:
    """A runtime for a frozen prefix on a device. What takes time is done when its session is opened.

    Args:
        prefix: the network, from (N, 3, size, size) float32 to features.
        preprocess: what images have been through, and their normalisation.
        device: "cpu", "cuda", "cuda:1", "mps".
        name: which.
        converted: file where a compiled runtime keeps the network as it has converted it, for this prefix and
            normalisation alone; None to convert it anew.

    Raises:
        ConfigError: there is no such runtime here for this device.
    """
    if not name.compiled:
        from headstart.runtimes.torch_runtime import TorchRuntime

        return TorchRuntime(prefix, preprocess, device=device, bf16=name.bf16)
    if name.in_float32() not in runtimes_for(device, "exact"):
        raise ConfigError(
            f"{name} does not run networks on {device!r} here.\nOpenVINO runs them on the CPU, once it is installed: "
            "pip install 'headstart[openvino]'. torch-float32 runs everywhere."
        )
    from headstart.runtimes.openvino_runtime import OpenVinoRuntime  # needs the extra

    return OpenVinoRuntime(prefix, preprocess, bf16=name.bf16, converted=converted)
