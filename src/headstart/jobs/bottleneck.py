"""The conventions of programs on bottleneck features: what their two files are called, and who is in them."""

import re
from dataclasses import replace
from typing import Final

from headstart.datasets import VALIDATION_MADE, ImageDataset, SplitRecord, assign_splits

PER_CLASS: Final = 100
"""Training images a class, where nothing else is said."""

_NETWORKS: Final = {"vgg16": "vgg", "inception_v3": "inception", "resnet50": "resnet"}
_DATASETS: Final = {
    "gtsrb": "traffic",
    **dict.fromkeys(("cifar-10", "cifar-10-batches-py", "cifar-10-python"), "cifar10"),
}
# They hold out a third of the traffic signs, and a fifth of CIFAR-10.
_SHARES: Final = {"traffic": "67/33"}
_USUAL_SHARES: Final = "80/20"


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


def split_bottleneck(
    dataset: ImageDataset, *, split: str, size: int, seed: int
) -> tuple[ImageDataset, SplitRecord]:
    """Choose the images of the two files: at most `size` a class to train on, and a whole validation part.

    Unless `split` says otherwise, validation is the part of that name, else the test part, else a stratified fifth
    (of the traffic signs, a third) of all images. A test part beside a validation part stays out.

    Args:
        dataset: images with any splits, or none.
        split: see `datasets.assign_splits`.
        size: training images a class.
        seed: another seed draws others.

    Returns:
        The images of both files, with the splits train and val, and how they were divided.

    Raises:
        ConfigError: `split` is no rule for splits.
        DataError: there is no training image.
    """
    given = next((name for name in ("val", "test") if name in dataset.splits), None)
    if split == "auto" and given is None:
        dataset = dataset.with_splits([None] * len(dataset))
        split = _SHARES.get(dataset_word(dataset.name), _USUAL_SHARES)
    elif split == "auto" and given == "val":
        kept = dataset.split_names()
        dataset = dataset.subset(kept != "test")
        dataset = dataset.with_splits(["test" if name == "val" else name for name in kept[kept != "test"]])
    made, record = assign_splits(dataset, split=split, seed=seed, per_class=size)
    # Of the two files one trains: what was set aside within train goes back, and the words on it go.
    names = {"train": "train", "val": "train", "test": "val"}
    rule = record.rule.replace(f", {VALIDATION_MADE}", "")
    if split == "auto":
        rule = rule.replace("train, test as given", f"train, {given} as given")
    return made.with_splits([names[name] for name in made.split_names()]), replace(record, rule=rule)


def _safe(name: str) -> str:
    """A name as every file system takes it."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-") or "data"
