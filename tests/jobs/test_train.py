"""Training: what a run holds, what it rests on, and that nothing but the photos, seed and options decide it."""

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file

from headstart.config import TrainConfig
from headstart.errors import BackboneError, DataError, RunError
from headstart.jobs import Observers, train
from headstart.metrics import GROUPED_INTERVAL
from headstart.runs import Run, load_run

DrawPhotos = Callable[..., Path]
CLASSES = ("brick", "grass", "sky")
# `headstart.jobs.train` is the function; this is the module it lives in.
MODULE = importlib.import_module("headstart.jobs.train")


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Run:
    """A finished run of the default backbone on 36 photos, for reading only."""
    home = tmp_path_factory.mktemp("real")
    photos = draw_photos(home / "photos", per_class=12)
    return train(_probe(photos), out=home / "run", store=home / "store")


@pytest.fixture
def split_folder(tmp_path: Path, draw_photos: DrawPhotos) -> Path:
    """PHOTOS/{train,test}/CLASS: 6 and 4 photos a class."""
    draw_photos(tmp_path / "split/train", per_class=6, seed=1)
    draw_photos(tmp_path / "split/test", per_class=4, seed=2)
    return tmp_path / "split"


def _probe(photos: Path, **options: Any) -> TrainConfig:
    """A run that is over soon: a head on frozen features."""
    return TrainConfig(str(photos), recipe="probe", **options)


def _head(run: Run) -> dict[str, torch.Tensor]:
    tensors = load_file(run.folder / "classifier.safetensors")
    return {name: value for name, value in tensors.items() if name.startswith("head.")}


def _same_heads(first: Run, second: Run) -> bool:
    ours, theirs = _head(first), _head(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _warnings(run: Run) -> str:
    return "\n".join(run.result["warnings"])


def test_the_result_has_every_figure(real_run: Run) -> None:
    result = json.loads((real_run.folder / "result.json").read_text(encoding="utf-8"))
    scores = {
        "accuracy",
        "accuracy_ci95",
        "interval",
        "balanced_accuracy",
        "macro_f1",
        "log_loss",
        "ece",
        "n",
    }

    assert scores <= result["test"].keys()
    assert scores <= result["validation"].keys()
    assert {"accuracy", "loss"} <= result["train"].keys()
    assert {"read", "fit", "evaluate", "total"} <= result["seconds"].keys()
    assert {"train", "val", "test", "unreadable", "extracted", "from_store"} <= result["images"].keys()
    assert {"python", "torch", "headstart", "platform"} <= result["environment"].keys()
    assert len(result["data_fingerprint"]) == 64
    low, high = result["test"]["accuracy_ci95"]
    assert 0 <= low <= result["test"]["accuracy"] <= high <= 1
    assert result == real_run.result


def test_the_counts_add_up(real_run: Run) -> None:
    images, result = real_run.result["images"], real_run.result

    assert images["train"] + images["val"] + images["test"] == 36
    assert (images["extracted"], images["from_store"], images["unreadable"]) == (36, 0, 0)
    assert result["test"]["n"] == images["test"] == 3
    assert result["choice"]["made_on"] == "cross-validation"
    assert result["validation"]["n"] == result["train"]["n"] == images["train"]
    assert result["classes"] == list(CLASSES)
    assert result["seconds"]["total"] >= result["seconds"]["read"] + result["seconds"]["fit"]
    assert result["test"]["accuracy"] == 1  # drawn textures are easy for a network that has learned to see


def test_every_file_is_there(real_run: Run) -> None:
    files = {p.relative_to(real_run.folder).as_posix() for p in real_run.folder.rglob("*") if p.is_file()}

    assert files >= {
        "classifier.safetensors",
        "classifier.json",
        "config.toml",
        "result.json",
        "predictions.parquet",
        "images.parquet",
        "path.csv",
        "history.csv",
        "problems.csv",
        "report.html",
    }
    assert [name for name in files if name.startswith("figures/") and name.endswith(".png")]
    assert not [name for name in files if name.startswith(".") or "tmp" in name]
    description = json.loads((real_run.folder / "classifier.json").read_text())
    assert {"backbone", "weights_sha256", "licence", "preprocess", "layer", "classes"} <= description.keys()


def test_the_tables_agree_with_the_photos(real_run: Run) -> None:
    root = Path(real_run.config.data)
    images = real_run.images().to_pylist()

    for row in images:
        assert row["sha256"] == hashlib.sha256((root / row["path"]).read_bytes()).hexdigest()
        assert row["class"] == row["path"].split("/")[0]
    tested = [row["path"] for row in images if row["split"] == "test"]
    predictions = real_run.predictions().to_pylist()
    assert [row["path"] for row in predictions] == tested
    for row in predictions:
        probabilities = {name: row[f"probability.{name}"] for name in CLASSES}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert row["predicted"] == max(probabilities, key=probabilities.__getitem__)
        assert row["true"] == row["path"].split("/")[0]
    path = (real_run.folder / "path.csv").read_text().splitlines()
    assert len(path) > 30
    assert {"strength", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"} <= set(
        path[0].split(",")
    )
    assert len((real_run.folder / "history.csv").read_text().splitlines()) == 1  # there were no epochs


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_the_result_is_written_last(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def killed(writer: object, result: object) -> Run:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MODULE.RunWriter, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(_probe(photo_folder), out=out)

    assert (out / "report.html").exists()
    assert (out / "classifier.safetensors").exists()
    assert not (out / "result.json").exists()
    with pytest.raises(RunError, match="unfinished run"):
        load_run(out)
    taken_up = train(_probe(photo_folder), out=out)
    assert taken_up.result["images"]["extracted"] == 0  # the store kept what the killed run had extracted
    assert load_run(out).result == taken_up.result


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_the_same_seed_gives_the_same_bits_and_a_second_run_extracts_nothing(
    photo_folder: Path, tmp_path: Path
) -> None:
    first = train(_probe(photo_folder), out=tmp_path / "1")
    again = train(_probe(photo_folder), out=tmp_path / "2")
    other = train(_probe(photo_folder, seed=1), out=tmp_path / "3")

    name = "predictions.parquet"
    assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()
    assert (first.folder / "path.csv").read_bytes() == (again.folder / "path.csv").read_bytes()
    assert _same_heads(first, again)
    assert first.result["data_fingerprint"] == again.result["data_fingerprint"]
    assert [run.result["images"]["extracted"] for run in (first, again, other)] == [24, 0, 0]
    assert again.result["images"]["from_store"] == 24
    assert other.predictions()["path"] != first.predictions()["path"]


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_ten_photos_more_cost_ten_passes(photo_folder: Path, tmp_path: Path, draw_photos: DrawPhotos) -> None:
    train(_probe(photo_folder), out=tmp_path / "1")
    more = draw_photos(tmp_path / "more", classes=("brick", "grass"), per_class=5, seed=7)
    for path in more.rglob("*.jpg"):
        path.rename(photo_folder / path.parent.name / f"more-{path.name}")

    images = train(_probe(photo_folder), out=tmp_path / "2").result["images"]

    assert (images["extracted"], images["from_store"]) == (10, 24)


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_an_unreadable_file_changes_nothing_but_the_list_of_problems(
    photo_folder: Path, tmp_path: Path
) -> None:
    clean = train(_probe(photo_folder), out=tmp_path / "clean")
    for i in range(5):  # enough of them that one would have been drawn for each split
        (photo_folder / "grass" / f"broken {i}.jpg").write_text("no image")
    (photo_folder / "sky" / "empty.png").touch()

    run = train(_probe(photo_folder), out=tmp_path / "run")

    name = "predictions.parquet"
    assert (run.folder / name).read_bytes() == (clean.folder / name).read_bytes()
    assert run.result["test"] == clean.result["test"]
    assert run.result["data_fingerprint"] == clean.result["data_fingerprint"]
    assert _same_heads(run, clean)
    assert run.result["images"]["unreadable"] == 6
    problems = (run.folder / "problems.csv").read_text().splitlines()
    assert len(problems) == 7
    assert any(line.startswith("grass/broken 3.jpg,") for line in problems)
    assert any(line.startswith("sky/empty.png,") for line in problems)
    assert "Could not be read and left out: 6." in _warnings(run)


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_a_class_with_no_image_left_is_an_error(photo_folder: Path, tmp_path: Path) -> None:
    for path in (photo_folder / "grass").iterdir():
        path.write_text("no image")

    with pytest.raises(
        DataError, match=r"left of 'grass' \(8 files could not be read\)\.\n.*grass/.*: not an"
    ):
        train(_probe(photo_folder), out=tmp_path / "run")
    with pytest.raises(RunError):
        load_run(tmp_path / "run")


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_where_nothing_to_train_on_can_be_read_the_error_says_why(split_folder: Path, tmp_path: Path) -> None:
    for path in (split_folder / "train").rglob("*.*"):
        path.write_text("no image")

    with pytest.raises(
        DataError, match=r"none to train on\.\n.* files could not be read, such as train/.*: not an"
    ):
        train(_probe(split_folder), out=tmp_path / "run")


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_a_file_may_name_classes_that_it_has_no_image_of(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "part.npz", x=pixels, y=np.repeat([1, 4], 6))
    (tmp_path / "signnames.csv").write_text(
        "ClassId,SignName\n" + "".join(f"{i},sign {i}\n" for i in range(6))
    )

    run = train(_probe(tmp_path / "part.npz"), out=tmp_path / "run")

    assert run.result["classes"] == ["sign 1", "sign 4"]
    assert "Classes without any image are left out: sign 0, sign 2, sign 3, sign 5." in _warnings(run)


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_a_mistyped_layer_costs_no_finished_run(photo_folder: Path, tmp_path: Path) -> None:
    train(_probe(photo_folder), out=tmp_path / "run")

    with pytest.raises(BackboneError):
        train(_probe(photo_folder, layer="poled"), out=tmp_path / "run", force=True)

    assert load_run(tmp_path / "run").config == _probe(photo_folder, device="cpu", runtime="torch-float32")


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_photos_that_cannot_be_used_cost_no_finished_run(photo_folder: Path, tmp_path: Path) -> None:
    before = train(_probe(photo_folder), out=tmp_path / "run").result
    for path in photo_folder.glob("sky/*.jpg"):
        path.write_bytes(b"no image")

    with pytest.raises(DataError, match="sky"):
        train(_probe(photo_folder, seed=1), out=tmp_path / "run", force=True)

    assert load_run(tmp_path / "run").result == before
    assert load_run(tmp_path / "run").config.seed == 0


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_arrays_of_one_class_are_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=np.zeros((6, 8, 8, 3), np.uint8), y=np.full(6, 3))

    with pytest.raises(DataError, match=r"one holds images of one class only, '3'\."):
        train(_probe(tmp_path / "one.npz"), out=tmp_path / "run")


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_classes_of_two_images_leave_nothing_to_test_on(tmp_path: Path, draw_photos: DrawPhotos) -> None:
    with pytest.raises(DataError, match="no image to test on"):
        train(_probe(draw_photos(tmp_path / "few", per_class=2)), out=tmp_path / "run")


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_per_class_keeps_the_test_images(split_folder: Path, tmp_path: Path) -> None:
    run = train(_probe(split_folder, per_class=2), out=tmp_path / "run")

    images = run.result["images"]
    assert (images["train"], images["val"], images["test"]) == (6, 0, 12)
    assert images["extracted"] == 18  # what is not used is not extracted


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_a_single_image_a_class_leaves_nothing_to_choose_on(split_folder: Path, tmp_path: Path) -> None:
    run = train(_probe(split_folder, per_class=1), out=tmp_path / "run")

    assert run.result["choice"]["made_on"] == "none"
    assert run.result["validation"] is None


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_twenty_images_a_class_are_chosen_on_validation(tmp_path: Path, draw_photos: DrawPhotos) -> None:
    run = train(_probe(draw_photos(tmp_path / "many", per_class=30)), out=tmp_path / "run")

    images = run.result["images"]
    assert (images["train"], images["val"], images["test"]) == (72, 9, 9)
    assert run.result["choice"]["made_on"] == "validation"
    assert run.result["validation"]["n"] == 9
    assert run.result["train"]["n"] == 81  # the kept head is fitted on both


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_identical_files_in_two_classes_and_splits_are_named(split_folder: Path, tmp_path: Path) -> None:
    shutil.copy(split_folder / "train/brick/00.jpg", split_folder / "train/sky/twin.jpg")
    shutil.copy(split_folder / "train/grass/01.jpg", split_folder / "test/grass/seen.jpg")

    warnings = _warnings(train(_probe(split_folder), out=tmp_path / "run"))

    assert "train/brick/00.jpg = train/sky/twin.jpg" in warnings
    assert "1 test images also stand in train" in warnings


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_imbalance_is_warned_of_until_it_is_weighed(tmp_path: Path, draw_photos: DrawPhotos) -> None:
    photos = draw_photos(tmp_path / "photos", classes=("few",), per_class=3)
    draw_photos(tmp_path / "photos", classes=("many", "some"), per_class=26, seed=3)

    plain = train(_probe(photos), out=tmp_path / "1")
    weighed = train(_probe(photos, class_weights="balanced"), out=tmp_path / "2")

    assert "consider --class-weights balanced" in _warnings(plain)
    assert "class-weights" not in _warnings(weighed)
    assert not _same_heads(plain, weighed)


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_a_finished_run_is_replaced_by_force_alone(photo_folder: Path, tmp_path: Path) -> None:
    first = train(_probe(photo_folder), out=tmp_path / "run")
    before = (first.folder / "result.json").read_bytes()

    with pytest.raises(RunError, match="--force"):
        train(_probe(photo_folder, seed=1), out=tmp_path / "run")
    assert (first.folder / "result.json").read_bytes() == before

    train(_probe(photo_folder, seed=1), out=tmp_path / "run", force=True)
    assert load_run(tmp_path / "run").config.seed == 1


@pytest.mark.parametrize("force", [False, True])
def test_the_photos_own_folder_is_never_a_run(photo_folder: Path, force: bool) -> None:
    before = sorted(photo_folder.rglob("*"))

    with pytest.raises(RunError, match="holds no run"):
        train(_probe(photo_folder), out=photo_folder, force=force)

    assert sorted(photo_folder.rglob("*")) == before


def test_two_writers_at_once_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()

    with FileLock(tmp_path / "run/.lock"), pytest.raises(RunError, match="Another headstart is writing"):
        train(_probe(photo_folder), out=tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "error"),
    [({"backbone": "resnet_nought"}, BackboneError), ({"layer": "nowhere"}, BackboneError)],
)
def test_what_there_is_not_is_an_error(
    photo_folder: Path, tmp_path: Path, option: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        train(_probe(photo_folder, **option), out=tmp_path / "run")  # type: ignore[arg-type]


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_the_test_images_decide_nothing(split_folder: Path, tmp_path: Path) -> None:
    honest = train(_probe(split_folder), out=tmp_path / "honest")
    test = split_folder / "test"
    for old, new in (("brick", "x"), ("grass", "brick"), ("sky", "grass"), ("x", "sky")):
        (test / old).rename(test / new)  # every test label is now wrong
    (test / "sky" / "grey.png").unlink(missing_ok=True)
    Image.new("RGB", (40, 40)).save(test / "sky" / "grey.png")

    shuffled = train(_probe(split_folder), out=tmp_path / "shuffled")

    assert shuffled.result["test"]["accuracy"] < honest.result["test"]["accuracy"]
    assert shuffled.result["choice"] == honest.result["choice"]
    assert shuffled.result["validation"] == honest.result["validation"]
    assert _same_heads(shuffled, honest)


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_progress_is_told_in_images(photo_folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    train(
        _probe(photo_folder),
        out=tmp_path / "run",
        observers=Observers(extraction=lambda done, total: told.append((done, total))),
    )

    assert told[:25] == [(done, 24) for done in range(25)]
    assert told[-1] == (24, 24)


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_what_belongs_together_is_never_divided_and_widens_the_interval(
    tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    photos = draw_photos(tmp_path / "photos", per_class=24)
    for path in sorted(photos.glob("*/*.jpg")):  # six animals of four photos in each class
        path.rename(path.with_name(f"{path.parent.name}{int(path.stem) // 4}_{path.stem}.jpg"))

    run = train(_probe(photos, group_pattern="(.+)_"), out=tmp_path / "run")

    rows = run.images().to_pylist()
    assert {row["group"] for row in rows} == {f"{name}{k}" for name in CLASSES for k in range(6)}
    splits = {
        group: {row["split"] for row in rows if row["group"] == group} for group in (r["group"] for r in rows)
    }
    assert all(len(found) == 1 for found in splits.values())
    assert "no group divided" in run.result["choice"]["rule"]
    assert run.result["test"]["interval"] == GROUPED_INTERVAL
    low, high = run.result["test"]["accuracy_ci95"]
    assert high - low > 0.2
    assert load_run(run.folder).config.group_pattern == "(.+)_"
