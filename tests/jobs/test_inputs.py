"""Where a training's inputs come from: stored features where a prefix is frozen, views, and how pixels are scaled."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.datasets import load_dataset
from headstart.features import extract_views
from headstart.images import decode_image, prepare_image
from headstart.jobs import Observers, train
from headstart.runs import Run
from headstart.runtimes.torch_runtime import TorchRuntime
from headstart.training import Photos
from headstart.views import SIX

DrawPhotos = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("tiny", "unillustrated")


def _config(photos: Path, **options: Any) -> TrainConfig:
    """Two short epochs, nothing decided by measuring."""
    quick = {"dtype": "float32", "epochs": 2, "batch_size": 8, "flip": "no"}
    return TrainConfig(str(photos), **quick | options)


def _weights(run: Run) -> bytes:
    return (run.folder / "classifier.safetensors").read_bytes()


def _refuse(*_: object, **__: object) -> None:
    pytest.fail("everything needed was stored")


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": "probe"},
        {"recipe": "probe", "augment": "six"},
        {"recipe": "finetune", "from_layer": "blocks.4"},
        {"recipe": "finetune", "from_layer": "blocks.4", "augment": "six"},
        {"recipe": "lp-ft", "from_layer": "blocks.4"},
    ],
)
@pytest.mark.slow
def test_without_a_store_the_same_bits_come_out(few: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    stored = train(_config(few, **options), out=tmp_path / "stored")
    plain = train(_config(few, **options), out=tmp_path / "plain", no_store=True)

    assert _weights(stored) == _weights(plain)
    # Images are judged by the same weights, though in other batches.
    first, second = (run.predictions().to_pandas().set_index("path") for run in (stored, plain))
    np.testing.assert_allclose(first.iloc[:, 2:], second.iloc[:, 2:], atol=1e-6)


def test_behind_a_frozen_prefix_nothing_is_computed_twice(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(few, recipe="finetune", from_layer="blocks.4", augment="six")
    first = train(config, out=tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(TorchRuntime, "run", _refuse)
        patch.setattr(Photos, "decode", _refuse)

        again = train(config, out=tmp_path / "again")

    assert _weights(first) == _weights(again)


def test_an_epoch_behind_a_frozen_prefix_runs_it_on_no_image(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    run = TorchRuntime.run

    def counted(self: TorchRuntime, images: list[Any]) -> Any:
        passes.append(len(images))
        return run(self, images)

    monkeypatch.setattr(TorchRuntime, "run", counted)
    steps: list[int] = []

    def step(*_: object, **__: object) -> None:
        steps.append(sum(passes))

    config = _config(few, recipe="finetune", from_layer="blocks.4", epochs=3, size=32)
    train(config, out=tmp_path / "stored", observers=Observers(step=step))
    assert set(steps) == {18}  # all of them before the first step, once
    passes.clear()
    steps.clear()

    n = train(config, out=tmp_path / "plain", observers=Observers(step=step), no_store=True).result["images"][
        "train"
    ]
    assert steps[-1] - steps[0] == 3 * n - 8  # each step its own


@pytest.mark.parametrize("options", [{"recipe": "probe"}, {"recipe": "finetune", "batch_norm": "train"}])
def test_six_views_are_six_rows_of_an_image(few: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    totals: list[int] = []

    def step(done: int, total: int, **_: object) -> None:
        totals.append(total)

    run = train(_config(few, augment="six", **options), out=tmp_path / "run", observers=Observers(step=step))

    assert set(totals) == {6 * run.result["images"]["train"]}
    assert run.result["train"]["n"] == run.result["images"]["train"]


@pytest.mark.parametrize("grouped", [False, True])
def test_all_views_of_an_image_stand_in_one_fold(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    probing = importlib.import_module("headstart.jobs.probing")
    fit_head = probing.fit_head
    asked: list[Any] = []

    def watched(features: Any, labels: Any, **options: Any) -> Any:
        asked.append((features, labels, options["folds"]))
        return fit_head(features, labels, **options)

    monkeypatch.setattr(probing, "fit_head", watched)
    config = _config(
        few, recipe="probe", epochs=None, augment="six", group_pattern="0([0-9])" if grouped else None
    )

    run = train(config, out=tmp_path / "run")

    ((features, labels, folds),) = asked
    n = run.result["images"]["train"]
    assert features.shape == (6 * n, 256)
    assert (labels.reshape(6, n) == labels[:n]).all()
    assert (folds.reshape(6, n) == folds[:n]).all()
    assert len(np.unique(folds)) > 1
    assert not np.allclose(features[:n], features[n : 2 * n])  # the views differ
    assert run.result["validation"]["n"] == n
    if grouped:
        rows = [row for row in run.images().to_pylist() if row["split"] == "train"]
        of_group: dict[str, set[int]] = {}
        for row, fold in zip(rows, folds[:n], strict=True):
            of_group.setdefault(row["group"], set()).add(int(fold))
        assert all(len(found) == 1 for found in of_group.values())


@pytest.mark.parametrize("options", [{"recipe": "probe", "epochs": None}, {"recipe": "finetune"}])
def test_probabilities_are_averaged_over_views_on_request(
    few: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = _config(few, augment="six", average_views=True, **options)

    run = train(config, out=tmp_path / "run")

    classifier = Classifier.load(run.folder)
    names = run.predictions()["path"].to_pylist()
    dataset = load_dataset(few)
    tested = dataset.subset(np.array([name in names for name in dataset.names()]))
    views = extract_views(tested, classifier.backbone, SIX, layer=classifier.cut.name, seed=config.seed)
    each = np.array([classifier.probabilities(view.features.load()) for view in views])
    table = run.predictions()
    said = np.stack([table[f"probability.{name}"].to_numpy() for name in classifier.classes], axis=1)
    np.testing.assert_allclose(said, each.mean(axis=0), atol=1e-5)
    assert np.abs(said - each[0]).max() > 1e-4  # which is another thing than the image as it is


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": "probe", "epochs": None},
        {"recipe": "finetune", "from_layer": "blocks.4"},
        {"recipe": "scratch", "batch_norm": "train"},
    ],
)
def test_pixels_may_be_scaled_by_the_training_images_own(
    few: Path, tmp_path: Path, tiny: Backbone, options: dict[str, Any]
) -> None:
    run = train(_config(few, normalise="dataset", **options), out=tmp_path / "run")

    names = [row["path"] for row in run.images().to_pylist() if row["split"] == "train"]
    pixels = np.stack(
        [prepare_image(decode_image((few / n).read_bytes()), tiny.preprocess).numpy() for n in names]
    )
    channels = pixels.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    preprocess = json.loads((run.folder / "classifier.json").read_text())["preprocess"]
    np.testing.assert_allclose(preprocess["mean"], channels.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(preprocess["std"], channels.std(axis=1), atol=1e-5)
    table = run.predictions()
    classifier = Classifier.load(run.folder)
    found = classifier.predict([few / name for name in table["path"].to_pylist()], top=1, device="cpu")
    for i, best in enumerate(found):
        assert table[f"probability.{best.classes[0]}"][i].as_py() == pytest.approx(
            best.probabilities[0], abs=1e-5
        )


@pytest.mark.parametrize("mode", ["squash", "pad"])
def test_the_whole_photo_may_be_shown(few: Path, tmp_path: Path, mode: str) -> None:
    cropped = train(_config(few, recipe="finetune", from_layer="blocks.4"), out=tmp_path / "cropped")

    run = train(_config(few, recipe="finetune", from_layer="blocks.4", resize=mode), out=tmp_path / "run")

    assert run.result["backbone"]["resize"] == mode
    assert _weights(run) != _weights(cropped)


def test_unreadable_photos_are_found_before_the_pixels_are_trained_on(
    tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    photos = draw_photos(tmp_path / "photos", per_class=6)
    clean = train(_config(photos, recipe="finetune"), out=tmp_path / "clean")
    (photos / "sky" / "broken.jpg").write_text("no image")

    run = train(_config(photos, recipe="finetune"), out=tmp_path / "run")

    assert run.result["images"]["unreadable"] == 1
    assert _weights(run) == _weights(clean)
