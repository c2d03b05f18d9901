"""Averaging over views: the saved classifier does what the run did."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.jobs import evaluate, train
from headstart.runs import Run
from headstart.views import ORIGINAL, SIX

DrawPhotos = Callable[..., Path]
EPOCHS = {"epochs": 1, "dtype": "float32"}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    """Runs start from the tiny backbone, so that they take no time."""
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: tiny_backbone.copy())


def _of_run(run: Run) -> tuple[list[str], np.ndarray]:
    """The test images and their probabilities, as the run has written them."""
    table = run.predictions()
    names = run.result["classes"]
    return table["path"].to_pylist(), np.stack(
        [table[f"probability.{name}"].to_numpy() for name in names], axis=1
    )


def _predicted(classifier: Classifier, photos: Path, names: list[str]) -> np.ndarray:
    """The same by the classifier, from the files."""
    rows = []
    for found in classifier.predict([photos / name for name in names], top=len(classifier.classes)):
        by_name = dict(zip(found.classes, found.probabilities, strict=True))
        rows.append([by_name[name] for name in classifier.classes])
    return np.array(rows)


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": "probe", "head": "ridge", "seed": 3},
        {"recipe": "finetune", "seed": 3, **EPOCHS},
        {"recipe": "finetune", "from_layer": "blocks.2", **EPOCHS},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
@pytest.mark.slow
def test_a_saved_classifier_averages_as_the_run_did(
    options: dict[str, Any], photo_folder: Path, tmp_path: Path
) -> None:
    config = TrainConfig(str(photo_folder), augment="six", average_views=True, precision="exact", **options)

    run = train(config, out=tmp_path / "run")

    names, expected = _of_run(run)
    classifier = run.classifier()
    assert (classifier.views, classifier.seed) == (SIX, config.seed)
    np.testing.assert_allclose(_predicted(classifier, photo_folder, names), expected, rtol=0, atol=1e-5)
    judged = evaluate(run.folder, photo_folder)
    assert list(judged.predictions.paths) == names
    np.testing.assert_allclose(judged.predictions.probabilities, expected, rtol=0, atol=1e-5)
    # It is not the original alone that is looked at, nor are the drawn views the same with another seed.
    for other in (replace(classifier, views=(ORIGINAL,)), replace(classifier, seed=classifier.seed + 1)):
        assert np.abs(_predicted(other, photo_folder, names) - expected).max() > 1e-4


def test_without_averaging_views_are_for_training_alone(photo_folder: Path, tmp_path: Path) -> None:
    run = train(TrainConfig(str(photo_folder), recipe="probe", augment="six"), out=tmp_path / "run")

    names, expected = _of_run(run)
    description = json.loads((run.folder / "classifier.json").read_text())
    assert (description["views"], description["seed"]) == ("original", 0)
    np.testing.assert_allclose(_predicted(run.classifier(), photo_folder, names), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"recipe": "finetune", **EPOCHS}, {"recipe": "probe"}])
@pytest.mark.slow
def test_validation_is_judged_as_test_is(
    options: dict[str, Any], tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    photos = draw_photos(tmp_path / "photos", per_class=26)
    config = TrainConfig(str(photos), augment="six", average_views=True, **options)

    run = train(config, out=tmp_path / "run")

    rows = [row for row in run.images().to_pylist() if row["split"] == "val"]
    assert run.result["choice"]["made_on"] == "validation"
    assert run.result["validation"]["n"] == len(rows)
    if config.recipe == "finetune":  # a probe is fitted again, with validation
        shown = _predicted(run.classifier(), photos, [row["path"] for row in rows])
        labels = [run.result["classes"].index(row["class"]) for row in rows]
        loss = -np.log(shown[np.arange(len(rows)), labels]).mean()
        assert run.result["validation"]["log_loss"] == pytest.approx(loss, abs=1e-4)


def test_six_views_of_ones_own_recipe_stay_behind_a_frozen_prefix(photo_folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('technique = "finetune"\naugment = "six"\nepochs = 1\n')
    config = TrainConfig(
        str(photo_folder), recipe=str(recipe), from_layer="blocks.2", average_views=True, dtype="float32"
    )

    assert train(config, out=tmp_path / "run").classifier().views == SIX


def test_views_to_average_over_are_missed_before_anything_is_read(photo_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(str(photo_folder), recipe="probe", average_views=True)

    with pytest.raises(ConfigError, match="averages over the views of --augment six"):
        train(config, out=tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_a_first_layer_leaves_nothing_frozen_and_images_may_vary(photo_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        str(photo_folder), recipe="finetune", from_layer="conv_stem", augment="crop", flip="yes", **EPOCHS
    )

    assert train(config, out=tmp_path / "run").result["choice"]["trained_from"] == "the pixels"
