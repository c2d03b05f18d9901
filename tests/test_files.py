"""Files are whole or not there."""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import ConfigError, DiskFullError
from headstart.files import (
    TEMPORARY_SUFFIX,
    atomic_write,
    default_store,
    full_disk_explained,
    human_bytes,
    parse_bytes,
    sha256_of_file,
    temporary_beside,
)


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_arrive(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.bin", b"\x00\xff" * 1000)
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff" * 1000
    assert list_names(tmp_path) == ["a.bin"]


def test_a_writer_is_handed_the_open_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.bin", lambda file: file.write(b"abc"))
    assert (tmp_path / "a.bin").read_bytes() == b"abc"


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    atomic_write(path, write)
    assert path.read_bytes() == b"new"


def test_the_bytes_are_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    synced: list[tuple[bool, bool]] = []

    def fsync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write(path, b"x")
    expected = [(False, False)] if os.name == "nt" else [(False, False), (True, True)]
    assert synced == expected


def test_a_failing_writer_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of it")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        atomic_write(path, write)
    assert path.read_bytes() == b"old"
    assert list_names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, code: int) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"x")
        raise OSError(code, os.strerror(code))

    with pytest.raises(DiskFullError) as raised:
        atomic_write(tmp_path / "a.bin", write)
    message = str(raised.value)
    assert str(tmp_path / "a.bin") in message
    assert "Free some space" in message
    assert message.count("\n") == 1
    assert list_names(tmp_path) == []


def test_a_full_disk_says_how_much_was_needed(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match=r"2\.5 MB needed"),
        full_disk_explained(tmp_path / "a", 2_500_000),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_really_full_device_counts_as_full(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match=r"1\.0 MB needed"),
        full_disk_explained(tmp_path / "a", 10**6),
        Path("/dev/full").open("wb") as file,
    ):
        file.write(b"x" * 10**6)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "missing" / "a.txt", b"x")


@pytest.mark.skipif(os.name == "nt", reason="no umask on Windows")
def test_the_umask_alone_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        atomic_write(tmp_path / "a.txt", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_the_longest_legal_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    atomic_write(path, b"x")
    assert path.read_bytes() == b"x"


def test_temporary_names_are_fresh_and_in_the_same_folder(tmp_path: Path) -> None:
    names = {temporary_beside(tmp_path / "a") for _ in range(100)}
    assert len(names) == 100
    assert all(name.parent == tmp_path and name.name.endswith(TEMPORARY_SUFFIX) for name in names)


@pytest.mark.parametrize("content", [b"", b"abc", b"x" * 3_000_001])
def test_sha256_is_that_of_the_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_store_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_STORE", str(tmp_path / "s"))
    assert default_store() == tmp_path / "s"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("HEADSTART_STORE", "~/s")
    assert default_store() == tmp_path / "s"


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_store_is_in_the_users_cache(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv("HEADSTART_STORE")
    else:
        monkeypatch.setenv("HEADSTART_STORE", value)
    assert default_store().is_absolute()
    assert "headstart" in default_store().parts


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5.5e9, "5.5 GB"),
        (2.5e15, "2500 TB"),
    ],
)
def test_bytes_are_written_for_people(n: float, text: str) -> None:
    assert human_bytes(n) == text


@given(st.integers(min_value=0, max_value=10**14))
def test_the_written_size_is_within_five_percent(n: int) -> None:
    value, unit = human_bytes(n).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert abs(float(value) * factor - n) <= 0.05 * n
    assert len(value) <= 3


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500M", 500_000_000), ("1.5 kB", 1500), ("10 GB", 10**10), ("2t", 2 * 10**12), ("7B", 7)],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "1 GiB", "1..5M"])
def test_what_is_no_size_says_so(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_bytes(text)
