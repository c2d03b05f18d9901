"""Extraction: the forward passes that are not in the store yet, streamed through it.

Reading, decoding and the forward passes run side by side on a few threads (all three release the interpreter
lock), with bounded look-ahead, and every `shard_rows` images are written as a shard. So memory does not grow
with the number of images, and a killed extraction keeps each finished shard.
"""

import hashlib
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.backbones import Backbone, Cut
from headstart.datasets import DiskFiles, ImageDataset, ImageFiles, Problem, Reader
from headstart.errors import DiskFullError, StoreError, UnreadableImageError
from headstart.features.key import StoreKey
from headstart.features.store import FeatureStore, sound_rows
from headstart.features.stream import (
    in_batches,
    in_order,
    usable_cores,
    worker_threads,
)
from headstart.files import FileStamp, human_bytes
from headstart.images import Preprocess, decode_image, decoder_identity, file_reason, prepare_image
from headstart.runtimes import Runtime, choose_device, load_runtime

_SHARD_ROWS = 128  # a second or two of work: what a kill can cost
_SHARD_BYTES = 64 * 2**20


class Progress(Protocol):
    """Told how far an extraction is, in images; called from one thread."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` images are behind us."""
        ...


@dataclass(frozen=True, kw_only=True)
class Features:
    """Stored features of some images, not yet loaded.

    Attributes:
        store: where they stand.
        key: what they are features of.
        sha256s: the images, in order; an image may stand there more than once.
        shape: shape of one image's features.
    """

    store: FeatureStore
    key: StoreKey
    sha256s: tuple[bytes, ...]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.sha256s)

    def load(self) -> NDArray[np.float32]:
        """All of them, (n, *shape) float32.

        Raises:
            StoreError: a row has been removed or damaged since the extraction.
        """
        rows = np.empty((len(self), *self.shape), np.float32)
        positions: dict[bytes, list[int]] = {}
        for i, sha in enumerate(self.sha256s):
            positions.setdefault(sha, []).append(i)
        for _, shard, wanted in self.store.shards_of(self.key, list(positions)):
            sound = sound_rows(shard)
            for sha in wanted:
                if shard is not None and sha in sound:
                    rows[positions.pop(sha)] = shard.features[sound[sha]]
        if positions:
            raise StoreError(
                f"{len(positions)} stored features have been removed or damaged since they were extracted.\n"
                "Run the same command again: they are computed anew."
            )
        return rows


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an extraction gave.

    Attributes:
        features: those of the readable images, in the order of the images.
        readable: (n,) bool, which of the images could be read.
        problems: the others, with the reason.
        extracted: how many forward passes were made (identical files need one).
        from_store: how many images needed none.
        seconds: how long it took, without building the network.
    """

    features: Features
    readable: NDArray[np.bool_]
    problems: tuple[Problem, ...]
    extracted: int
    from_store: int
    seconds: float


def extract_features(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
    backbone: Backbone,
    *,
    layer: str = "pooled",
    store: FeatureStore | None = None,
    device: str = "cpu",
    workers: int | None = None,
    max_store: int | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Compute the features that are not in the store, and store them.

    Args:
        images: a data set, or image files.
        backbone: the network.
        layer: where to take the features; see `Backbone.cut`.
        store: by default the user's own.
        device: "cpu", "cuda", "mps" or "auto".
        workers: threads that decode and run the network; by default as many as there are usable cores.
        max_store: refuse to store more than so many bytes; by default only the disk's room is a limit.
        progress: told how far it is.

    Returns:
        The features, not yet loaded, with what was done to have them.

    Raises:
        BackboneError: there is no such layer.
        StoreError: the store cannot be written, or the features would take more than `max_store`.
        DiskFullError: there is no room for the features.
    """
    cut = backbone.cut(layer)
    runtime = load_runtime(backbone.prefix(cut), backbone.preprocess, device=choose_device(device))
    store = store if store is not None else FeatureStore()
    key = store_key(backbone, cut, runtime)
    start = time.perf_counter()
    store.open_key(key)
    files, names = _files_and_names(images)
    job = _Job(
        store=store,
        key=key,
        runtime=runtime,
        cut=cut,
        preprocess=backbone.preprocess,
        files=files,
        max_store=max_store,
    )
    job.run(names, workers or usable_cores(), progress)
    return job.result(time.perf_counter() - start)


def _files_and_names(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
) -> tuple[ImageFiles, list[str]]:
    if isinstance(images, ImageDataset):
        return images.files, images.names()
    return DiskFiles(), [os.fspath(path) for path in images]


def store_key(backbone: Backbone, cut: Cut, runtime: Runtime) -> StoreKey:
    """Under which key the features of a cut stand."""
    return StoreKey(
        architecture=backbone.card.architecture,
        arguments=backbone.card.arguments,
        weights=backbone.weights_sha256,
        cut=cut.name,
        preprocess=backbone.preprocess.to_dict(),
        decoder=decoder_identity(),
        view="original",
        runtime=runtime.identity["runtime"],
        precision=runtime.identity["precision"],
    )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """An image as read: its file's stamp and content's sha256, and its pixels where the network has yet to see them."""

    place: str
    stamp: FileStamp
    hashed_ns: int
    sha256: bytes
    pixels: Tensor | None


class _Job:
    """One extraction: the bookkeeping around the stream of reads, batches and shards."""

    def __init__(
        self,
        *,
        store: FeatureStore,
        key: StoreKey,
        runtime: Runtime,
        cut: Cut,
        preprocess: Preprocess,
        files: ImageFiles,
        max_store: int | None,
    ) -> None:
        self._store, self._key, self._runtime, self._preprocess = store, key, runtime, preprocess
        self._files, self._cut, self._max_store = files, cut, max_store
        self._shape = cut.shape
        self._shard_rows = max(1, min(_SHARD_ROWS, _SHARD_BYTES // cut.bytes_per_image))
        self._sha256s: list[bytes | None] = []
        self._problems: list[Problem] = []
        self._names: list[str] = []
        self._sound: set[bytes] = set()  # images whose stored features have been checked
        self._started: set[bytes] = set()  # images whose forward pass this job makes
        self._remember: list[tuple[str, FileStamp, int, bytes]] = []
        self._done = 0

    def run(self, names: list[str], workers: int, progress: Progress | None) -> None:
        """Bring everything into the store."""
        self._names = names
        places = [self._files.place(name) for name in names]
        self._sha256s = self._store.known_files(places, self._files.stamp)
        known = list(dict.fromkeys(sha for sha in self._sha256s if sha is not None))
        self._sound = self._store.check_rows(self._key, known)
        todo = [i for i, sha in enumerate(self._sha256s) if sha is None or sha not in self._sound]
        self._done = len(names) - len(todo)
        report: Progress = progress if progress is not None else _silent
        report(self._done, len(names))
        if todo:
            self._check_room(len(todo))
            self._stream(todo, workers, report)

    def _check_room(self, images: int) -> None:
        """Before anything is computed: what it will take, against the limit and the disk."""
        estimate = images * self._cut.bytes_per_image
        what = (
            f"The features of {images:,} images at {self._cut.name} take {human_bytes(estimate)} "
            f"({human_bytes(self._cut.bytes_per_image)} an image)"
        )
        advice = "Take a layer with smaller features (pooled has the smallest)"
        if self._max_store is not None and estimate > self._max_store:
            raise StoreError(
                f"{what}, and the limit is {human_bytes(self._max_store)}.\n{advice}, or raise the limit: "
                f"--max-store {math.ceil(estimate / 1e9)}G."
            )
        if estimate > (free := shutil.disk_usage(self._store.root).free):
            raise DiskFullError(
                f"{what}, and {human_bytes(free)} are free in {self._store.root}.\n{advice}, or choose a store on "
                "another disk: --store."
            )

    def _stream(self, todo: list[int], workers: int, report: Progress) -> None:
        """Read, batch, run and store; each stage takes from the one before only as much as it needs."""
        size = self._runtime.batch_size
        with worker_threads(workers, self._runtime) as pool:
            names = [self._names[i] for i in todo]
            items = zip(names, self._files.readers(names), strict=True)
            reads = in_order(pool, self._read, items, window=2 * size * workers)
            batches = in_batches(self._fresh(zip(todo, reads, strict=True), report), size)
            results = in_order(pool, self._forward, batches, window=2 * workers)
            waiting: list[tuple[bytes, NDArray[Any]]] = []
            try:
                for rows in results:
                    waiting.extend(rows)
                    while len(waiting) >= self._shard_rows:
                        self._publish(waiting[: self._shard_rows])
                        del waiting[: self._shard_rows]
            except KeyboardInterrupt:
                self._publish(waiting)
                raise
            self._publish(waiting)

    def _read(self, item: tuple[str, Reader]) -> _Read | Problem:
        """Read one image, and decode it unless its features are there already; runs in a worker."""
        name, reader = item
        place = self._files.place(name)
        now = time.time_ns()
        try:
            stamp = self._files.stamp(place)
        except (OSError, ValueError) as error:
            return Problem(path=name, reason=file_reason(error))
        try:
            data = reader()
            sha = hashlib.sha256(data).digest()
            pixels = None if self._in_store(sha) else prepare_image(decode_image(data), self._preprocess)
        except UnreadableImageError as error:
            return Problem(path=name, reason=str(error))
        return _Read(place=place, stamp=stamp, hashed_ns=now, sha256=sha, pixels=pixels)

    def _in_store(self, sha256: bytes) -> bool:
        """Whether sound features of the image are there; runs in a worker."""
        if sha256 not in self._sound:
            # The whole shard at once: its other images are likely to be met next.
            self._sound.update(self._store.check_neighbours(self._key, sha256))
        return sha256 in self._sound

    def _fresh(
        self, reads: Iterable[tuple[int, _Read | Problem]], report: Progress
    ) -> Iterator[tuple[bytes, Tensor]]:
        """Note what was read, and pass on the images that need a forward pass."""
        for i, read in reads:
            if isinstance(read, Problem):
                self._problems.append(read)
                self._sha256s[i] = None
            else:
                self._sha256s[i] = read.sha256
                self._remember.append((read.place, read.stamp, read.hashed_ns, read.sha256))
                if read.pixels is not None and read.sha256 not in self._started:
                    self._started.add(read.sha256)
                    yield read.sha256, read.pixels
            self._done += 1
            report(self._done, len(self._names))

    def _forward(self, batch: list[tuple[bytes, Tensor]]) -> list[tuple[bytes, NDArray[Any]]]:
        """Run the prefix on one batch; runs in a worker."""
        rows = self._runtime.run([pixels for _, pixels in batch])
        return [(sha, row) for (sha, _), row in zip(batch, rows, strict=True)]

    def _publish(self, rows: list[tuple[bytes, NDArray[Any]]]) -> None:
        """Store finished rows, and what is known of the files that were read meanwhile."""
        if rows:
            self._store.append(self._key, np.stack([row for _, row in rows]), [sha for sha, _ in rows])
        self._store.remember_files(self._remember)
        self._remember = []

    def result(self, seconds: float) -> Extraction:
        """The account of it all."""
        sha256s = tuple(sha for sha in self._sha256s if sha is not None)
        readable = np.array([sha is not None for sha in self._sha256s], dtype=bool)
        return Extraction(
            features=Features(store=self._store, key=self._key, sha256s=sha256s, shape=self._shape),
            readable=readable,
            problems=tuple(self._problems),
            extracted=len(self._started),
            from_store=len(sha256s) - len(self._started),
            seconds=seconds,
        )


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""
