"""What the tests of the jobs share."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.backbones import Backbone
from headstart.config import ExtractConfig
from headstart.report import RenderedReport

DrawPhotos = Callable[..., Path]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> Backbone:
    """Runs in this test start from the tiny backbone, so that they take no time; here it is."""
    assert tiny_backbone.cuts  # found here, once for all runs of the test

    def load(config: ExtractConfig) -> Backbone:
        mode = tiny_backbone.preprocess.resize_mode if config.resize == "weights" else config.resize
        # An earlier run's weights are loaded into it; all else happens to copies.
        backbone = tiny_backbone.copy() if getattr(config, "init", None) else tiny_backbone
        return backbone.with_preprocess(replace(tiny_backbone.preprocess, resize_mode=mode))

    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", load)
    return tiny_backbone


@pytest.fixture
def unillustrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this test have an empty report: drawing one takes longer than training a tiny network."""
    monkeypatch.setattr(
        importlib.import_module("headstart.jobs.reporting"),
        "render_report",
        lambda *_, **__: RenderedReport(html="", figures={}),
    )


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Path:
    """Photos of three classes, so few that choices are made by cross-validation; for reading only."""
    return draw_photos(tmp_path_factory.mktemp("few") / "photos", per_class=6)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Path:
    """Photos of three classes, enough for a validation part; for reading only."""
    return draw_photos(tmp_path_factory.mktemp("many") / "photos", per_class=26)
