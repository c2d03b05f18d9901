"""How the data sets that have a name are laid out, each in its own way."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from headstart.datasets.dataset import ImageDataset, Split, make_table
from headstart.datasets.files import DiskFiles
from headstart.datasets.folders.folder import read_folder
from headstart.datasets.folders.walk import list_folder
from headstart.datasets.held.cifar import check_batch
from headstart.datasets.held.files import read_cifar_batches
from headstart.datasets.held.pickled import SIGN_NAMES, as_labels, read_sign_names
from headstart.datasets.held.pixels import ArrayFiles, JoinedFiles
from headstart.datasets.named.fetching import Archive, fetch_unpacked
from headstart.datasets.options import ReadOptions
from headstart.errors import DataError
from headstart.files import file_stamp
from headstart.safe_pickle import load_pickle
from headstart.unpacking import unpack_zip


def read_flowers(archives: tuple[Archive, ...], folder: Path, options: ReadOptions) -> ImageDataset:
    """TensorFlow's flower photos: flower_photos/CLASS/*.jpg, without splits."""
    return read_folder(str(fetch_unpacked(archives[0], folder, options) / "flower_photos"))


def read_gtsrb(archives: tuple[Archive, ...], folder: Path, options: ReadOptions) -> ImageDataset:
    """Traffic signs: GTSRB/Final_Training/Images/CLASS/TRACK_FRAME.ppm and a test part with its table of labels.

    A track is a group: its frames show one sign as a car comes nearer. A test image is a group of its own.
    """
    train, test, truth = (fetch_unpacked(archive, folder, options) for archive in archives)
    found = list_folder(folder, train)
    names = list(found.images)
    folders = [PurePosixPath(name).parent.name for name in names]
    if not all(name.isdecimal() for name in folders):
        _complain(train, "a folder for each class, called by its number")
    numbers = [int(name) for name in folders]
    tracks = [
        f"{number}/{PurePosixPath(name).name.split('_')[0]}"
        for name, number in zip(names, numbers, strict=True)
    ]
    rows = _read_table(_sole(truth, "GT-final_test.csv"))
    images = _sole(test, "Images").relative_to(folder).as_posix()
    names += [f"{images}/{row['Filename']}" for row in rows]
    splits = ["train"] * len(numbers) + ["test"] * len(rows)
    return ImageDataset(
        name="gtsrb",
        files=DiskFiles(root=folder),
        table=make_table(
            names,
            numbers + [int(row["ClassId"]) for row in rows],
            splits,
            tracks + [f"test/{row['Filename']}" for row in rows],
        ),
        classes=_sign_classes(folder, max(numbers, default=0) + 1),
        problems=tuple(found.problems),
    )


def _sign_classes(folder: Path, n: int) -> tuple[str, ...]:
    """The signs' names, or their numbers as the class folders have them."""
    table = folder / SIGN_NAMES
    if not table.exists():
        return tuple(f"{number:05}" for number in range(n))
    names = read_sign_names(table)
    if len(names) != n:
        raise DataError(f"{table} names {len(names)} signs, but the data set has {n}.")
    return names


def read_pets(archives: tuple[Archive, ...], folder: Path, options: ReadOptions) -> ImageDataset:
    """Pets: images/BREED_NUMBER.jpg, whose breeds are listed in annotations/trainval.txt and test.txt."""
    images, annotations = (fetch_unpacked(archive, folder, options) for archive in archives)
    place = (images / "images").relative_to(folder).as_posix()
    names: list[str] = []
    labels: list[int] = []
    splits: list[Split] = []
    breeds: dict[int, str] = {}
    parts: tuple[tuple[str, Split], ...] = (("trainval.txt", "train"), ("test.txt", "test"))
    for table, split in parts:
        # Image, class from 1, species, breed within the species
        for image, number, *_ in _read_list(annotations / "annotations" / table):
            names.append(f"{place}/{image}.jpg")
            labels.append(int(number) - 1)
            splits.append(split)
            breeds[int(number) - 1] = image.rpartition("_")[0]
    if sorted(breeds) != list(range(len(breeds))):
        _complain(annotations, "a breed for each class")
    return ImageDataset(
        name="oxford_iiit_pet",
        files=DiskFiles(root=folder),
        table=make_table(names, labels, splits),
        classes=tuple(breeds[number] for number in range(len(breeds))),
    )


def read_scenes(archives: tuple[Archive, ...], folder: Path, options: ReadOptions) -> ImageDataset:
    """Natural scenes: seg_train and seg_test, unpacked or in the zip archive that their host gives out."""
    if (unpacked := _scenes_folder(folder)) is not None:
        return read_folder(str(unpacked))
    zips = sorted(folder.glob("*.zip"))
    if len(zips) != 1:
        raise DataError(
            f"intel_scenes is not in {folder}, and its host wants a login, so it cannot be downloaded: fetch "
            '"Intel Image Classification" from Kaggle (puneet6060/intel-image-classification).\n'
            f"Put its one .zip file, or its unpacked folders seg_train and seg_test, into {folder}."
        )
    unpack_zip(zips[0], folder / zips[0].stem)
    if (unpacked := _scenes_folder(folder)) is None:
        _complain(folder / zips[0].stem, "seg_train")
    return read_folder(str(unpacked))


def _scenes_folder(folder: Path) -> Path | None:
    """The folder that holds seg_train: the data set's own, or one at most two levels below."""
    found = (path for levels in ("", "*/", "*/*/") for path in sorted(folder.glob(f"{levels}seg_train")))
    return next((path.parent for path in found if path.is_dir()), None)


def read_digits(archives: tuple[Archive, ...], folder: Path, options: ReadOptions) -> ImageDataset:
    """The digits that come with scikit-learn: 8 x 8, their 17 shades of grey stretched over 0 to 255."""
    from sklearn.datasets import load_digits

    table = Path(str(files("sklearn.datasets.data") / "digits.csv.gz"))
    listed = file_stamp(table)
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return ImageDataset(
        name="digits",
        files=ArrayFiles(path=table, listed=listed, pixels=pixels),
        table=make_table([str(k) for k in range(len(pixels))], digits.target, [None] * len(pixels)),
        classes=tuple(str(name) for name in digits.target_names),
    )


def read_cifar10(archives: tuple[Archive, ...], folder: Path, options: ReadOptions) -> ImageDataset:
    """CIFAR-10's Python batches: pickled, and read without running anything in them."""
    return read_cifar_batches(str(fetch_unpacked(archives[0], folder, options)))


def read_cifar100(archives: tuple[Archive, ...], folder: Path, options: ReadOptions) -> ImageDataset:
    """CIFAR-100 with its hundred fine classes: train, test and meta, pickled as CIFAR-10 is."""
    batches = fetch_unpacked(archives[0], folder, options) / "cifar-100-python"
    parts: dict[str, ArrayFiles] = {}
    listed_labels: list[Any] = []
    for split in ("train", "test"):
        path = _require_file(batches / split)
        listed = file_stamp(path)
        pixels, own = check_batch(load_pickle(path), path, "fine_labels")
        parts[split] = ArrayFiles(path=path, listed=listed, pixels=pixels)
        listed_labels += own
    labels, numbers = as_labels(listed_labels, len(listed_labels), batches)
    classes = _class_names(batches / "meta")
    if len(classes) < len(numbers):
        _complain(batches, f"a name for each of {len(numbers)} classes")
    names = [(split, k) for split, part in parts.items() for k in range(len(part.pixels))]
    return ImageDataset(
        name="cifar100",
        files=JoinedFiles(parts=parts),
        table=make_table([f"{split}/{k}" for split, k in names], labels, [split for split, _ in names]),
        classes=classes,
    )


def _class_names(path: Path) -> tuple[str, ...]:
    """The names of the fine classes in a pickled dict."""
    value = load_pickle(_require_file(path))
    names = value.get("fine_label_names") if isinstance(value, dict) else None
    if not isinstance(names, list):
        _complain(path.parent, f"a {path.name} with fine_label_names")
    return tuple(map(str, names))


def _require_file(path: Path) -> Path:
    if not path.is_file():
        _complain(path.parent, path.name)
    return path


def _sole(folder: Path, name: str) -> Path:
    """The one file or folder of that name somewhere below a folder."""
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        _complain(folder, f"one {name}")
    return found[0]


def _read_table(path: Path) -> list[dict[str, str]]:
    """The rows of the signs' table, whose Filename and ClassId are what counts."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    if not all(row.get("Filename") and (row.get("ClassId") or "").isdecimal() for row in rows):
        _complain(path.parent, f"a {path.name} with Filename and ClassId in each row")
    return rows


def _read_list(path: Path) -> list[list[str]]:
    """The words of each line of the pets' lists: the image, its class from 1, and more."""
    lines = _require_file(path).read_text(encoding="utf-8").splitlines()
    found = [line.split() for line in lines if line and not line.startswith("#")]
    if not all(len(words) > 1 and words[1].isdecimal() for words in found):
        _complain(path.parent, f"a {path.name} with an image and the number of its class in each line")
    return found


def _complain(folder: Path, expected: str) -> NoReturn:
    raise DataError(
        f"{folder} does not hold {expected}.\nDelete it, to have it unpacked anew from the archive beside it."
    )
