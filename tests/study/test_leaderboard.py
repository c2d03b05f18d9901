"""The leaderboard: its figures are those of the runs, and names cannot break its forms."""

import csv
import io
import json
import statistics
from pathlib import Path

import pytest

from headstart.backbones import Backbone
from headstart.study import StudyOptions, load_study, make_study, parse_study, plan_study
from headstart.study.compare import compare_plan
from headstart.study.leaderboard import LeaderBoard
from headstart.study.panels import reference_panels
from headstart.study.rows import COLUMNS


@pytest.fixture
def board(
    tmp_path: Path, photo_folder: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> LeaderBoard:
    """Two probes and one that fails, over two seeds, on drawn photos in a folder with a name of its own."""
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: tiny_backbone.copy())
    photos = photo_folder.rename(tmp_path / "<b>&|photos")
    study = make_study(
        [str(photos)], recipes=[str(tmp_path / f"{name}.toml") for name in write_recipes(tmp_path)]
    )
    plan = plan_study(study, StudyOptions(seeds=(0, 1)))
    return compare_plan(plan, tmp_path / "out", command="headstart compare again")


def write_recipes(folder: Path) -> list[str]:
    recipes = {
        "linear": 'technique = "probe"\n',
        "epochs": 'technique = "probe"\nepochs = 2\n',
        "broken": 'technique = "finetune"\nhead = "knn"\n',
    }
    for name, text in recipes.items():
        (folder / f"{name}.toml").write_text(text)
    return [*recipes]


def test_rows_hold_the_means_of_their_runs(board: LeaderBoard) -> None:
    rows = {row["recipe"]: row for row in board.rows}
    results = [
        json.loads(path.read_text())
        for path in sorted((board.folder / "runs").glob("*-linear-*/result.json"))
    ]

    row = rows["linear"]
    accuracies = [result["test"]["accuracy"] for result in results]
    assert row["seeds"] == len(results) == 2
    assert row["accuracy"] == pytest.approx(statistics.mean(accuracies))
    assert row["accuracy_sd"] == pytest.approx(statistics.stdev(accuracies))
    assert row["accuracy_low"] == pytest.approx(
        statistics.mean(result["test"]["accuracy_ci95"][0] for result in results)
    )
    for name in ("balanced_accuracy", "macro_f1", "log_loss", "ece"):
        assert row[name] == pytest.approx(statistics.mean(result["test"][name] for result in results))
    assert row["train_loss"] == pytest.approx(statistics.mean(result["train"]["loss"] for result in results))
    assert row["seconds"] == pytest.approx(statistics.mean(result["seconds"]["fit"] for result in results))
    assert row["seconds_per_epoch"] is None
    assert rows["epochs"]["seconds_per_epoch"] > 0
    assert row["megabytes"] == pytest.approx(results[0]["classifier"]["bytes"] / 1e6)
    assert (board.folder / row["run"]).is_dir()


def test_rows_are_sorted_and_what_failed_comes_last_with_its_reason(board: LeaderBoard) -> None:
    *good, failed = board.rows

    assert good[0]["accuracy"] >= good[1]["accuracy"]
    assert failed["recipe"] == "broken"
    assert failed["accuracy"] is None
    assert failed["seeds"] == 0
    assert failed["remark"].startswith("seed 0, 1 failed: A knn head is solved for")
    assert [run for run, _ in board.record.failures] == ["broken-seed-0", "broken-seed-1"]


def test_csv_has_every_column_and_every_figure(board: LeaderBoard) -> None:
    text = (board.folder / "leaderboard.csv").read_text()

    rows = list(csv.DictReader(io.StringIO(text)))

    assert [*rows[0]][: len(COLUMNS)] == [column.key for column in COLUMNS]
    assert [*rows[0]][:4] == ["dataset", "backbone", "recipe", "seeds"]
    assert [row["dataset"] for row in rows] == ["<b>&|photos"] * 3
    assert float(rows[0]["accuracy"]) == board.rows[0]["accuracy"]
    assert rows[-1]["accuracy"] == ""
    assert board.to_csv().replace("\r\n", "\n") == text


def test_markdown_keeps_its_columns_whatever_is_called_what(board: LeaderBoard) -> None:
    lines = (board.folder / "leaderboard.md").read_text().splitlines()

    table = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + 3
    assert "Again: `headstart compare again`" in lines


def test_a_notebook_shows_it_escaped(board: LeaderBoard) -> None:
    html = board._repr_html_()

    assert "<b>&|" not in html
    assert "&lt;b&gt;&amp;|photos" in html
    assert html.count("<tr>") == 1 + 3
    assert f"{100 * board.rows[0]['accuracy']:.1f} %" in html


def test_histories_are_those_of_the_first_seed(board: LeaderBoard) -> None:
    assert [*board.record.histories] == ["epochs"]
    assert [row["epoch"] for row in board.record.histories["epochs"]] == [1, 2]
    assert board.record.histories["epochs"][0]["phase"] == "probe"


def test_a_written_study_has_columns_for_its_cases(
    tmp_path: Path, photo_folder: Path, tiny_backbone: Backbone, values, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: tiny_backbone.copy())
    protocol = {
        **{"data": "Photos", "split": "80/10/10", "backbone": "lite0", "weights": "pretrained"},
        **{"held_out_use": "read once, after every choice", "metric": "accuracy on the held-out images"},
        **{"n_train": 20, "n_held_out": 3},
    }
    cases = [
        {
            "name": "six",
            "title": "S",
            "options": {"recipe": "probe", "augment": "six", "normalise": "dataset"},
        }
    ]
    study = parse_study(
        values(
            data=[{"name": str(photo_folder), "split": "80/10/10"}],
            backbones=["tf_efficientnet_lite0"],
            cases=cases,
            protocols={"p": protocol},
            references=[{"case": "six", "test_accuracy": 0.5}],
        ),
        name="small",
        where="",
    )

    board = compare_plan(plan_study(study), tmp_path / "out")

    (row,) = board.rows
    assert (row["technique"], row["learning_rates"], row["epochs"]) == ("probe", "solved for, no epochs", 0)
    assert (row["normalisation"], row["synthetic"]) == ("the data set's", "six-fold")
    (panel,) = board.record.references
    n = json.loads((board.folder / row["run"] / "result.json").read_text())
    matches = (n["train"]["n"], n["test"]["n"]) == (20, 3)
    assert (panel.difference is None) == bool(panel.differences)
    assert matches == (not panel.differences)


def test_how_a_program_without_figures_did_it_stands_there_too() -> None:
    (panel,) = reference_panels(load_study("r4"), [])

    assert panel.title.endswith("no figure is stated")
    assert panel.figures == []
    assert ("split", "seg_train and seg_test, as given") in panel.protocol
    assert panel.difference is None
