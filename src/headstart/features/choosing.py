"""Which runtime computes features: what the store has, how many are to be computed, and how fast each is here."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.datasets import ImageFiles
from headstart.errors import CompilationError, UnreadableImageError
from headstart.features.key import StoreKey
from headstart.features.store import FeatureStore
from headstart.features.stream import in_batches, worker_threads
from headstart.images import Preprocess, decode_for, prepare_image
from headstart.runtimes import Precision, Runtime, RuntimeName, runtimes_for
from headstart.threads import usable_cores

_log = logging.getLogger(__name__)

# Below so many passes the plain runtime is done before a better one is found.
_FEW: Final = 128
_LOOKED_AT: Final = 256  # images that are looked up, to see which runtime's features the store has
_SAMPLE: Final = 16
# To convert a network takes one to three seconds, to compile one that is converted a fifth of that. Packed convolutions
# are about as fast as OpenVINO's, other networks gain a quarter or so: in shorter jobs, trying takes more than that.
_WORTH_CONVERTING: Final = 20.0
_WORTH_COMPILING: Final = 4.0

LEAST_COSINE: Final = 0.998
"""What bf16 features need: the mean cosine to float32 ones, both centred on the latter's mean, over a sample."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """The forward passes that a runtime is wanted for.

    Attributes:
        load: gives the runtime of a name.
        key: gives the store key of what a runtime of that name computes.
        store: where features may stand already.
        files: where images are read from.
        names: what they are called there.
        preprocess: from an image to what a runtime takes.
        views: of each image.
        converted: whether a compiled runtime finds the network converted, by an earlier run.
    """

    load: Callable[[RuntimeName], Runtime]
    key: Callable[[RuntimeName], StoreKey]
    store: FeatureStore
    files: ImageFiles
    names: Sequence[str]
    preprocess: Preprocess
    views: int
    converted: bool


def choose_runtime(
    passes: Passes, *, device: str, wanted: RuntimeName | None, precision: Precision
) -> tuple[RuntimeName, Runtime]:
    """The runtime for some passes, loaded.

    Features that are in the store decide: what computed them goes on. Otherwise few passes are made in plain float32;
    for many, the candidates are measured on a few of the images, and bf16 is taken only where its features are within
    `LEAST_COSINE` of float32's.

    Args:
        passes: what is to be computed.
        device: where.
        wanted: one that has been chosen before; only whether its bf16 is near enough is looked at again.
        precision: "exact" computes in float32, "fast" in bf16 where that is near enough.
    """
    names = runtimes_for(device, precision) if wanted is None else (wanted,)
    if len(names) == 1 and not names[0].bf16:
        return names[0], passes.load(names[0])
    if (held := _held(passes, names)) is not None:
        return held, passes.load(held)
    if wanted is None and len(passes.names) * passes.views < _FEW:
        return names[0], passes.load(names[0])
    sample = _sample(passes)
    if not sample:
        return names[0], passes.load(names[0])
    return _Trial(passes, sample).best(names)


def _held(passes: Passes, names: Sequence[RuntimeName]) -> RuntimeName | None:
    """Whose features of these images the store has most of."""
    some = passes.names[:: max(1, len(passes.names) // _LOOKED_AT)]
    places = [passes.files.place(name) for name in some]
    known = [sha for sha in passes.store.known_files(places, passes.files.stamp) if sha is not None]
    counts = {name: passes.store.count_rows(passes.key(name), known) for name in names}
    best = max(names, key=lambda name: counts[name])
    return best if counts[best] else None


def _sample(passes: Passes) -> list[Tensor]:
    """Some of the images, as the network takes them; those that cannot be read are no part of it."""
    some = list(passes.names[:: max(1, len(passes.names) // (2 * _SAMPLE))])
    found: list[Tensor] = []
    for reader in passes.files.readers(some):
        if len(found) == _SAMPLE:
            break
        try:
            found.append(prepare_image(decode_for(reader(), passes.preprocess), passes.preprocess))
        except UnreadableImageError:
            continue  # the extraction itself reports it
    return found


class _Trial:
    """Tries runtimes on a sample."""

    def __init__(self, passes: Passes, sample: list[Tensor]) -> None:
        self._passes, self._sample = passes, sample
        self._loaded: dict[RuntimeName, Runtime] = {}
        self._rows: dict[RuntimeName, NDArray[np.float32]] = {}
        self._seconds: dict[RuntimeName, float] = {}

    def best(self, names: Sequence[RuntimeName]) -> tuple[RuntimeName, Runtime]:
        """The fastest for all the passes of those that are near enough."""
        plain = names[0].in_float32()
        self._run(plain)
        if len(names) == 1:  # chosen before, in bf16
            chosen = names[0] if self._near_enough(names[0], plain) else plain
            return chosen, self._loaded[chosen]
        tried = [
            name for name in names if not name.compiled and (not name.bf16 or self._near_enough(name, plain))
        ]
        for name in tried:
            self._run(name)
        best = min(tried, key=lambda name: self._seconds[name])
        left = self._seconds[best] * len(self._passes.names) * self._passes.views / usable_cores()
        if left > (_WORTH_COMPILING if self._passes.converted else _WORTH_CONVERTING):
            # Numbers in bf16 are as near to float32 whoever computes them.
            for name in names:
                if name.compiled and name.bf16 == best.bf16 and self._compiles(name):
                    best = min(best, name, key=lambda name: self._seconds[name])
        return best, self._loaded[best]

    def _compiles(self, name: RuntimeName) -> bool:
        try:
            self._run(name)
        except CompilationError as error:
            _log.warning("%s", error)
            return False
        return True

    def _near_enough(self, name: RuntimeName, plain: RuntimeName) -> bool:
        self._run(name)
        return centred_cosine(self._rows[plain], self._rows[name]) >= LEAST_COSINE

    def _run(self, name: RuntimeName) -> None:
        """Features of the sample, and seconds an image on one core, at best."""
        if name in self._rows:
            return
        runtime = self._passes.load(name)
        batches = list(in_batches(self._sample, runtime.batch_size))

        def timed(batch: list[Tensor]) -> tuple[NDArray[np.float32], float]:
            start = time.perf_counter()
            rows = runtime.run(batch)
            return rows, (time.perf_counter() - start) / runtime.batch_size

        with worker_threads(usable_cores(), runtime) as pool:
            # Each core's first also sets things up: one more, so that the best of few is none of those.
            *found, again = pool.map(timed, [*batches, batches[0]])
        self._loaded[name], self._rows[name] = runtime, np.concatenate([rows for rows, _ in found])
        self._seconds[name] = min(seconds for _, seconds in [*found, again])


def centred_cosine(exact: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The mean over images of the cosine between two kinds of features, centred on the mean of the first.

    Args:
        exact: (n, ...), n at least 2 for the mean to be left out.
        other: the same shape.

    Returns:
        At most 1. An image whose features are the mean, as where all are alike, counts as 1 if the other's are too.
    """
    first = exact.reshape(len(exact), -1).astype(np.float64)
    second = other.reshape(len(other), -1).astype(np.float64)
    centre = first.mean(axis=0) if len(first) > 1 else 0.0
    first, second = first - centre, second - centre
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = np.divide((first * second).sum(axis=1), lengths, out=np.ones_like(lengths), where=lengths > 0)
    return float(cosines.mean())
