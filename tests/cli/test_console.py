"""Progress bars on a terminal."""

import io

import pytest
from rich.console import Console

from headstart.cli import console


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    shown = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=shown, force_terminal=True, width=100))
    return shown


def test_downloads_come_before_the_extraction_in_bars_of_their_own(terminal: io.StringIO) -> None:
    with console.extraction_bar() as bar, console.download_bar() as downloads:
        for total in (229_000_000, 80_000_000):  # two files
            downloads(0, total)
            downloads(total // 2, total)
            downloads(total, total)
        bar(10, 1234)
        bar(1234, 1234)
    text = terminal.getvalue()
    assert "229.0/229.0 MB" in text
    assert "80.0/80.0 MB" in text
    assert "1234/1234" in text
    assert text.index("download") < text.index("features")


def test_a_download_that_breaks_off_leaves_no_bar(terminal: io.StringIO) -> None:
    with pytest.raises(OSError, match="cut"), console.download_bar() as downloads:
        downloads(5, None)
        raise OSError("cut")
    with console.download_bar() as downloads:
        downloads(5, 10)
        downloads(10, 10)
    assert "download" in terminal.getvalue()


def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=shown))
    with console.extraction_bar() as bar, console.download_bar() as downloads:
        downloads(10, 10)
        bar(1, 1)
    assert shown.getvalue() == ""
