"""A data set from a folder of photos: one folder for each class, perhaps within train, val and test."""

from __future__ import annotations

import stat
from pathlib import Path

from headstart.datasets.dataset import ImageDataset
from headstart.datasets.files import DiskFiles
from headstart.datasets.folders.layout import EXPECTED, read_tree
from headstart.datasets.folders.walk import DiskTree, printable
from headstart.errors import DataError
from headstart.images import file_reason


def read_folder(location: str) -> ImageDataset:
    """List a folder of photos without decoding any.

    A file is taken for an image if its suffix says so or, failing that, its first bytes do. Everything else
    is counted and passed over. Symbolic links are followed.

    Args:
        location: the folder; see `headstart.datasets.folders.layout` for what may lie in it.

    Returns:
        The images sorted by path. Their split is the one their folders give; null where there is no ``val``
        or ``test`` beside a ``train``.

    Raises:
        DataError: if there is no such folder, or it does not hold at least two classes of images.
    """
    root = Path(location).expanduser()
    _check_is_folder(root)
    return read_tree(DiskTree(root=root), name=root.resolve().name or str(root), files=DiskFiles(root=root))


def _check_is_folder(root: Path) -> None:
    try:
        mode = root.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(f"There is no folder {_shown(root)}. {EXPECTED}.") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"Cannot read the folder {_shown(root)}: {file_reason(error)}. {EXPECTED}."
        ) from error
    if not stat.S_ISDIR(mode):
        raise DataError(f"{_shown(root)} is a file, not a folder. {EXPECTED}.")


def _shown(path: Path) -> str:
    return printable(str(path))
