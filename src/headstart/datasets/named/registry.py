"""Data sets by name: what each one is, where it is published, on which terms, and how it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final

from headstart.datasets.dataset import ImageDataset
from headstart.datasets.named.fetching import Archive
from headstart.datasets.named.layouts import (
    read_cifar10,
    read_cifar100,
    read_digits,
    read_flowers,
    read_gtsrb,
    read_pets,
    read_scenes,
)
from headstart.datasets.options import ReadOptions
from headstart.errors import DataError, DownloadError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedSet:
    """A data set that has a name.

    Attributes:
        title: what it is.
        classes: how many.
        images: how many, of all splits.
        archives: what is downloaded, in the order that `read` takes them; none where nothing is, or nothing can be.
        terms: its licence, or what its authors say.
        read: makes the data set of the archives and the folder of its own that they are kept in.
    """

    title: str
    classes: int
    images: int
    archives: tuple[Archive, ...]
    terms: str
    read: Callable[[tuple[Archive, ...], Path, ReadOptions], ImageDataset]


_ERDA: Final = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
_PETS: Final = "https://thor.robots.ox.ac.uk/~vgg/data/pets"
_CIFAR: Final = "https://www.cs.toronto.edu/~kriz"

# Where the checksums come from: TensorFlow Datasets (flowers, pets), Keras (CIFAR), torchvision (test part of the
# signs). For the signs' training archive there is an md5 only, on which several independent projects agree.
NAMED: Final[Mapping[str, NamedSet]] = MappingProxyType(
    {
        "tf_flowers": NamedSet(
            title="Flower photos of the TensorFlow tutorials, from Flickr",
            classes=5,
            images=3670,
            archives=(
                Archive(
                    url="https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
                    sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
                    size=228_813_984,
                ),
            ),
            terms="CC BY 2.0, per photo (LICENSE.txt in the archive)",
            read=read_flowers,
        ),
        "gtsrb": NamedSet(
            title="German Traffic Sign Recognition Benchmark, final training and test images",
            classes=43,
            images=39_209 + 12_630,
            archives=(
                Archive(
                    url=f"{_ERDA}/GTSRB_Final_Training_Images.zip",
                    md5="f33fd80ac59bff73c82d25ab499e03a3",
                    size=276_294_756,
                ),
                Archive(
                    url=f"{_ERDA}/GTSRB_Final_Test_Images.zip",
                    sha256="48ba6fab7e877eb64eaf8de99035b0aaecfbc279bee23e35deca4ac1d0a837fa",
                    size=88_978_620,
                ),
                Archive(
                    url=f"{_ERDA}/GTSRB_Final_Test_GT.zip",
                    sha256="f94e5a7614d75845c74c04ddb26b8796b9e483f43541dd95dd5b726504e16d6d",
                    size=99_620,
                ),
            ),
            terms="free for research, with a citation (Stallkamp et al., Neural Networks 32, 2012)",
            read=read_gtsrb,
        ),
        "cifar10": NamedSet(
            title="CIFAR-10, 32 x 32 photos of animals and vehicles",
            classes=10,
            images=60_000,
            archives=(
                Archive(
                    url=f"{_CIFAR}/cifar-10-python.tar.gz",
                    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                    size=170_498_071,
                ),
            ),
            terms="none stated; its author asks for a citation (Krizhevsky, 2009)",
            read=read_cifar10,
        ),
        "cifar100": NamedSet(
            title="CIFAR-100, 32 x 32 photos of a hundred kinds of things",
            classes=100,
            images=60_000,
            archives=(
                Archive(
                    url=f"{_CIFAR}/cifar-100-python.tar.gz",
                    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                    size=169_001_437,
                ),
            ),
            terms="none stated; its author asks for a citation (Krizhevsky, 2009)",
            read=read_cifar100,
        ),
        "oxford_iiit_pet": NamedSet(
            title="Oxford-IIIT Pet, cats and dogs by breed",
            classes=37,
            images=7349,
            archives=(
                Archive(
                    url=f"{_PETS}/images.tar.gz",
                    sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                    size=791_918_971,
                ),
                Archive(
                    url=f"{_PETS}/annotations.tar.gz",
                    sha256="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                    size=19_173_078,
                ),
            ),
            terms="CC BY-SA 4.0; the photos remain their owners'",
            read=read_pets,
        ),
        "intel_scenes": NamedSet(
            title="Intel image classification, natural scenes of 150 x 150",
            classes=6,
            images=14_034 + 3000,
            archives=(),
            terms="none stated",
            read=read_scenes,
        ),
        "digits": NamedSet(
            title="Handwritten digits of 8 x 8 that come with scikit-learn; needs no network",
            classes=10,
            images=1797,
            archives=(),
            terms="CC BY 4.0 (Alpaydin and Kaynak, UCI Machine Learning Repository, 1998)",
            read=read_digits,
        ),
    }
)
"""The data sets that headstart reads by name, and knows the checksums of."""


def read_named(location: str, options: ReadOptions) -> ImageDataset:
    """List a data set that has a name, downloading what is not there.

    Its files are kept in a folder of its own within the cache. A file put there by hand is checked like a
    downloaded one, and a folder that an archive was unpacked into is taken as it is.

    Args:
        location: one of `NAMED`.
        options: the cache, and whom to tell how far a download is.

    Returns:
        The data set with its official splits, where it has them.

    Raises:
        DataError: there is no such name, or the files are not what they should be.
        DownloadError: a file cannot be had; the message says which one to put into which folder.
    """
    if (record := NAMED.get(location)) is None:
        raise DataError(
            f"There is no data set called {location!r}; known: {', '.join(NAMED)}.{_hint(location)}"
        )
    folder = options.cache / location
    try:
        dataset = record.read(record.archives, folder, options)
    except DownloadError as error:
        raise DownloadError(f"{error}{_also_needed(record, folder, str(error))}") from error
    if len(dataset.classes) != record.classes:
        raise DataError(
            f"The data set {location} has {record.classes} classes, and {len(dataset.classes)} were found in "
            f"{folder}.\nDelete that folder, to have the data set fetched and unpacked anew."
        )
    found = len(dataset) + len(dataset.problems)
    notes = (
        () if found == record.images else (f"{location} has {record.images:,} images; {found:,} were found.",)
    )
    return dataclasses.replace(dataset, name=location, notes=dataset.notes + notes)


def _also_needed(record: NamedSet, folder: Path, message: str) -> str:
    """Which other archives are missing, lest somebody without a network learns of them one by one."""
    missing = [
        archive.file
        for archive in record.archives
        if archive.file not in message
        and not any((folder / name).exists() for name in (archive.file, archive.stem))
    ]
    return f" The data set also needs {' and '.join(missing)} there." if missing else ""


def close_name(location: str) -> str | None:
    """The name of a data set that somebody may have meant, or None."""
    close = get_close_matches(location.lower().replace("-", "_"), NAMED, n=1, cutoff=0.7)
    return close[0] if close else None


def _hint(location: str) -> str:
    close = close_name(location)
    return f"\nDid you mean {close!r}?" if close else ""
