"""The OpenVINO runtime: the prefix compiled for the CPU, one stream a core, normalisation built in."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor
from torch import Tensor, nn

from headstart.errors import CompilationError
from headstart.images import Preprocess
from headstart.runtimes.converted import compile_converted, read_converted, write_converted
from headstart.runtimes.memory import freed_memory_kept
from headstart.threads import one_thread

# Small enough for its activations to stay in the cache, large enough for a good product.
_BATCH: Final = 8


class OpenVinoRuntime:
    """Runs a frozen prefix that OpenVINO has compiled for the CPU.

    Every batch has the same shape (a short one is padded), and each runs on one core, so an image's features do not
    depend on which images it came with nor on the number of threads.

    Args:
        prefix: module that takes (N, 3, size, size) float32; it is put into eval mode.
        preprocess: the normalisation, built into the compiled network.
        bf16: multiply in bfloat16.
        converted: file where the network is kept as OpenVINO has converted it; None to convert it each time.
    """

    batch_size = _BATCH

    def __init__(
        self,
        prefix: nn.Module,
        preprocess: Preprocess,
        *,
        bf16: bool = False,
        converted: Path | None = None,
    ) -> None:
        self._prefix, self._preprocess, self._bf16 = prefix.eval(), preprocess, bf16
        self._file = converted
        self._own = threading.local()

    @cached_property
    def _compiled(self) -> openvino.CompiledModel:
        """The prefix as it is run.

        Raises:
            CompilationError: OpenVINO, or the tracing before it, does not know how.
        """
        with _explained():
            return compile_converted(self._model(), bf16=self._bf16)

    def _model(self) -> openvino.Model:
        """The network as OpenVINO knows it, from the file where it is kept."""
        kept = None if self._file is None else read_converted(self._file)
        if kept is not None:
            return kept
        model = convert(self._prefix, self._preprocess, batch_size=_BATCH)
        if self._file is not None:
            write_converted(model, self._file)
        return model

    def run(self, images: list[Tensor]) -> NDArray[Any]:
        """Features of up to `batch_size` images.

        Args:
            images: uint8 tensors (3, size, size).

        Returns:
            (len(images), *cut shape) float32, contiguous.
        """
        request = self._request()
        batch = request.get_input_tensor().data
        for place, image in zip(batch, images, strict=False):
            place[...] = image.permute(1, 2, 0).numpy()
        batch[len(images) :] = batch[len(images) - 1]
        request.infer()
        return np.array(request.get_output_tensor().data[: len(images)], dtype=np.float32)

    def _request(self) -> openvino.InferRequest:
        """This thread's own: it holds a batch and its features."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        request: openvino.InferRequest = self._own.request
        return request

    @contextmanager
    def session(self) -> Iterator[None]:
        """Around a whole extraction: torch resizes images, each on one thread."""
        _ = self._compiled  # before there are threads that want it
        with one_thread(), freed_memory_kept():
            yield

    def start_worker(self) -> None:
        """To be called first in each thread that will call `run`."""
        torch.set_num_threads(1)


def convert(network: nn.Module, preprocess: Preprocess, *, batch_size: int) -> openvino.Model:
    """A network as OpenVINO knows it, from (batch_size, size, size, 3) uint8.

    Args:
        network: in eval mode, from (N, 3, size, size) float32.
        preprocess: the normalisation, which becomes part of the network.
        batch_size: of all its inputs.

    Raises:
        CompilationError: OpenVINO, or the tracing before it, does not know how.
    """
    shape = [batch_size, 3, preprocess.size, preprocess.size]
    with _explained(), torch.inference_mode(), warnings.catch_warnings():
        # What the converter reads, torch calls deprecated; and what depends on the inputs' shape may be a constant,
        # since they all have it. Given the network itself the converter would trace it twice.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.jit")
        traced = torch.jit.trace(network, torch.zeros(shape), check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(torch.jit.freeze(traced), input=shape)
    steps = PrePostProcessor(model)
    pixels = steps.input()
    pixels.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    pixels.model().set_layout(openvino.Layout("NCHW"))
    pixels.preprocess().convert_element_type(openvino.Type.f32).mean(
        [255 * value for value in preprocess.mean]
    ).scale([255 * value for value in preprocess.std])
    return steps.build()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of OpenVINO, and of the tracing before it, into one in words."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        raise CompilationError(
            f"OpenVINO cannot compile this network: {str(error).strip().splitlines()[0]}\n"
            "Take --runtime torch-float32."
        ) from error
