"""Probing files: the path's honest choice, and the epochs beside it."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.config import ProbeConfig
from headstart.datasets import stratified_folds
from headstart.errors import ConfigError, DataError
from headstart.features import FeatureTable, read_features, write_features
from headstart.jobs import Probe, probe
from headstart.metrics import GROUPED_INTERVAL, INTERVAL, cluster_interval
from headstart.training import Epoch, fit_head


def _table(n: int, seed: int, *, n_classes: int = 4, width: int = 10, **changes: object) -> FeatureTable:
    """Overlapping clusters, every class about as often."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = np.random.default_rng(9).normal(size=(n_classes, width))
    features = (centres[labels] + rng.normal(size=(n, width))).astype(np.float32)
    return FeatureTable(**{"features": features, "labels": labels, **changes})


def _probe(
    training: Path, validation: Path, report: Callable[[Epoch, int], object] | None = None, **options: object
) -> Probe:
    config = ProbeConfig(training_file=str(training), validation_file=str(validation), **options)
    return probe(config, report=report)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a validation file."""
    for name, table in (("train", _table(80, 0)), ("validation", _table(60, 1))):
        write_features(tmp_path / f"{name}.p", table)
    return tmp_path / "train.p", tmp_path / "validation.p"


def test_the_path_is_chosen_within_the_training_file_and_judged_on_the_other(
    files: tuple[Path, Path],
) -> None:
    found = _probe(*files, seed=2)

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

    honest, fooled = _probe(*files), _probe(files[0], tmp_path / "wrong.p")

    assert fooled.path.strength == honest.path.strength
    assert fooled.path.held_out == honest.path.held_out
    assert fooled.path.validation.accuracy < honest.path.validation.accuracy


def test_epochs_are_told_as_they_end(files: tuple[Path, Path]) -> None:
    told: list[tuple[Epoch, int]] = []

    found = _probe(*files, epochs=3, batch_size=32, seed=5, report=lambda *epoch: told.append(epoch))

    assert tuple(epoch for epoch, _ in told) == found.epochs
    assert [(epoch.number, epochs) for epoch, epochs in told] == [(1, 3), (2, 3), (3, 3)]


def _figures(found: Probe) -> list[tuple[float | None, ...]]:
    return [(e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy) for e in found.epochs]


def test_the_seed_decides_the_epochs(files: tuple[Path, Path]) -> None:
    first, again, other = (_figures(_probe(*files, epochs=3, batch_size=32, seed=s)) for s in (1, 1, 2))

    assert first == again != other


def test_epochs_go_on_where_validation_loses(files: tuple[Path, Path]) -> None:
    """All of them are run, with the weights of the last, whatever the validation file says."""
    found = _probe(*files, epochs=40, lr=0.3)

    losses = [epoch.validation_loss for epoch in found.epochs]
    assert len(losses) == 40
    assert min(losses) < losses[-1]


def test_epochs_begin_as_glorot_and_step_as_adam(files: tuple[Path, Path]) -> None:
    """One batch an epoch: the figures are those of torch's own layer, loss and optimiser."""
    found = _probe(*files, epochs=5, seed=4)

    (x, y), (x_val, y_val) = (
        (torch.from_numpy(table.features), torch.from_numpy(table.labels))
        for table in (_table(80, 0), _table(60, 1))
    )
    layer = torch.nn.Linear(10, 4)
    torch.nn.init.xavier_uniform_(layer.weight, generator=torch.Generator().manual_seed(4))
    torch.nn.init.zeros_(layer.bias)
    adam = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for epoch in found.epochs:
        loss = torch.nn.functional.cross_entropy(layer(x), y)
        assert epoch.train_loss == pytest.approx(float(loss.detach()), abs=1e-6)
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            logits = layer(x_val)
        assert epoch.validation_loss == pytest.approx(
            float(torch.nn.functional.cross_entropy(logits, y_val)), abs=1e-6
        )
        assert epoch.validation_accuracy == pytest.approx(float((logits.argmax(1) == y_val).double().mean()))


def test_the_epochs_own_options(files: tuple[Path, Path]) -> None:
    listed = _probe(*files, schedule="1e-1:2, 1e-2:1", optimizer="sgd", momentum=0.5, weight_decay=0.1)
    cosine = _probe(*files, epochs=2, lr=0.5, schedule="cosine")

    assert [epoch.lr for epoch in listed.epochs] == [0.1, 0.1, 0.01]
    assert cosine.epochs[0].lr > cosine.epochs[1].lr
    plain = _probe(*files, schedule="1e-1:2, 1e-2:1", optimizer="sgd", momentum=0.5)
    assert _figures(plain) != _figures(listed)


def test_photos_are_no_files_of_features() -> None:
    with pytest.raises(ConfigError, match="got photos"):
        probe(ProbeConfig("photos"))


def test_one_zip_for_both(files: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        for file in files:
            archive.write(file, f"vgg-100/{file.name}")

    assert (
        _probe(tmp_path / "pack.zip", tmp_path / "pack.zip").path.validation == _probe(*files).path.validation
    )


@pytest.mark.parametrize(("held_out", "n"), [("val", 30), ("test", 50)])
def test_where_a_file_knows_its_splits_they_are_kept_apart(held_out: str, n: int, tmp_path: Path) -> None:
    splits = ("train",) * 80 + ((held_out,) * 30 + ("test",) * 20 + (None,) * 10)
    table = _table(140, 0, splits=splits)
    write_features(tmp_path / "codes.parquet", table)

    found = _probe(tmp_path / "codes.parquet", tmp_path / "codes.parquet")

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

    (warning,) = _probe(files[0], tmp_path / "mixed.p").warnings

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

    (warning,) = _probe(tmp_path / "frames.p", files[1]).warnings
    grouped = _probe(tmp_path / "frames.npz", files[1])

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

    plain, grouped = (_probe(files[0], file).path.validation for file in (files[1], tmp_path / "groups.npz"))

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

    one, three = _probe(tmp_path / "4.p", files[1]), _probe(tmp_path / "12.p", files[1])

    assert one.path.rule == "not chosen, as a class has a single training image"
    assert one.path.held_out is None
    assert three.path.rule.startswith("chosen by 3-fold")


def test_a_class_without_training_images_is_a_warning(files: tuple[Path, Path], tmp_path: Path) -> None:
    table = _table(80, 0)
    write_features(tmp_path / "train.p", table.subset(np.flatnonzero(table.labels != 1)))

    found = _probe(tmp_path / "train.p", files[1], epochs=2)

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
        _probe(tmp_path / "train.npz", tmp_path / "validation.npz", epochs=1)


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
        _probe(tmp_path / "train.npz", tmp_path / "validation.npz")
