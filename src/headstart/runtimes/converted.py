"""A network as OpenVINO has converted it, in a file: to convert one takes a second, to read it back a fiftieth."""

import hashlib
import logging
import tempfile
import threading
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
import openvino
from numpy.typing import NDArray

from headstart.errors import HeadstartError
from headstart.files import atomic_write
from headstart.threads import usable_cores

_log = logging.getLogger(__name__)

# What stands before everything in the file: the layout, and who wrote it. Another OpenVINO converts anew.
_MAGIC: Final = f"headstart converted network 1, openvino {openvino.__version__}\n".encode()
_DIGEST: Final = 32
_LENGTH: Final = 8
_MOST_BYTES: Final = 2 * 10**9


def read_converted(file: Path) -> openvino.Model | None:
    """The network in a file; None where there is none that is whole and this OpenVINO's own."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, body = content[len(_MAGIC) : len(_MAGIC) + _DIGEST], memoryview(content)[len(_MAGIC) + _DIGEST :]
    if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        return None
    start = _LENGTH + int.from_bytes(body[:_LENGTH], "little")
    return openvino.Core().read_model(bytes(body[_LENGTH:start]), bytes(body[start:]))


def write_converted(model: openvino.Model, file: Path) -> None:
    """Keep a network in a file. Where that cannot be, a line of the log says so: the next run converts it again."""
    try:
        with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
            description = Path(folder) / "model.xml"
            openvino.save_model(model, description, compress_to_fp16=False)
            text, weights = description.read_bytes(), description.with_suffix(".bin").read_bytes()
        body = len(text).to_bytes(_LENGTH, "little") + text + weights
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, _MAGIC + hashlib.sha256(body).digest() + body)
        _forget_oldest(file.parent)
    except (OSError, RuntimeError, HeadstartError) as error:
        _log.warning("The converted network is not kept in %s: %s", file, str(error).splitlines()[0])


def _forget_oldest(folder: Path) -> None:
    """Of all that is kept only so much stays: the newest."""
    with suppress(FileNotFoundError):  # another process forgets, too
        files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        sizes = accumulate(file.stat().st_size for file in files)
        for file, bytes_so_far in zip(files, sizes, strict=True):
            if bytes_so_far > _MOST_BYTES:
                file.unlink(missing_ok=True)


def compile_converted(model: openvino.Model, *, bf16: bool) -> openvino.CompiledModel:
    """A network for the CPU, one stream a core."""
    cores = usable_cores()
    return openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": openvino.Type.bf16 if bf16 else openvino.Type.f32,
            "NUM_STREAMS": cores,
            "INFERENCE_NUM_THREADS": cores,
            # Two programs that pin their threads to the same cores wait for each other.
            "ENABLE_CPU_PINNING": False,
        },
    )


class CompiledNetwork:
    """A whole network that has been converted for batches of one, compiled for the CPU in float32.

    Args:
        model: from (1, size, size, 3) uint8, to outputs of one row each.
    """

    def __init__(self, model: openvino.Model) -> None:
        self._compiled = compile_converted(model, bf16=False)
        self._own = threading.local()

    def run(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The rows that the outputs have for an image (size, size, 3); from any thread."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        self._own.request.infer([pixels[None]])
        return [np.array(tensor.data[0], dtype=np.float32) for tensor in self._own.request.output_tensors]
