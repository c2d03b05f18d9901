"""Downloads against a server of our own on the loopback, which misbehaves as told."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headstart.download import download
from headstart.errors import DownloadError

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes: several pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)

Server = Any  # the class is in conftest.py, which cannot be imported


@pytest.fixture
def server(file_server: Server) -> Server:
    file_server.content = CONTENT
    return file_server


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "photos.tar"


def fetch(server: Server, destination: Path, *, size: int | None = SIZE, timeout: float = 10.0) -> Path:
    return download(server.url, destination, sha256=SHA256, size=size, timeout=timeout, pause=0.01)


def part_of(destination: Path) -> Path:
    return destination.with_name(destination.name + ".part")


def leave_part(destination: Path, content: bytes) -> None:
    destination.parent.mkdir(parents=True)
    part_of(destination).write_bytes(content)


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_arrives(server: Server, destination: Path, size: int | None, says_length: bool) -> None:
    server.says_length = says_length
    assert fetch(server, destination, size=size) == destination
    assert destination.read_bytes() == CONTENT
    assert [path.name for path in destination.parent.iterdir()] == [destination.name]


def test_progress_is_told_up_to_the_end(server: Server, destination: Path) -> None:
    told: list[tuple[int, int | None]] = []
    download(
        server.url,
        destination,
        sha256=SHA256,
        size=None,
        on_progress=lambda *now: told.append(now),
        pause=0.01,
    )
    assert told[0] == (0, SIZE)
    assert told[-1] == (SIZE, SIZE)
    assert told == sorted(told)


def test_a_file_that_is_there_costs_no_request(server: Server, destination: Path) -> None:
    fetch(server, destination)
    fetch(server, destination)
    assert server.ranges == [None]


def test_a_wrong_file_that_is_there_is_fetched_anew(server: Server, destination: Path) -> None:
    destination.parent.mkdir()
    destination.write_bytes(b"something else")
    fetch(server, destination)
    assert destination.read_bytes() == CONTENT


def test_a_slow_server_is_waited_for(server: Server, destination: Path) -> None:
    server.seconds_between_pieces = 0.05
    fetch(server, destination, timeout=5.0)
    assert destination.read_bytes() == CONTENT


def test_a_server_that_falls_silent_counts_as_cut_off(server: Server, destination: Path) -> None:
    server.seconds_between_pieces = 0.6
    fetch(server, destination, timeout=0.2)
    assert destination.read_bytes() == CONTENT
    assert len(server.ranges) == 6  # one for each piece before a silence


def test_a_cut_off_file_is_resumed_where_it_ended(server: Server, destination: Path) -> None:
    server.cuts = [200_000, 100_000]
    fetch(server, destination)
    assert destination.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=200000-", "bytes=300000-"]


def test_a_later_call_goes_on_from_the_part_of_an_earlier_one(server: Server, destination: Path) -> None:
    server.cuts = [123_456, 0, 0, 0]
    with pytest.raises(DownloadError, match="123456 of 512000 bytes"):
        fetch(server, destination)
    assert part_of(destination).read_bytes() == CONTENT[:123_456]
    fetch(server, destination)
    assert destination.read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=123456-"


def test_progress_renews_the_patience(server: Server, destination: Path) -> None:
    server.cuts = [50_000] * 10
    fetch(server, destination)
    assert destination.read_bytes() == CONTENT
    assert len(server.ranges) == 11


def test_a_server_that_ignores_ranges_starts_over(server: Server, destination: Path) -> None:
    server.honours_range = False
    server.cuts = [200_000]
    fetch(server, destination)
    assert destination.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=200000-"]


@pytest.mark.parametrize("size", [None, SIZE])
def test_a_server_that_sends_another_range_is_asked_for_everything(
    server: Server, destination: Path, size: int | None
) -> None:
    server.range_begins_early = 1000
    server.cuts = [200_000]
    fetch(server, destination, size=size)
    assert destination.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=200000-", None]


def test_a_server_that_starts_over_and_never_ends_is_given_up(server: Server, destination: Path) -> None:
    server.honours_range = False
    server.cuts = [200_000] * 10
    with pytest.raises(DownloadError, match="200000 of 512000 bytes"):
        fetch(server, destination)
    assert len(server.ranges) == 4


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_whole_part_needs_only_its_name(server: Server, destination: Path, size: int | None) -> None:
    leave_part(destination, CONTENT)
    fetch(server, destination, size=size)
    assert destination.read_bytes() == CONTENT
    assert server.ranges == ([] if size else [f"bytes={SIZE}-"])


def test_a_part_longer_than_the_file_starts_over(server: Server, destination: Path) -> None:
    leave_part(destination, CONTENT + b"more")
    fetch(server, destination, size=None)
    assert destination.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={SIZE + 4}-", None]


@pytest.mark.parametrize("size", [SIZE, None])
def test_wrong_bytes_are_deleted_and_both_checksums_named(
    server: Server, destination: Path, size: int | None
) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError) as raised:
        fetch(server, destination, size=size)
    assert SHA256 in str(raised.value)
    assert hashlib.sha256(server.content).hexdigest() in str(raised.value)
    assert not destination.exists()
    assert not part_of(destination).exists()


def test_another_size_than_expected_is_refused_before_it_is_read(server: Server, destination: Path) -> None:
    with pytest.raises(DownloadError, match=r"512000 bytes.*expected 511999"):
        fetch(server, destination, size=SIZE - 1)
    assert not part_of(destination).exists()


def test_no_more_is_read_than_expected(server: Server, destination: Path) -> None:
    server.says_length = False
    with pytest.raises(DownloadError, match="more than the 100000 bytes"):
        fetch(server, destination, size=100_000)


def test_a_missing_file_is_not_asked_for_twice(server: Server, destination: Path) -> None:
    server.statuses = [404] * 5
    with pytest.raises(DownloadError, match="HTTP 404"):
        fetch(server, destination)
    assert server.ranges == [None]
    assert not part_of(destination).exists()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(server: Server, destination: Path, status: int) -> None:
    server.statuses = [status, status]
    fetch(server, destination)
    assert destination.read_bytes() == CONTENT


def test_redirects_are_followed(server: Server, destination: Path) -> None:
    server.statuses, server.location = [302], server.url
    fetch(server, destination)
    assert destination.read_bytes() == CONTENT


@pytest.mark.parametrize("scheme", ["ftp", "file"])
def test_redirects_away_from_http_are_not_followed(server: Server, destination: Path, scheme: str) -> None:
    server.statuses, server.location = [302] * 5, f"{scheme}:///etc/hosts"
    with pytest.raises(DownloadError, match=scheme):
        fetch(server, destination)
    assert not destination.exists()


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://127.0.0.1/a", "photos.tar"])
def test_only_http_is_fetched(destination: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="expected an http or https address"):
        download(url, destination, sha256=SHA256, size=None)


def test_without_a_network_the_message_says_what_to_put_where(destination: Path, server: Server) -> None:
    with type(server)() as closed:
        pass  # its port refuses from here on
    with pytest.raises(DownloadError) as raised:
        fetch(closed, destination)
    for needed in (closed.url, destination.name, str(destination.parent)):
        assert needed in str(raised.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that cannot be written")
def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(server, tmp_path / "photos.tar")


def test_a_file_in_the_place_of_the_folder_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "downloads").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(server, tmp_path / "downloads" / "photos.tar")


def test_several_at_once_make_one_request(server: Server, destination: Path) -> None:
    server.seconds_between_pieces = 0.02
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: fetch(server, destination), range(4)))
    assert results == [destination] * 4
    assert server.ranges == [None]
    assert [path.name for path in destination.parent.iterdir()] == [destination.name]


# md5, where nobody has published a sha256


def test_an_md5_is_checked_too(server: Server, destination: Path) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert download(server.url, destination, md5=md5.upper(), size=SIZE, pause=0.01).read_bytes() == CONTENT
    assert download(server.url, destination, md5=md5, size=SIZE) == destination
    assert server.ranges == [None]
    server.content = CONTENT[:-1] + b"!"
    destination.unlink()
    with pytest.raises(DownloadError, match=f"md5 {hashlib.md5(server.content).hexdigest()}, expected {md5}"):
        download(server.url, destination, md5=md5, size=SIZE)
    assert not destination.exists()
    assert not part_of(destination).exists()


def test_a_sha256_counts_more_than_an_md5(server: Server, destination: Path) -> None:
    download(server.url, destination, sha256=SHA256, md5="0" * 32, size=SIZE)
    assert destination.read_bytes() == CONTENT


def test_nothing_is_fetched_unchecked(server: Server, destination: Path) -> None:
    with pytest.raises(ValueError, match="give its sha256 or md5"):
        download(server.url, destination, size=SIZE)
    assert server.ranges == []


def test_a_wrong_file_put_there_by_hand_is_said_to_be_wrong(server: Server, destination: Path) -> None:
    server.statuses = [404]
    destination.parent.mkdir()
    destination.write_bytes(b"another version")
    with pytest.raises(DownloadError, match="has not the right bytes"):
        fetch(server, destination)
    assert destination.read_bytes() == b"another version"
