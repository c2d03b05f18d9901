"""Which differences are called real: the right test on the right images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from headstart.config import TrainConfig
from headstart.metrics import holm
from headstart.runs import Run
from headstart.study import make_study, plan_study
from headstart.study.rows import Entry, make_entries
from headstart.study.running import MadeRun
from headstart.study.verdict import compare_best, read_answers, verdict

Hits = Sequence[int]
MakeEntries = Callable[..., list[Entry]]


def write_run(
    folder: Path, hits: Hits, *, seed: int = 0, groups: Sequence[str] | None = None, first: int = 0
) -> Run:
    """A run that got these of its test images right."""
    folder.mkdir(parents=True)
    paths = [f"a/{i + first:03}.jpg" for i in range(len(hits))]
    said = {"path": paths, "true": ["a"] * len(hits), "predicted": ["a" if hit else "b" for hit in hits]}
    pq.write_table(pa.table(said), folder / "predictions.parquet")
    images = {"path": [*paths, "a/train.jpg"], "split": [*["test"] * len(hits), "train"]}
    if groups is not None:
        images["group"] = [*groups, "of train"]
    pq.write_table(pa.table(images), folder / "images.parquet")
    (folder / "history.csv").write_text("phase,epoch,seconds\n")
    share = float(np.mean(hits))
    test = {
        **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), share),
        **{"log_loss": 1 - share, "ece": 0.1, "accuracy_ci95": [share - 0.1, share + 0.1]},
        **{"interval": "Wilson 95 %, sampling of the test set only", "n": len(hits)},
    }
    result = {
        **{"test": test, "validation": None, "technique": "probe", "seconds": {"fit": 1.0, "total": 2.0}},
        "train": {"accuracy": 1.0, "loss": 0.1, "n": 30},
        "classifier": {"parameters": 10, "bytes": 1_000_000, "ms_per_image": 2.5},
    }
    return Run(folder=folder, config=TrainConfig("photos", recipe="probe", seed=seed), result=result)


@pytest.fixture
def entries(tmp_path: Path) -> MakeEntries:
    """`entries({"x": [hits of seed 0, ...], ...}, groups=..., first={"x": 5})` are the rows of these recipes."""

    def make(
        recipes: dict[str, Sequence[Hits]],
        groups: Sequence[str] | None = None,
        first: dict[str, int] | None = None,
    ) -> list[Entry]:
        files = []
        for name in recipes:
            files.append(tmp_path / f"{name}.toml")
            files[-1].write_text('technique = "probe"\n')
        seeds = range(max(map(len, recipes.values())))
        plan = plan_study(make_study(["photos"], recipes=[*map(str, files)], seeds=[*seeds]))
        made = []
        for planned in plan.runs:
            name, seed = planned.case.name, planned.config.seed
            run, folder = None, tmp_path / "runs" / planned.folder
            if seed < len(recipes[name]):
                run = write_run(
                    folder, recipes[name][seed], seed=seed, groups=groups, first=(first or {}).get(name, 0)
                )
            made.append(
                MadeRun(planned=planned, folder=folder, run=run, reason=None if run else "it failed\nreally")
            )
        return make_entries(plan, made)

    return make


def pairs(better: int, worse: int, same: int) -> tuple[list[int], list[int]]:
    """Hits of two classifiers: so many images that only one of them got right, and so many that both did."""
    return [1] * better + [0] * worse + [1] * same, [0] * better + [1] * worse + [1] * same


def test_one_seed_is_mcnemars_test_corrected(entries: MakeEntries) -> None:
    first, second = pairs(15, 2, 40)
    third = [1] * 14 + [0] * 3 + [1] * 40

    found = compare_best(entries({"x": [first], "y": [second], "z": [third]}))

    wrong_of_z = [(a, b) for a, b in zip(first, third, strict=True) if a != b]
    p_z = binomtest(sum(b for _, b in wrong_of_z), len(wrong_of_z)).pvalue
    expected = dict(zip(("y", "z"), holm([binomtest(2, 17).pvalue, p_z]), strict=True))
    assert {each.label: each.p for each in found} == pytest.approx(expected)
    assert {each.label: each.is_real for each in found} == {"y": True, "z": False}


def test_an_image_that_is_wrong_with_three_seeds_is_one_image(entries: MakeEntries) -> None:
    first, second = pairs(4, 0, 30)

    (found,) = compare_best(entries({"x": [first] * 3, "y": [second] * 3}))

    assert found.p == pytest.approx(2 / 2**4)


def test_whole_groups_count_once(entries: MakeEntries) -> None:
    first, second = pairs(12, 0, 12)
    groups = [f"sign {i // 6}" for i in range(24)]

    (found,) = compare_best(entries({"x": [first], "y": [second]}, groups=groups))

    assert found.p == pytest.approx(2 / 2**2)  # two signs, not twelve frames
    assert not found.is_real


def test_other_test_images_are_not_paired(entries: MakeEntries) -> None:
    first, second = pairs(15, 0, 40)

    rows = entries({"x": [first], "y": [second]}, first={"y": 7})

    assert [(each.label, each.p) for each in compare_best(rows)] == [("y", None)]
    assert (
        "On photos it is not compared image by image with y: these were tested on other images"
        in " ".join(verdict(rows))
    )


def test_a_seed_that_failed_leaves_the_others(entries: MakeEntries) -> None:
    first, second = pairs(15, 0, 40)

    rows = entries({"x": [first, first], "y": [second]})

    assert [each.is_real for each in compare_best(rows)] == [True]
    assert rows[1].values["remark"] == "seed 1 failed: it failed"
    assert (rows[0].values["seeds"], rows[1].values["seeds"]) == (2, 1)


def test_the_words(entries: MakeEntries) -> None:
    first, second = pairs(15, 0, 45)
    third = [0, *first[1:]]

    said = verdict(entries({"x": [first, first], "y": [second, second], "z": [third, third]}))

    headline, *others = said
    assert headline.startswith(
        "On photos, x is best: 100.0 % of the test images right (90.0 to 110.0; Wilson 95 %, "
    )
    assert headline.endswith("sampling of the test set only, mean of 2 seeds that spread by 0.0 points).")
    assert others == [
        "On photos it really beats y (p < 0.001): more than chance would give, image by image.",
        "On photos it ties with z (p = 1.00): these test images cannot tell them apart.",
    ]


def test_where_all_failed_nothing_is_claimed(entries: MakeEntries) -> None:
    first, _ = pairs(3, 0, 3)

    assert verdict(entries({"x": [first], "y": []})[1:]) == ["On photos every run failed."]
    assert len(verdict(entries({"v": [first], "w": []}))) == 1


def test_answers_are_in_the_order_of_their_paths(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [1, 0, 1], groups=["q", "p", "p"])

    answers = read_answers(run)

    assert answers.images == (("a/000.jpg", "a"), ("a/001.jpg", "a"), ("a/002.jpg", "a"))
    assert answers.correct.tolist() == [True, False, True]
    assert answers.units == ("q", "p", "p")
