"""What nobody has said follows from the photos: how they become the input, and how many of them stand in a step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.backbones import Backbone
from headstart.config import TrainConfig
from headstart.jobs import train

DrawPhotos = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("tiny", "unillustrated")


def _config(photos: Path, **options: Any) -> TrainConfig:
    quick = {
        "recipe": "finetune",
        "dtype": "float32",
        "epochs": 1,
        "from_layer": "blocks.4",
        "flip": "no",
    }
    return TrainConfig(str(photos), **quick | options)


@pytest.fixture(scope="module")
def telling_ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long photos that are noise in the middle, and whose ends alone say what they show."""
    folder, rng = tmp_path_factory.mktemp("ends") / "photos", np.random.default_rng(0)
    for name, colour in (("dark", 20), ("light", 235)):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 256, (40, 160, 3), dtype=np.uint8)
            pixels[:, :40] = pixels[:, -40:] = colour
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("recipe", ["finetune", "lp-ft"])
def test_photos_that_tell_by_their_ends_are_not_cut(
    telling_ends: Path, tmp_path: Path, tiny: Backbone, recipe: str
) -> None:
    assert tiny.preprocess.resize_mode == "crop"

    run = train(_config(telling_ends, recipe=recipe), out=tmp_path / "run")

    assert run.result["backbone"]["resize"] == "squash"


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"resize": "pad"}, "pad"), ({"size": 32}, "crop"), ({"recipe": "scratch"}, "crop")],
)
def test_what_is_said_is_done(
    telling_ends: Path, tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    if options.get("recipe") == "scratch":
        options = options | {"from_layer": None}

    run = train(_config(telling_ends, **options), out=tmp_path / "run")

    assert run.result["backbone"]["resize"] == expected


@pytest.mark.parametrize(
    ("losses", "expected"), [((0.3, 0.4), "crop"), ((0.3, 0.3), "crop"), ((0.4, 0.3), "squash")]
)
def test_a_probe_of_each_decides(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: tuple[float, float], expected: str
) -> None:
    tell = dict(zip(("crop", "squash"), losses, strict=True))
    monkeypatch.setattr(
        "headstart.jobs.defaults._probe_loss", lambda work: tell[work.backbone.preprocess.resize_mode]
    )

    run = train(_config(few), out=tmp_path / "run")

    assert run.result["backbone"]["resize"] == expected


@pytest.mark.parametrize(
    ("per_class", "options", "batch", "lr"),
    [
        (6, {}, 8, 1.25e-4),
        (100, {}, 16, 2.5e-4),
        (6, {"batch_size": 32}, 32, 5e-4),
        (6, {"lr": 5e-4}, 32, 5e-4),
        (6, {"epochs": None, "schedule": "1e-3:1"}, 32, 5e-4),
        (6, {"batch_norm": "train"}, 32, 5e-4),
    ],
)
def test_few_images_make_small_steps(
    tmp_path: Path,
    draw_photos: DrawPhotos,
    monkeypatch: pytest.MonkeyPatch,
    per_class: int,
    options: dict[str, Any],
    batch: int,
    lr: float,
) -> None:
    photos = draw_photos(tmp_path / "photos", per_class=per_class)
    used: list[Any] = []
    monkeypatch.setattr(
        "headstart.jobs.techniques.open_inputs", lambda work, recipe, **_: used.append(recipe) or _stop()
    )

    with pytest.raises(_SeenEnoughError):
        train(_config(photos, **options), out=tmp_path / "run")

    assert (used[0].batch_size, used[0].lr) == (batch, pytest.approx(lr))


class _SeenEnoughError(Exception):
    """Enough was seen."""


def _stop() -> None:
    raise _SeenEnoughError
