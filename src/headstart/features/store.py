"""The feature store: what a frozen prefix gave for an image, computed once.

`ROOT/v1/DIGEST/*.safetensors` are immutable shards, `ROOT/v1/DIGEST/key.json` says what they are features of,
`ROOT/v1/index.sqlite` finds a row. The shards are the truth: the index can be rebuilt from them at any time.
"""

import logging
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from numpy.typing import NDArray

from headstart.errors import StoreError
from headstart.features.index import Index, ShardRecord
from headstart.features.key import StoreKey
from headstart.features.shards import SUFFIX, Shard, read_shard, write_shard
from headstart.files import CONVERTED_FOLDER, FileStamp, atomic_write, default_store, human_bytes

_LAYOUT = "v1"
_KEY_FILE = "key.json"
_INDEX_FILE = "index.sqlite"
_LOCK_FILE = "index.lock"
# A file that changed within this time before it was read may have changed again within one tick of its
# file system's clock (two seconds on FAT): such an entry is distrusted, as git distrusts "racy" ones.
_RACY_NS = 2_000_000_000
# Temporary files younger than this may belong to a process that is writing now.
_STALE_SECONDS = 3600

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StoreCheck:
    """What `verify` and `repair` found: counts of shards and rows, sound and not, and orphaned files."""

    shards: int
    rows: int
    bad_shards: int
    bad_rows: int
    unindexed_shards: int
    missing_shards: int
    temporary_files: int

    @property
    def sound(self) -> bool:
        """Whether nothing needs repair."""
        return not (
            self.bad_shards
            or self.bad_rows
            or self.unindexed_shards
            or self.missing_shards
            or self.temporary_files
        )


class FeatureStore:
    """A folder of shards and its index. Several processes may use it at once.

    Args:
        root: the folder; by default the environment variable HEADSTART_STORE, else the user's cache folder.

    Raises:
        StoreError: the folder cannot be made or its index cannot be opened.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root).expanduser() if root is not None else default_store()
        self._folder = self.root / _LAYOUT
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if not self._folder.is_dir():
                raise StoreError(
                    f"The feature store cannot be made in {self.root}: {error.strerror}.\n"
                    "Choose another folder with --store or HEADSTART_STORE."
                ) from error
        self.read_only = not os.access(self._folder, os.W_OK)
        with self._explained():
            self._index = self._open_index()

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    # What a file holds

    def known_files(self, places: Sequence[str], stamp: Callable[[str], FileStamp]) -> list[bytes | None]:
        """The sha256 of each image whose content is known and whose file has not changed since; else None.

        Args:
            places: paths of files, or `ARCHIVE!/MEMBER`.
            stamp: gives the stamp of a place's file now, or raises OSError.
        """
        names = [os.fsencode(place) for place in places]
        with self._explained():
            entries = self._index.files(names)
        return [
            self._trusted(place, entries.get(name), stamp) for place, name in zip(places, names, strict=True)
        ]

    def remember_files(self, entries: Sequence[tuple[str, FileStamp, int, bytes]]) -> None:
        """Note path, stamp, time of reading (ns since the epoch) and sha256 of files that were read."""
        if self.read_only or not entries:
            return
        with self._explained(), self._index.transaction():
            self._index.remember_files([(os.fsencode(path), *rest) for path, *rest in entries])  # type: ignore[misc]

    @staticmethod
    def _trusted(
        place: str, entry: tuple[FileStamp, int, bytes] | None, stamp_of: Callable[[str], FileStamp]
    ) -> bytes | None:
        if entry is None:
            return None
        stamp, hashed_ns, sha256 = entry
        try:
            if stamp_of(place) != stamp:
                return None
        except OSError:
            return None  # the reader will meet the same error and report it
        racy = max(stamp.mtime_ns, stamp.ctime_ns) + _RACY_NS > hashed_ns
        return None if racy else sha256

    # Rows

    def open_key(self, key: StoreKey) -> None:
        """Make the index agree with the key's folder: finished shards that a killed process left are taken in."""
        if self.read_only:
            return
        with self._explained():
            self._folder_of(key.digest).mkdir(exist_ok=True)
            description = self._folder_of(key.digest) / _KEY_FILE
            if not description.exists():
                atomic_write(description, key.to_json().encode())
            with self._index.transaction():
                self._index.add_key(key.digest, key.to_json())
            if self._differs(key.digest):
                self._adopt(key.digest)

    def append(self, key: StoreKey, features: NDArray[Any], sha256s: Sequence[bytes]) -> None:
        """Write rows as a new shard and enter it; rows that another process has entered meanwhile are left out.

        Args:
            key: what they are features of; `open_key` has been called.
            features: (n, ...) rows in the key's dtype.
            sha256s: of the n images, without repetition.

        Raises:
            StoreError: the store is read-only or its index cannot be written.
            DiskFullError: there is no room; the store is as it was.
        """
        self._must_write()
        name = uuid.uuid4().hex + SUFFIX
        with self._explained(), self._index.transaction():
            known = self._index.locate(key.digest, sha256s)
            new = [i for i, sha in enumerate(sha256s) if sha not in known]
            if not new:
                return
            fresh = [sha256s[i] for i in new]
            size = write_shard(self._folder_of(key.digest) / name, features[new], fresh, digest=key.digest)
            self._index.add_shard(key.digest, name, size, fresh)

    def count_rows(self, key: StoreKey, sha256s: Sequence[bytes]) -> int:
        """How many of these images have features in the index; whether they are sound is seen when they are read."""
        with self._explained():
            return len(self._index.locate(key.digest, sha256s))

    def shards_of(
        self, key: StoreKey, sha256s: Sequence[bytes]
    ) -> Iterator[tuple[str, Shard | None, list[bytes]]]:
        """The shards that hold these images: name, content (None where it is gone or no shard), which of them."""
        with self._explained():
            located = self._index.locate(key.digest, sha256s)
        by_shard: dict[str, list[bytes]] = {}
        for sha, name in located.items():
            by_shard.setdefault(name, []).append(sha)
        for name, wanted in by_shard.items():
            yield name, read_shard(self._folder_of(key.digest) / name), wanted

    def check_rows(self, key: StoreKey, sha256s: Sequence[bytes]) -> set[bytes]:
        """Which of these images have sound features in the store; damaged ones are forgotten, to be made again."""
        sound: set[bytes] = set()
        damaged: list[bytes] = []
        used: list[str] = []
        for name, shard, wanted in self.shards_of(key, sha256s):
            good = sound_rows(shard)
            sound.update(sha for sha in wanted if sha in good)
            damaged.extend(sha for sha in wanted if sha not in good)
            used.append(name)
        if damaged:
            _log.warning("%d stored features are damaged and are computed again.", len(damaged))
        if not self.read_only and used:
            with self._explained(), self._index.transaction():
                self._index.drop_rows(key.digest, damaged)
                self._index.touch(key.digest, used)
        return sound

    def check_neighbours(self, key: StoreKey, sha256: bytes) -> set[bytes]:
        """As `check_rows`, for one image and all others in the same shard; empty where it is in none."""
        with self._explained():
            name = self._index.locate(key.digest, [sha256]).get(sha256)
        if name is None:
            return set()
        neighbours = sound_rows(read_shard(self._folder_of(key.digest) / name))
        return self.check_rows(key, [sha256, *(neighbours.keys() - {sha256})])

    # Care

    def records(self) -> list[ShardRecord]:
        """All shards in the index, least recently used first."""
        with self._explained():
            return self._index.shards()

    def keys(self) -> dict[str, str]:
        """Digest and JSON description of each key."""
        with self._explained():
            return self._index.keys()

    def verify(self) -> StoreCheck:
        """Read every shard and compare it with its checksums and the index; changes nothing."""
        records = {(record.digest, record.name): record for record in self.records()}
        on_disk = {(path.parent.name, path.name): path for path in self._shard_files()}
        rows = bad_shards = bad_rows = 0
        for place, path in on_disk.items():
            shard = read_shard(path)
            sound = sound_rows(shard)
            bad_shards += shard is None
            rows += len(sound)
            # What the index promises and the shard does not hold. A damaged row that the index no longer points to
            # has been made again elsewhere.
            if shard is not None and place in records:
                bad_rows += records[place].rows - self._count_indexed(place, list(sound))
        return StoreCheck(
            shards=len(on_disk),
            rows=rows,
            bad_shards=bad_shards,
            bad_rows=bad_rows,
            unindexed_shards=len(on_disk.keys() - records.keys()),
            missing_shards=len(records.keys() - on_disk.keys()),
            temporary_files=len(self._stale_files()),
        )

    def repair(self) -> StoreCheck:
        """Remove what is no shard and what killed processes left, and rebuild the index; returns what it found."""
        self._must_write()
        if not self._index.sound:
            with self._explained(), FileLock(self._folder / _LOCK_FILE):
                self._index.close()
                self._index = self._replace_index()
        found = self.verify()
        for path in self._stale_files():
            path.unlink(missing_ok=True)
        for path in self._shard_files():
            if read_shard(path) is None:
                path.unlink(missing_ok=True)
        with self._explained():
            self._rebuild()
        return found

    def converted(self) -> list[Path]:
        """Networks that a runtime has converted, kept because converting takes seconds."""
        return sorted(self.root.glob(f"{CONVERTED_FOLDER}/*"))

    def place_of_converted(self, key: StoreKey) -> Path:
        """The file for the converted network that gives a key's features."""
        return self.root / CONVERTED_FOLDER / key.digest

    def prune(self, max_bytes: int) -> tuple[int, int]:
        """Remove converted networks, then the least recently used shards, until the rest fits.

        Returns:
            How many shards went, and how many bytes in all.
        """
        self._must_write()
        records, converted = self.records(), self.converted()
        sizes = [file.stat().st_size for file in converted]
        excess = sum(record.bytes for record in records) + sum(sizes) - max_bytes
        freed = 0
        for file, size in zip(converted, sizes, strict=True):
            if excess > 0:
                file.unlink(missing_ok=True)
                excess, freed = excess - size, freed + size
        gone: list[ShardRecord] = []
        for record in records:
            if excess <= 0:
                break
            gone.append(record)
            excess -= record.bytes
        # Inside the transaction, lest another process finds the files meanwhile and takes them in again.
        with self._explained(), self._index.transaction():
            self._index.drop_shards(record.id for record in gone)
            for record in gone:
                (self._folder_of(record.digest) / record.name).unlink(missing_ok=True)
        return len(gone), freed + sum(record.bytes for record in gone)

    # Inside

    def _folder_of(self, digest: str) -> Path:
        return self._folder / digest

    def _shard_files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*/*{SUFFIX}"))

    def _stale_files(self) -> list[Path]:
        """Temporary files that no living process can still be writing."""
        old = time.time() - _STALE_SECONDS
        kept = {SUFFIX, ".json"}
        files = [path for path in self._folder.glob("*/*") if path.suffix not in kept]
        return [path for path in files if _changed(path) < old]

    def _count_indexed(self, place: tuple[str, str], sha256s: list[bytes]) -> int:
        """How many of these rows the index finds in this very shard."""
        digest, name = place
        return sum(shard == name for shard in self._index.locate(digest, sha256s).values())

    def _differs(self, digest: str) -> bool:
        indexed = {record.name for record in self._index.shards(digest)}
        return indexed != {path.name for path in self._folder_of(digest).glob(f"*{SUFFIX}")}

    def _adopt(self, digest: str) -> None:
        """Enter shards that stand on disk and forget those that do not.

        Under the write lock: a shard that another process has just renamed into place is not a left one.
        """
        folder = self._folder_of(digest)
        with self._index.transaction():
            indexed = {record.name: record.id for record in self._index.shards(digest)}
            on_disk = {path.name: path for path in folder.glob(f"*{SUFFIX}")}
            self._index.drop_shards(indexed[name] for name in indexed.keys() - on_disk.keys())
            for name in sorted(on_disk.keys() - indexed.keys()):
                good = sound_rows(read_shard(on_disk[name]))
                self._index.add_shard(digest, name, on_disk[name].stat().st_size, good)

    def _open_index(self) -> Index:
        path = self._folder / _INDEX_FILE
        if self.read_only:
            return Index(path, read_only=True)
        # One process at a time: SQLite does not wait for another one that is just making the same database.
        with FileLock(self._folder / _LOCK_FILE):
            try:
                return Index(path, read_only=False)
            except sqlite3.OperationalError:
                raise  # locked, full, unreachable: the file itself may be sound
            except sqlite3.DatabaseError:
                return self._replace_index()

    def _replace_index(self) -> Index:
        """Remove a damaged index and make a new one from the shards; under the lock file."""
        _log.warning("The store's index is damaged; it is rebuilt from the shards.")
        path = self._folder / _INDEX_FILE
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        self._index = Index(path, read_only=False)
        self._rebuild()
        return self._index

    def _rebuild(self) -> None:
        """Make every row of the index anew from the shards on disk."""
        with self._index.transaction():
            self._index.drop_shards(record.id for record in self._index.shards())
        for description in sorted(self._folder.glob(f"*/{_KEY_FILE}")):
            with self._index.transaction():
                self._index.add_key(description.parent.name, description.read_text())
            self._adopt(description.parent.name)

    def _must_write(self) -> None:
        if self.read_only:
            raise StoreError(
                f"The feature store in {self.root} is read-only, and something new has to be stored.\n"
                "Choose another folder with --store or HEADSTART_STORE."
            )

    def _room(self) -> str:
        try:
            return f"{human_bytes(shutil.disk_usage(self._folder).free)} free on its disk"
        except OSError:
            return "its folder is gone"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's and the system's errors into words."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The feature store in {self.root} cannot be used: {error} ({self._room()}).\n"
                "Free some space, run `headstart cache repair`, or choose another folder with --store."
            ) from error


def sound_rows(shard: Shard | None) -> dict[bytes, int]:
    """Position of each sound row in a shard, by its image's sha256; empty for what is no shard."""
    if shard is None:
        return {}
    return {sha: i for i, (sha, good) in enumerate(zip(shard.sha256s, shard.sound, strict=True)) if good}


def _changed(path: Path) -> float:
    """When a file was last written, in seconds since the epoch; now, where it has just been removed."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
