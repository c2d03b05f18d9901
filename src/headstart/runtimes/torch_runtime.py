"""The torch runtime: channels-last, inference mode, small batches, one thread a batch."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.images import Preprocess, normalise
from headstart.runtimes.folding import fold_batch_norms
from headstart.runtimes.memory import freed_memory_kept
from headstart.runtimes.packing import pack_convolutions, packs_convolutions
from headstart.threads import one_thread

# Activations of a small batch stay in the cache: on CPUs these measured faster than twice and half as many.
_CPU_BATCH: Final = {False: 4, True: 8}  # in float32, in bf16
_GPU_BATCH = 64


class TorchRuntime:
    """Runs a frozen prefix in eager torch.

    Every batch has the same shape (a short one is padded), and on a CPU each runs on one thread, so an image's
    features do not depend on which images it came with nor on the number of threads.

    Args:
        prefix: module that takes (N, 3, size, size) float32; it is put into eval mode, and a copy is moved to `device`.
        preprocess: the normalisation, done on the device.
        device: "cpu", "cuda", "cuda:1", "mps".
        bf16: multiply in bfloat16.
    """

    def __init__(self, prefix: nn.Module, preprocess: Preprocess, *, device: str, bf16: bool = False) -> None:
        self.device, self._bf16 = torch.device(device), bf16
        self.batch_size = _CPU_BATCH[bf16] if self.device.type == "cpu" else _GPU_BATCH
        self._preprocess = preprocess
        self._prefix = prefix.eval()

    @cached_property
    def _on_device(self) -> nn.Module:
        """The prefix as it is run."""
        prefix = fold_batch_norms(self._prefix)
        if packs_convolutions(self.device.type):
            with one_thread():
                prefix = pack_convolutions(
                    prefix, batch_size=self.batch_size, size=self._preprocess.size, bf16=self._bf16
                )
        # A copy, because the rest of the weights is the network's own.
        placed: nn.Module = deepcopy(prefix).eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def run(self, images: list[Tensor]) -> NDArray[Any]:
        """Features of up to `batch_size` images.

        Args:
            images: uint8 tensors (3, size, size).

        Returns:
            (len(images), *cut shape) float32, contiguous.
        """
        padded = images + [images[-1]] * (self.batch_size - len(images))
        # Not autocast switched off: not every torch knows it for every device.
        precision = torch.autocast(self.device.type, torch.bfloat16) if self._bf16 else nullcontext()
        with torch.inference_mode(), precision:
            batch = torch.stack(padded).to(self.device)
            features = self._on_device(
                normalise(batch, self._preprocess).contiguous(memory_format=torch.channels_last)
            )
            rows = features[: len(images)].float().cpu().contiguous()
        return np.asarray(rows.numpy(), dtype=np.float32)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Around a whole extraction: the allocator's settings, and torch's thread count given back after."""
        threads = torch.get_num_threads()
        _ = self._on_device  # before there are threads that want it
        try:
            with freed_memory_kept():
                yield
        finally:
            torch.set_num_threads(threads)

    def start_worker(self) -> None:
        """To be called first in each thread that will call `run`."""
        # Whole batches side by side use the cores better than one batch spread over them.
        torch.set_num_threads(1)
