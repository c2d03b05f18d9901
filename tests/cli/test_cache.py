"""`headstart cache list`: what is stored, in rows that can be told apart."""

from dataclasses import replace
from pathlib import Path

import pytest

from headstart.backbones import Backbone
from headstart.cli import main
from headstart.features import FeatureStore, extract_features, extract_views, measure_channels
from headstart.views import SIX


def _listed(store: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["cache", "list", "--store", str(store)]) == 0
    return capsys.readouterr().out.splitlines()


def test_views_and_inputs_are_told_apart(
    photo_folder: Path, tmp_path: Path, tiny_backbone: Backbone, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path / "store")
    photos = sorted(photo_folder.glob("*/*.jpg"))
    extract_views(photos, tiny_backbone, SIX, seed=7, store=store)
    squash = replace(tiny_backbone.preprocess, resize_mode="squash", resize=32)
    extract_features(photos, tiny_backbone.with_preprocess(squash), store=store)
    measure_channels(photos, tiny_backbone.preprocess, store=store)

    header, *rows, total = _listed(tmp_path / "store", capsys)

    assert header.split() == [
        "backbone",
        "weights",
        "layer",
        "view",
        "input",
        "images",
        "size",
        "last",
        "used",
    ]
    assert len(rows) == len(set(rows)) == 8
    assert rows[0].startswith("pixels: channel statistics")
    assert [row.split("global_pool.flatten")[1].split("  ")[1] for row in rows[1:]] == [
        *("original", "original", "six-2", *(f"six-{i} seed 7" for i in range(3, 7)))
    ]
    assert [("32 crop" in row, "32 squash" in row) for row in rows[:3]] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert all(" 24 " in row for row in rows)
    assert total.endswith(f" in {tmp_path / 'store'}")
    assert max(map(len, [header, *rows])) <= 120


def test_what_has_the_same_names_gets_a_note_of_what_differs(
    photo_folder: Path, tmp_path: Path, tiny_backbone: Backbone, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path / "store")
    photos = sorted(photo_folder.glob("*/*.jpg"))
    other = replace(tiny_backbone.preprocess, mean=(0.4, 0.45, 0.5))
    for backbone in (tiny_backbone, tiny_backbone.with_preprocess(other)):
        extract_features(photos, backbone, store=store)
    extract_features(photos, tiny_backbone, layer="blocks.1", store=store)

    _, deeper, first, second, *notes = _listed(tmp_path / "store", capsys)

    assert "(" not in deeper
    assert ("32 crop (1)" in first, "32 crop (2)" in second) == (True, True)
    assert sorted(note[4:] for note in notes[:-1]) == ["mean 0.40 0.45 0.50", "mean 0.50 0.50 0.50"]


def test_an_empty_store_is_a_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, total = _listed(tmp_path / "store", capsys)

    assert header.startswith("backbone")
    assert total.startswith("0 ")
