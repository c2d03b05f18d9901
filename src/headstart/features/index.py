"""The index: SQLite tables that say in which shard a feature stands, and what a file's sha256 was.

It holds nothing that cannot be had again: rows from the shards, files by reading them.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from headstart.files import FileStamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, description TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shards (
    id INTEGER PRIMARY KEY, key INTEGER NOT NULL REFERENCES keys (id), name TEXT NOT NULL,
    bytes INTEGER NOT NULL, last_used REAL NOT NULL, UNIQUE (key, name));
CREATE TABLE IF NOT EXISTS rows (
    key INTEGER NOT NULL, sha256 BLOB NOT NULL, shard INTEGER NOT NULL REFERENCES shards (id),
    PRIMARY KEY (key, sha256)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows_by_shard ON rows (shard);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL, hashed_ns INTEGER NOT NULL, sha256 BLOB NOT NULL) WITHOUT ROWID;
"""
_BUSY_SECONDS = 120
_VARIABLES = 500  # SQLite's smallest compile-time limit on `?` in one statement is 999
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """One shard as the index knows it; `last_used` is in seconds since the epoch."""

    id: int
    digest: str
    name: str
    bytes: int
    rows: int
    last_used: float


class Index:
    """The SQLite side of a store; its methods may be called from several threads.

    Args:
        path: the database file; created where it is missing, unless `read_only`.
        read_only: open without any write, also on a medium that allows none.

    Raises:
        sqlite3.Error: the file cannot be opened or is no database.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            path.absolute().as_uri() + (_read_only_options(path) if read_only else ""),
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(read_only=read_only)
        except sqlite3.Error:
            self._db.close()
            raise

    def _prepare(self, *, read_only: bool) -> None:
        if not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        self._db.execute("SELECT count(*) FROM keys").fetchone()  # fails here, not later, on a damaged file

    @property
    def sound(self) -> bool:
        """Whether the whole database can be read; looks at every page."""
        try:
            return bool(self._query("PRAGMA quick_check(1)", []) == [("ok",)])
        except sqlite3.DatabaseError:
            return False

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A write transaction; other processes wait until it ends, and see all of it or nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # SQLite has rolled back on its own after some errors
                    self._db.execute("ROLLBACK")

    # Rows and shards

    def add_key(self, digest: str, description: str) -> None:
        """Make a key known; inside a transaction."""
        self._db.execute(
            "INSERT OR IGNORE INTO keys (digest, description) VALUES (?, ?)", (digest, description)
        )

    def add_shard(self, digest: str, name: str, size: int, sha256s: Iterable[bytes]) -> None:
        """Enter a shard and its rows; inside a transaction. A row that is known stays where it is."""
        key = self._key(digest)
        cursor = self._db.execute(
            "INSERT INTO shards (key, name, bytes, last_used) VALUES (?, ?, ?, ?)",
            (key, name, size, time.time()),
        )
        shard = cursor.lastrowid
        self._db.executemany(
            "INSERT OR IGNORE INTO rows (key, sha256, shard) VALUES (?, ?, ?)",
            [(key, sha, shard) for sha in sha256s],
        )

    def drop_shards(self, ids: Iterable[int]) -> None:
        """Forget shards and their rows; inside a transaction."""
        for shard in ids:
            self._db.execute("DELETE FROM rows WHERE shard = ?", (shard,))
            self._db.execute("DELETE FROM shards WHERE id = ?", (shard,))

    def drop_rows(self, digest: str, sha256s: Iterable[bytes]) -> None:
        """Forget rows; inside a transaction."""
        key = self._key(digest)
        self._db.executemany("DELETE FROM rows WHERE key = ? AND sha256 = ?", [(key, sha) for sha in sha256s])

    def locate(self, digest: str, sha256s: Sequence[bytes]) -> dict[bytes, str]:
        """For each row that is known, the name of its shard."""
        found: dict[bytes, str] = {}
        for chunk in _chunks(sha256s):
            found.update(
                self._query(
                    "SELECT rows.sha256, shards.name FROM rows JOIN shards ON shards.id = rows.shard "
                    f"JOIN keys ON keys.id = rows.key WHERE keys.digest = ? AND rows.sha256 IN ({_marks(chunk)})",
                    [digest, *chunk],
                )
            )
        return found

    def shards(self, digest: str | None = None) -> list[ShardRecord]:
        """All shards, or those of one key; least recently used first."""
        rows = self._query(
            "SELECT shards.id, keys.digest, shards.name, shards.bytes, "
            "(SELECT count(*) FROM rows WHERE rows.shard = shards.id), shards.last_used "
            "FROM shards JOIN keys ON keys.id = shards.key WHERE ? IN (keys.digest, '') "
            "ORDER BY shards.last_used, shards.id",
            [digest or ""],
        )
        names = ("id", "digest", "name", "bytes", "rows", "last_used")
        return [ShardRecord(**dict(zip(names, row, strict=True))) for row in rows]

    def keys(self) -> dict[str, str]:
        """Each key's digest and description (JSON)."""
        return dict(self._query("SELECT digest, description FROM keys ORDER BY id", []))

    def touch(self, digest: str, names: Iterable[str]) -> None:
        """Note that shards were used now; inside a transaction."""
        key, now = self._key(digest), time.time()
        self._db.executemany(
            "UPDATE shards SET last_used = ? WHERE key = ? AND name = ?", [(now, key, name) for name in names]
        )

    # Files

    def files(self, paths: Sequence[bytes]) -> dict[bytes, tuple[FileStamp, int, bytes]]:
        """For each known path its stamp, when its content was read (ns since the epoch), and its sha256."""
        found = {}
        for chunk in _chunks(paths):
            for path, size, mtime, ctime, inode, hashed, sha in self._query(
                f"SELECT path, size, mtime_ns, ctime_ns, inode, hashed_ns, sha256 FROM files "
                f"WHERE path IN ({_marks(chunk)})",
                chunk,
            ):
                stamp = FileStamp(size=size, mtime_ns=mtime, ctime_ns=ctime, inode=inode)
                found[path] = (stamp, hashed, sha)
        return found

    def remember_files(self, entries: Iterable[tuple[bytes, FileStamp, int, bytes]]) -> None:
        """Note path, stamp, time of reading and sha256 of files; inside a transaction."""
        self._db.executemany(
            "INSERT OR REPLACE INTO files (path, size, mtime_ns, ctime_ns, inode, hashed_ns, sha256) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(p, s.size, s.mtime_ns, s.ctime_ns, s.inode, hashed, sha) for p, s, hashed, sha in entries],
        )

    def _key(self, digest: str) -> int:
        rows = self._query("SELECT id FROM keys WHERE digest = ?", [digest])
        return int(rows[0][0])

    def _query(self, statement: str, values: Sequence[object]) -> list[Any]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()


def _read_only_options(path: Path) -> str:
    """How SQLite opens a database without writing.

    Where there is a write-ahead log, it holds rows that the database itself has not got yet. Where there is
    none, SQLite would make one, which it cannot here, unless it may take the file as unchanging.
    """
    return "?mode=ro" if Path(f"{path}-wal").exists() else "?mode=ro&immutable=1"


def _chunks(values: Sequence[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _VARIABLES)):
        yield chunk


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
