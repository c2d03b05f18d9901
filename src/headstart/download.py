"""Files from the network: resumed when cut off, checked before they are believed."""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from headstart.errors import DownloadError
from headstart.files import (
    full_disk_explained,
    human_bytes,
    replace_durably,
)

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes expected, None where the server does not say."""

_CHUNK = 1 << 16
_TRIES_WITHOUT_PROGRESS = 3
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)


@dataclass(frozen=True, kw_only=True)
class _Checksum:
    """What the right bytes come to; `kind` is one of hashlib's names."""

    kind: str
    digest: str

    def of(self, path: Path) -> str:
        """The same kind of checksum of a file, as lower-case hex digits."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.kind).hexdigest()

    def fits(self, path: Path) -> bool:
        """Whether the file is there and has the right bytes."""
        return path.is_file() and self.of(path) == self.digest.lower()


class _CutOffError(Exception):
    """The connection ended, or never began: worth another try, from where the file ends now."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What is fetched, and how long to wait for it.

    Attributes:
        url: http or https.
        destination: the file it becomes.
        size: in bytes, None where unknown.
        timeout: seconds without a byte that count as cut off.
    """

    url: str
    destination: Path
    size: int | None
    timeout: float


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None,
    on_progress: Progress | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """Fetch a file whose checksum is known; where it is there already, do nothing.

    The bytes go to `destination` + ".part", which stays when the connection is lost for good, so that the
    next call goes on from there. `destination` itself only ever holds the right bytes. Several processes may
    ask for the same file at once: one fetches it, the others wait.

    Args:
        url: an http or https address.
        destination: the file to write; its folder is made.
        sha256: the file's sha256 as hex digits.
        md5: its md5, for files of which nobody has published a sha256. It proves that the bytes have come as they
            were sent, not that nobody has made another file of the same md5; ignored beside a sha256.
        size: its bytes, None where unknown; no more than that is read.
        on_progress: called after each piece, and with what was there from an earlier call.
        timeout: seconds without a byte after which the connection counts as cut off.
        pause: seconds before the second try; doubled for each further one. Tries end when three in a row
            bring nothing new.

    Returns:
        `destination`.

    Raises:
        DownloadError: there is no network, the server has no such file, or its bytes are not the right ones
            (then they are deleted).
        DiskFullError: there is no room for it.
    """
    checksum = _checksum(sha256, md5)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} cannot be fetched: expected an http or https address.")
    if checksum.fits(destination):
        return destination
    source = _Source(url=url, destination=destination, size=size, timeout=timeout)
    lock = destination.with_name(destination.name + ".lock")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not checksum.fits(destination):  # another process may have fetched it while this one waited
                _download_locked(source, checksum, on_progress or _silent, pause)
            # Only now is it safe to remove the lock: whoever comes later finds the file. Windows keeps it.
            with suppress(OSError):
                lock.unlink()
    except OSError as error:
        raise DownloadError(f"{destination} cannot be written: {error}.") from error
    return destination


def _silent(_done: int, _total: int | None) -> None:
    """Report nothing."""


def _checksum(sha256: str | None, md5: str | None) -> _Checksum:
    if sha256 is not None:
        return _Checksum(kind="sha256", digest=sha256)
    if md5 is None:
        raise ValueError("a file whose checksum nobody knows is not fetched: give its sha256 or md5")
    return _Checksum(kind="md5", digest=md5)


def _download_locked(source: _Source, checksum: _Checksum, on_progress: Progress, pause: float) -> None:
    part = source.destination.with_name(source.destination.name + ".part")
    with full_disk_explained(source.destination, source.size):
        try:
            with part.open("ab") as file:
                _fetch_with_retries(source, file, on_progress, pause)
        except DownloadError:
            if part.stat().st_size == 0:  # nothing to go on from
                part.unlink()
            raise
        got = checksum.of(part)
        if got != checksum.digest.lower():
            part.unlink()
            raise DownloadError(
                f"{source.url} brought the wrong bytes for {source.destination.name} and they were deleted: "
                f"{checksum.kind} {got}, expected {checksum.digest}.\n"
                "Try once more; if that does not help, the file has changed at its source."
            )
        replace_durably(part, source.destination)


def _fetch_with_retries(source: _Source, file: BinaryIO, on_progress: Progress, pause: float) -> None:
    """Ask until the file is whole, or until three tries in a row have brought nothing new."""
    most, failures = file.tell(), 0
    while True:
        try:
            _fetch(source, file, on_progress)
        except _CutOffError as error:
            # A server that ignores ranges starts over each time: only more than ever before is progress.
            failures = 0 if file.tell() > most else failures + 1
            most = max(most, file.tell())
            if failures == _TRIES_WITHOUT_PROGRESS:
                raise _unreachable(source, str(error)) from error
            time.sleep(pause * 2 ** max(failures - 1, 0))
        else:
            return


def _fetch(source: _Source, file: BinaryIO, on_progress: Progress) -> None:
    """Ask once for what is missing at the file's end."""
    have = file.tell()
    if source.size is not None and have >= source.size:
        return  # whole, or wrong: the checksum tells
    headers = {"User-Agent": "headstart", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(source.url, headers=headers)
    try:
        response = _opener().open(request, timeout=source.timeout)
    except urllib.error.HTTPError as error:
        _judge_status(source, file, error)
    except (OSError, http.client.HTTPException) as error:
        raise _CutOffError(_reason(error)) from error
    else:
        with response:
            if have and not _continues(response, have):
                _start_over(file)
                if response.status == http.HTTPStatus.PARTIAL_CONTENT:
                    raise _CutOffError("the server sent another part than was asked for")
            _copy(source, response, file, on_progress)


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener for http and https alone: urllib's own also follows a redirect to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    return opener


def _judge_status(source: _Source, file: BinaryIO, error: urllib.error.HTTPError) -> None:
    """Say what an HTTP error means for the download; returns where the file is whole already."""
    with error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and file.tell():
            if error.headers.get("Content-Range") == f"bytes */{file.tell()}":
                return  # the part was whole, and only its check and its name were missing
            _start_over(file)
            raise _CutOffError("the part left by an earlier try did not fit")
        if (
            error.code in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS)
            or error.code >= 500
        ):
            raise _CutOffError(f"HTTP {error.code} {error.reason}")
        raise _unreachable(source, f"HTTP {error.code} {error.reason}") from error


def _continues(response: http.client.HTTPResponse, have: int) -> bool:
    """Tell whether the body goes on where the file ends; a server may send another range, or everything."""
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == http.HTTPStatus.PARTIAL_CONTENT and start is not None and int(start[1]) == have


def _start_over(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _copy(source: _Source, response: http.client.HTTPResponse, file: BinaryIO, on_progress: Progress) -> None:
    have = file.tell()
    total = source.size if response.length is None else have + response.length
    if source.size is not None and total != source.size:
        raise DownloadError(
            f"{source.url} is {human_bytes(total or 0)} ({total} bytes), expected {source.size} bytes: "
            "the file has changed at its source."
        )
    on_progress(have, total)
    while chunk := _read(response):
        if total is not None and have + len(chunk) > total:
            raise DownloadError(f"{source.url} sends more than the {total} bytes expected.")
        have += file.write(chunk)
        on_progress(have, total)
    file.flush()
    # http.client gives an early end of the body as an ordinary end.
    if total is not None and have < total:
        raise _CutOffError(f"the connection ended after {have} of {total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)  # `read` would lose what has come when the rest does not
    except (OSError, http.client.HTTPException) as error:
        raise _CutOffError(_reason(error)) from error


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(inner) or type(inner).__name__


def _unreachable(source: _Source, reason: str) -> DownloadError:
    # Somebody may have followed this very advice, with another version of the file.
    there = " The file of that name which is there has not the right bytes." * source.destination.exists()
    return DownloadError(
        f"{source.url} could not be fetched: {reason}.{there}\n"
        f"Try again, or fetch {source.destination.name} by other means and put it into the folder "
        f"{source.destination.parent}."
    )
