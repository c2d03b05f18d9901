"""`headstart extract` and `headstart probe`: from photos to files to printed epochs."""

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.cli import main
from headstart.features import FeatureTable, read_features, write_features

DrawPhotos = Callable[..., Path]
FIGURE = r"(\d+\.\d{4})"
EPOCH = re.compile(
    rf"^Epoch (\d+)/(\d+) - loss: {FIGURE} - acc: {FIGURE} - val_loss: {FIGURE} - val_acc: {FIGURE}$", re.M
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    """Extractions use the tiny backbone, so that they take no time."""
    from importlib import import_module

    job = import_module("headstart.jobs.extract")
    monkeypatch.setattr(job, "load_backbone_of", lambda config: tiny_backbone)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a validation file of 4 classes, which overlap."""
    centres = np.random.default_rng(9).normal(size=(4, 10))
    for seed, name in enumerate(("train", "validation")):
        rng, labels = np.random.default_rng(seed), np.arange(60) % 4
        features = (centres[labels] + rng.normal(size=(60, 10))).astype(np.float32)
        write_features(tmp_path / f"{name}.p", FeatureTable(features=features, labels=labels))
    return tmp_path / "train.p", tmp_path / "validation.p"


def _done(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that must succeed prints."""
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The message of a command that must end with code 2, in at most two lines on standard error."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.strip().splitlines()) <= 2
    return captured.err


def _without_seconds(out: str) -> str:
    return re.sub(r"\d+\.\d s", "", out)


def test_both_spellings_of_the_flags(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old = ["--training_file", files[0], "--validation_file", files[1], "--epochs", "3", "--batch_size", "16"]
    new = [str(word).replace("_", "-") if str(word).startswith("--") else word for word in old]

    assert _without_seconds(_done(capsys, "probe", *old)) == _without_seconds(_done(capsys, "probe", *new))


def test_epochs_are_printed_as_keras_prints_them(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = _done(capsys, "probe", "--training_file", files[0], "--validation_file", files[1], "--epochs", "50")

    epochs = EPOCH.findall(out)
    assert [(int(number), int(of)) for number, of, *_ in epochs] == [(k, 50) for k in range(1, 51)]
    assert float(epochs[-1][2]) < float(epochs[0][2])
    assert out.index("Epoch 50/50") < out.index("\npath ")
    assert f"val_loss {epochs[-1][4]} after 50 epochs" in out
    assert "chosen by 5-fold cross-validation within the training file" in out
    assert "the validation file had no say in it" in out
    assert "sampling of the validation set only" in out


def test_without_epochs_the_path_alone(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = _done(capsys, "probe", "--training_file", files[0], "--validation_file", files[1])

    assert "Epoch" not in out
    assert "epochs" not in out
    assert re.search(r"^path      acc \d+\.\d %, val_acc \d+\.\d %, val_loss", out, re.M)


def test_files_in_a_zip(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = _done(capsys, "probe", "--training_file", files[0], "--validation_file", files[1])
    pack = tmp_path / "pack.zip"
    with zipfile.ZipFile(pack, "w") as archive:
        for file in files:
            archive.write(file, f"packs/{file.name}")

    zipped = _done(capsys, "probe", "--training_file", pack, "--validation_file", f"{pack}!/validation.p")

    assert _without_seconds(zipped) == _without_seconds(plain)


@pytest.mark.usefixtures("tiny")
def test_from_photos_to_files_to_epochs_in_one_command(
    tmp_path: Path, draw_photos: DrawPhotos, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "gtsrb"
    draw_photos(photos / "train", per_class=9, seed=1)
    draw_photos(photos / "test", per_class=5, seed=2)

    out = _done(capsys, "probe", photos, "--out", tmp_path / "packs", "--per_class", "8", "--epochs", "4")

    train, validation = re.findall(r"^written   (.*?\.p): (\d+) images, \d+ values each ", out, re.M)
    assert Path(train[0]).name == "tf_efficientnet_lite0_traffic_8_bottleneck_features_train.p"
    assert Path(validation[0]).name == "tf_efficientnet_lite0_traffic_bottleneck_features_validation.p"
    assert (train[1], validation[1]) == ("24", "15")
    again = _done(
        capsys, "probe", "--training_file", train[0], "--validation_file", validation[0], "--epochs", "4"
    )
    assert _without_seconds(out).endswith(_without_seconds(again))
    assert len(EPOCH.findall(again)) == 4


@pytest.mark.usefixtures("tiny")
def test_extract_writes_what_it_says(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "sky" / "broken.jpg").write_text("no image")

    assert main(["extract", str(photo_folder), "--out", str(tmp_path / "codes.parquet")]) == 0

    captured = capsys.readouterr()
    assert "24 extracted, 0 from the store" in captured.out
    assert f"written   {tmp_path / 'codes.parquet'}: 24 images, " in captured.out
    assert "note: sky/broken.jpg: " in captured.err
    assert len(read_features(tmp_path / "codes.parquet")) == 24


@pytest.mark.usefixtures("tiny")
def test_extract_in_the_bottleneck_format(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = _done(
        capsys,
        "extract",
        photo_folder,
        "--out",
        tmp_path / "packs",
        "--format",
        "bottleneck",
        "--per-class",
        "5",
    )

    assert sorted(path.name for path in (tmp_path / "packs").iterdir()) == [
        "tf_efficientnet_lite0_photos_5_bottleneck_features_train.p",
        "tf_efficientnet_lite0_photos_bottleneck_features_validation.p",
    ]
    assert "(training, at most 5 a class)" in out
    assert "(validation; stratified 80/20 of all images, at most 5 images a class, seed 0)" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe"], "either DATA (photos) or both of --training_file and --validation_file"),
        (["probe", "--training_file", "{train}"], "--validation_file none"),
        (["probe", "{photos}", "--training_file", "{train}", "--validation_file", "{train}"], "Got DATA"),
        (["probe", "{photos}"], "--out FOLDER"),
        (
            ["probe", "--training_file", "{train}", "--validation_file", "{train}", "--out", "x"],
            "--out is for",
        ),
        (["probe", "--training_file", "{train}", "--validation_file", "none.p"], "There is no file none.p"),
        (
            ["probe", "--training_file", "{train}", "--validation_file", "{hostile}"],
            "asks for __builtin__.print",
        ),
        (
            ["probe", "--training_file", "{train}", "--validation_file", "{train}", "--epochs", "0"],
            "epochs is 0",
        ),
        (
            ["probe", "--training_file", "{train}", "--validation_file", "{train}", "--batch_size", "0"],
            "batch_size is 0; expected at least 1",
        ),
        (["extract", "{photos}"], "--out"),
        (["extract", "{photos}", "--out", "codes.csv"], "cannot be written to codes.csv"),
        (["extract", "{photos}", "--out", "x.p", "--format", "keras"], "keras"),
        (["extract", "none", "--out", "codes.npz"], "There is no folder"),
    ],
    ids=lambda value: " ".join(value).replace("{", "").replace("}", "") if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(
    arguments: list[str],
    words: str,
    files: tuple[Path, Path],
    photo_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "hostile.p").write_bytes(pickle.dumps({"features": print, "labels": print}, protocol=2))
    names = {"train": files[0], "photos": photo_folder, "hostile": tmp_path / "hostile.p"}

    message = _refused(capsys, *[argument.format(**names) for argument in arguments])

    assert words in " ".join(message.split())


@pytest.mark.usefixtures("files")
def test_a_doubtful_figure_is_noted(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--training_file", str(files[0]), "--validation_file", str(files[0])]) == 0

    assert "note: 60 of 60 validation images have exactly the features" in capsys.readouterr().err
