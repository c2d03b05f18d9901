"""Images without labels: files and folders as they are named on a command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from headstart.datasets.folders.walk import list_folder


def list_images(places: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Name the image files that files and folders stand for.

    Args:
        places: files, kept as they are whatever they hold (who reads them says why one is no image), and
            folders, which stand for every image below them and every file that is meant to be one.

    Returns:
        Paths, in the order of the places and sorted within each folder.

    Raises:
        DataError: a folder may not be read, or leads back into itself.
    """
    paths: list[str] = []
    for place in map(Path, places):
        if place.is_dir():
            found = list_folder(place, place)
            names = sorted([*found.images, *(problem.path for problem in found.problems)])
            paths.extend(os.fspath(place / name) for name in names)
        else:
            paths.append(os.fspath(place))
    return paths
