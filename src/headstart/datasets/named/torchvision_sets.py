"""Data sets of `torchvision.datasets`: `torchvision:NAME`.

The library itself downloads and unpacks them, into a folder of their own within the cache: it compares md5 sums where
it knows them, starts over when it is cut off, and shows a progress bar of its own. Archives are unpacked by
`tarfile.extractall` or `zipfile.extractall`. CIFAR-10 and CIFAR-100, which the library would unpickle, are not left to
it: they are read as the data sets `cifar10` and `cifar100` are. No other set of `SETS` is pickled.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset import ImageDataset, Split, make_table
from headstart.datasets.files import DiskFiles, HeldFiles, Reader
from headstart.datasets.held.pixels import JoinedFiles, encode_ppm
from headstart.datasets.named.registry import read_named
from headstart.datasets.options import ReadOptions
from headstart.errors import DataError, DownloadError, UnreadableImageError

Parts = Mapping[Split | None, Mapping[str, object]]
"""What the library's class is told for each split; None where the set has no splits."""

_WHOLE: Final[Parts] = {None: {}}
_FLAG: Final[Parts] = {"train": {"train": True}, "test": {"train": False}}
_TWO: Final[Parts] = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Final[Parts] = {"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}}

SETS: Final[Mapping[str, Parts]] = MappingProxyType(
    {
        "Caltech101": _WHOLE,
        "Caltech256": _WHOLE,
        "Country211": {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
        "DTD": _THREE,
        "EMNIST": {
            "train": {"split": "balanced", "train": True},
            "test": {"split": "balanced", "train": False},
        },
        "EuroSAT": _WHOLE,
        "FER2013": _TWO,
        "FGVCAircraft": _THREE,
        "FakeData": _WHOLE,
        "FashionMNIST": _FLAG,
        "Flowers102": _THREE,
        "Food101": _TWO,
        "GTSRB": _TWO,
        "Imagenette": {"train": {"split": "train"}, "val": {"split": "val"}},
        "KMNIST": _FLAG,
        "MNIST": _FLAG,
        "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
        "PCAM": _THREE,
        "QMNIST": _FLAG,
        "RenderedSST2": _THREE,
        "SEMEION": _WHOLE,
        "STL10": _TWO,
        "SUN397": _WHOLE,
        "SVHN": _TWO,
        "StanfordCars": _TWO,
        "USPS": _FLAG,
    }
)
"""The classification sets of the library, with their official splits. EMNIST is its part `balanced` (as the library
gives it: turned on its side), SVHN comes without its part `extra`, DTD with its first partition. GTSRB is what the
library has: its training part is the 26,640 images of the first competition; `gtsrb` has all 39,209."""

_NAMED: Final[Mapping[str, str]] = {"CIFAR10": "cifar10", "CIFAR100": "cifar100"}


def read_torchvision(location: str, options: ReadOptions) -> ImageDataset:
    """List a classification set of `torchvision.datasets`, which downloads what is not there.

    Args:
        location: the name of its class, one of `SETS`, CIFAR10 or CIFAR100; upper and lower case are the same.
        options: the cache.

    Returns:
        The data set with its official splits. Where the library keeps image files, these; else the images as the
        library gives them.

    Raises:
        DataError: there is no such set, or the library lacks something to read it.
        DownloadError: the library could not fetch it.
    """
    names = {name.lower(): name for name in (*SETS, *_NAMED)}
    if (name := names.get(location.lower())) is None:
        close = get_close_matches(location.lower(), names, n=1)
        hint = f"\nDid you mean torchvision:{names[close[0]]}?" if close else ""
        raise DataError(
            f"torchvision has no classification set {location!r} that headstart knows; known: "
            f"{', '.join(sorted(names.values()))}.{hint}"
        )
    if name in _NAMED:
        return read_named(_NAMED[name], options)
    root = options.cache / "torchvision" / name
    parts = {split: _load(name, root, arguments) for split, arguments in SETS[name].items()}
    return _as_files(name, root, parts) or _as_items(name, root, parts)


def _load(name: str, root: Path, arguments: Mapping[str, object]) -> Any:
    """Make the library's own object, with a download where its class knows how."""
    import torchvision.datasets

    make: Callable[..., Any] = getattr(torchvision.datasets, name)
    known = inspect.signature(make).parameters
    # MNIST and its relatives take `download` among their keyword arguments.
    takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    given = {"root": str(root), "download": True}
    given = {key: value for key, value in given.items() if key in known or (takes_more and key == "download")}
    try:
        root.mkdir(parents=True, exist_ok=True)
        return make(**given, **arguments)
    except ImportError as error:
        raise DataError(f"torchvision needs more to read {name}: {error}.") from error
    except Exception as error:
        # Whatever the library meets: URLError, RuntimeError for a wrong md5 or a missing file, ValueError for a set
        # that can no longer be fetched.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(
            f"torchvision could not provide {name}: {reason}.\n"
            f"It fetches and looks for the files in {root}; see its documentation of {name} for what lies where."
        ) from error


def _as_files(name: str, root: Path, parts: Mapping[Split | None, Any]) -> ImageDataset | None:
    """The data set of the image files that the library keeps, or None where it keeps none."""
    rows: list[tuple[str, int, Split | None]] = []
    for split, part in parts.items():
        if (samples := _samples(part)) is None:
            return None
        found = [(Path(path).relative_to(root).as_posix(), int(label), split) for path, label in samples]
        rows += sorted(found, key=lambda row: row[0])
    paths, labels, splits = zip(*rows, strict=True)
    return ImageDataset(
        name=name,
        files=DiskFiles(root=root),
        table=make_table(paths, labels, splits),
        classes=_classes(name, parts.values(), max(labels) + 1),
    )


def _samples(part: Any) -> list[tuple[Any, Any]] | None:
    """Path and label of each image, under the names that the library's classes have for them."""
    for name in ("samples", "_samples"):
        if hasattr(part, name):
            samples = list(getattr(part, name))
            return samples if all(isinstance(path, str | Path) for path, *_ in samples) else None
    for name in ("_image_files", "_images"):
        if hasattr(part, name) and hasattr(part, "_labels"):
            return list(zip(getattr(part, name), part._labels, strict=True))
    return None


def _as_items(name: str, root: Path, parts: Mapping[Split | None, Any]) -> ImageDataset:
    """The data set of the images that the library makes when it is asked for one."""
    path = _newest_file(root) or Path(inspect.getfile(type(next(iter(parts.values())))))
    labels = {split: _labels(part) for split, part in parts.items()}
    names = [f"{split or 'all'}/{k}" for split, values in labels.items() for k in range(len(values))]
    splits = [split for split, values in labels.items() for _ in values]
    every = np.concatenate(list(labels.values()))
    return ImageDataset(
        name=name,
        files=JoinedFiles(
            parts={split or "all": _ItemFiles(path=path, items=part) for split, part in parts.items()}
        ),
        table=make_table(names, every, splits),
        classes=_classes(name, parts.values(), int(every.max()) + 1),
    )


def _newest_file(root: Path) -> Path | None:
    """What changes when the library fetches the set anew."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return max(files, key=lambda path: (path.stat().st_mtime_ns, path), default=None)


def _labels(part: Any) -> npt.NDArray[np.int64]:
    for name in ("targets", "labels", "_labels", "y"):
        if hasattr(part, name):
            labels = np.asarray(getattr(part, name))
            return (labels[:, 0] if labels.ndim == 2 else labels).astype(np.int64)
    return np.array([int(part[k][1]) for k in range(len(part))], np.int64)


def _classes(name: str, parts: Iterable[Any], n: int) -> tuple[str, ...]:
    """The names that all parts agree on, or the labels' numbers."""
    given = {_class_names(part) for part in parts}
    if len(given) > 1:
        raise DataError(
            f"The splits of torchvision's {name} have different classes; they cannot be used together."
        )
    (names,) = given
    return names if len(names) >= n else tuple(str(number) for number in range(n))


def _class_names(part: Any) -> tuple[str, ...]:
    names: Sequence[Any] = getattr(part, "classes", None) or getattr(part, "categories", None) or ()
    # Of several names for a class, as in ImageNet, the first.
    return tuple(str(name) if isinstance(name, str) else str(name[0]) for name in names)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _ItemFiles(HeldFiles):
    """Images of an object of the library, which makes them when it is asked; their names are their numbers."""

    items: Any
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """Each gives the image as a PPM file."""
        return (partial(self._read, int(name)) for name in names)

    def _read(self, number: int) -> bytes:
        try:
            with self.lock:  # FakeData sets torch's random state
                image, *_ = self.items[number]
            return encode_ppm(np.asarray(image.convert("RGB")))
        except Exception as error:  # the library opens and decodes, by whatever means
            raise UnreadableImageError(f"torchvision cannot read it ({error})") from error
