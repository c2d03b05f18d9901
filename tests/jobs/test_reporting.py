"""Reports made on demand: the same as at the end of a training, from what is still there."""

import importlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.backbones import Backbone, build_network, load_backbone
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.datasets import DiskFiles, Reader, load_dataset
from headstart.errors import ConfigError, DataError, RunError
from headstart.features import FeatureStore
from headstart.jobs import report, train
from headstart.jobs.explaining import MOST_RIGHT, MOST_WRONG, _in_two, _reaches_positions, choose_rows
from headstart.jobs.pictures import draw_thumbnails
from headstart.jobs.reporting import read_record
from headstart.runs import PREDICTIONS_FILE, REPORT_FILE, Run


@pytest.fixture
def run(tiny: Backbone, photo_folder: Path, tmp_path: Path) -> Run:
    """A probe of the tiny backbone, with its report."""
    return train(TrainConfig(str(photo_folder), recipe="probe"), out=tmp_path / "run")


def test_a_report_can_be_made_again_and_is_the_same(run: Run) -> None:
    before = run.report.read_bytes()
    assert b'<section id="map"' in before
    figures = {path.name: path.read_bytes() for path in (run.folder / "figures").iterdir()}
    run.report.unlink()
    shutil.rmtree(run.folder / "figures")
    said: list[str] = []

    assert report(run.folder, say=said.append) == run.folder / REPORT_FILE

    assert run.report.read_bytes() == before
    assert {path.name: path.read_bytes() for path in (run.folder / "figures").iterdir()} == figures
    assert said == []


def test_what_is_gone_is_left_out_and_said(run: Run, photo_folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(photo_folder)
    said: list[str] = []

    report(run.folder, store=tmp_path / "empty", say=said.append)

    page = run.report.read_text(encoding="utf-8")
    assert '<section id="map"' not in page
    assert "0 of 3 test images have a thumbnail" in page
    assert len(said) == 2
    assert said[0].startswith("No photos: ")
    assert said[1].startswith("No map: ")


def test_photos_that_are_gone_are_counted(run: Run, photo_folder: Path) -> None:
    gone = run.predictions()["path"].to_pylist()[0]
    (photo_folder / gone).unlink()
    said: list[str] = []
    report(run.folder, say=said.append)
    assert said == [f"1 of 3 test images are no longer in {photo_folder}; they are named only."]


def test_the_record_is_what_was_judged(run: Run) -> None:
    record = read_record(run)
    accuracy = (record.probabilities.argmax(axis=1) == record.labels).mean()
    assert accuracy == run.result["test"]["accuracy"]
    assert run.result["choice"]["strength"] in [row["strength"] for row in record.path]
    assert record.name == photo_name(run)


def photo_name(run: Run) -> str:
    return Path(run.config.data).name


def test_curves_and_the_kept_epoch_come_from_the_folder(
    tiny: Backbone, photo_folder: Path, tmp_path: Path
) -> None:
    config = TrainConfig(str(photo_folder), recipe="finetune", epochs=2)
    record = read_record(train(config, out=tmp_path / "run"))
    assert [(row["phase"], row["epoch"]) for row in record.history] == [("finetune", 1), ("finetune", 2)]
    assert set(record.best_epoch) == {"finetune"}
    assert isinstance(record.history[0]["train_loss"], float)


def test_a_damaged_run_is_said(run: Run, tmp_path: Path) -> None:
    (run.folder / PREDICTIONS_FILE).write_bytes(b"no parquet")
    with pytest.raises(RunError, match="cannot be reported on"):
        report(run.folder)
    with pytest.raises(RunError, match="does not exist"):
        report(tmp_path / "nowhere")


@pytest.mark.slow
def test_suspects_and_the_learning_curve_of_the_same_photos(
    run: Run, tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("audit", "learning_curve"):
        job = importlib.import_module(f"headstart.jobs.{name}")
        monkeypatch.setattr(job, "load_backbone_of", lambda config: tiny)
    reporting = importlib.import_module("headstart.jobs.reporting")
    monkeypatch.setattr(reporting, "find_spec", lambda name: None)
    extracted_before = sum(shard.rows for shard in FeatureStore().records())
    said: list[str] = []

    report(run.folder, audit=True, learning_curve=True, say=said.append)

    page = run.report.read_text(encoding="utf-8")
    assert 'id="suspects"' in page
    assert 'id="learning"' in page
    assert "Labels were not judged." in page
    assert said == ["Labels are not judged: that takes cleanlab, by pip install 'headstart[audit]'."]
    assert sum(shard.rows for shard in FeatureStore().records()) == extracted_before
    report(run.folder)
    assert 'id="suspects"' not in run.report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_where_the_classifier_looks(run: Run) -> None:
    pytest.importorskip("pytorch_grad_cam")
    report(run.folder, explain=True)
    page = run.report.read_text(encoding="utf-8")
    assert 'id="explained"' in page
    assert page.count("under a heat map of what speaks for") == 3


@pytest.mark.slow
def test_a_transformer_is_explained_before_its_last_attention() -> None:
    card = replace(
        load_backbone("tf_efficientnet_lite0", weights="none").card,
        **{"name": "vit", "source": "timm", "architecture": "vit_tiny_patch16_224", "aliases": {}},
    )
    vit = Backbone(card=card, network=build_network(card, seed=0), weights="none", weights_sha256="0")
    cut = vit.cut("fc_norm")
    head = torch.nn.Linear(192, 2)
    front, network = _in_two(Classifier(backbone=vit, cut=cut, head=head, classes=("a", "b")))
    with torch.no_grad():
        features = front(torch.zeros(1, 3, 224, 224))
    assert features.shape == (1, 197, 192)
    assert _reaches_positions(front, network, 224)
    last = vit.part(None, vit.cut("norm"))
    rest = torch.nn.Sequential(last, vit.part(vit.cut("norm"), cut), head)
    assert not _reaches_positions(last, rest, 224)


@pytest.mark.parametrize("option", ["explain", "audit", "learning_curve"])
def test_what_looks_at_photos_needs_them(run: Run, photo_folder: Path, option: str) -> None:
    if option == "explain":
        pytest.importorskip("pytorch_grad_cam")
    shutil.rmtree(photo_folder)
    with pytest.raises(DataError, match=f"no longer in .*\n.*--{option.replace('_', '-')}"):
        report(run.folder, **{option: True})


def test_explaining_needs_the_package(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    explaining = importlib.import_module("headstart.jobs.explaining")
    monkeypatch.setattr(explaining, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'headstart\[explain\]'"):
        report(run.folder, explain=True)


def test_mistakes_are_explained_first_then_right_answers_of_many_classes() -> None:
    labels = np.arange(40) % 8
    predicted = np.where(np.arange(40) < 20, labels, (labels + 1) % 8)
    confidence = np.linspace(0.2, 0.9, 40)
    rows = choose_rows(labels, predicted, confidence)
    assert rows[:MOST_WRONG] == list(range(39, 39 - MOST_WRONG, -1))
    right = rows[MOST_WRONG:]
    assert len(right) == MOST_RIGHT
    assert len(set(labels[right])) == MOST_RIGHT
    assert right == list(range(19, 19 - MOST_RIGHT, -1))


def test_all_thumbnails_take_one_pass_over_an_archive(photo_folder: Path) -> None:
    passes: list[list[str]] = []

    class Watched(DiskFiles):
        def readers(self, names: Iterable[str]) -> Iterator[Reader]:
            passes.append(list(names))
            return super().readers(passes[-1])

    dataset = replace(load_dataset(photo_folder), files=Watched(root=photo_folder))
    wanted = dataset.names()[3:9]
    (photo_folder / wanted[2]).unlink()

    drawn = draw_thumbnails(dataset, wanted[::-1], 32)

    assert passes == [wanted]
    assert sorted(drawn) == sorted(wanted[:2] + wanted[3:])
