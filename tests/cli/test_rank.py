"""`headstart rank` and `headstart learning-curve`, right and wrong."""

import csv
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.cli import main
from headstart.config import ExtractConfig
from headstart.errors import BackboneError
from headstart.metrics import score_predictions
from headstart.study import RankedBackbone, Ranking
from headstart.study.ranking import _compare

DrawPhotos = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, draw_photos: DrawPhotos) -> Path:
    return draw_photos(tmp_path / "my photos", per_class=14)


@pytest.fixture
def tiny_everywhere(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    """Every name is the tiny backbone, but that `gone` cannot be had."""

    def load(config: ExtractConfig) -> Backbone:
        if config.backbone == "gone":
            raise BackboneError("The weights of gone [sic] are not here.\nFetch them.")
        return tiny_backbone

    for module in ("headstart.study.ranking", "headstart.jobs.learning_curve"):
        monkeypatch.setattr(importlib.import_module(module), "load_backbone_of", load)
    monkeypatch.setattr(importlib.import_module("headstart.study.ranking"), "find_card", lambda name: None)


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) <= 2
    return captured.err


@pytest.mark.usefixtures("tiny_everywhere")
def test_rank_shows_a_table_a_verdict_and_what_is_next(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ranking.csv"
    arguments = [
        "rank",
        photos,
        "--backbones",
        "one, gone,two",
        "--weights",
        "one=none",
        "--out",
        file,
        "--seed",
        "3",
    ]
    assert main([str(argument) for argument in arguments]) == 0

    out = capsys.readouterr().out
    assert "... gone: The weights of gone [sic] are not here. Fetch them." in out
    assert "two" in out
    assert "within noise of the first" in out  # the two are the same network
    assert "These photos do not tell one from two." in out
    assert f"next      headstart train '{photos}' --backbone one --weights one=none --seed 3" in out
    assert "whose weights are on this machine" not in out
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["backbone"] for row in rows] == ["one", "two", "gone"]
    assert float(rows[0]["probe_low"]) <= float(rows[0]["probe_accuracy"]) <= float(rows[0]["probe_high"])
    assert rows[1]["within_noise_of_first"] == "True"
    assert rows[2]["left_out_because"].startswith("The weights of gone")
    assert rows[2]["logme"] == ""


def test_a_better_probe_than_the_first_is_not_passed_over() -> None:
    from headstart.cli.rank import _standing, _verdict

    rng = np.random.default_rng(0)
    rows = []
    for name, right in (("first", rng.uniform(size=200) < 0.5), ("better", rng.uniform(size=200) < 0.9)):
        p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        rows.append(
            RankedBackbone(
                name=name,
                size=32,
                parameters=1,
                width=1,
                extracted=0,
                feature_seconds=0.0,
                estimate_seconds=0.0,
                probe=score_predictions(p, np.zeros(200, int)),
                knn=0.5,
                logme=0.0,
                imagenet=None,
                right=right,
            )
        )
    rows[1] = _compare(rows[1], rows[0], None)
    ranking = Ranking(
        by="logme",
        backbones=tuple(rows),
        left_out=(),
        images=200,
        of=200,
        classes=2,
        folds=5,
        grouped=False,
        problems=(),
        notes=(),
    )
    assert "of probes, those on better are better" in _verdict(ranking)
    assert "points ahead of the first (p < 0.001)" in _standing(rows[1])


def test_rank_with_the_bundled_network(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", str(photos), "--sample", "15", "--backbones", "tf_efficientnet_lite0"]) == 0
    out = capsys.readouterr().out
    assert "75.1 %" in out
    assert "15 of " in out
    assert "the only one" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rank", "nowhere"], "nowhere"),
        (["rank", "{photos}", "--backbones", "resnt50"], "There is no backbone 'resnt50'"),
        (["rank", "{photos}", "--backbones", "alexnet,alexnet"], "alexnet is named twice"),
        (["rank", "{photos}", "--sample", "0"], "sample is 0"),
        (["rank", "{photos}", "--weights", "vgg=x.npy"], "none of the backbones here"),
        (["rank", "{photos}", "--out", "no/such/folder.csv"], "There is no folder"),
        (["rank", "{photos}", "--seed", "-1"], "seed is -1"),
        (["learning-curve", "nowhere"], "nowhere"),
        (["learning-curve", "{photos}", "--repeats", "1"], "1 repeats"),
        (["learning-curve", "{photos}", "--backbone", "resnt50"], "There is no backbone 'resnt50'"),
        (["learning-curve", "{photos}", "--out", "{photos}/brick/00.jpg"], "cannot be made"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], words: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _refused(capsys, *[argument.format(photos=photos) for argument in arguments])
    assert words in " ".join(message.split())


@pytest.mark.usefixtures("tiny_everywhere")
def test_a_learning_curve_in_words_numbers_and_a_picture(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "curve"
    assert main(["learning-curve", str(photos), "--repeats", "2", "--out", str(folder)]) == 0

    out = capsys.readouterr().out
    assert "test photos not looked at" in out
    assert "with twice as many" in out
    assert "with ten times as many" in out
    with (folder / "learning_curve.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    measured = [row for row in rows if row["kind"] == "measured"]
    expected = [row for row in rows if row["kind"] == "expected"]
    assert {row["repeat"] for row in measured} == {"0", "1"}
    assert len(expected) == 3
    assert all(float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) for row in expected)
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
