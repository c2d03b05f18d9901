"""`headstart audit` on the command line."""

import shutil
from pathlib import Path

import pytest

from headstart.backbones import Backbone
from headstart.cli import main


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    monkeypatch.setattr("headstart.jobs.audit.load_backbone_of", lambda config: tiny_backbone)


def test_it_says_what_it_found_and_where(photo_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(photo_folder / "sky/03.jpg", photo_folder / "sky/copy.jpg")

    assert main(["audit", str(photo_folder)]) == 0

    out = capsys.readouterr().out
    assert "1 pair" in out
    assert "none found at this threshold" in out
    assert "clean " not in out
    assert (tmp_path / "audits/photos/audit.html").exists()
    assert str(Path("audits/photos/findings.csv")) in out


def test_nowhere_to_look_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["audit", str(tmp_path / "none")]) == 2

    assert capsys.readouterr().err.startswith("error: There is no folder")
