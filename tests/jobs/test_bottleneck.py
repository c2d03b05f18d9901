"""The conventions of programs on bottleneck features: names of files, and who is in them."""

import pytest

from headstart.datasets import ImageDataset, make_table
from headstart.errors import DataError
from headstart.jobs.bottleneck import bottleneck_names, split_bottleneck


def _dataset(counts: dict[str | None, tuple[int, ...]], name: str = "cifar10") -> ImageDataset:
    """Images of some classes in some splits, by `{split: (images of class 0, of class 1, ...)}`."""
    rows = [
        (f"{split}/{label}/{i:03}.jpg", label, split)
        for split, sizes in counts.items()
        for label, n in enumerate(sizes)
        for i in range(n)
    ]
    paths, labels, splits = zip(*sorted(rows, key=lambda row: row[0]), strict=True)
    classes = tuple(f"c{label}" for label in range(max(labels) + 1))
    return ImageDataset(name=name, table=make_table(paths, labels, splits), classes=classes)


@pytest.mark.parametrize(
    ("backbone", "dataset", "stem"),
    [
        ("vgg16", "cifar10", "vgg_cifar10"),
        ("torchvision/vgg16", "gtsrb", "vgg_traffic"),
        ("caffe/vgg16", "GTSRB", "vgg_traffic"),
        ("torchvision/inception_v3", "cifar-10-batches-py", "inception_cifar10"),
        ("resnet50", "cifar-10-python", "resnet_cifar10"),
        ("resnet50", "gtsrb", "resnet_traffic"),
        ("timm/resnet50.a1_in1k", "flowers", "resnet50.a1_in1k_flowers"),
        ("vgg19", "../my photos: 2", "vgg19_my_photos_2"),
        ("tf_efficientnet_lite0", "...", "tf_efficientnet_lite0_data"),
    ],
)
def test_the_names(backbone: str, dataset: str, stem: str) -> None:
    assert bottleneck_names(backbone, dataset, 100) == (
        f"{stem}_100_bottleneck_features_train.p",
        f"{stem}_bottleneck_features_validation.p",
    )


def test_validation_as_given_is_whole_and_test_beside_it_stays_out() -> None:
    dataset = _dataset({"train": (30, 8), "val": (25, 3), "test": (9, 9)})

    made, record = split_bottleneck(dataset, split="auto", size=10, seed=0)

    assert made.counts("train").tolist() == [10, 8]
    assert all(name.startswith("val/") for name in made.names("val"))
    assert made.counts("val").tolist() == [25, 3]
    assert made.splits == ("train", "val")
    assert record.rule == "train, val as given, at most 10 images a class, seed 0"


def test_without_validation_test_is_it() -> None:
    dataset = _dataset({"train": (30, 80), "test": (25, 3)})

    made, record = split_bottleneck(dataset, split="auto", size=25, seed=0)

    assert made.counts("train").tolist() == [25, 25]
    assert record.rule == "train, test as given, at most 25 images a class, seed 0"
    assert made.counts("val").tolist() == [25, 3]
    assert all(name.startswith("test/") for name in made.names("val"))


@pytest.mark.parametrize(
    ("name", "given", "split", "held_out", "words"),
    [
        ("cifar10", None, "auto", [10, 20], "80/20 of all images"),
        ("gtsrb", None, "auto", [17, 33], "67/33 of all images"),
        ("flowers", "train", "auto", [10, 20], "80/20 of all images"),
        ("flowers", "train", "50/50", [25, 50], "50/50 of all images"),
    ],
)
def test_without_either_a_part_is_held_out(
    name: str, given: str | None, split: str, held_out: list[int], words: str
) -> None:
    dataset = _dataset({given: (50, 100)}, name)

    made, record = split_bottleneck(dataset, split=split, size=1000, seed=1)

    assert made.counts("val").tolist() == held_out
    assert sorted(made.names("train") + made.names("val")) == sorted(dataset.names())
    assert words in record.rule


def test_the_seed_draws() -> None:
    dataset = _dataset({None: (50, 100)})

    def names(seed: int) -> list[list[str]]:
        made, _ = split_bottleneck(dataset, split="auto", size=10, seed=seed)
        return [made.names("train"), made.names("val")]

    assert names(0) == names(0)
    assert names(0)[0] != names(1)[0]
    assert names(0)[1] != names(1)[1]


def test_no_image_to_train_on() -> None:
    with pytest.raises(DataError, match="none to train on"):
        split_bottleneck(_dataset({"val": (5, 4)}), split="auto", size=10, seed=0)
