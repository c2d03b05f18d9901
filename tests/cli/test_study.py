"""`headstart study`: what it prints, and what it writes."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from headstart.cli import main


def done(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that must succeed prints to standard output."""
    assert main(["study", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_without_a_name_the_studies_are_listed(capsys) -> None:
    out = done(capsys)

    for name, title in {
        "r1": "Flowers",
        "r2": "Traffic signs",
        "r3": "Three networks",
        "r4": "Natural",
        "r5": "Pets",
    }.items():
        assert [line for line in out.splitlines() if line.startswith(name) and title in line]


def test_a_study_is_shown_with_the_figures_beside_it_and_why_they_are_no_match(capsys) -> None:
    out = done(capsys, "r3", "--data", "cifar10")

    (line,) = [line for line in out.splitlines() if line.startswith("vgg-softmax")]
    for words in ("feature extraction", "1e-3 x 50", "weights", "none", "95.40 %", "72.35 %"):
        assert words in line
    assert "not comparable with the reference's figures, because" in out
    assert "here test is read once" in out
    assert "trained on: not stated" in out
    assert "German" not in out  # the protocol of the other data set


def test_a_test_figure_is_called_one(capsys) -> None:
    assert "95.37 % (test)" in done(capsys, "r1")


def test_where_nothing_is_stated_no_columns_stand_for_it(capsys) -> None:
    out = done(capsys, "r4", "--scale", "0.2")

    assert "reference train" not in out
    assert "No figure of others stands beside these runs." in out
    assert "scaled by 0.2" in out
    assert "1e-3 x 2" in out


def test_configs_and_commands(tmp_path: Path, capsys) -> None:
    out = done(capsys, "r4", "--model_name", "squeezenet", "--data", tmp_path, "--out", tmp_path / "r4")

    assert [shlex.split(line) for line in out.splitlines()] == [
        [
            *("headstart", "train", "--config", str(tmp_path / "r4" / f"{name}.toml")),
            *("--out", str(tmp_path / "r4" / "runs" / name)),
        ]
        for name in ("feature-extraction", "finetune")
    ]
    assert f'data = "{tmp_path}"' in (tmp_path / "r4" / "finetune.toml").read_text()


def test_cases_that_come_to_the_same_are_told(tmp_path: Path, capsys, monkeypatch) -> None:
    network = SimpleNamespace(classifier_layer="fc", classifier_layers=1, cut=lambda layer: None)
    monkeypatch.setattr("headstart.backbones.load_backbone", lambda name, weights: network)
    words = "case-4, case-5, case-6: the same layer is trained from the same start"

    out = done(capsys, "r5", "--backbone", "resnet18")

    assert words in out
    (line,) = [line for line in out.splitlines() if line.startswith("case-5")]
    assert "case-4, case-6" in line
    assert main(["study", "r5", "--backbone", "resnet18", "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out.count("headstart train --config") == len(captured.out.splitlines()) == 9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["r9"], "study is 'r9'; expected r1"),
        (["none.toml"], "The study none.toml cannot be read"),
        (["r1", "--scale", "0"], "scale is 0.0; expected a number above 0"),
        (["r1", "--seed", "-1"], "seed is -1; expected 0 or more"),
        (["r1", "--split", "half"], "split is 'half'"),
        (["r4", "--backbone", "resnett"], "There is no backbone 'resnett'"),
    ],
)
def test_mistakes_are_told_in_two_lines(arguments: list[str], words: str, capsys) -> None:
    assert main(["study", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.strip().splitlines()) <= 2
