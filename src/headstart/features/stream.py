"""Streams of images through worker threads: in order, with bounded look-ahead, so that memory stays flat."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.errors import UnreadableImageError
from headstart.images import Preprocess, decode_for, prepare_image, read_image_file
from headstart.runtimes import Runtime
from headstart.threads import usable_cores
from headstart.views import ORIGINAL, View, draw_view

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def worker_threads(workers: int, runtime: Runtime) -> Iterator[ThreadPoolExecutor]:
    """Worker threads inside the runtime's session; what has not begun is dropped when the body fails."""
    with runtime.session():
        pool = ThreadPoolExecutor(workers, "headstart-extract", initializer=runtime.start_worker)
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Iterable[_Item], *, window: int
) -> Iterator[_Result]:
    """Like `map` over a pool, in order, but never more than `window` items ahead of who takes the results."""
    pending: deque[Future[_Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def in_batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Lists of `size` items; the last may be shorter."""
    batch: list[_Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True, kw_only=True)
class _Read:
    """An image as read: what the network is given of each view, or why there is nothing."""

    path: str
    views: list[Tensor]
    problem: str | None = None


def stream_features(
    paths: Sequence[str],
    runtime: Runtime,
    preprocess: Preprocess,
    *,
    views: Sequence[View] = (ORIGINAL,),
    seed: int = 0,
) -> Iterator[tuple[str, NDArray[Any] | None, str | None]]:
    """Features without the store, in order.

    Args:
        paths: image files.
        runtime: gives the features.
        preprocess: from a view to what the runtime takes.
        views: which variants of each image; it is read and decoded once.
        seed: of the views that are drawn at random.

    Returns:
        For each file its path, the features of its views (len(views), *cut shape) float32 or None, and why they are
        missing or None.
    """
    workers = usable_cores()

    def read(path: str) -> _Read:
        try:
            data = read_image_file(path)
            image = decode_for(data, preprocess)
        except UnreadableImageError as error:
            return _Read(path=path, views=[], problem=str(error))
        sha256 = hashlib.sha256(data).digest()
        drawn = (draw_view(image, view, seed=seed, sha256=sha256) for view in views)
        return _Read(path=path, views=[prepare_image(pixels, preprocess) for pixels in drawn])

    def forward(batch: list[_Read]) -> list[tuple[str, NDArray[Any] | None, str | None]]:
        pixels = [view for image in batch for view in image.views]
        rows = iter([row for some in in_batches(pixels, runtime.batch_size) for row in runtime.run(some)])
        return [
            (image.path, np.stack([next(rows) for _ in image.views]) if image.views else None, image.problem)
            for image in batch
        ]

    with worker_threads(workers, runtime) as pool:
        reads = in_order(pool, read, paths, window=2 * runtime.batch_size * workers)
        for batch in in_order(pool, forward, in_batches(reads, runtime.batch_size), window=2 * workers):
            yield from batch
