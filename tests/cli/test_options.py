"""The options of a configuration on the command line: in groups, under all their names."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from headstart.cli import main
from headstart.cli.options import _PLACES
from headstart.config import AuditConfig, ExtractConfig, ProbeConfig, TrainConfig


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The configurations that `headstart train` would have trained."""
    found: list[TrainConfig] = []

    def train(config: TrainConfig, **_: Any) -> None:
        found.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.jobs.train", train)
    return found


def _help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str) -> list[str]:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([command, "--help"]) == 0
    return capsys.readouterr().out.splitlines()


def _panels(lines: list[str]) -> dict[str, list[str]]:
    """The name of each entry, by the title of the panel that it stands in."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("╭─"):
            title = line.strip("╭─╮ ")
            found[title] = []
        elif entry := re.match(r"│ (?:[* ]  )?(DATA|RUN|PHOTOS|--[\w-]+)", line):
            found[title].append(entry[1])
    return found


@pytest.mark.parametrize("config", [ExtractConfig, TrainConfig, ProbeConfig, AuditConfig])
def test_every_option_has_its_place(config: type) -> None:
    assert {field.name for field in fields(config)} <= _PLACES.keys()


def test_the_help_of_train_is_in_groups_the_most_used_first(capsys, monkeypatch) -> None:
    lines = _help(capsys, monkeypatch, "train")

    panels = _panels(lines)
    assert [*panels] == ["Data", "Network", "Training", "Augmentation", "Run", "Training step by step"]
    assert {title: entries[0] for title, entries in panels.items()} == {
        "Data": "DATA",
        "Network": "--backbone",
        "Training": "--recipe",
        "Augmentation": "--augment",
        "Run": "--out",
        "Training step by step": "--lr",
    }
    assert sum(map(len, panels.values())) == len(fields(TrainConfig)) + len(
        ["config", "resume", "out", "force", "store", "no_store"]
    )
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert "Usage: headstart train DATA [OPTIONS]" in text
    assert "--from --from-layer STR" in text
    for noise in ("[choices", "--no-reinit", "False", "None"):
        assert noise not in text


@pytest.mark.parametrize(
    ("command", "titles"),
    [
        ("extract", ["Data", "Network", "Run"]),
        ("probe", ["Data", "Network", "Training", "Run", "Training step by step"]),
        ("evaluate", ["Arguments", "Parameters"]),
    ],
)
def test_other_commands_have_the_groups_that_they_need(
    capsys, monkeypatch, command: str, titles: list[str]
) -> None:
    assert [*_panels(_help(capsys, monkeypatch, command))] == titles


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "layer4"],
        ["--from=layer4"],
        ["--from-layer", "layer4"],
        ["--from_layer", "layer4"],
    ],
)
def test_the_names_of_from_layer(given: list[TrainConfig], arguments: list[str]) -> None:
    main(["train", "photos", "--recipe", "finetune", *arguments])

    assert given == [TrainConfig("photos", recipe="finetune", from_layer="layer4")]


def test_a_file_has_all_options_and_the_command_line_wins(given: list[TrainConfig], tmp_path: Path) -> None:
    config = TrainConfig(
        "photos", recipe="finetune", from_layer="layer4", reinit=True, augment="six", average_views=True
    )
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())

    main(["train", "--config", str(path)])
    main(["train", "--config", str(path), "--reinit=false", "--from", "layer3", "--average-views=false"])

    assert given == [
        config,
        TrainConfig("photos", recipe="finetune", from_layer="layer3", augment="six"),
    ]


def test_all_faults_are_one_error_in_words(given: list[TrainConfig], capsys) -> None:
    assert main(["train", "photos", "--time", "soon", "--layer-decay", "2"]) == 2

    words = capsys.readouterr().err
    assert words.startswith("error: time: 'soon' is no duration")
    assert "layer_decay is 2.0; expected more than 0 and at most 1" in words
    assert given == []
