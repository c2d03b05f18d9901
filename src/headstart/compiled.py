"""A classifier that OpenVINO has compiled whole, from pixels to probabilities: to predict with it imports no torch.

Importing torch and building a network take seconds; a photo takes milliseconds. So `headstart train`, or the first
`headstart predict` of a run, leaves its network in the user's cache folder, converted (`keep_compiled`), and the
predictions after it begin from there.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart.errors import CompilationError, RunError, UnreadableImageError
from headstart.files import CONVERTED_FOLDER, default_store
from headstart.images import Preprocess, decode_for, read_image_file
from headstart.images.plain import prepare_pixels
from headstart.prediction import CARD_FILE, WEIGHTS_FILE, Prediction, best_classes, read_description
from headstart.threads import usable_cores
from headstart.views import VIEW_SETS

if TYPE_CHECKING:
    from headstart.classifier import Classifier
    from headstart.runtimes.converted import CompiledNetwork

_log = logging.getLogger(__name__)

_NAME = 32


@dataclass(frozen=True, kw_only=True)
class CompiledClassifier:
    """A trained classifier, compiled for the CPU.

    Attributes:
        network: from (1, size, size, 3) uint8 to probabilities (1, K) and, where the classifier can tell, how unlike
            all training images it is (1,).
        preprocess: from a photo to what the network takes.
        classes: names of the K classes.
    """

    network: "CompiledNetwork"
    preprocess: Preprocess
    classes: tuple[str, ...]

    def predict(self, paths: Sequence[str | os.PathLike[str]], *, top: int = 5) -> list[Prediction]:
        """Classify image files, as `Classifier.predict` does in float32.

        Args:
            paths: the files.
            top: how many classes to give for each.

        Returns:
            One prediction a file, in order; for an unreadable file it holds the reason and no classes.
        """

        def one(path: str) -> Prediction:
            try:
                pixels = decode_for(read_image_file(path), self.preprocess)
            except UnreadableImageError as error:
                return Prediction(path=path, classes=(), probabilities=(), problem=str(error))
            probabilities, *unlike = self.network.run(prepare_pixels(pixels, self.preprocess))
            return best_classes(
                path,
                self.classes,
                probabilities.astype(np.float64),
                top=top,
                unlike=float(unlike[0]) if unlike else None,
            )

        with ThreadPoolExecutor(min(usable_cores(), max(1, len(paths)))) as pool:
            return list(pool.map(one, map(os.fspath, paths)))


def load_compiled(folder: Path) -> CompiledClassifier | None:
    """The compiled classifier of a run; None where none is kept here.

    Raises:
        RunError: the folder holds no classifier.
    """
    description = read_description(folder)
    if find_spec("openvino") is None or not (file := _place(folder)).exists():
        return None
    from headstart.runtimes.converted import CompiledNetwork, read_converted  # needs the extra

    model = read_converted(file)
    return model and CompiledClassifier(
        network=CompiledNetwork(model),
        preprocess=Preprocess.from_dict(description["preprocess"]),
        classes=tuple(description["classes"]),
    )


def keep_compiled(folder: Path, load: Callable[[], "Classifier"]) -> None:
    """Convert a run's classifier, and keep it for `load_compiled`; where that cannot be, the log says so.

    Nothing is done without OpenVINO, for a classifier that averages over several views of a photo, or a second time.

    Args:
        folder: of the run.
        load: gives its classifier, if it is needed.

    Raises:
        RunError: the folder holds no classifier.
    """
    if find_spec("openvino") is None or len(VIEW_SETS[read_description(folder)["views"]]) > 1:
        return
    from headstart.runtimes.converted import read_converted, write_converted

    file = _place(folder)
    if read_converted(file) is not None:
        return
    from headstart.runtimes.openvino_runtime import convert

    classifier = load()
    try:
        model = convert(classifier.whole(), classifier.backbone.preprocess, batch_size=1)
    except CompilationError as error:
        _log.info("%s", error)  # the classifier goes on as it is
    else:
        write_converted(model, file)


def _place(folder: Path) -> Path:
    """The file for a run's converted classifier: called after the content of its two files.

    Raises:
        RunError: they cannot be read.
    """
    digest = hashlib.sha256()
    for name in (CARD_FILE, WEIGHTS_FILE):
        try:
            digest.update((folder / name).read_bytes())
        except OSError as error:
            raise RunError(
                f"{folder / name} cannot be read: {error.strerror}.\nTrain the run again."
            ) from error
    return default_store() / CONVERTED_FOLDER / digest.hexdigest()[:_NAME]
