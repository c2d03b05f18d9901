"""What the tests of the jobs share."""

from dataclasses import replace

import pytest

from headstart.backbones import Backbone
from headstart.config import ExtractConfig


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> Backbone:
    """Runs in this test start from the tiny backbone, so that they take no time; here it is."""

    def load(config: ExtractConfig) -> Backbone:
        mode = tiny_backbone.preprocess.resize_mode if config.resize == "weights" else config.resize
        return tiny_backbone.copy().with_preprocess(replace(tiny_backbone.preprocess, resize_mode=mode))

    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", load)
    return tiny_backbone
