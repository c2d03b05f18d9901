"""The site builds without a warning and without a network, and holds the whole public API and every command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import headstart
from headstart.cli import _build_app

DOCS = Path(__file__).resolve().parents[2] / "docs"

pytestmark = pytest.mark.slow

pytest.importorskip("sphinx", reason="needs the group docs (pip install --group docs)")
pytest.importorskip("myst_nb", reason="needs the group docs (pip install --group docs)")
pytest.importorskip("furo", reason="needs the group docs (pip install --group docs)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Proxies that lead nowhere stand for a machine without a network."""
    place = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-E", "-q", "-b", "html"]
    built = subprocess.run(
        [*command, "-d", str(place / "doctrees"), str(DOCS), str(place / "html")],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return place / "html"


def test_the_api_is_there(site: Path) -> None:
    for name in headstart.__all__:
        page = site / "generated" / f"headstart.{name}.html"
        assert f'id="headstart.{name}"' in page.read_text(encoding="utf-8"), name


def test_every_command_is_there_with_its_options(site: Path) -> None:
    page = (site / "command-line.html").read_text(encoding="utf-8")
    for name in _build_app():
        assert name.startswith("-") or f"Usage: headstart {name}" in page, name
    assert "--label-smoothing" in page
    assert "headstart cache prune" in page


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        asked = re.findall(r'<(?:script|img|iframe|link)[^>]+(?:src|href)="(https?://[^"]+)"', text)
        assert not asked, page
