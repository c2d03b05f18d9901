"""How class folders are laid out, on a disk or in an archive: one set of rules over a tree of names.

Layouts read: ``PHOTOS/CLASS/...``; ``PHOTOS/{train,val,test}/CLASS/...``; ``seg_train``, ``seg_test``,
``seg_pred``; and any of these within a folder of the same name again, as archives like to unpack. The first
level below is the class; images may lie deeper.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NoReturn, Protocol

from headstart.datasets.dataset import SPLITS, ImageDataset, Split, make_table
from headstart.datasets.files import ImageFiles
from headstart.datasets.folders.walk import Found, printable
from headstart.datasets.names import SPLIT_NAMES, check_known_to_train, listed
from headstart.errors import DataError

# Photos that wait for a prediction: they have no label and stand beside the splits.
_UNLABELLED: Final = frozenset({"seg_pred"})
_READ_TABLES: Final = (".csv", ".tsv", ".parquet")
_OTHER_TABLES: Final = (".json", ".jsonl", ".xlsx")
EXPECTED: Final = "Expected PHOTOS/CLASS/*.jpg or PHOTOS/{train,val,test}/CLASS/*.jpg"


class Tree(Protocol):
    """Folders of files. A folder is called by its path from the top, with ``/`` on every system; the top is ``""``."""

    def shown(self, folder: str) -> str:
        """The folder's whole path, for messages."""
        ...

    def aliases(self, folder: str) -> Collection[str]:
        """The names that the folder goes by; a folder of one of them in it is a doubled folder."""
        ...

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly within one, sorted, without hidden ones."""
        ...

    def files(self, folder: str) -> list[str]:
        """The names of the files directly within one."""
        ...

    def find(self, folder: str, *, recursive: bool = True) -> Found:
        """The images in a folder, called by their paths from the top; all those below it, or its own only."""
        ...


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


def read_tree(tree: Tree, *, name: str, files: ImageFiles) -> ImageDataset:
    """List class folders.

    Args:
        tree: where they are.
        name: of the data set.
        files: reads the images by the names that the tree gives them.

    Returns:
        The images sorted by path. Their split is the one their folders give; null where there is no ``val``
        or ``test`` beside a ``train``.

    Raises:
        DataError: if there are not at least two classes of images.
    """
    listing, top = _Listing(), ""
    while (inner := _unwrap(tree, top, listing)) != top:
        top = inner
    split_folders = _split_folders(tree, top)
    for split, folder in split_folders.items():
        _read_classes(tree, _unwrap(tree, folder, listing), split, listing)
    if split_folders:
        _pass_over_rest(tree, top, split_folders.values(), listing)
    else:
        _read_classes(tree, top, None, listing)
    _check_classes(tree, top, listing.classes)
    return _gather(name, files, listing)


def join(folder: str, name: str) -> str:
    """The path of what is called `name` within a folder of a tree."""
    return f"{folder}/{name}" if folder else name


def _unwrap(tree: Tree, folder: str, listing: _Listing) -> str:
    """Step into a folder that holds nothing but a folder of its own name, as unpacked archives do."""
    inner = tree.folders(folder)
    if len(inner) != 1 or not _is_doubled(tree, folder, inner[0]):
        return folder
    loose = tree.find(folder, recursive=False)
    listing.pass_over(loose, f"in {tree.shown(folder)}, beside the doubled folder,")
    return join(folder, inner[0])


def _is_doubled(tree: Tree, outer: str, inner: str) -> bool:
    aliases = tree.aliases(outer)
    splits = {_split_of(name) for name in aliases} - {None}
    return inner.casefold() in {name.casefold() for name in aliases} or _split_of(inner) in splits


def _split_of(name: str) -> Split | None:
    return SPLIT_NAMES.get(name.casefold().removeprefix("seg_").removesuffix("_set"))


def _split_folders(tree: Tree, top: str) -> dict[Split, str]:
    """Find the folders of the splits; none where the folders' names can only be classes."""
    by_split: dict[Split, list[str]] = defaultdict(list)
    classes = 0
    for name in tree.folders(top):
        if split := _split_of(name):
            by_split[split].append(name)
        elif name.casefold() not in _UNLABELLED:
            classes += 1
    if "train" not in by_split and (classes or not by_split):
        return {}
    if "train" in by_split and len(by_split) == 1 and classes:
        return {}  # bus, car, train
    _check_splits(tree.shown(top), by_split)
    return {split: join(top, by_split[split][0]) for split in SPLITS if split in by_split}


def _check_splits(top: str, by_split: Mapping[Split, Sequence[str]]) -> None:
    if "train" not in by_split:
        names = listed(name for names in by_split.values() for name in names)
        raise DataError(f"{top} holds {names} but no train folder. {EXPECTED}.")
    for split, names_of_split in by_split.items():
        if len(names_of_split) > 1:
            raise DataError(
                f"{top} holds several folders for {split}: {listed(names_of_split)}. Keep one of them."
            )


def _read_classes(tree: Tree, folder: str, split: Split | None, listing: _Listing) -> None:
    loose = tree.find(folder, recursive=False)
    names = tree.folders(folder)
    if not names:
        _complain_of_no_class(tree, folder, loose)
    listing.pass_over(loose, f"in {tree.shown(folder)}, beside the class folders and so without a label,")
    for name in names:
        path = join(folder, name)
        found = tree.find(path)
        listing.classes.append(
            _ClassFolder(name=_class_name(name, tree.shown(path)), split=split, found=found)
        )


def _complain_of_no_class(tree: Tree, folder: str, loose: Found) -> NoReturn:
    if not loose.images:
        raise DataError(f"{tree.shown(folder)} holds no class folder and no image. {EXPECTED}.")
    names = sorted(tree.files(folder))
    hint = ""
    if others := [name for name in names if name.lower().endswith(_OTHER_TABLES)]:
        hint = f"\nA table of labels in this format ({others[0]}) cannot be read: make it CSV."
    if tables := [name for name in names if name.lower().endswith(_READ_TABLES)]:
        hint = f"\nIf {tables[0]} says what each of them shows, give that file instead of the folder."
    raise DataError(
        f"Images lie directly in {tree.shown(folder)}, beside no class folder ({len(loose.images):,} of them). "
        f"{EXPECTED}.{hint}"
    )


def _class_name(name: str, shown: str) -> str:
    # macOS decomposes accents in file names; the same class may come composed from another system.
    composed = unicodedata.normalize("NFC", name)
    if composed != printable(composed):
        raise DataError(f"The name of the class folder {shown} is not valid UTF-8. Rename it.")
    return composed


def _pass_over_rest(tree: Tree, top: str, read: Collection[str], listing: _Listing) -> None:
    """Count what stands beside the folders of the splits."""
    listing.pass_over(tree.find(top, recursive=False), f"in {tree.shown(top)}, beside the splits,")
    for name in tree.folders(top):
        if (folder := join(top, name)) not in read:
            listing.pass_over(tree.find(folder), f"in {tree.shown(folder)}, which is no split,")


def _check_classes(tree: Tree, top: str, folders: Sequence[_ClassFolder]) -> None:
    images: dict[str, Counter[Split | None]] = defaultdict(Counter)
    for folder in folders:
        images[folder.name][folder.split] += len(folder.found.images)
    if len(images) == 1:
        (name,) = images
        raise DataError(
            f"Only one class folder, {name!r}, in {tree.shown(top)}; a classifier needs at least two. "
            "If the classes lie inside it, give that folder."
        )
    if empty := [name for name, counts in images.items() if not counts.total()]:
        raise DataError(
            f"Class folders without any image that can be read: {listed(empty)} in {tree.shown(top)}. "
            "Add images or remove the folders."
        )
    check_known_to_train(
        {name: [split for split, n in counts.items() if n] for name, counts in images.items()}
    )


def _gather(name: str, files: ImageFiles, listing: _Listing) -> ImageDataset:
    classes = sorted({folder.name for folder in listing.classes})
    label = {name: number for number, name in enumerate(classes)}
    rows = sorted(
        (path, label[folder.name], folder.split) for folder in listing.classes for path in folder.found.images
    )
    paths, labels, splits = zip(*rows, strict=True)
    problems = [problem for folder in listing.classes for problem in folder.found.problems]
    return ImageDataset(
        name=name,
        files=files,
        table=make_table(paths, labels, splits),
        classes=tuple(classes),
        problems=tuple(sorted(problems, key=lambda problem: problem.path)),
        passed_over=listing.passed_over + sum(folder.found.passed_over for folder in listing.classes),
        notes=tuple(listing.notes),
    )
