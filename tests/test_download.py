"""Downloads against a server of our own on the loopback, which misbehaves as told."""

import hashlib
import io
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headstart.download import download, unpack_tar
from headstart.errors import DownloadError

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes: several pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; the attributes say in which way it misbehaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/photos.tar"
        self.content = CONTENT
        self.cuts: list[int] = []  # the next replies end after so many bytes
        self.statuses: list[int] = []  # the next replies are these
        self.honours_range = True
        self.says_length = True
        self.seconds_between_pieces = 0.0
        self.location = ""
        self.ranges: list[str | None] = []  # what was asked, request by request

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        if self.server.statuses:
            self.send_response(self.server.statuses.pop(0))
            self.send_header("Location", self.server.location)
            self.end_headers()
            return
        start = (
            int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.honours_range else 0
        )
        if start and start >= len(self.server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.server.content)}")
            self.end_headers()
            return
        self._send(self.server.content[start:], start)

    def _send(self, body: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}")
        if self.server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
        for i in range(0, len(body), 100_000):
            self.wfile.write(body[i : i + 100_000])
            self.wfile.flush()
            time.sleep(self.server.seconds_between_pieces)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


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
    with Server() as closed:
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


# Archives


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
