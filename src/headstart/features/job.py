"""One extraction: the forward passes that are not in the store yet, streamed through it.

Reading, decoding and the forward passes run side by side on a few threads (all three release the interpreter
lock), with bounded look-ahead, and every `shard_rows` images are written as a shard. So memory does not grow
with the number of images, and a killed extraction keeps each finished shard.
"""

import hashlib
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.datasets import ImageFiles, Problem, Reader
from headstart.errors import DiskFullError, StoreError, UnreadableImageError
from headstart.features.extraction import Extraction, Features, Progress
from headstart.features.key import StoreKey
from headstart.features.store import FeatureStore
from headstart.features.stream import in_batches, in_order, worker_threads
from headstart.files import FileStamp, human_bytes
from headstart.images import Preprocess, decode_for, file_reason, prepare_image
from headstart.runtimes import Runtime
from headstart.threads import usable_cores
from headstart.views import View, draw_view

_SHARD_ROWS = 128  # a second or two of work: what a kill can cost
_SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """What there is to do for one view.

    Attributes:
        view: of each image.
        key: where its features stand.
        sound: images whose stored features have been checked.
        started: images whose forward pass this job makes.
        waiting: finished rows that are not stored yet.
    """

    view: View
    key: StoreKey
    sound: set[bytes] = field(default_factory=set)
    started: set[bytes] = field(default_factory=set)
    waiting: list[tuple[bytes, NDArray[Any]]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """An image as read: its file's stamp and content's sha256, and its pixels for the views not yet in the store."""

    place: str
    stamp: FileStamp
    hashed_ns: int
    sha256: bytes
    pixels: list[tuple[_Work, Tensor]]


class Job:
    """One extraction: the bookkeeping around the stream of reads, batches and shards.

    Args:
        store: where the features go.
        keys: where those of each view stand; the store has opened them.
        views: each is drawn from the same decoded image.
        seed: of the views that are drawn at random.
        runtime: gives the features.
        shape: of one image's features.
        preprocess: from a view to what the runtime takes.
        files: where the images' bytes are read from.
        max_store: refuse to store more than so many bytes.
    """

    def __init__(
        self,
        *,
        store: FeatureStore,
        keys: Sequence[StoreKey],
        views: Sequence[View],
        seed: int,
        runtime: Runtime,
        shape: tuple[int, ...],
        preprocess: Preprocess,
        files: ImageFiles,
        max_store: int | None = None,
    ) -> None:
        self._store, self._runtime, self._preprocess = store, runtime, preprocess
        self._files, self._shape, self._max_store, self._seed = files, shape, max_store, seed
        self._works = [_Work(view=view, key=key) for view, key in zip(views, keys, strict=True)]
        self._row_bytes = 4 * math.prod(shape)
        # As much as one shard may hold is what may wait, for all views together.
        self._shard_rows = max(1, min(_SHARD_ROWS, _SHARD_BYTES // (self._row_bytes * len(self._works))))
        self._sha256s: list[bytes | None] = []
        self._problems: list[Problem] = []
        self._names: list[str] = []
        self._remember: list[tuple[str, FileStamp, int, bytes]] = []
        self._done = 0

    def run(
        self, names: list[str], *, workers: int | None = None, progress: Progress | None = None
    ) -> tuple[Extraction, ...]:
        """Bring everything into the store, and give an account of it for each view.

        Raises:
            StoreError: the store cannot be written, or the features would take more than `max_store`.
            DiskFullError: there is no room for the features.
        """
        start = time.perf_counter()
        self._names = names
        places = [self._files.place(name) for name in names]
        self._sha256s = self._store.known_files(places, self._files.stamp)
        known = list(dict.fromkeys(sha for sha in self._sha256s if sha is not None))
        for work in self._works:
            work.sound.update(self._store.check_rows(work.key, known))
        missing = [self._count_missing(sha) for sha in self._sha256s]
        todo = [i for i, views in enumerate(missing) if views]
        self._done = len(names) - len(todo)
        report: Progress = progress if progress is not None else _silent
        report(self._done, len(names))
        if todo:
            self._check_room(sum(missing))
            self._stream(todo, workers or usable_cores(), report)
        return self._account(time.perf_counter() - start)

    def _count_missing(self, sha256: bytes | None) -> int:
        """How many views of an image have no sound features in the store, as far as is known."""
        return sum(sha256 is None or sha256 not in work.sound for work in self._works)

    def _check_room(self, rows: int) -> None:
        """Before anything is computed: what it will take, against the limit and the disk."""
        estimate = rows * self._row_bytes
        cut = self._works[0].key.cut
        what = (
            f"The features of {rows:,} {'images' if len(self._works) == 1 else 'views of images'} at {cut} take "
            f"{human_bytes(estimate)} ({human_bytes(self._row_bytes)} an image)"
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
            try:
                for rows in results:
                    for work, sha, row in rows:
                        work.waiting.append((sha, row))
                        if len(work.waiting) >= self._shard_rows:
                            self._publish(work)
            except KeyboardInterrupt:
                self._publish_all()
                raise
            self._publish_all()

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
            pixels = self._prepare_missing(data, sha)
        except UnreadableImageError as error:
            return Problem(path=name, reason=str(error))
        return _Read(place=place, stamp=stamp, hashed_ns=now, sha256=sha, pixels=pixels)

    def _prepare_missing(self, data: bytes, sha256: bytes) -> list[tuple[_Work, Tensor]]:
        """Decode an image once, and prepare those of its views that the network has yet to see; runs in a worker."""
        missing = [work for work in self._works if not self._in_store(work, sha256)]
        if not missing:
            return []
        image = decode_for(data, self._preprocess)
        drawn = ((work, draw_view(image, work.view, seed=self._seed, sha256=sha256)) for work in missing)
        return [(work, prepare_image(pixels, self._preprocess)) for work, pixels in drawn]

    def _in_store(self, work: _Work, sha256: bytes) -> bool:
        """Whether sound features of the image are there; runs in a worker."""
        if sha256 not in work.sound:
            # The whole shard at once: its other images are likely to be met next.
            work.sound.update(self._store.check_neighbours(work.key, sha256))
        return sha256 in work.sound

    def _fresh(
        self, reads: Iterable[tuple[int, _Read | Problem]], report: Progress
    ) -> Iterator[tuple[_Work, bytes, Tensor]]:
        """Note what was read, and pass on the views that need a forward pass."""
        for i, read in reads:
            if isinstance(read, Problem):
                self._problems.append(read)
                self._sha256s[i] = None
            else:
                self._sha256s[i] = read.sha256
                self._remember.append((read.place, read.stamp, read.hashed_ns, read.sha256))
                for work, pixels in read.pixels:
                    if read.sha256 not in work.started:
                        work.started.add(read.sha256)
                        yield work, read.sha256, pixels
            self._done += 1
            report(self._done, len(self._names))

    def _forward(self, batch: list[tuple[_Work, bytes, Tensor]]) -> list[tuple[_Work, bytes, NDArray[Any]]]:
        """Run the prefix on one batch; runs in a worker."""
        rows = self._runtime.run([pixels for _, _, pixels in batch])
        return [(work, sha, row) for (work, sha, _), row in zip(batch, rows, strict=True)]

    def _publish(self, work: _Work) -> None:
        """Store finished rows of one view, and what is known of the files that were read meanwhile."""
        if work.waiting:
            rows = np.stack([row for _, row in work.waiting])
            self._store.append(work.key, rows, [sha for sha, _ in work.waiting])
            work.waiting.clear()
        self._store.remember_files(self._remember)
        self._remember = []

    def _publish_all(self) -> None:
        for work in self._works:
            self._publish(work)

    def _account(self, seconds: float) -> tuple[Extraction, ...]:
        sha256s = tuple(sha for sha in self._sha256s if sha is not None)
        readable = np.array([sha is not None for sha in self._sha256s], dtype=bool)
        return tuple(
            Extraction(
                features=Features(store=self._store, key=work.key, sha256s=sha256s, shape=self._shape),
                readable=readable,
                problems=tuple(self._problems),
                extracted=len(work.started),
                from_store=len(sha256s) - len(work.started),
                seconds=seconds,
            )
            for work in self._works
        )


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""
