"""`headstart compare`: what it prints, and what it writes."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from headstart.backbones import Backbone
from headstart.cli import main


def done(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that must succeed prints to standard output."""
    assert main(["compare", *map(str, arguments)]) == 0
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
    out = done(capsys, "r3", "--plan", "--data", "cifar10")

    (line,) = [line for line in out.splitlines() if line.startswith("vgg-softmax")]
    for words in ("feature extraction", "1e-3 x 50", "weights", "none", "95.40 %", "72.35 %"):
        assert words in line
    assert "not comparable with the reference's figures, because" in out
    assert "here test is read once" in out
    assert "trained on: not stated" in out
    assert "German" not in out  # the protocol of the other data set


def test_a_test_figure_is_called_one(capsys) -> None:
    assert "95.37 % (test)" in done(capsys, "r1", "--plan")


def test_where_nothing_is_stated_no_columns_stand_for_it(capsys) -> None:
    out = done(capsys, "r4", "--plan", "--scale", "0.2")

    assert "reference train" not in out
    assert "No figure of others stands beside these runs." in out
    assert "scaled by 0.2" in out
    assert "1e-3 x 2" in out


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    """Runs of this test start from the tiny backbone."""
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: tiny_backbone)


@pytest.mark.usefixtures("tiny")
def test_photos_are_compared_on_and_the_command_goes_on(tmp_path: Path, photo_folder: Path, capsys) -> None:
    arguments = [photo_folder, "--recipes", "probe,finetune", "--seeds", "0-1", "--set", "head=ridge"]
    arguments += ["--set", "per_class=6", "--out", tmp_path / "c d"]

    out = done(capsys, *arguments)

    assert "On photos, probe is best" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("probe ", "finetune "))] == [
        "probe",
        "finetune",
    ]
    (again,) = [line.removeprefix("again").strip() for line in out.splitlines() if line.startswith("again")]
    assert main(shlex.split(again)[1:]) == 0
    captured = capsys.readouterr()
    assert "probe-seed-0  " in captured.err
    assert "was there" in captured.err
    assert "finetune-seed-0, finetune-seed-1 failed: A ridge head is solved for" in captured.err
    assert (tmp_path / "c d" / "leaderboard.csv").read_text().count("\n") == 3
    assert {path.name for path in (tmp_path / "c d" / "runs").iterdir()} == {
        f"photos-tf_efficientnet_lite0-probe-seed-{seed}" for seed in (0, 1)
    }


@pytest.mark.usefixtures("tiny")
def test_where_every_run_fails_so_does_the_command(tmp_path: Path, photo_folder: Path, capsys) -> None:
    code = main(
        ["compare", str(photo_folder), "--recipes", "finetune", "--set", "head=knn", "--out", str(tmp_path)]
    )

    assert code == 2
    assert "On photos every run failed." in capsys.readouterr().out


def test_the_plan_alone_writes_nothing(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    out = done(capsys, "r4", "--plan", "--model_name", "squeezenet", "--data", "photos", "--seeds", "3")

    assert "finetune" in out
    assert "seeds      3" in out
    assert [*tmp_path.iterdir()] == []


def test_cases_that_come_to_the_same_are_told(capsys, monkeypatch) -> None:
    network = SimpleNamespace(classifier_layer="fc", classifier_layers=1, cut=lambda layer: None)
    monkeypatch.setattr("headstart.backbones.load_backbone", lambda name, weights: network)
    words = "case-4, case-5, case-6: the same layer is trained from the same start"

    out = done(capsys, "r5", "--plan", "--backbone", "resnet18")

    assert words in out
    (line,) = [line for line in out.splitlines() if line.startswith("case-5")]
    assert "case-4, case-6" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos", "--recipes", "prob"], "recipe is 'prob'; expected auto, probe"),
        (["none.toml"], "The study none.toml cannot be read"),
        (["r1", "--scale", "0"], "scale is 0.0; expected a number above 0"),
        (["r1", "--seeds", "2-1"], "seeds is '2-1'; expected numbers such as 0-2"),
        (["r1", "--set", "size"], "set is 'size'; expected KEY=VALUE"),
        (["r1", "--set", "size=big"], "size is 'big'; expected int"),
        (["r1", "--split", "half"], "split is 'half'"),
        (["r4", "--backbone", "resnett"], "There is no backbone 'resnett'"),
    ],
)
def test_mistakes_are_told_in_two_lines(arguments: list[str], words: str, capsys) -> None:
    assert main(["compare", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.strip().splitlines()) <= 2
