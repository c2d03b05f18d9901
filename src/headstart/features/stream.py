"""Streams of images through worker threads: in order, with bounded look-ahead, so that memory stays flat."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from numpy.typing import NDArray
from torch import Tensor

from headstart.errors import UnreadableImageError
from headstart.images import Preprocess, decode_image, prepare_image, read_image_file
from headstart.runtimes import Runtime

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def stream_features(
    paths: Sequence[str], runtime: Runtime, preprocess: Preprocess
) -> Iterator[tuple[str, NDArray[Any] | None, str | None]]:
    """Features without the store, in order: path, features (or None), and why not (or None)."""
    workers = usable_cores()

    def read(path: str) -> tuple[str, Tensor | None, str | None]:
        try:
            return path, prepare_image(decode_image(read_image_file(path)), preprocess), None
        except UnreadableImageError as error:
            return path, None, str(error)

    def forward(
        batch: list[tuple[str, Tensor | None, str | None]],
    ) -> list[tuple[str, NDArray[Any] | None, str | None]]:
        readable = [pixels for _, pixels, _ in batch if pixels is not None]
        rows = iter(runtime.run(readable)) if readable else iter(())
        return [(path, None if pixels is None else next(rows), reason) for path, pixels, reason in batch]

    with worker_threads(workers, runtime) as pool:
        reads = in_order(pool, read, paths, window=2 * runtime.batch_size * workers)
        for batch in in_order(pool, forward, in_batches(reads, runtime.batch_size), window=2 * workers):
            yield from batch
