"""Probing files: the path's honest choice, and the epochs beside it."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.datasets import stratified_folds
from headstart.errors import DataError
from headstart.features import FeatureTable, read_features, write_features
from headstart.jobs import probe
from headstart.metrics import GROUPED_INTERVAL, INTERVAL, cluster_interval
from headstart.training import Epoch, fit_head, train_epochs


def _table(n: int, seed: int, *, n_classes: int = 4, width: int = 10, **changes: object) -> FeatureTable:
    """Overlapping clusters, every class about as often."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = np.random.default_rng(9).normal(size=(n_classes, width))
    features = (centres[labels] + rng.normal(size=(n, width))).astype(np.float32)
    return FeatureTable(**{"features": features, "labels": labels, **changes})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a validation file."""
    for name, table in (("train", _table(80, 0)), ("validation", _table(60, 1))):
        write_features(tmp_path / f"{name}.p", table)
    return tmp_path / "train.p", tmp_path / "validation.p"


def test_the_path_is_chosen_within_the_training_file_and_judged_on_the_other(
    files: tuple[Path, Path],
) -> None:
    found = probe(*files, seed=2)

    train, held_out = _table(80, 0), _table(60, 1)
    fitted = fit_head(
        train.features, train.labels, n_classes=4, folds=stratified_folds(train.labels, 5, seed=2)
    )
    with torch.no_grad():
        logits = fitted.head(torch.from_numpy(held_out.features))
    truth = torch.from_numpy(held_out.labels)
    assert found.path.strength == fitted.value
    assert found.path.validation.accuracy == pytest.approx(float((logits.argmax(1) == truth).float().mean()))
    assert found.path.validation.log_loss == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, truth)), rel=1e-5
    )
    assert found.path.rule == "chosen by 5-fold cross-validation within the training file"
    assert found.path.held_out is not None
    assert found.path.held_out.n == 80
    assert (found.n_train, found.n_validation, found.n_classes, found.width) == (80, 60, 4, 10)
    assert (found.epochs, found.warnings) == ((), ())


def test_the_validation_file_has_no_say(files: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = _table(60, 1)
    write_features(
        tmp_path / "wrong.p", FeatureTable(features=wrong.features, labels=wrong.labels[::-1].copy())
    )

    honest, fooled = probe(*files), probe(files[0], tmp_path / "wrong.p")

    assert fooled.path.strength == honest.path.strength
    assert fooled.path.held_out == honest.path.held_out
    assert fooled.path.validation.accuracy < honest.path.validation.accuracy


def test_epochs_are_told_as_they_end(files: tuple[Path, Path]) -> None:
    told: list[Epoch] = []

    found = probe(*files, epochs=3, batch_size=32, seed=5, report=told.append)

    train, held_out = _table(80, 0), _table(60, 1)
    expected = train_epochs(
        train.features,
        train.labels,
        validation=(held_out.features, held_out.labels),
        n_classes=4,
        epochs=3,
        batch_size=32,
        seed=5,
    )
    assert tuple(told) == found.epochs
    assert [epoch.number for epoch in told] == [1, 2, 3]
    for ours, theirs in zip(told, expected, strict=True):
        assert ours.train_loss == theirs.train_loss
        assert ours.validation_accuracy == theirs.validation_accuracy


def test_one_zip_for_both(files: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        for file in files:
            archive.write(file, f"vgg-100/{file.name}")

    assert (
        probe(tmp_path / "pack.zip", tmp_path / "pack.zip").path.validation == probe(*files).path.validation
    )


@pytest.mark.parametrize(("held_out", "n"), [("val", 30), ("test", 50)])
def test_where_a_file_knows_its_splits_they_are_kept_apart(held_out: str, n: int, tmp_path: Path) -> None:
    splits = ("train",) * 80 + ((held_out,) * 30 + ("test",) * 20 + (None,) * 10)
    table = _table(140, 0, splits=splits)
    write_features(tmp_path / "codes.parquet", table)

    found = probe(tmp_path / "codes.parquet", tmp_path / "codes.parquet")

    assert (found.n_train, found.n_validation, found.warnings) == (80, n, ())


def test_validation_images_that_were_trained_on_are_counted(files: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = _table(80, 0), _table(60, 1)
    write_features(
        tmp_path / "mixed.p",
        FeatureTable(
            features=np.concatenate([new.features, old.features[:7]]),
            labels=np.concatenate([new.labels, old.labels[:7]]),
        ),
    )

    (warning,) = probe(files[0], tmp_path / "mixed.p").warnings

    assert warning.startswith("7 of 67 validation images have exactly the features of a training image")


def test_look_alikes_within_the_training_file_are_suspected(files: tuple[Path, Path], tmp_path: Path) -> None:
    frames = _table(80, 0).subset(np.repeat(np.arange(16), 10))  # ten frames of each of 16 objects
    jitter = 0.01 * np.random.default_rng(3).normal(size=frames.features.shape).astype(np.float32)
    write_features(
        tmp_path / "frames.p", FeatureTable(features=frames.features + jitter, labels=frames.labels)
    )

    objects = np.repeat(np.arange(16), 10)
    write_features(
        tmp_path / "frames.npz",
        FeatureTable(features=frames.features + jitter, labels=frames.labels, groups=objects),
    )

    (warning,) = probe(tmp_path / "frames.p", files[1]).warnings
    grouped = probe(tmp_path / "frames.npz", files[1])

    assert "are right out of fold within the training file" in warning
    assert "frames of one object?" in warning
    assert grouped.warnings == ()
    assert grouped.path.rule.startswith("chosen by 4-fold cross-validation")
    assert grouped.path.rule.endswith("with whole groups")
    assert grouped.path.held_out is not None
    assert grouped.path.held_out.interval == GROUPED_INTERVAL
    assert grouped.path.validation.interval == INTERVAL  # that file knows of no groups


def test_groups_of_the_validation_file_widen_the_interval(files: tuple[Path, Path], tmp_path: Path) -> None:
    table = _table(60, 1)
    write_features(
        tmp_path / "groups.npz",
        FeatureTable(features=table.features, labels=table.labels, groups=np.repeat(np.arange(6), 10)),
    )

    plain, grouped = (probe(files[0], file).path.validation for file in (files[1], tmp_path / "groups.npz"))

    assert grouped.interval == GROUPED_INTERVAL
    assert grouped.accuracy == plain.accuracy
    said = _correct(files[0], table)
    assert grouped.accuracy_ci95 == cluster_interval(said, np.repeat(np.arange(6), 10))


def _correct(training_file: Path, table: FeatureTable) -> np.ndarray:
    """Which images of a table the head of the path gets right, (n,) bool."""
    train = read_features(training_file)
    fitted = fit_head(
        train.features, train.labels, n_classes=4, folds=stratified_folds(train.labels, 5, seed=0)
    )
    with torch.no_grad():
        said = fitted.head(torch.from_numpy(table.features)).argmax(1).numpy()
    return said == table.labels


def test_few_images_a_class(files: tuple[Path, Path], tmp_path: Path) -> None:
    for n in (4, 12):
        write_features(tmp_path / f"{n}.p", _table(n, 0))

    one, three = probe(tmp_path / "4.p", files[1]), probe(tmp_path / "12.p", files[1])

    assert one.path.rule == "not chosen, as a class has a single training image"
    assert one.path.held_out is None
    assert three.path.rule.startswith("chosen by 3-fold")


def test_a_class_without_training_images_is_a_warning(files: tuple[Path, Path], tmp_path: Path) -> None:
    table = _table(80, 0)
    write_features(tmp_path / "train.p", table.subset(np.flatnonzero(table.labels != 1)))

    found = probe(tmp_path / "train.p", files[1], epochs=2)

    assert found.n_classes == 4
    assert found.warnings == ("1 of 4 classes have validation images but no training image.",)
    assert found.path.validation.accuracy <= 0.75


@pytest.mark.parametrize(
    ("train", "held_out", "words"),
    [
        ({}, {"width": 7}, "have 10 values an image, the validation features 7"),
        ({}, {"n_classes": 5}, "There is a label 4, but the training file has the classes 0 to 3 only"),
        ({"labels": np.zeros(40, np.int64)}, {}, "are all of one class"),
        ({"labels": np.full(40, 2), "classes": tuple("abcd")}, {}, "are all of one class"),
        ({"splits": ("val",) * 40}, {}, r"No image of .*train\.npz stands in its train part"),
        ({}, {"splits": ("train",) * 40}, r"No image of .*validation\.npz stands in its val or test part"),
    ],
)
def test_files_that_do_not_belong_together(
    train: dict[str, object], held_out: dict[str, object], words: str, tmp_path: Path
) -> None:
    write_features(tmp_path / "train.npz", _table(40, 0, **train))
    write_features(tmp_path / "validation.npz", _table(40, 1, **held_out))

    with pytest.raises(DataError, match=words):
        probe(tmp_path / "train.npz", tmp_path / "validation.npz", epochs=1)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a", "b", "c", "e"), "'d', 'e' are in one of them only"),
        (("b", "a", "c", "d"), "their order differs"),
    ],
)
def test_other_classes(names: tuple[str, ...], words: str, tmp_path: Path) -> None:
    write_features(tmp_path / "train.npz", _table(40, 0, classes=("a", "b", "c", "d")))
    write_features(tmp_path / "validation.npz", _table(40, 1, classes=names))

    with pytest.raises(DataError, match=words):
        probe(tmp_path / "train.npz", tmp_path / "validation.npz")
