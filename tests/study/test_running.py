"""The runner: what it trains, shares, skips, and gets over."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from headstart.backbones import Backbone
from headstart.config import ExtractConfig
from headstart.errors import RunError
from headstart.runs import RESULT_FILE
from headstart.study import Plan, PlannedRun, StudyOptions, make_study, parse_study, plan_study
from headstart.study import running as module
from headstart.study.running import MadeRun, run_plan

Make = Callable[..., Plan]
Loads = list[ExtractConfig]


@pytest.fixture
def tiny_loads(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> Loads:
    """Runs of this test start from the tiny backbone; this tells how often it was loaded."""
    loads: Loads = []
    assert tiny_backbone.cuts

    def load(config: ExtractConfig) -> Backbone:
        loads.append(config)
        mode = tiny_backbone.preprocess.resize_mode if config.resize == "weights" else config.resize
        return tiny_backbone.copy().with_preprocess(replace(tiny_backbone.preprocess, resize_mode=mode))

    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", load)
    return loads


@pytest.fixture
def make(photo_folder: Path, values: Any, tiny_loads: Loads) -> Make:
    """`make(cases, **others)` is the plan of a study of these cases on drawn photos."""

    def plan(cases: list[dict[str, Any]], options: StudyOptions | None = None, **others: Any) -> Plan:
        data = [{"name": str(photo_folder), "split": "auto"}]
        named = [{"name": name, "title": name, **rest} for name, rest in ((c.pop("name"), c) for c in cases)]
        own = {"data": data, "backbones": ["tf_efficientnet_lite0"], "cases": named, "options": {}}
        return plan_study(parse_study(values(**own | others), name="small", where="small"), options)

    return plan


HEADS = [{"name": name, "options": {"recipe": "probe", "head": name}} for name in ("linear", "ridge", "knn")]


def heads() -> list[dict[str, Any]]:
    return [dict(case) for case in HEADS]


def test_what_runs_share_is_made_once(tmp_path: Path, make: Make, tiny_loads: Loads) -> None:
    made = run_plan(make(heads(), seeds=[0, 1]), tmp_path / "out")

    assert [each.reason for each in made] == [None] * 6
    assert [each.run.result["images"]["extracted"] for each in made if each.run] == [24, 0, 0, 0, 0, 0]
    assert len(tiny_loads) == 1
    assert sorted(path.name for path in (tmp_path / "out/runs").iterdir()) == sorted(
        f"photos-tf_efficientnet_lite0-{head}-seed-{seed}"
        for head in ("linear", "ridge", "knn")
        for seed in (0, 1)
    )


def test_a_second_start_trains_and_loads_nothing(
    tmp_path: Path, make: Make, tiny_loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_plan(make(heads()), tmp_path)
    tiny_loads.clear()
    monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("trained again"))

    again = run_plan(make(heads()), tmp_path)

    assert [each.skipped for each in again] == [True] * 3
    assert [each.run.result for each in again if each.run] == [each.run.result for each in first if each.run]
    assert tiny_loads == []


def test_new_runs_join_those_that_are_there(tmp_path: Path, make: Make) -> None:
    run_plan(make(heads()[:1]), tmp_path)

    made = run_plan(make(heads(), seeds=[0, 1]), tmp_path)

    assert [each.skipped for each in made] == [True, *[False] * 5]


def test_one_that_fails_stops_no_other(tmp_path: Path, make: Make) -> None:
    cases = [
        {"name": "wrong", "options": {"recipe": "finetune", "head": "knn"}},
        {"name": "after", "options": {"recipe": "finetune", "epochs": 1}, "start_from": "wrong"},
        {"name": "right", "options": {"recipe": "probe"}},
    ]

    wrong, after, right = run_plan(make(cases), tmp_path)

    assert wrong.run is None
    assert "A knn head is solved for" in str(wrong.reason)
    assert after.reason == "wrong, which it continues, failed"
    assert right.run is not None
    assert not (tmp_path / "runs" / wrong.planned.folder).exists()


@pytest.mark.slow
def test_a_run_continues_the_one_before_it(tmp_path: Path, make: Make) -> None:
    cases = [
        {"name": "first", "options": {"recipe": "finetune", "head": "native", "epochs": 1}},
        {
            "name": "second",
            "options": {"recipe": "finetune", "head": "native", "epochs": 1},
            "start_from": "first",
        },
    ]

    first, second = run_plan(make(cases), tmp_path)

    assert second.run is not None
    assert second.run.config.init == str(first.folder)


def test_interrupted_it_ends_at_once_and_goes_on_later(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = module.train, []

    def train(*arguments: Any, **options: Any) -> Any:
        calls.append(options["out"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(module, "train", train)
    with pytest.raises(KeyboardInterrupt):
        run_plan(make(heads()), tmp_path)

    assert [each.skipped for each in run_plan(make(heads()), tmp_path)] == [True, False, False]
    assert len(calls) == 4


def test_runs_of_other_options_are_replaced_only_when_told_to(tmp_path: Path, make: Make) -> None:
    run_plan(make(heads()), tmp_path)
    other = make(heads(), StudyOptions(settings={"per_class": 5}))

    with pytest.raises(
        RunError,
        match=r"was made with per_class as the recipe has it, and 5 is asked for\.\nChoose another --out",
    ):
        run_plan(other, tmp_path)

    made = run_plan(other, tmp_path, force=True)
    assert [each.run.config.per_class for each in made if each.run] == [5, 5, 5]
    assert [each.skipped for each in run_plan(other, tmp_path)] == [True] * 3


@pytest.mark.slow
def test_what_continues_a_replaced_run_is_replaced_too(tmp_path: Path, make: Make) -> None:
    def cases(lr: float) -> list[dict[str, Any]]:
        first = {"recipe": "finetune", "head": "native", "epochs": 1, "lr": lr}
        second = {"recipe": "finetune", "head": "native", "epochs": 1}
        return [
            {"name": "first", "options": first},
            {"name": "second", "options": second, "start_from": "first"},
            {"name": "third", "options": {"recipe": "probe"}},
        ]

    run_plan(make(cases(1e-3)), tmp_path)

    assert [each.skipped for each in run_plan(make(cases(1e-2)), tmp_path, force=True)] == [
        False,
        False,
        True,
    ]


def test_an_unfinished_run_is_taken_up(tmp_path: Path, make: Make) -> None:
    made = run_plan(make(heads()), tmp_path)
    (made[1].folder / RESULT_FILE).unlink()

    again = run_plan(make(heads()), tmp_path)

    assert [each.skipped for each in again] == [True, False, True]
    assert again[1].run is not None
    assert made[1].run is not None
    assert again[1].run.result["test"] == made[1].run.result["test"]


def test_two_at_once_are_told_of_each_other(tmp_path: Path, make: Make) -> None:
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(RunError, match=r"Another headstart compares in .*\nWait"),
    ):
        run_plan(make(heads()), tmp_path)


def test_a_folder_that_cannot_be_says_why(tmp_path: Path, make: Make) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(RunError, match="cannot be written"):
        run_plan(make(heads()), tmp_path / "file" / "out")


@pytest.mark.slow
def test_progress_runs_from_nothing_to_all(tmp_path: Path, make: Make) -> None:
    cases = [*heads(), {"name": "tuned", "options": {"recipe": "finetune", "epochs": 2}}]
    told: list[tuple[float, float]] = []
    ended: list[MadeRun] = []

    def tell(done: float, total: float, run: PlannedRun, what: str) -> None:
        told.append((done, total))

    run_plan(make(cases), tmp_path, progress=tell, ended=ended.append)

    done = [each for each, _ in told]
    assert done == sorted(done)
    assert done[0] == 0
    assert told[-1][0] == told[-1][1] == 3 + 11
    assert [each.planned.name for each in ended] == ["linear", "ridge", "knn", "tuned"]


def test_missing_data_fail_only_their_own_runs(tmp_path: Path, photo_folder: Path, tiny_loads: Loads) -> None:
    study = make_study([str(tmp_path / "none"), str(photo_folder)], recipes=["probe"])

    none, photos = run_plan(plan_study(study), tmp_path / "out")

    assert "none" in str(none.reason)
    assert photos.run is not None
