"""A plan as files: configs that `headstart train` takes, and commands that can be pasted."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.config import read_config
from headstart.errors import ConfigError
from headstart.study import StudyOptions, load_study, parse_study, plan_study, write_configs


def test_every_config_is_read_as_it_was_planned(tmp_path: Path) -> None:
    plan = plan_study(load_study("r5"), StudyOptions(scale=0.1))

    write_configs(plan, tmp_path / "new" / "r5")

    for run in plan.runs:
        config = read_config(tmp_path / "new" / "r5" / f"{run.name}.toml")
        assert replace(config, init=None) == run.config


def test_commands_find_the_runs_that_they_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    commands = [
        shlex.split(command) for command in write_configs(plan_study(load_study("r5")), Path("my r5"))
    ]

    made: list[Path] = []
    for word, verb, _, config, _, out in commands:
        assert (word, verb) == ("headstart", "train")
        init = read_config(Path(config)).init
        assert init is None or Path(init) in made
        made.append(Path(out).absolute())
    assert [path.name for path in made] == [*(f"case-{k}" for k in range(1, 9)), "scratch"]
    inits = [read_config(Path("my r5", f"case-{k}.toml")).init for k in (6, 7, 8)]
    assert inits == [None, *[str(tmp_path / "my r5" / "runs" / "case-6")] * 2]


def test_a_run_continues_that_of_its_own_data_and_backbone(tmp_path: Path, values) -> None:
    cases = [{"name": "a", "title": "A"}, {"name": "b", "title": "B", "start_from": "a"}]
    study = parse_study(values(backbones=["alexnet", "vgg11"], cases=cases), name="small", where="")

    write_configs(plan_study(study), tmp_path)

    for backbone in ("alexnet", "vgg11"):
        init = read_config(tmp_path / f"{backbone}-b.toml").init
        assert init == str(tmp_path / "runs" / f"{backbone}-a")


def test_a_config_says_what_it_is(tmp_path: Path) -> None:
    write_configs(plan_study(load_study("r5"), StudyOptions(scale=0.1, backbone="resnet18")), tmp_path)

    first, second, third, *_ = (tmp_path / "case-5.toml").read_text().splitlines()
    assert first == (
        "# Study r5 (Pets: AlexNet in eight cases): case-5, feature extraction, classifier trained further "
        "(epochs scaled by 0.1)."
    )
    assert second.startswith("# Not comparable with the reference's figures, because")
    assert third.startswith("# Trains the same layer from the same start as case-4, case-6;")


def test_a_title_of_several_lines_stays_a_comment(tmp_path: Path, values) -> None:
    study = parse_study(values(title='A\nseed = 3\n"""'), name="small", where="")

    write_configs(plan_study(study), tmp_path)

    assert read_config(tmp_path / "all.toml").seed == 0


def test_written_twice_is_written_once_but_nothing_else_is_replaced(tmp_path: Path) -> None:
    plan = plan_study(load_study("r5"))
    assert write_configs(plan, tmp_path) == write_configs(plan, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.toml")}

    with pytest.raises(ConfigError, match=r"case-1\.toml says something else .*\nGive another --out"):
        write_configs(plan_study(load_study("r5"), StudyOptions(seed=1)), tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.toml")} == before


def test_a_folder_that_cannot_be_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="The configs cannot be written to"):
        write_configs(plan_study(load_study("r5")), tmp_path / "file" / "r5")
