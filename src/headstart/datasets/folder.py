"""A data set from a folder of photos: one folder for each class, perhaps within train, val and test.

Layouts read: ``PHOTOS/CLASS/...``; ``PHOTOS/{train,val,test}/CLASS/...``; ``seg_train``, ``seg_test``,
``seg_pred``; and any of these within a folder of the same name again, as archives like to unpack. The first
level below is the class; images may lie deeper.
"""

from __future__ import annotations

import dataclasses
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn

from headstart.datasets.dataset import SPLITS, ImageDataset, Split, make_table
from headstart.datasets.files import DiskFiles
from headstart.datasets.walk import Found, list_folder, printable, visible_folders
from headstart.errors import DataError
from headstart.images import file_reason

_SPLIT_NAMES: Final[Mapping[str, Split]] = MappingProxyType(
    {
        "train": "train",
        "training": "train",
        "val": "val",
        "valid": "val",
        "validation": "val",
        "test": "test",
        "testing": "test",
    }
)


# Photos that wait for a prediction: they have no label and stand beside the splits.
_UNLABELLED: Final = frozenset({"seg_pred"})
_TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".parquet"})
_EXPECTED: Final = "Expected PHOTOS/CLASS/*.jpg or PHOTOS/{train,val,test}/CLASS/*.jpg"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ClassFolder:
    name: str
    split: Split | None
    found: Found


@dataclasses.dataclass(kw_only=True)
class _Listing:
    classes: list[_ClassFolder] = dataclasses.field(default_factory=list)
    passed_over: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def pass_over(self, found: Found, words: str) -> None:
        """Count files that no class holds, and say so if images are among them."""
        self.passed_over += found.passed_over + len(found.images) + len(found.problems)
        if found.images:
            self.notes.append(
                f"{len(found.images):,} image{'s'[: len(found.images) > 1]} {words} passed over."
            )


def read_folder(location: str) -> ImageDataset:
    """List a folder of photos without decoding any.

    A file is taken for an image if its suffix says so or, failing that, its first bytes do. Everything else
    is counted and passed over. Symbolic links are followed.

    Args:
        location: the folder.

    Returns:
        The images sorted by path. Their split is the one their folders give; null where there is no ``val``
        or ``test`` beside a ``train``.

    Raises:
        DataError: if there is no such folder, or it does not hold at least two classes of images.
    """
    root = Path(location).expanduser()
    _check_is_folder(root)
    listing = _Listing()
    top = _unwrap(root, root, listing)
    split_folders = _split_folders(top)
    for split, folder in split_folders.items():
        _read_classes(root, _unwrap(root, folder, listing), split, listing)
    if split_folders:
        _pass_over_rest(root, top, split_folders.values(), listing)
    else:
        _read_classes(root, top, None, listing)
    _check_classes(top, listing.classes)
    return _gather(root, listing)


def _check_is_folder(root: Path) -> None:
    try:
        mode = root.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(f"There is no folder {_shown(root)}. {_EXPECTED}.") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"Cannot read the folder {_shown(root)}: {file_reason(error)}. {_EXPECTED}."
        ) from error
    if not stat.S_ISDIR(mode):
        raise DataError(f"{_shown(root)} is a file, not a folder. {_EXPECTED}.")


def _unwrap(root: Path, folder: Path, listing: _Listing) -> Path:
    """Step into a folder that holds nothing but a folder of its own name, as unpacked archives do."""
    inner = visible_folders(folder)
    if len(inner) != 1 or not _same_name(folder, inner[0]):
        return folder
    listing.pass_over(
        list_folder(root, folder, recursive=False), f"in {_shown(folder)}, beside the doubled folder,"
    )
    return inner[0]


def _same_name(outer: Path, inner: Path) -> bool:
    names = {outer.name.casefold(), outer.resolve().name.casefold()}
    split = _split_of(outer)
    return inner.name.casefold() in names or (split is not None and split == _split_of(inner))


def _split_of(folder: Path) -> Split | None:
    return _SPLIT_NAMES.get(folder.name.casefold().removeprefix("seg_").removesuffix("_set"))


def _split_folders(top: Path) -> dict[Split, Path]:
    """Find the folders of the splits; none where the folders' names can only be classes."""
    by_split: dict[Split, list[Path]] = defaultdict(list)
    classes = 0
    for folder in visible_folders(top):
        if split := _split_of(folder):
            by_split[split].append(folder)
        elif folder.name.casefold() not in _UNLABELLED:
            classes += 1
    if "train" not in by_split and (classes or not by_split):
        return {}
    if "train" in by_split and len(by_split) == 1 and classes:
        return {}  # bus, car, train
    _check_splits(top, by_split)
    return {split: by_split[split][0] for split in SPLITS if split in by_split}


def _check_splits(top: Path, by_split: Mapping[Split, Sequence[Path]]) -> None:
    if "train" not in by_split:
        names = _listed(folder.name for folders in by_split.values() for folder in folders)
        raise DataError(f"{_shown(top)} holds {names} but no train folder. {_EXPECTED}.")
    for split, folders in by_split.items():
        if len(folders) > 1:
            names = _listed(folder.name for folder in folders)
            raise DataError(f"{_shown(top)} holds several folders for {split}: {names}. Keep one of them.")


def _read_classes(root: Path, folder: Path, split: Split | None, listing: _Listing) -> None:
    loose = list_folder(root, folder, recursive=False)
    class_folders = visible_folders(folder)
    if not class_folders:
        _complain_of_no_class(folder, loose)
    listing.pass_over(loose, f"in {_shown(folder)}, beside the class folders and so without a label,")
    for class_folder in class_folders:
        found = list_folder(root, class_folder)
        listing.classes.append(_ClassFolder(name=_class_name(class_folder), split=split, found=found))


def _complain_of_no_class(folder: Path, loose: Found) -> NoReturn:
    if not loose.images:
        raise DataError(f"{_shown(folder)} holds no class folder and no image. {_EXPECTED}.")
    tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _TABLE_SUFFIXES)
    hint = (
        f" A table of labels ({tables[0]}), or several labels for an image, cannot be read yet."
        if tables
        else ""
    )
    raise DataError(
        f"Images lie directly in {_shown(folder)}, beside no class folder ({len(loose.images):,} of them). "
        f"{_EXPECTED}.{hint}"
    )


def _class_name(folder: Path) -> str:
    # macOS decomposes accents in file names; the same class may come composed from another system.
    name = unicodedata.normalize("NFC", folder.name)
    if name != printable(name):
        raise DataError(f"The name of the class folder {_shown(folder)} is not valid UTF-8. Rename it.")
    return name


def _pass_over_rest(root: Path, top: Path, read: Collection[Path], listing: _Listing) -> None:
    """Count what stands beside the folders of the splits."""
    listing.pass_over(list_folder(root, top, recursive=False), f"in {_shown(top)}, beside the splits,")
    for folder in visible_folders(top):
        if folder not in read:
            listing.pass_over(list_folder(root, folder), f"in {_shown(folder)}, which is no split,")


def _check_classes(top: Path, folders: Sequence[_ClassFolder]) -> None:
    images: dict[str, Counter[Split | None]] = defaultdict(Counter)
    for folder in folders:
        images[folder.name][folder.split] += len(folder.found.images)
    if len(images) == 1:
        (name,) = images
        raise DataError(
            f"Only one class folder, {name!r}, in {_shown(top)}; a classifier needs at least two. "
            "If the classes lie inside it, give that folder."
        )
    if empty := [name for name, counts in images.items() if not counts.total()]:
        raise DataError(
            f"Class folders without any image that can be read: {_listed(empty)} in {_shown(top)}. "
            "Add images or remove the folders."
        )
    _check_known_to_train({name: counts for name, counts in images.items() if None not in counts})


def _check_known_to_train(images: Mapping[str, Counter[Split | None]]) -> None:
    unknown = [name for name, counts in images.items() if not counts["train"]]
    if unknown:
        known = [name for name, counts in images.items() if counts["train"]]
        raise DataError(
            f"Classes in val or test without an image in train: {_listed(unknown)}. "
            f"Expected only those of train: {_listed(known)}."
        )


def _gather(root: Path, listing: _Listing) -> ImageDataset:
    classes = sorted({folder.name for folder in listing.classes})
    label = {name: number for number, name in enumerate(classes)}
    rows = sorted(
        (path, label[folder.name], folder.split) for folder in listing.classes for path in folder.found.images
    )
    paths, labels, splits = zip(*rows, strict=True)
    if set(splits) == {"train"}:
        splits = (None,) * len(rows)  # a train folder alone says nothing about how to split
    problems = [problem for folder in listing.classes for problem in folder.found.problems]
    return ImageDataset(
        name=root.resolve().name or str(root),
        files=DiskFiles(root=root),
        table=make_table(paths, labels, splits),
        classes=tuple(classes),
        problems=tuple(sorted(problems, key=lambda problem: problem.path)),
        passed_over=listing.passed_over + sum(folder.found.passed_over for folder in listing.classes),
        notes=tuple(listing.notes),
    )


def _listed(names: Iterable[str], most: int = 5) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def _shown(path: Path) -> str:
    return printable(str(path))
