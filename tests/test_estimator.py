"""The scikit-learn estimator: what classifiers promise, as far as X can hold paths of images."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils import Tags
from sklearn.utils.estimator_checks import check_estimator

from headstart.errors import BackboneError, DataError
from headstart.estimator import HeadstartClassifier

DrawPhotos = Callable[..., Path]

# scikit-learn runs most of its checks only on estimators of numbers. Those that fit, or expect a complaint about the
# numbers in X, cannot pass where X holds paths; all others must.
_FITS_NUMBERS = "fits on a matrix of drawn numbers, where X holds paths of images"
_NUMBERS_WORDS = "expects a complaint about numbers in X in its own words, where X holds paths of images"
EXPECTED_FAILED_CHECKS = {
    "check_fit_score_takes_y": _FITS_NUMBERS,
    "check_estimators_overwrite_params": _FITS_NUMBERS,
    "check_dont_overwrite_parameters": _FITS_NUMBERS,
    "check_estimators_fit_returns_self": _FITS_NUMBERS,
    "check_readonly_memmap_input": _FITS_NUMBERS,
    "check_n_features_in_after_fitting": _FITS_NUMBERS,
    "check_positive_only_tag_during_fit": _FITS_NUMBERS,
    "check_estimators_dtypes": _FITS_NUMBERS,
    "check_complex_data": _NUMBERS_WORDS,
    "check_dtype_object": _FITS_NUMBERS,
    "check_pipeline_consistency": _FITS_NUMBERS,
    "check_estimators_nan_inf": _NUMBERS_WORDS,
    "check_estimator_sparse_tag": _FITS_NUMBERS,
    "check_estimator_sparse_array": _NUMBERS_WORDS,
    "check_estimator_sparse_matrix": _NUMBERS_WORDS,
    "check_estimators_pickle": _FITS_NUMBERS,
    "check_f_contiguous_array_estimator": _FITS_NUMBERS,
    "check_classifier_data_not_an_array": _FITS_NUMBERS,
    "check_classifiers_one_label": _FITS_NUMBERS,
    "check_classifiers_classes": _FITS_NUMBERS,
    "check_classifiers_train": _FITS_NUMBERS,
    "check_classifiers_regression_target": _NUMBERS_WORDS,
    "check_supervised_y_2d": _FITS_NUMBERS,
    "check_class_weight_classifiers": _FITS_NUMBERS,
    "check_methods_sample_order_invariance": _FITS_NUMBERS,
    "check_methods_subset_invariance": _FITS_NUMBERS,
    "check_fit2d_1sample": _NUMBERS_WORDS,
    "check_fit2d_1feature": _NUMBERS_WORDS,
    "check_fit2d_predict1d": _FITS_NUMBERS,
    "check_requires_y_none": _NUMBERS_WORDS,
    "check_dict_unchanged": _FITS_NUMBERS,
    "check_fit_idempotent": _FITS_NUMBERS,
    "check_fit_check_is_fitted": _FITS_NUMBERS,
    "check_n_features_in": _FITS_NUMBERS,
}


class _SaysNumbers(HeadstartClassifier):
    """The same estimator, whose tags say that X holds numbers, so that no check is passed over."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("estimator-store")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> list[Path]:
    """24 photos of three classes, by class."""
    return sorted(draw_photos(tmp_path_factory.mktemp("estimator") / "photos").rglob("*.jpg"))


@pytest.fixture(scope="module")
def names(paths: list[Path]) -> list[str]:
    return [path.parent.name for path in paths]


@pytest.fixture(scope="module")
def fitted(paths: list[Path], names: list[str], store: Path) -> HeadstartClassifier:
    """Fitted on every other photo; for reading only."""
    return HeadstartClassifier(store=store).fit(paths[::2], names[::2])


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_scikit_learns_checks_on_the_tags_as_they_are(store: Path) -> None:
    results = check_estimator(HeadstartClassifier(store=store))

    assert {result["status"] for result in results} == {"passed"}


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_on_numbers_fail_only_where_x_must_be_paths(store: Path) -> None:
    results = check_estimator(
        _SaysNumbers(store=store), expected_failed_checks=EXPECTED_FAILED_CHECKS, on_skip=None
    )

    by_status: dict[str, set[str]] = {}
    for result in results:
        by_status.setdefault(result["status"], set()).add(result["check_name"])
    assert not by_status.get("failed")
    assert len(by_status["passed"]) == 18
    # A check that passes after all has no business in the list.
    assert not by_status["passed"] & EXPECTED_FAILED_CHECKS.keys()


def test_it_predicts_names(fitted: HeadstartClassifier, paths: list[Path], names: list[str]) -> None:
    assert fitted.classes_.tolist() == ["brick", "grass", "sky"]
    assert fitted.n_features_in_ == 1
    assert fitted.strength_ > 0
    assert fitted.predict(paths[1::2]).tolist() == names[1::2]
    assert fitted.score(paths[1::2], names[1::2]) == 1


def test_probabilities_stand_in_the_order_of_the_classes(
    fitted: HeadstartClassifier, paths: list[Path]
) -> None:
    probabilities = fitted.predict_proba(paths)

    assert (probabilities.shape, probabilities.dtype) == ((24, 3), np.float64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    best = fitted.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(best, fitted.predict(paths))


def test_labels_may_be_numbers(paths: list[Path], names: list[str], store: Path) -> None:
    numbers = np.array([{"brick": 30, "grass": -2, "sky": 7}[name] for name in names])

    model = HeadstartClassifier(store=store).fit(paths, numbers)

    assert model.classes_.tolist() == [-2, 7, 30]
    assert model.predict(paths).dtype.kind == "i"
    np.testing.assert_array_equal(model.predict(paths), numbers)


@pytest.mark.parametrize("shape", ["list of str", "array", "column"])
def test_paths_come_in_many_shapes(fitted: HeadstartClassifier, paths: list[Path], shape: str) -> None:
    texts = [str(path) for path in paths]
    given = {"list of str": texts, "array": np.array(texts), "column": np.array(texts)[:, None]}[shape]

    np.testing.assert_array_equal(fitted.predict(given), fitted.predict(paths))


def test_it_is_cloned_without_what_it_learned(fitted: HeadstartClassifier, store: Path) -> None:
    copy = clone(fitted)

    assert (
        copy.get_params()
        == fitted.get_params()
        == {
            "backbone": "tf_efficientnet_lite0",
            "layer": "pooled",
            "weights": "pretrained",
            "class_weight": None,
            "random_state": 0,
            "device": "auto",
            "store": store,
        }
    )
    with pytest.raises(NotFittedError):
        copy.predict_proba(["a.jpg"])


def test_it_survives_pickling(fitted: HeadstartClassifier, paths: list[Path]) -> None:
    again = pickle.loads(pickle.dumps(fitted))

    np.testing.assert_array_equal(again.predict_proba(paths), fitted.predict_proba(paths))


@pytest.mark.slow
def test_cross_validation_over_paths(paths: list[Path], names: list[str], store: Path) -> None:
    scores = cross_val_score(HeadstartClassifier(store=store), np.array(paths, dtype=object), names, cv=3)

    assert scores.shape == (3,)
    assert scores.min() > 0.8


def test_the_same_seed_gives_the_same_bits(
    fitted: HeadstartClassifier, paths: list[Path], names: list[str]
) -> None:
    again = clone(fitted).fit(paths[::2], names[::2])

    np.testing.assert_array_equal(again.predict_proba(paths), fitted.predict_proba(paths))


def test_an_unreadable_file_is_left_out_of_the_fit(
    fitted: HeadstartClassifier, paths: list[Path], names: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")

    with pytest.warns(UserWarning, match=r"left out of the fit: .*broken\.jpg"):
        model = clone(fitted).fit([broken, *paths[::2]], ["lava", *names[::2]])

    assert model.classes_.tolist() == ["brick", "grass", "sky"]
    np.testing.assert_array_equal(model.predict_proba(paths), fitted.predict_proba(paths))


def test_there_is_no_prediction_for_unreadable_files(
    fitted: HeadstartClassifier, paths: list[Path], tmp_path: Path
) -> None:
    broken = [tmp_path / f"{i}.jpg" for i in range(7)]

    with pytest.raises(DataError, match=r"No probabilities for unreadable files: .*0\.jpg.* and 2 more"):
        fitted.predict_proba([*paths, *broken])


def test_one_class_is_none(paths: list[Path], store: Path) -> None:
    with pytest.raises(DataError, match="two classes; got 1 class"):
        HeadstartClassifier(store=store).fit(paths[:3], ["a", "a", "a"])


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        ([1.0, 2.0], ["a", "b"], "X holds paths of image files; got float: 1.0"),
        (np.zeros((2, 3)), ["a", "b"], r"got the shape \(2, 3\)"),
        ([], [], "0 sample"),
        (["a.jpg"], ["a", "b"], "inconsistent numbers of samples"),
        (["a.jpg", "b.jpg"], [0.5, 0.7], "Unknown label type: continuous"),
    ],
)
def test_what_cannot_be_fitted_is_said(X: object, y: object, words: str, store: Path) -> None:
    with pytest.raises(ValueError, match=words):
        HeadstartClassifier(store=store).fit(X, y)


def test_an_unknown_backbone_is_an_error_at_fit(paths: list[Path], names: list[str]) -> None:
    with pytest.raises(BackboneError, match="Nearest: tf_efficientnet_lite0"):
        HeadstartClassifier("efficientnet_lite").fit(paths, names)


def test_a_single_image_a_class_is_enough(paths: list[Path], store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = HeadstartClassifier(store=store).fit(paths[::8], ["a", "b", "c"])

    assert model.predict(paths[::8]).tolist() == ["a", "b", "c"]
