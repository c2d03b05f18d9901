"""Evaluation: only photos the run has not seen, matched to its classes by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.config import TrainConfig
from headstart.errors import DataError, RunError
from headstart.jobs import evaluate, train
from headstart.runs import Run

DrawPhotos = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Run:
    """A run on PHOTOS/CLASS, beside its own store; for reading only."""
    home = tmp_path_factory.mktemp("evaluate")
    photos = draw_photos(home / "photos", per_class=12)
    return train(TrainConfig(str(photos), recipe="probe"), out=home / "run", store=home / "store")


@pytest.fixture
def store(run: Run) -> Path:
    return run.folder.parent / "store"


def test_on_its_own_photos_a_run_is_judged_by_its_test_images(run: Run, store: Path) -> None:
    found = evaluate(run.folder, run.config.data, store=store)

    expected = run.predictions()
    assert list(found.predictions.paths) == expected["path"].to_pylist()
    assert found.fitted_on == 36 - len(expected)
    assert found.part == "all images"
    for name in ("accuracy", "accuracy_ci95", "balanced_accuracy", "macro_f1", "log_loss", "ece", "n"):
        assert getattr(found.scores, name) == pytest.approx(run.result["test"][name], abs=1e-5), name
    for k, name in enumerate(found.classes):
        np.testing.assert_allclose(
            found.predictions.probabilities[:, k], expected[f"probability.{name}"].to_numpy(), atol=1e-5
        )
    assert found.unlike is not None
    assert (found.unlike > 1).mean() == pytest.approx(run.result["unlike"]["test_false_alarms"])


def test_where_there_is_a_test_part_it_is_judged(
    run: Run, store: Path, tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    draw_photos(tmp_path / "new/train", per_class=3, seed=8)
    draw_photos(tmp_path / "new/test", per_class=2, seed=9)

    found = evaluate(run.folder, tmp_path / "new", store=store)

    assert found.part == "the test part"
    assert found.scores.n == 6
    assert all(path.startswith("test/") for path in found.predictions.paths)


def test_a_subset_of_the_classes_is_matched_by_name(
    run: Run, store: Path, tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    drawn = draw_photos(tmp_path / "drawn", per_class=4, seed=9)
    new = tmp_path / "new"
    new.mkdir()
    for name in ("sky", "grass"):  # labels 0 and 1 here, 1 and 2 in the run
        (drawn / name).rename(new / name)

    found = evaluate(run.folder, new, store=store)

    assert found.classes == ("brick", "grass", "sky")
    assert set(found.predictions.labels.tolist()) == {1, 2}
    assert found.scores.accuracy > 0.8
    for path, label in zip(found.predictions.paths, found.predictions.labels, strict=True):
        assert path.startswith(found.classes[label])


def test_unknown_classes_are_named(run: Run, store: Path, tmp_path: Path, draw_photos: DrawPhotos) -> None:
    new = draw_photos(tmp_path / "new", classes=("brick", "lava", "wool"), per_class=2)

    with pytest.raises(DataError, match=r"does not know 'lava', 'wool'\.\n.*'brick', 'grass', 'sky'"):
        evaluate(run.folder, new, store=store)


def test_photos_that_were_fitted_on_are_not_judged(run: Run, store: Path, tmp_path: Path) -> None:
    for row in run.images().to_pylist():
        if row["split"] != "test":
            copy = tmp_path / "seen" / row["class"] / f"renamed-{Path(row['path']).name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((Path(run.config.data) / row["path"]).read_bytes())

    with pytest.raises(DataError, match="33 were used to fit this run"):
        evaluate(run.folder, tmp_path / "seen", store=store)


def test_an_unreadable_photo_is_listed(
    run: Run, store: Path, tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    new = draw_photos(tmp_path / "new", per_class=2, seed=9)
    (new / "grass" / "broken.jpg").write_text("no image")

    found = evaluate(run.folder, new, store=store)

    assert [problem.path for problem in found.problems] == ["grass/broken.jpg"]
    assert found.scores.n == 6


def test_a_folder_that_is_no_run(tmp_path: Path, photo_folder: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        evaluate(photo_folder, photo_folder)
