"""What every job begins with."""

from pathlib import Path

import pytest

from headstart.config import TrainConfig
from headstart.errors import BackboneError, ConfigError
from headstart.jobs import train
from headstart.jobs.images import load_backbone_of
from headstart.runs import load_run


@pytest.mark.parametrize(
    ("options", "size", "resize", "mode"),
    [
        ({}, 224, 256, "crop"),
        ({"size": 112}, 112, 128, "crop"),
        ({"resize": "squash"}, 224, 224, "squash"),
        ({"size": 112, "resize": "squash"}, 112, 112, "squash"),
        ({"size": 112, "resize": "pad"}, 112, 112, "pad"),
        ({"size": 112, "resize": "crop"}, 112, 128, "crop"),
    ],
)
def test_the_input_is_the_weights_own_unless_another_is_asked_for(
    options: dict[str, object], size: int, resize: int, mode: str
) -> None:
    wanted = load_backbone_of(TrainConfig("photos", **options)).preprocess  # type: ignore[arg-type]

    assert (wanted.size, wanted.resize, wanted.resize_mode) == (size, resize, mode)
    assert wanted.mean == (0.5, 0.5, 0.5)


def test_an_input_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="size is 0; expected at least 1"):
        TrainConfig("photos", size=0)
    with pytest.raises(BackboneError, match="7"):
        load_backbone_of(TrainConfig("photos", backbone="alexnet", weights="none", size=7))


@pytest.mark.slow
def test_a_run_keeps_the_input_it_was_trained_with(photo_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(str(photo_folder), recipe="probe", size=64, resize="squash")

    run = train(config, out=tmp_path / "run")
    again = train(TrainConfig(str(photo_folder), recipe="probe", size=64), out=tmp_path / "cropped")

    kept = load_run(run.folder).classifier().backbone.preprocess
    assert (kept.size, kept.resize, kept.resize_mode) == (64, 64, "squash")
    assert load_run(run.folder).config.size == 64
    assert again.result["images"]["extracted"] == 24  # other pixels, so none of the other's features
