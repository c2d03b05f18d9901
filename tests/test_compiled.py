"""A compiled classifier against the classifier itself."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headstart.backbones import Backbone
from headstart.classifier import Classifier
from headstart.compiled import CompiledClassifier, keep_compiled, load_compiled
from headstart.errors import RunError
from headstart.heads import MlpHead, fit_knn_path, linear_head
from headstart.novelty import Novelty, make_bank
from headstart.prediction import Prediction
from headstart.views import SIX

pytest.importorskip("openvino", reason="needs the openvino extra")


def _assert_alike(got: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    assert [each.path for each in got] == [each.path for each in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.problem == other.problem
        assert one.classes == other.classes
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
        assert (one.unlike is None) == (other.unlike is None)
        assert one.unlike == pytest.approx(other.unlike, abs=1e-3)


@pytest.fixture
def classifier(tiny_backbone: Backbone) -> Classifier:
    """Random features, a random head of three classes, and a bank of random images."""
    generator = torch.Generator().manual_seed(1)
    cut = tiny_backbone.cut("pooled")
    (width,) = cut.shape
    rows = torch.rand(30, width, generator=generator)
    return Classifier(
        backbone=tiny_backbone,
        cut=cut,
        head=linear_head(torch.randn(3, width, generator=generator), torch.tensor([0.1, 0.0, -0.1])),
        classes=("brick", "grass", "ünd\u0301"),
        novelty=Novelty(bank=make_bank(rows.numpy()), threshold=0.7),
    )


def _kept(classifier: Classifier, folder: Path) -> CompiledClassifier:
    classifier.save(folder)
    keep_compiled(folder, lambda: classifier)
    compiled = load_compiled(folder)
    assert compiled is not None
    return compiled


@pytest.fixture
def photos(photo_folder: Path) -> list[str]:
    return [*sorted(map(str, photo_folder.glob("*/*.jpg")))[::3], str(photo_folder / "none.jpg")]


def test_it_says_what_the_classifier_says(classifier: Classifier, photos: list[str], tmp_path: Path) -> None:
    classifier.save(tmp_path)
    assert load_compiled(tmp_path) is None

    compiled = _kept(classifier, tmp_path)

    _assert_alike(compiled.predict(photos, top=3), classifier.predict(photos, top=3, device="cpu"))
    assert compiled.predict([], top=3) == []


@pytest.mark.parametrize("layer", ["blocks.2", "conv_stem"])
def test_features_with_positions_are_averaged_for_what_is_unlike(
    classifier: Classifier, photos: list[str], tmp_path: Path, layer: str
) -> None:
    cut = classifier.backbone.cut(layer)
    channels, size = cut.shape[0], int(np.prod(cut.shape))
    generator = torch.Generator().manual_seed(1)
    spatial = replace(
        classifier,
        cut=cut,
        head=linear_head(torch.randn(3, size, generator=generator) / size, torch.zeros(3)),
        novelty=Novelty(bank=make_bank(torch.rand(9, channels, generator=generator).numpy()), threshold=1.0),
    )

    _assert_alike(
        _kept(spatial, tmp_path).predict(photos, top=3), spatial.predict(photos, top=3, device="cpu")
    )


@pytest.mark.parametrize("kind", ["mlp", "knn"])
def test_other_heads_too(classifier: Classifier, photos: list[str], tmp_path: Path, kind: str) -> None:
    generator = torch.Generator().manual_seed(2)
    (width,) = classifier.cut.shape
    head: nn.Module = MlpHead(width, 3).eval()
    if kind == "knn":
        rows, labels = torch.rand(30, width, generator=generator), torch.arange(30) % 3
        head = fit_knn_path(rows, labels, n_classes=3, neighbours=[5]).head(0)
    other = replace(classifier, head=head, novelty=None)

    _assert_alike(_kept(other, tmp_path).predict(photos, top=3), other.predict(photos, top=3, device="cpu"))


def test_another_classifier_in_the_same_folder_is_not_taken_for_it(
    classifier: Classifier, tmp_path: Path
) -> None:
    _kept(classifier, tmp_path)

    replace(classifier, classes=("a", "b", "c")).save(tmp_path)

    assert load_compiled(tmp_path) is None


def test_a_damaged_file_is_made_anew(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_STORE", str(tmp_path / "store"))
    _kept(classifier, tmp_path)
    (file,) = (tmp_path / "store" / "converted").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert load_compiled(tmp_path) is None

    _kept(classifier, tmp_path)

    assert len(file.read_bytes()) == len(whole)


def test_what_averages_over_views_is_left_as_it_is(classifier: Classifier, tmp_path: Path) -> None:
    averaging = replace(classifier, views=SIX)
    averaging.save(tmp_path)

    keep_compiled(tmp_path, lambda: averaging)

    assert load_compiled(tmp_path) is None


def test_a_folder_without_a_classifier_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        load_compiled(tmp_path)


@pytest.mark.slow
def test_the_second_prediction_imports_no_torch(
    classifier: Classifier, photos: list[str], tmp_path: Path
) -> None:
    classifier.save(tmp_path)
    program = (
        "import sys; from headstart.cli import main; "
        f"code = main(['predict', {str(tmp_path)!r}, {photos[0]!r}, '--json']); "
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )

    def predict() -> tuple[dict[str, Any], str]:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        (answer,) = json.loads(done.stdout)
        return answer, done.stderr.strip().splitlines()[-1]

    (first, with_torch), (second, without) = predict(), predict()

    assert (with_torch, without) == ("True", "False")
    assert first["classes"] == second["classes"]
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=1e-4)
