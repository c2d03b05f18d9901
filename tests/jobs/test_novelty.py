"""What is unlike anything in training: what the run's threshold rests on, and what it promises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.config import TrainConfig
from headstart.features.stream import stream_features
from headstart.jobs import train
from headstart.novelty import conformal_threshold, distances, distances_to_others, make_bank
from headstart.runs import Run
from headstart.runtimes import load_runtime

DrawPhotos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("tiny", "unillustrated")


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Path:
    """Photos of three classes, enough for a threshold on the validation part; for reading only."""
    return draw_photos(tmp_path_factory.mktemp("plenty") / "photos", per_class=70)


def _train(photos: Path, out: Path, recipe: str, **options: Any) -> Run:
    epochs = {} if recipe == "probe" and options.get("head") != "mlp" else {"epochs": 1}
    return train(TrainConfig(str(photos), recipe=recipe, dtype="float32", **epochs, **options), out=out)


def _share_unlike(run: Run, photos: Path) -> float:
    found = run.classifier().predict(sorted(photos.rglob("*.jpg")))
    assert all(prediction.unlike is not None for prediction in found)
    return float(np.mean([bool(prediction.is_unlike) for prediction in found]))


def test_of_new_photos_of_the_kind_few_are_unlike_and_of_others_most(
    tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    photos = draw_photos(tmp_path / "photos", per_class=70)
    new = draw_photos(tmp_path / "new", per_class=60, seed=3)
    other = draw_photos(tmp_path / "other", classes=("a", "b", "c", "snow"), per_class=30, seed=2) / "snow"

    run = _train(photos, tmp_path / "run", "probe")

    # 180 photos, of which 5 % are asked for: four standard errors are 6.5 points.
    assert 0 < _share_unlike(run, new) < 0.115
    assert _share_unlike(run, other) > 0.5
    assert run.result["unlike"]["test_false_alarms"] < 0.3


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("probe", {}),
        ("probe", {"head": "ridge"}),
        ("probe", {"head": "knn"}),
        ("probe", {"head": "mlp"}),
        ("finetune", {"from_layer": "blocks.4"}),
        ("lp-ft", {"from_layer": "blocks.4"}),
        ("lp-ft", {"from_layer": "blocks.4", "refit": "yes"}),
        ("scratch", {}),
    ],
    ids=["linear", "ridge", "knn", "mlp", "finetune", "lp-ft", "refit", "scratch"],
)
def test_every_technique_is_calibrated_on_what_it_was_not_trained_on(
    many: Path, tmp_path: Path, recipe: str, options: dict[str, Any]
) -> None:
    run = _train(many, tmp_path / "run", recipe, **options)

    calibration, validation = run.result["calibration"], run.result["validation"]
    assert calibration["fitted_on"] == "validation"
    assert calibration["n"] == run.result["images"]["val"]
    assert calibration["temperature"] == run.result["choice"]["temperature"] > 0
    assert calibration["ece_after"] == pytest.approx(validation["ece"])
    assert (
        calibration["temperature"] == pytest.approx(1, abs=1e-3)
        or calibration["ece_before"] != validation["ece"]
    )


@pytest.mark.parametrize("recipe", ["probe", "lp-ft"])
def test_of_few_photos_what_cannot_be_calibrated_says_why(few: Path, tmp_path: Path, recipe: str) -> None:
    run = _train(few, tmp_path / "run", recipe, **({} if recipe == "probe" else {"from_layer": "blocks.4"}))

    calibration, unlike = run.result["calibration"], run.result["unlike"]
    if recipe == "probe":
        assert calibration["fitted_on"] == "out-of-fold outputs"
        assert calibration["n"] == run.result["images"]["train"] < 19
        assert "15 images are too few" in unlike["because"]
    else:
        assert (calibration["temperature"], calibration["fitted_on"]) == (1.0, None)
        assert "too few images for a validation part" in calibration["because"]
        assert "no validation images" in unlike["because"]
    (prediction,) = run.classifier().predict([few / "sky/00.jpg"])
    assert prediction.unlike is prediction.is_unlike is None


@pytest.mark.parametrize("refit", ["no", "yes"])
@pytest.mark.slow
def test_a_fine_tuned_networks_threshold_is_that_of_validation_images(
    plenty: Path, tmp_path: Path, refit: str
) -> None:
    run = _train(plenty, tmp_path / "run", "lp-ft", from_layer="blocks.4", refit=refit)

    classifier, account = run.classifier(), run.result["unlike"]
    assert classifier.novelty is not None
    parts = {part: _vectors(run, part) for part in ("train", "val")}
    assert account["n"] == len(parts["val"]) >= 19
    if refit == "yes":
        assert account["calibrated_on"] == "validation, before the training on it too"
        expected = make_bank(np.concatenate([parts["train"], parts["val"]]))
    else:
        expected = make_bank(parts["train"])
        threshold = conformal_threshold(distances(expected, parts["val"]))
        assert classifier.novelty.threshold == account["threshold"] == pytest.approx(threshold, abs=0.02)
    assert classifier.novelty.bank.shape == expected.shape
    # Training resizes and multiplies in another way than predicting does, so features differ a little.
    assert float((classifier.novelty.bank - expected).norm(dim=1).max()) < 0.03


@pytest.mark.parametrize(
    ("recipe", "options"), [("probe", {}), ("lp-ft", {"from_layer": "blocks.4", "refit": "yes"})]
)
def test_the_same_run_again_has_the_same_bits(
    plenty: Path, tmp_path: Path, recipe: str, options: dict[str, Any]
) -> None:
    first, second = (_train(plenty, tmp_path / name, recipe, **options) for name in ("first", "second"))

    for file in ("classifier.safetensors", "classifier.json"):
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes()
    assert first.result["unlike"] == second.result["unlike"]
    assert first.result["unlike"]["method"] is not None


def test_a_frozen_networks_threshold_is_that_of_each_image_against_the_others(
    many: Path, tmp_path: Path
) -> None:
    run = _train(many, tmp_path / "run", "probe")

    classifier = run.classifier()
    bank = make_bank(np.concatenate([_vectors(run, part) for part in ("train", "val")]))
    assert classifier.novelty is not None
    threshold = conformal_threshold(distances_to_others(bank))
    assert (
        classifier.novelty.threshold
        == run.result["unlike"]["threshold"]
        == pytest.approx(threshold, abs=1e-3)
    )
    share = (classifier.novelty.unlike(_vectors(run, "test")) > 1).mean()
    assert run.result["unlike"]["test_false_alarms"] == pytest.approx(share)


@pytest.mark.parametrize("layer", ["pooled", "blocks.2"])
def test_views_are_averaged_for_the_classes_and_the_photo_as_it_is_tells_what_is_unlike(
    many: Path, tmp_path: Path, layer: str
) -> None:
    options: dict[str, Any] = {"augment": "six", "layer": layer}
    averaging = _train(many, tmp_path / "averaging", "probe", average_views=True, **options)
    single = _train(many, tmp_path / "single", "probe", **options)

    photos = sorted((many / "sky").iterdir())[:3]
    ours, theirs = (run.classifier().predict(photos) for run in (averaging, single))
    assert [p.probabilities for p in ours] != [p.probabilities for p in theirs]
    assert [p.unlike for p in ours] == pytest.approx([p.unlike for p in theirs], rel=1e-4)


def test_frames_of_one_thing_say_nothing_of_another(tmp_path: Path, draw_photos: DrawPhotos) -> None:
    """Each photo stands in the folder three times, as frames of one thing."""
    photos = draw_photos(tmp_path / "photos", per_class=12)
    for path in sorted(photos.rglob("*.jpg")):
        for frame in range(3):
            (path.parent / f"{path.stem}_{frame}.jpg").write_bytes(path.read_bytes() + bytes([frame]))
        path.unlink()

    alone, grouped = (
        _train(photos, tmp_path / name, "probe", group_pattern=pattern).result["unlike"]
        for name, pattern in (("alone", None), ("grouped", r"(.*)_\d"))
    )

    # Every photo has its like; as frames of a group these do not count.
    assert grouped["threshold"] > 0.2
    assert alone["threshold"] < 0.01


def _vectors(run: Run, part: str) -> np.ndarray:
    """Features of a run's images by the classifier that was saved."""
    classifier, rows = run.classifier(), run.images().to_pylist()
    paths = [str(Path(run.config.data) / row["path"]) for row in rows if row["split"] == part]
    runtime = load_runtime(
        classifier.backbone.prefix(classifier.cut), classifier.backbone.preprocess, device="cpu"
    )
    stream = stream_features(paths, runtime, classifier.backbone.preprocess)
    return np.concatenate([classifier.vectors(features) for _, features, _ in stream if features is not None])
