"""Where a training batch's inputs come from: stored features, features computed anew, or pixels.

A source knows nothing of labels and order: the loop draws row numbers and asks for what stands there.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.datasets import Reader
from headstart.features.stream import in_batches, in_order, worker_threads
from headstart.images import Preprocess, normalise, prepare_image, resize_image
from headstart.runtimes import Runtime
from headstart.threads import one_thread, usable_cores
from headstart.training.augment import Augmentation, crop_and_flip, distort
from headstart.training.pixels import Photos, PixelMemory

# How much longer a canvas is than the network's input: 256 pixels for 224, as before a centre crop.
_CANVAS: Final = 8 / 7


class Source(Protocol):
    """Gives the inputs of the part of a network that is trained."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def session(self) -> AbstractContextManager[None]:
        """To be open around all calls of `inputs`, best once around a whole training."""
        ...

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        """The inputs of a batch.

        Args:
            rows: (b,) int64 row numbers, b at least 1, on the CPU.
            epoch: number of the epoch, from which random variants are drawn; None for the rows as they are.

        Returns:
            (b, ...) float32 on the CPU, in memory of its own. The same rows and epoch give the same bits.

        Raises:
            DataError: a photo cannot be read any more.
        """
        ...


class SubsetSource:
    """Some rows of another source, whose session is open.

    Args:
        source: all rows.
        rows: (n,) int64, which of them.
    """

    def __init__(self, source: Source, rows: Tensor) -> None:
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        return len(self._rows)

    def session(self) -> AbstractContextManager[None]:
        """That of the whole source is open."""
        return nullcontext()

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        """See `Source.inputs`."""
        return self._source.inputs(self._rows[rows], epoch)


class StoredSource:
    """Rows of stored features. They are the same in every epoch.

    Args:
        features: (n, ...) float32; used where it lies, not copied, if it is contiguous and writable.
    """

    def __init__(self, features: NDArray[np.float32]) -> None:
        self._features = torch.from_numpy(np.require(features, np.float32, ["C", "W"]))

    def __len__(self) -> int:
        return len(self._features)

    def session(self) -> AbstractContextManager[None]:
        """Nothing needs to be open."""
        return nullcontext()

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        """See `Source.inputs`; (b, ...), contiguous."""
        del epoch  # features are fixed
        return self._features.index_select(0, rows)


class ComputedSource:
    """Features computed anew for every batch, by the runtime that fills the store: the same bits as the stored ones.

    Args:
        photos: the photo behind each row.
        runtime: runs the frozen prefix.
        preprocess: how the network wants its images.
        workers: threads that decode and run the network; by default as many as there are usable cores.
    """

    def __init__(
        self, photos: Photos, runtime: Runtime, preprocess: Preprocess, *, workers: int | None = None
    ) -> None:
        self._photos, self._runtime, self._preprocess = photos, runtime, preprocess
        self._workers = workers or usable_cores()
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._photos)

    @contextmanager
    def session(self) -> Iterator[None]:
        """The threads, and the runtime's own session."""
        with worker_threads(self._workers, self._runtime) as pool:
            # All of them now: one that started during a step of the training would set the number of threads of
            # that step's matrix products, and with it their bits.
            with one_thread():
                _start_all(pool, self._workers)
            self._pool = pool
            try:
                yield
            finally:
                self._pool = None

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        """See `Source.inputs`; (b, *cut shape), contiguous."""
        del epoch  # features are fixed
        pool, size = _opened(self._pool), self._runtime.batch_size
        order = rows.argsort(stable=True)
        numbers = rows[order].tolist()
        with one_thread():  # the workers' products too heed the number that was set last
            items = zip(numbers, self._photos.readers(numbers), strict=True)
            images = in_order(pool, self._prepare, items, window=2 * size * self._workers)
            batches = in_order(pool, self._runtime.run, in_batches(images, size), window=2 * self._workers)
            features = np.concatenate(list(batches))
        return torch.from_numpy(features)[order.argsort()]

    def _prepare(self, item: tuple[int, Reader]) -> Tensor:
        """Read, decode and prepare one photo; runs in a worker."""
        return prepare_image(self._photos.decode(*item, self._preprocess), self._preprocess)


class PixelSource:
    """Images for a network that is trained from the pixels on.

    A photo is decoded once and kept as a canvas, a little larger than the network's input and whole, from which each
    epoch cuts its part; without crops, and for plain inputs, it is the prepared image itself. What does not fit into
    the memory is decoded again each time. No bit depends on what is kept.

    Args:
        photos: the photo behind each row.
        preprocess: how the network wants its images.
        augmentation: how the images vary from epoch to epoch.
        memory: the most bytes to keep decoded; by default see `PixelMemory`.
        workers: threads that decode and crop; by default as many as there are usable cores.
    """

    def __init__(
        self,
        photos: Photos,
        preprocess: Preprocess,
        augmentation: Augmentation,
        *,
        memory: int | None = None,
        workers: int | None = None,
    ) -> None:
        self._photos, self._preprocess, self._augmentation = photos, preprocess, augmentation
        side = round(preprocess.size * _CANVAS)
        self._for_canvas = replace(preprocess, size=side, resize=side)
        self._memory = PixelMemory(memory)
        self._workers = workers or usable_cores()
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._photos)

    @contextmanager
    def session(self) -> Iterator[None]:
        """The threads."""
        pool = ThreadPoolExecutor(self._workers, "headstart-pixels")
        self._pool = pool
        try:
            yield
        finally:
            self._pool = None
            pool.shutdown(wait=True, cancel_futures=True)

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        """See `Source.inputs`; (b, 3, size, size), normalised, in channels_last memory format."""
        pool, size = _opened(self._pool), self._preprocess.size
        order = rows.argsort(stable=True)
        numbers = rows[order].tolist()
        batch = torch.empty(
            (len(numbers), 3, size, size), dtype=torch.uint8, memory_format=torch.channels_last
        )
        with one_thread():  # small steps, and the workers' first steps set their threads by it
            images = list(in_order(pool, self._image, self._kept(numbers, epoch), window=4 * self._workers))
            # Only now that no worker reads: some data sets draw from torch's generator, as distortions do.
            for place, row, image in zip(order.tolist(), numbers, images, strict=True):
                batch[place] = image if epoch is None else distort(image, self._augmentation, epoch, row)
            return normalise(batch, self._preprocess)

    def _kept(self, numbers: list[int], epoch: int | None) -> Iterator["_Item"]:
        """Each row with its image where that is kept, otherwise with a reader of its photo."""
        whole = epoch is not None and self._augmentation.crops
        kept = [self._memory.get((row, whole)) for row in numbers]
        missing = (row for row, image in zip(numbers, kept, strict=True) if image is None)
        readers = self._photos.readers(missing)
        for row, image in zip(numbers, kept, strict=True):
            yield _Item(
                row=row, epoch=epoch, whole=whole, image=image if image is not None else next(readers)
            )

    def _image(self, item: "_Item") -> Tensor:
        """A row's image (3, size, size) uint8, all but distorted; runs in a worker."""
        image = item.image if isinstance(item.image, Tensor) else self._decode(item, item.image)
        if item.epoch is None:
            return image
        return crop_and_flip(image, self._preprocess.size, self._augmentation, item.epoch, item.row)

    def _decode(self, item: "_Item", reader: Reader) -> Tensor:
        """A row's canvas, or its image prepared as for a frozen network; kept where there is room."""
        pixels = self._photos.decode(item.row, reader, self._preprocess)
        image = (
            resize_image(pixels, self._for_canvas) if item.whole else prepare_image(pixels, self._preprocess)
        )
        self._memory.keep((item.row, item.whole), image)
        return image


@dataclass(frozen=True, kw_only=True)
class _Item:
    """What a worker makes one image of.

    Attributes:
        row: number of the row.
        epoch: number of the epoch, or None.
        whole: whether a canvas is needed, for a crop.
        image: the canvas or prepared image if it is kept, otherwise what reads the photo.
    """

    row: int
    epoch: int | None
    whole: bool
    image: Tensor | Reader


def _opened(pool: ThreadPoolExecutor | None) -> ThreadPoolExecutor:
    if pool is None:
        raise RuntimeError("inputs() was called outside of session()")
    return pool


def _start_all(pool: ThreadPoolExecutor, workers: int) -> None:
    """Have every thread of a pool begin, which otherwise waits for work."""
    all_there = threading.Barrier(workers)
    waiting = [pool.submit(all_there.wait) for _ in range(workers)]
    for thread in waiting:
        thread.result()
