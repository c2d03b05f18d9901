"""The demo: the main job on photos that come with headstart (or on real flowers), beside two baselines."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.config import TrainConfig
from headstart.datasets import Reader, assign_splits, load_dataset, stratified_folds
from headstart.datasets.named.materials import write_materials
from headstart.errors import UnreadableImageError
from headstart.features import Progress
from headstart.images import Preprocess, decode_image, prepare_image
from headstart.jobs import Observers, train
from headstart.runs import Run
from headstart.training import fit_head

Name = Literal["materials", "flowers"]

PER_CLASS = (1, 5, 20)
"""Labelled images a class at which the demo compares."""

_FOLDS = 5
_PIXELS = Preprocess(size=32, resize=32, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Test accuracies, 0 to 1, of the same test images at some number of labelled images a class."""

    per_class: int
    pretrained: float
    random: float
    pixels: float


def prepare_photos(name: Name, folder: Path) -> str:
    """Make the demo's folder of photos; the flowers are a data set that has a name.

    Returns:
        What `headstart train` is to be given.

    Raises:
        DataError: scikit-image, which carries the photographs of `materials`, is not installed.
    """
    if name == "flowers":
        return "tf_flowers"
    photos = folder / "photos"
    write_materials(photos, plant_broken=True)
    return str(photos)


def compare(main: Run, folder: Path, *, store: Path | None, progress: Progress | None) -> list[Comparison]:
    """Pretrained features against random ones of the same network and against raw pixels.

    Args:
        main: the run on all photos.
        folder: where the other runs are written.
        store: folder of the feature store.
        progress: told how far each extraction is.
    """

    def accuracy(config: TrainConfig) -> float:
        out = folder / f"{config.weights}-{config.per_class}"
        result = train(
            config, out=out, force=True, store=store, observers=Observers(extraction=progress)
        ).result
        return float(result["test"]["accuracy"])

    return [
        Comparison(
            per_class=k,
            pretrained=accuracy(replace(main.config, per_class=k)),
            random=accuracy(replace(main.config, per_class=k, weights="none")),
            pixels=pixel_accuracy(main.config.data, k, seed=main.config.seed, store=store),
        )
        for k in PER_CLASS
    ]


def pixel_accuracy(data: str, per_class: int, *, seed: int, store: Path | None = None) -> float:
    """Test accuracy of the same head on raw pixels, 32 x 32 RGB, its strength chosen by cross-validation.

    Args:
        data: folder of photos, or the name of a data set.
        per_class: labelled images a class.
        seed: of splits and folds.
        store: folder of the store, where downloaded data sets lie.
    """
    listed = load_dataset(data, cache=store)
    pixels = [_pixels(read) for read in listed.files.readers(listed.names())]
    readable = np.array([values is not None for values in pixels], dtype=bool)
    dataset, _ = assign_splits(listed.subset(readable), seed=seed, per_class=per_class)
    by_name = dict(zip(listed.names(), pixels, strict=True))
    features = np.stack([values for name in dataset.names() if (values := by_name[name]) is not None])
    labels = dataset.labels().astype(np.int64)
    is_test = dataset.split_names() == "test"
    x, y = features[~is_test], labels[~is_test]
    smallest = int(np.bincount(y).min())
    folds = stratified_folds(y, min(_FOLDS, smallest), seed) if smallest > 1 else None
    head = fit_head(x, y, n_classes=len(dataset.classes), folds=folds).head
    predicted = head(torch.from_numpy(features[is_test])).argmax(dim=1).numpy()
    return float((predicted == labels[is_test]).mean())


def _pixels(read: Reader) -> NDArray[np.float32] | None:
    """An image's 3,072 values, 0 to 1, or None where it is unreadable."""
    try:
        image = prepare_image(decode_image(read()), _PIXELS)
    except UnreadableImageError:
        return None
    return np.asarray(image.flatten().numpy() / 255, dtype=np.float32)
