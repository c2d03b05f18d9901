"""`headstart report`."""

from pathlib import Path

import pytest

from headstart.cli import main
from headstart.config import TrainConfig
from headstart.jobs import train


def test_report_is_written_anew(
    tmp_path: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(TrainConfig(str(photo_folder), recipe="probe"), out=tmp_path / "run")
    run.report.unlink()

    assert main(["report", str(run.folder)]) == 0

    assert capsys.readouterr().out.startswith(f"report    {run.report} (")
    assert run.report.stat().st_size > 1_000_000
    assert str(run.report) in run._repr_html_()


@pytest.mark.parametrize("arguments", [["report"], ["report", "nowhere"], ["report", "."]])
def test_mistakes_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "error:" in capsys.readouterr().err
