"""The classifier: saved, carried off and loaded, it says the same."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from headstart.backbones import Backbone, load_backbone
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.errors import ConfigError, RunError
from headstart.heads import MlpHead, fit_knn_path, linear_head
from headstart.jobs import train
from headstart.novelty import Novelty, make_bank
from headstart.runs import Run
from headstart.views import FLIP, SIX, View

DrawPhotos = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Run:
    """A finished run of the default backbone, for reading only."""
    home = tmp_path_factory.mktemp("classifier")
    photos = draw_photos(home / "photos", per_class=12)
    return train(TrainConfig(str(photos), recipe="probe"), out=home / "run", store=home / "store")


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Path:
    """A copy of the run's two classifier files, for damaging."""
    for name in ("classifier.json", "classifier.safetensors"):
        shutil.copy(run.folder / name, tmp_path)
    return tmp_path


@pytest.fixture
def tiny_classifier(tiny_backbone: Backbone) -> Classifier:
    """Random features, a random head, three classes."""
    cut = tiny_backbone.cut("pooled")
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(3, int(np.prod(cut.shape)), generator=generator)
    return Classifier(
        backbone=tiny_backbone,
        cut=cut,
        head=linear_head(weights, torch.tensor([0.1, 0.0, -0.1])),
        classes=("brick", "grass", "ünd\u0301"),
    )


def test_predictions_are_those_of_the_run(run: Run) -> None:
    rows = run.predictions().to_pylist()

    predictions = run.classifier().predict([Path(run.config.data) / row["path"] for row in rows], top=3)

    for row, prediction in zip(rows, predictions, strict=True):
        assert prediction.problem is None
        assert prediction.classes[0] == row["predicted"]
        for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
            assert probability == pytest.approx(row[f"probability.{name}"], abs=1e-5)


def test_saved_and_loaded_it_says_the_same(
    tiny_classifier: Classifier, photo_folder: Path, tmp_path: Path
) -> None:
    paths = sorted(photo_folder.rglob("*.jpg"))
    tiny_classifier.save(tmp_path)

    loaded = Classifier.load(tmp_path)

    assert loaded.classes == tiny_classifier.classes
    assert loaded.backbone.card == tiny_classifier.backbone.card
    assert loaded.backbone.weights_sha256 == tiny_classifier.backbone.weights_sha256
    assert loaded.cut.name == tiny_classifier.cut.name
    ours, theirs = tiny_classifier.predict(paths), loaded.predict(paths)
    assert [p.classes for p in ours] == [p.classes for p in theirs]
    np.testing.assert_allclose(
        [p.probabilities for p in ours], [p.probabilities for p in theirs], rtol=0, atol=1e-5
    )


def test_what_is_unlike_is_saved_too(tiny_classifier: Classifier, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features, new = (rng.normal(size=(n, *tiny_classifier.cut.shape)).astype(np.float32) for n in (30, 5))
    classifier = replace(
        tiny_classifier, novelty=Novelty(bank=make_bank(tiny_classifier.vectors(features)), threshold=0.5)
    )
    classifier.save(tmp_path)

    loaded = Classifier.load(tmp_path)

    assert tiny_classifier.unlike(new) is None
    unlike, expected = loaded.unlike(new), classifier.unlike(new)
    assert unlike is not None
    assert expected is not None
    np.testing.assert_allclose(unlike, expected, rtol=1e-6)
    description = json.loads((tmp_path / "classifier.json").read_text())
    for damage in ({"kind": "trees"}, {"threshold": None}):
        broken = description | {"novelty": description["novelty"] | damage}
        (tmp_path / "classifier.json").write_text(json.dumps(broken))
        with pytest.raises(RunError, match=r"classifier\.json"):
            Classifier.load(tmp_path)


def test_features_of_many_positions_are_averaged_to_tell_what_is_unlike(tiny_backbone: Backbone) -> None:
    cut = tiny_backbone.cut("blocks.1")
    classifier = Classifier(
        backbone=tiny_backbone, cut=cut, head=_mlp(int(np.prod(cut.shape))), classes=("a", "b", "c")
    )
    features = np.random.default_rng(0).normal(size=(4, *cut.shape)).astype(np.float32)

    np.testing.assert_allclose(classifier.vectors(features), features.mean(axis=(2, 3)), rtol=1e-4, atol=1e-6)


def test_the_views_are_saved_by_name(tiny_classifier: Classifier, tmp_path: Path) -> None:
    replace(tiny_classifier, views=SIX, seed=5).save(tmp_path)

    description, loaded = json.loads((tmp_path / "classifier.json").read_text()), Classifier.load(tmp_path)

    assert (description["views"], description["seed"]) == ("six", 5)
    assert (loaded.views, loaded.seed) == (SIX, 5)
    (tmp_path / "classifier.json").write_text(json.dumps(description | {"views": "seven"}))
    with pytest.raises(RunError, match=r"classifier\.json"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize("views", [(), (FLIP,), SIX[:2], SIX[::-1]])
def test_views_without_a_name_are_refused(tiny_classifier: Classifier, views: tuple[View, ...]) -> None:
    with pytest.raises(ConfigError, match="averages over the views original or six; got"):
        replace(tiny_classifier, views=views)


def test_the_average_is_that_of_the_views(tiny_classifier: Classifier) -> None:
    classifier, rng = replace(tiny_classifier, views=SIX), np.random.default_rng(0)
    features = [rng.normal(size=(4, *classifier.cut.shape)).astype(np.float32) for _ in SIX]

    found = classifier.averaged(features)

    np.testing.assert_allclose(found, sum(map(classifier.probabilities, features)) / 6, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    with pytest.raises(ValueError, match="6 views; got 1"):
        classifier.averaged(features[:1])


def _mlp(width: int) -> nn.Module:
    return MlpHead(width, 3, hidden=9, seed=2)


def _knn(width: int) -> nn.Module:
    bank = torch.randn(12, width, generator=torch.Generator().manual_seed(2))
    return fit_knn_path(bank, torch.arange(12) % 3, n_classes=3, neighbours=[4]).head(0, temperature=0.7)


@pytest.mark.parametrize("make", [_mlp, _knn])
@pytest.mark.parametrize("layer", ["pooled", "blocks.1"])
def test_other_heads_are_saved_and_loaded_too(
    make: Callable[[int], nn.Module], layer: str, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    cut = tiny_backbone.cut(layer)
    classifier = Classifier(
        backbone=tiny_backbone, cut=cut, head=make(int(np.prod(cut.shape))), classes=("a", "b", "c")
    )
    features = np.random.default_rng(0).normal(size=(5, *cut.shape)).astype(np.float32)
    classifier.save(tmp_path)

    loaded = Classifier.load(tmp_path)

    assert type(loaded.head) is type(classifier.head)
    np.testing.assert_array_equal(loaded.probabilities(features), classifier.probabilities(features))


def test_an_unknown_head_is_an_error_in_words(copy: Path) -> None:
    path = copy / "classifier.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"head": description["head"] | {"kind": "tree"}}))

    with pytest.raises(RunError, match=r"classifier\.json"):
        Classifier.load(copy)


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [("squeezenet", 64, "features"), ("googlenet", 64, "flatten"), ("timm/test_vit", 96, "norm")],
)
def test_a_network_of_any_source_is_rebuilt_from_its_card(
    name: str, size: int, layer: str, photo_folder: Path, tmp_path: Path
) -> None:
    backbone = load_backbone(name, weights="none", seed=3, size=size)
    cut = backbone.cut(layer)
    weights = torch.randn(2, int(np.prod(cut.shape)), generator=torch.Generator().manual_seed(1))
    classifier = Classifier(
        backbone=backbone, cut=cut, head=linear_head(weights, torch.zeros(2)), classes=("a", "b")
    )
    classifier.save(tmp_path)

    loaded = Classifier.load(tmp_path)

    assert loaded.backbone.card == backbone.card
    for prefix in ("prefix", "suffix"):
        parts = [each.backbone.split(each.cut)[prefix == "suffix"] for each in (classifier, loaded)]
        assert [*parts[0].state_dict()] == [*parts[1].state_dict()]
    paths = sorted(photo_folder.rglob("*.jpg"))[::8]
    ours, theirs = classifier.predict(paths), loaded.predict(paths)
    assert [p.classes for p in ours] == [p.classes for p in theirs]
    np.testing.assert_allclose(
        [p.probabilities for p in ours], [p.probabilities for p in theirs], rtol=0, atol=1e-5
    )


@pytest.mark.slow
def test_it_needs_nothing_but_its_folder(run: Run, tmp_path: Path, draw_photos: DrawPhotos) -> None:
    new = draw_photos(tmp_path / "new", per_class=1, seed=5)
    moved = tmp_path / "elsewhere"
    shutil.copytree(run.folder, moved)
    script = (
        "import sys, pathlib; from headstart.classifier import Classifier\n"
        "for p in Classifier.load(sys.argv[1]).predict(sorted(pathlib.Path(sys.argv[2]).rglob('*.jpg'))):\n"
        "    print(p.classes[0])"
    )
    # Another process, in another place, with no store at all and no photos to go back to.
    environment = dict(os.environ, HEADSTART_STORE=str(tmp_path / "none"))
    photos, away = Path(run.config.data), Path(run.config.data).with_name("away")
    photos.rename(away)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(moved), str(new)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=tmp_path,
        )
    finally:
        away.rename(photos)

    assert done.stdout.split() == ["brick", "grass", "sky"]
    assert not (tmp_path / "none").exists()


def test_an_unreadable_photo_is_a_problem_not_an_exception(
    tiny_classifier: Classifier, photo_folder: Path
) -> None:
    broken = photo_folder / "broken.jpg"
    broken.write_text("no image")
    good = photo_folder / "brick/00.jpg"

    first, second, missing = tiny_classifier.predict([broken, good, photo_folder / "none.jpg"])

    assert (first.path, first.classes, first.probabilities) == (str(broken), (), ())
    assert first.problem
    assert second.problem is None
    assert len(second.classes) == 3
    assert missing.problem


def test_the_best_come_first_and_no_more_than_asked_for(
    tiny_classifier: Classifier, photo_folder: Path
) -> None:
    (every,) = tiny_classifier.predict([photo_folder / "sky/00.jpg"])
    (best,) = tiny_classifier.predict([photo_folder / "sky/00.jpg"], top=1)

    assert sum(every.probabilities) == pytest.approx(1)
    assert list(every.probabilities) == sorted(every.probabilities, reverse=True)
    assert best.classes == every.classes[:1]


def test_no_photo_no_prediction(tiny_classifier: Classifier) -> None:
    assert tiny_classifier.predict([]) == []


@pytest.mark.parametrize("name", ["classifier.json", "classifier.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "empty"])
def test_damaged_files_are_an_error_in_words(copy: Path, name: str, damage: str) -> None:
    path = copy / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut short" else b"")

    with pytest.raises(RunError) as caught:
        Classifier.load(copy)

    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("content", ["[]", '{"format": 2}', "3"])
def test_a_description_that_describes_nothing_is_an_error_in_words(copy: Path, content: str) -> None:
    (copy / "classifier.json").write_text(content)

    with pytest.raises(RunError, match=r"classifier\.json"):
        Classifier.load(copy)


def test_another_format_is_named(copy: Path) -> None:
    path = copy / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))

    with pytest.raises(RunError, match="has format 99; this headstart reads format 2"):
        Classifier.load(copy)


@pytest.mark.parametrize("start", ["prefix.", "head."])
def test_missing_weights_are_an_error_in_words(copy: Path, start: str) -> None:
    path = copy / "classifier.safetensors"
    tensors = load_file(path)
    del tensors[next(name for name in tensors if name.startswith(start) and name.endswith("weight"))]
    save_file(tensors, path)

    with pytest.raises(RunError, match=r"classifier\.safetensors"):
        Classifier.load(copy)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        Classifier.load(tmp_path / "none")
