"""Mean and standard deviation of a data set's pixels, for `--normalise dataset`.

An image's own mean and variance are kept in the store as six values, so that ten more photos cost ten decodings.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.datasets import ImageDataset
from headstart.errors import DataError
from headstart.features.extract import files_and_names
from headstart.features.extraction import Extraction, Progress
from headstart.features.job import Job
from headstart.features.key import StoreKey
from headstart.features.store import FeatureStore
from headstart.images import Preprocess, decoder_identity
from headstart.images.preprocess import Triple
from headstart.threads import one_thread
from headstart.views import ORIGINAL

CHANNEL_STATISTICS = "channel-statistics"
"""What stands in a store key in place of an architecture."""

_CHANNELS = ("red", "green", "blue")
_DECIMALS = 6  # a preprocess, and with it a store key, can be written down and typed in again


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel (red, green, blue) over all pixels of all images, in 0 to 1."""

    mean: Triple
    std: Triple


class _ChannelMeter:
    """A runtime that gives mean and variance of an image's channels instead of features."""

    batch_size = 1

    @property
    def identity(self) -> dict[str, str]:
        return {"runtime": "numpy", "precision": "float64"}

    def run(self, images: list[Tensor]) -> NDArray[Any]:
        """(n, 6) float32: means, then variances, of pixels in 0 to 1; computed in float64."""
        pixels = np.stack([image.numpy() for image in images]).astype(np.float64)
        moments = [pixels.mean((2, 3)) / 255, pixels.var((2, 3)) / 255**2]
        return np.concatenate(moments, axis=1).astype(np.float32)

    def session(self) -> AbstractContextManager[None]:
        return one_thread()

    def start_worker(self) -> None:
        torch.set_num_threads(1)


def measure_images(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
    preprocess: Preprocess,
    *,
    store: FeatureStore | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Decode the images, and keep mean and variance of each one's channels: the quickest way to know what can be read.

    Pixels are measured as a network is given them, before they are normalised: resized and cropped. With "pad",
    photos are measured squashed: the bars are no part of them, and their colour is what is looked for.

    Args:
        images: a data set, or image files.
        preprocess: how they are prepared; `mean` and `std` are of no account.
        store: where each image's values are kept; by default the user's own.
        workers: threads that decode; by default as many as there are usable cores.
        progress: told how far it is.

    Returns:
        Features (n, 6) of the readable images: three means, then three variances, of pixels in 0 to 1.

    Raises:
        StoreError: the store cannot be written.
        DiskFullError: there is no room in it.
    """
    if preprocess.resize_mode == "pad":
        preprocess = dataclasses.replace(preprocess, resize_mode="squash")
    store = store if store is not None else FeatureStore()
    meter = _ChannelMeter()
    key = _store_key(preprocess, meter)
    store.open_key(key)
    files, names = files_and_names(images)
    job = Job(
        store=store,
        keys=[key],
        views=[ORIGINAL],
        seed=0,
        runtime=meter,
        shape=(2 * len(_CHANNELS),),
        preprocess=preprocess,
        files=files,
    )
    (extraction,) = job.run(names, workers=workers, progress=progress)
    return extraction


def measure_channels(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
    preprocess: Preprocess,
    *,
    store: FeatureStore | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ChannelStatistics:
    """Mean and standard deviation of the pixels of all images together; see `measure_images`.

    An image that stands twice among the images counts twice; those that cannot be read are left out.

    Returns:
        Mean and standard deviation, rounded to six decimals; in whatever order the images come, the same.

    Raises:
        DataError: no image can be read, or a channel has the same value everywhere.
        StoreError: the store cannot be written.
        DiskFullError: there is no room in it.
    """
    extraction = measure_images(images, preprocess, store=store, workers=workers, progress=progress)
    if not len(extraction.features):
        reasons = "".join(f"\n{problem.path}: {problem.reason}." for problem in extraction.problems[:1])
        raise DataError(
            f"None of {len(extraction.readable)} images can be read, so there are no pixels to measure.{reasons}"
        )
    return _combine(extraction.features.load())


def _store_key(preprocess: Preprocess, meter: _ChannelMeter) -> StoreKey:
    """The key of the images' own values; what normalises them afterwards is no part of it."""
    return StoreKey(
        architecture=CHANNEL_STATISTICS,
        arguments={},
        weights="none",
        cut="pixels",
        preprocess={k: v for k, v in preprocess.to_dict().items() if k not in ("mean", "std")},
        decoder=decoder_identity(),
        view=ORIGINAL.identity(0),
        runtime=meter.identity["runtime"],
        precision=meter.identity["precision"],
    )


def _combine(rows: NDArray[np.float32]) -> ChannelStatistics:
    """From each image's mean and variance to those of all pixels; images have equally many pixels.

    Law of total variance: the mean of the images' variances, plus the variance of their means. Unlike the mean of
    squares less the square of the mean, it takes no small difference of large numbers.

    Args:
        rows: (n, 6) means and variances.
    """
    means, variances = np.hsplit(rows.astype(np.float64), 2)
    mean = _average(means)
    std = np.sqrt(_average(variances) + _average((means - mean) ** 2)).round(_DECIMALS)
    if constant := [name for name, value in zip(_CHANNELS, std, strict=True) if value == 0]:
        raise DataError(
            f"All pixels of the training images have the same {' and '.join(constant)}, whose standard deviation is 0: "
            "it can normalise nothing.\nUse the normalisation of the weights: --normalise weights."
        )
    return ChannelStatistics(mean=_triple(mean.round(_DECIMALS)), std=_triple(std))


def _average(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the images, (3,), by exact sums: the same in whatever order they stand."""
    return np.array([math.fsum(column) / len(values) for column in values.T])


def _triple(values: NDArray[np.float64]) -> Triple:
    red, green, blue = values.tolist()
    return red, green, blue
