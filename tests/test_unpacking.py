import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.errors import DownloadError
from headstart.unpacking import unpack_tar, unpack_zip


def file_entry(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    return entry, content


def link_entry(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def make_tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_unpacked(tmp_path: Path, mode: str) -> None:
    (tmp_path / "in" / "cats").mkdir(parents=True)
    (tmp_path / "in" / "cats" / "1.jpg").write_bytes(b"meow")
    with tarfile.open(tmp_path / "a.tar", mode) as tar:  # type: ignore[call-overload]
        tar.add(tmp_path / "in", arcname="photos")
    (tmp_path / "out").mkdir()
    assert unpack_tar(tmp_path / "a.tar", tmp_path / "out" / "new") == tmp_path / "out" / "new"
    assert (tmp_path / "out" / "new" / "photos" / "cats" / "1.jpg").read_bytes() == b"meow"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", file_entry("a.txt"))
    (tmp_path / "out").mkdir()
    unpack_tar(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "entry",
    [
        file_entry("../escaped.txt"),
        file_entry("a/../../escaped.txt"),
        link_entry("a", "../escaped.txt", tarfile.SYMTYPE),
        link_entry("a", "good.txt", tarfile.LNKTYPE),
        link_entry("a", "", tarfile.FIFOTYPE),
        link_entry("a", "", tarfile.CHRTYPE),
    ],
    ids=["traversal", "hidden traversal", "symlink", "hard link", "fifo", "device"],
)
def test_a_hostile_archive_is_refused_whole(tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes]) -> None:
    archive = make_tar(tmp_path / "a.tar", file_entry("good.txt"), entry)
    with pytest.raises(DownloadError, match=r"is not unpacked: (\.\./|a)"):
        unpack_tar(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    unpack_tar(make_tar(tmp_path / "a.tar", file_entry(str(outside))), tmp_path / "out")
    assert not outside.exists()
    assert (tmp_path / "out" / outside.relative_to(outside.anchor)).read_bytes() == b"x"


def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", *(file_entry(f"{i}.txt", bytes(400)) for i in range(3)))
    with pytest.raises(DownloadError, match=r"more than 1\.0 kB"):
        unpack_tar(archive, tmp_path / "out", max_bytes=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
    unpack_tar(archive, tmp_path / "out", max_bytes=1200)


def damage_by_cutting(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [damage_by_cutting, lambda _: b"not a tar", lambda _: b""])
def test_a_damaged_archive_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    archive = make_tar(tmp_path / "a.tar", file_entry("a.txt", os.urandom(50_000)))
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(DownloadError, match=r"a\.tar cannot be unpacked"):
        unpack_tar(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


# Zip archives


def make_zip(path: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def test_a_zip_archive_is_unpacked(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", ("photos/empty/", b""), ("photos/cats/1.jpg", b"meow"), ("\u00e4.txt", b"x"))
    out = unpack_zip(tmp_path / "a.zip", tmp_path / "new" / "out")
    assert (out / "photos" / "cats" / "1.jpg").read_bytes() == b"meow"
    assert (out / "photos" / "empty").is_dir()
    assert (out / "\u00e4.txt").read_bytes() == b"x"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    (out / "photos" / "cats" / "1.jpg").unlink()
    unpack_zip(tmp_path / "a.zip", out)
    assert not (out / "photos" / "cats" / "1.jpg").exists()  # a folder that is there is left alone


@pytest.mark.parametrize("name", ["../escaped.txt", "a/../../escaped.txt", "/../escaped.txt"])
def test_a_zip_that_leads_out_is_refused_whole(tmp_path: Path, name: str) -> None:
    make_zip(tmp_path / "a.zip", ("good.txt", b"x"), (name, b"x"))
    with pytest.raises(DownloadError, match=r"is not unpacked: .*leads out of the folder"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "../escaped.txt")
    with pytest.raises(DownloadError, match="a in it is no file and no folder"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")


def test_a_zip_bomb_is_refused_before_it_is_written(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", *((f"{i}.txt", bytes(400)) for i in range(3)))
    with pytest.raises(DownloadError, match=r"more than 1\.0 kB"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out", max_bytes=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_zip_that_promises_less_than_it_gives_is_refused(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", ("a.txt", bytes(100_000)))
    lying = (
        (tmp_path / "a.zip").read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    )
    (tmp_path / "a.zip").write_bytes(lying)
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out", max_bytes=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(
    "damage", [damage_by_cutting, lambda _: b"no zip", lambda content: content.replace(b"xx", b"xy")]
)
def test_a_damaged_zip_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", b"xx" * 1000)
    (tmp_path / "a.zip").write_bytes(damage((tmp_path / "a.zip").read_bytes()))
    with pytest.raises(DownloadError, match=r"a\.zip cannot be unpacked"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
