"""The torch runtime: channels-last, inference mode, small batches, one thread a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.images import Preprocess, normalise
from headstart.runtimes.memory import freed_memory_kept

# Activations of a small batch stay in the cache: on CPUs 4 measured faster than 8, 16 and 32.
_CPU_BATCH = 4
_GPU_BATCH = 64


class TorchRuntime:
    """Runs a frozen prefix in eager torch, float32.

    Every batch has the same shape (a short one is padded), and on a CPU each runs on one thread, so an image's
    features do not depend on which images it came with nor on the number of threads.

    Args:
        prefix: module that takes (N, 3, size, size) float32; it is put into eval mode and moved to `device`.
        preprocess: the normalisation, done on the device.
        device: "cpu", "cuda", "cuda:1", "mps".
    """

    def __init__(self, prefix: nn.Module, preprocess: Preprocess, *, device: str) -> None:
        self.device = torch.device(device)
        self.batch_size = _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH
        self._preprocess = preprocess
        self._prefix = prefix.eval().to(self.device).to(memory_format=torch.channels_last)

    @property
    def identity(self) -> dict[str, str]:
        """What of this runtime changes a value, for the store key: never batch size, threads or device index."""
        return {"runtime": f"torch-{self.device.type}-channels_last", "precision": "float32"}

    def run(self, images: list[Tensor]) -> NDArray[Any]:
        """Features of up to `batch_size` images.

        Args:
            images: uint8 tensors (3, size, size).

        Returns:
            (len(images), *cut shape) float32, contiguous.
        """
        padded = images + [images[-1]] * (self.batch_size - len(images))
        with torch.inference_mode():
            batch = torch.stack(padded).to(self.device)
            features = self._prefix(
                normalise(batch, self._preprocess).contiguous(memory_format=torch.channels_last)
            )
            rows = features[: len(images)].float().cpu().contiguous()
        return np.asarray(rows.numpy(), dtype=np.float32)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Around a whole extraction: the allocator's settings, and torch's thread count given back after."""
        threads = torch.get_num_threads()
        try:
            with freed_memory_kept():
                yield
        finally:
            torch.set_num_threads(threads)

    def start_worker(self) -> None:
        """To be called first in each thread that will call `run`."""
        # Whole batches side by side use the cores better than one batch spread over them.
        torch.set_num_threads(1)
