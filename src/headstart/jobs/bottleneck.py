"""The conventions of programs on bottleneck features: what their two files are called, and who is in them."""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.datasets import ImageDataset, stratified_folds
from headstart.errors import DataError

PER_CLASS: Final = 100
"""Training images a class, where nothing else is said."""

_NETWORKS: Final = {"vgg16": "vgg", "inception_v3": "inception", "resnet50": "resnet"}
_DATASETS: Final = {"gtsrb": "traffic", "cifar-10": "cifar10", "cifar-10-batches-py": "cifar10"}
# They hold out a third of the traffic signs, and a fifth of CIFAR-10: one fold of three, and of five.
_FOLDS: Final = {"traffic": 3}
_USUAL_FOLDS: Final = 5


def bottleneck_names(backbone: str, dataset: str, size: int) -> tuple[str, str]:
    """The names of the training and the validation file.

    Args:
        backbone: name of the network; what stands before its last slash is left out.
        dataset: name of the data set.
        size: training images a class.

    Returns:
        `{network}_{dataset}_{size}_bottleneck_features_train.p`, and the same with `validation` and without a
        size, since validation is whole.
    """
    own = backbone.rpartition("/")[2]
    stem = f"{_safe(_NETWORKS.get(own, own))}_{dataset_word(dataset)}"
    return f"{stem}_{size}_bottleneck_features_train.p", f"{stem}_bottleneck_features_validation.p"


def dataset_word(name: str) -> str:
    """What a data set is called in file names: `traffic` for the traffic signs, else its own name made safe."""
    return _safe(_DATASETS.get(name.lower(), name))


def split_bottleneck(dataset: ImageDataset, *, size: int, seed: int) -> tuple[ImageDataset, str]:
    """Choose the images of the two files: at most `size` a class to train on, and a whole validation part.

    Validation is the part of that name, else the test part, else a stratified fifth (of the traffic signs, a third)
    of all images. A test part beside a validation part stays out.

    Args:
        dataset: images with any splits, or none.
        size: training images a class.
        seed: another seed draws others.

    Returns:
        The images of both files, with the splits train and val, and in words where validation comes from.

    Raises:
        DataError: there is no training image, or a class is too small to hold any of it out.
    """
    splits = dataset.split_names()
    if {"val", "test"} & set(dataset.splits):
        given = "val" if "val" in dataset.splits else "test"
        train, held_out, words = splits == "train", splits == given, f"the data's own {given} part"
    else:
        held_out, words = _hold_out(dataset, seed)
        train = ~held_out
    if not train.any():
        raise DataError(f"There is no image of {dataset.name} to train on.")
    train &= _first_of_each_class(dataset.labels(), train, size, seed)
    splits[:] = None
    splits[train], splits[held_out] = "train", "val"
    return dataset.with_splits(splits).subset(train | held_out), words


def _hold_out(dataset: ImageDataset, seed: int) -> tuple[NDArray[np.bool_], str]:
    """A mask of the images that validate."""
    folds = _FOLDS.get(dataset_word(dataset.name), _USUAL_FOLDS)
    counts = dataset.counts()
    if (smallest := int(counts[counts > 0].min(initial=len(dataset)))) < folds:
        raise DataError(
            f"The smallest class of {dataset.name} has {smallest} images; one of {folds} is to be held out.\n"
            "Give it more, or put the images to validate on into a folder val."
        )
    mask: NDArray[np.bool_] = stratified_folds(dataset.labels(), folds, seed) == 0
    return mask, f"a stratified {'third' if folds == 3 else 'fifth'} of all images, seed {seed}"


def _first_of_each_class(
    labels: NDArray[np.int32], among: NDArray[np.bool_], size: int, seed: int
) -> NDArray[np.bool_]:
    """A mask of at most `size` images of each class, drawn `among` some."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(among & (labels == label)))
        mask[rows[:size]] = True
    return mask


def _safe(name: str) -> str:
    """A name as every file system takes it."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-") or "data"
