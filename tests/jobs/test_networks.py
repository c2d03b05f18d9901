"""Techniques on real architectures, whose classifiers are of other kinds: a convolution, three layers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.jobs import train
from headstart.runs import Run

pytestmark = pytest.mark.usefixtures("unillustrated")


def _train(photos: Path, folder: Path, **options: object) -> Run:
    config = TrainConfig(
        str(photos),
        weights="none",
        size=64,
        flip="no",
        epochs=1,
        batch_size=8,
        dtype="float32",
        **options,  # type: ignore[arg-type]
    )
    return train(config, out=folder)


def _must_predict_the_same(run: Run) -> None:
    """The saved classifier says what the run's table says."""
    classifier, table = Classifier.load(run.folder), run.predictions()
    assert json.loads((run.folder / "classifier.json").read_text())["head"]["kind"] == "native"
    found = classifier.predict(
        [Path(run.config.data) / name for name in table["path"].to_pylist()], top=3, device="cpu"
    )
    for i, best in enumerate(found):
        said = [table[f"probability.{name}"][i].as_py() for name in best.classes]
        np.testing.assert_allclose(best.probabilities, said, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"recipe": "probe"}, {"recipe": "finetune"}, {"recipe": "finetune", "from_layer": "features.12"}],
)
def test_squeezenets_convolution_is_its_head(few: Path, tmp_path: Path, options: dict[str, str]) -> None:
    run = _train(few, tmp_path / "run", backbone="torchvision/squeezenet1_1", head="native", **options)

    _must_predict_the_same(run)
    tensors = load_file(run.folder / "classifier.safetensors")
    (weight,) = [value for name, value in tensors.items() if name.startswith("head.") and value.ndim > 1]
    assert weight.shape == (3, 512, 1, 1)


@pytest.mark.slow
def test_alexnets_classifier_goes_on_or_starts_anew(few: Path, tmp_path: Path) -> None:
    """The reference program's cases 4 to 7, as far as one epoch shows them."""
    alexnet = {"backbone": "torchvision/alexnet", "head": "native", "lr": 0.0}
    last = _train(few, tmp_path / "4", recipe="probe", **alexnet)
    on = _train(few, tmp_path / "5", recipe="finetune", from_layer="classifier", **alexnet)
    anew = _train(
        few, tmp_path / "6", recipe="finetune", from_layer="classifier", reinit=True, seed=1, **alexnet
    )
    after = _train(few, tmp_path / "7", recipe="finetune", init=str(anew.folder), seed=1, **alexnet)

    for run in (last, on, anew, after):
        _must_predict_the_same(run)
    cases = [load_file(run.folder / "classifier.safetensors") for run in (last, on, anew, after)]
    dense, convolution = "prefix.classifier.1.weight", "prefix.features.0.weight"
    assert torch.equal(cases[0][dense], cases[1][dense])
    assert torch.equal(cases[2][dense], cases[3][dense])
    assert not torch.equal(cases[1][dense], cases[2][dense])
    assert on.result["choice"]["trained_from"] == anew.result["choice"]["trained_from"] != "the pixels"
    # Without weights the seed makes the frozen layers too.
    assert torch.equal(cases[0][convolution], cases[1][convolution])
    assert torch.equal(cases[2][convolution], cases[3][convolution])
