"""Every shell and Python block of the README and the docs is run, or says above itself why it is not.

Blocks of a page are run in order, in one folder of their own, in this process; the names that stand for something of
the reader's (PHOTOS, RUN, photo.jpg, ...) are there as small drawn ones. A comment above a block leaves out all of it,

    <!-- not run: needs a network -->

or only the lines that begin so:

    <!-- not run `headstart train tf_flowers`: fetches 229 MB -->

A block that shows a file is written to it for the commands below: <!-- file: mine.toml -->.
"""

import io
import logging
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.cli import _build_app, main
from headstart.config import TrainConfig
from headstart.datasets.named.materials import write_materials
from headstart.jobs import train

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
)

SHELL = {"", "sh"}
NEITHER = {"text", "toml"}  # languages of what is only shown

_FENCE = re.compile(r"^(```+)(.*)$")
_MARK = re.compile(r"not run(?: `(?P<start>[^`]+)`)?: (?P<reason>\S.*)", re.DOTALL)
_FILE = re.compile(r"file: (\S+)")
_UNLISTED = {"--debug", "--model", "--model-name", "--help"}
"""Options that every command has, and other programs' names."""
_PATCHES = 3
"""Of each class, for training and for the test; the demo has 20."""

DrawPhotos = Callable[..., Path]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A comment that leaves something out: the lines that begin with `start`, by default all."""

    start: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block, the number of its first line, the file that it shows ("" for none), and the marks above it."""

    language: str
    line: int
    text: str
    file: str
    marks: tuple[Mark, ...]

    def commands(self) -> list[str]:
        """The lines of a shell block that are run, without comments; lines that end in a backslash are joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        return [line for line in kept if not any(line.startswith(mark.start) for mark in self.marks)]

    @property
    def is_left_out(self) -> bool:
        return any(not mark.start for mark in self.marks)


def read_blocks(text: str) -> list[Block]:
    """All fenced blocks of a page that are no directives of the site."""
    blocks: list[Block] = []
    lines = text.splitlines()
    i = 0
    while i < len(lines):
        opened = _FENCE.match(lines[i].strip())
        if opened is None:
            i += 1
            continue
        fence, language = opened[1], opened[2].strip()
        end = next(k for k in range(i + 1, len(lines)) if lines[k].strip() == fence)
        if not language.startswith("{"):
            comments = _comments_above(lines[:i])
            files = [found[1] for comment in comments if (found := _FILE.fullmatch(comment))]
            marks = [found for comment in comments if (found := _MARK.fullmatch(comment))]
            blocks.append(
                Block(
                    language=language,
                    line=i + 2,
                    text="\n".join(lines[i + 1 : end]),
                    file="".join(files),
                    marks=tuple(Mark(start=found["start"] or "", reason=found["reason"]) for found in marks),
                )
            )
        i = end + 1
    return blocks


def _comments_above(lines: Sequence[str]) -> list[str]:
    """The comments that stand directly above a block."""
    above = "\n".join(lines).rstrip()
    comments: list[str] = []
    while above.endswith("-->"):
        above, _, comment = above.removesuffix("-->").rpartition("<!--")
        above = above.rstrip()
        comments.append(comment.strip())
    return comments


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_blocks_and_marks_are_read() -> None:
    page = (
        "<!-- not run `b x`: slow -->\n<!-- not run: all\nof it -->\n\n"
        "```sh\na\nb x \\\n  y\n# c\n```\n<!-- d -->\n```\ne # f\n```\n<!-- file: a.toml -->\n```toml\nx = 1\n```\n"
    )

    first, second, third = read_blocks(page)

    assert [(mark.start, mark.reason) for mark in first.marks] == [("", "all\nof it"), ("b x", "slow")]
    assert first.is_left_out
    assert not second.marks
    assert second.commands() == ["e # f"]
    assert second.line == 13
    assert (third.file, third.text) == ("a.toml", "x = 1")
    some = read_blocks(page.replace("<!-- not run: all\nof it -->", ""))[0]
    assert some.commands() == ["a"]


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_marks_are_needed_and_languages_are_known(page: Path) -> None:
    for block in read_blocks(page.read_text(encoding="utf-8")):
        where = f"{_id(page)}, line {block.line}"
        assert block.language in SHELL | NEITHER | {"python"}, where
        for mark in block.marks:
            runnable = block.language in SHELL | {"python"}
            assert runnable, f"{where}: a mark above a block that nobody runs"
            assert any(line.startswith(mark.start) for line in block.text.splitlines()), (
                f"{where}: {mark.start}"
            )


def _known_options() -> set[str]:
    """Every option that the help of a command shows, and those of the benchmarks."""
    app = _build_app()
    printed = io.StringIO()
    with redirect_stdout(printed):
        for name in app:
            if not name.startswith("-"):
                app.help_print([name])
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").rglob("*.py"))
    of_scripts = set(re.findall(r'add_argument\(\s*"(--[a-z][a-z-]+)"', scripts))
    return set(re.findall(r"--[a-z][a-z-]+", printed.getvalue())) | of_scripts | _UNLISTED


def _own_words(page: str) -> str:
    """A page without its blocks and, in tables of another program's words beside ours, without the other's."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    sections = re.split(r"(?m)^\| there \| here \|$", text)
    ours = [re.sub(r"(?m)^\|.*\| (.*) \|$", r"\1", section) for section in sections[1:]]
    return "".join([sections[0], *ours])


def test_own_words_are_ours() -> None:
    page = "`--a`\n```sh\nx --b\n```\n\n| there | here |\n|---|---|\n| `--c` | `--d` |\n\n`--e`\n"

    assert re.findall(r"--[a-z]", _own_words(page)) == ["--a", "--d", "--e"]
    assert "--layer-decay" in _known_options()
    assert "--no-such-option" not in _known_options()


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_options_that_a_page_names_exist(page: Path) -> None:
    inline = re.findall(r"`([^`]+)`", _own_words(page.read_text(encoding="utf-8")))
    named = {option.replace("_", "-") for code in inline for option in re.findall(r"--[a-z][a-z_-]+", code)}
    assert not named - _known_options()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Path:
    """A folder of small photos and a finished run on them, of which each page gets copies."""
    place = tmp_path_factory.mktemp("given")
    draw_photos(place / "photos", classes=("brick", "grass", "sky"), per_class=4)
    config = TrainConfig(str(place / "photos"), recipe="probe")
    train(config, out=place / "run", store=place / "store")
    return place


@pytest.fixture
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home, a folder and a store of the page's own; what `main` sets for a whole process is given back."""
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("HEADSTART_STORE", str(tmp_path / "store"))
    (tmp_path / "page").mkdir()
    monkeypatch.chdir(tmp_path / "page")
    handler = signal.getsignal(signal.SIGTERM)
    logger = logging.getLogger("headstart")
    handlers, propagate = logger.handlers, logger.propagate
    yield
    signal.signal(signal.SIGTERM, handler)
    logger.handlers, logger.propagate = handlers, propagate


def _provide(text: str, given: Path) -> None:
    """Make what the page takes for given."""

    def named(name: str) -> bool:
        return re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", text) is not None

    folders = {
        "PHOTOS": "photos",
        "photos": "photos",
        "PETS": "photos",
        "folder": "photos/brick",
        "RUN": "run",
    }
    for name, source in folders.items():
        if named(name):
            # PHOTOS and photos are one folder where the file system has no case.
            shutil.copytree(given / source, name, dirs_exist_ok=True)
    for name in ("photo.jpg", "new.jpg"):
        if named(name):
            shutil.copy(given / "photos" / "grass" / "00.jpg", name)
    if named("noise.png"):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save("noise.png")
    if named("headstart-demo"):
        photos = Path("headstart-demo", "photos")
        write_materials(photos, per_class=_PATCHES, test_per_class=_PATCHES, plant_broken=True)


def _run_shell(line: str, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a line of a block: headstart, or `sh` with a file of such lines; also with `> FILE`."""
    line, _, target = line.partition(" > ")
    words = shlex.split(line, comments=True)
    if words[:1] == ["sh"] and len(words) == 2:
        for inner in Path(words[1]).read_text(encoding="utf-8").splitlines():
            _run_shell(inner, where, capsys)
        return
    assert words[:1] == ["headstart"], (
        f"{where}: only commands of headstart are run here. If this one cannot be, say so above its block: "
        f"<!-- not run: REASON -->\n{line}"
    )
    capsys.readouterr()
    code = main(words[1:])
    printed = capsys.readouterr()
    assert code == 0, f"{where}: {line}\n{printed.out}{printed.err}"
    if target:
        Path(shlex.split(target, comments=True)[0]).write_text(printed.out, encoding="utf-8")


def _with_blocks() -> list[Path]:
    """The pages on which something is to be run."""
    return [
        page
        for page in PAGES
        if any(
            block.language in SHELL | {"python"} and not block.is_left_out
            for block in read_blocks(page.read_text(encoding="utf-8"))
        )
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("page", _with_blocks(), ids=_id)
def test_what_a_page_shows_can_be_run(page: Path, given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block for block in read_blocks(page.read_text(encoding="utf-8")) if not block.is_left_out]
    _provide("\n".join(block.text for block in blocks), given)
    known: dict[str, object] = {}
    for block in blocks:
        where = f"{_id(page)}, line {block.line}"
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), known)
        elif block.language in SHELL:
            for command in block.commands():
                _run_shell(command, where, capsys)
