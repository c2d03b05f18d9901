import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from headstart.errors import DataError
from headstart.metrics import confusion_matrix, per_class_scores

# Few images of many classes: absent and never predicted classes come up all the time.
answers = st.integers(1, 7).flatmap(
    lambda k: st.tuples(
        st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=30)
    )
)


@pytest.mark.filterwarnings("ignore:A single label:UserWarning")  # scikit-learn's
@given(answers)
def test_agrees_with_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    k, pairs = case
    true, said = np.array(pairs).T
    matrix = confusion_matrix(true, said, k)
    np.testing.assert_array_equal(matrix, oracle.confusion_matrix(true, said, labels=range(k)))

    scores = per_class_scores(matrix)
    precision, recall, f1, support = oracle.precision_recall_fscore_support(
        true, said, labels=range(k), zero_division=np.nan
    )
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    np.testing.assert_array_equal(scores.support, support)


def test_rows_are_the_truth() -> None:
    np.testing.assert_array_equal(
        confusion_matrix([0, 0, 1], [0, 1, 1], 3), [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    )


def test_undefined_is_nan_not_zero() -> None:
    scores = per_class_scores(confusion_matrix([0, 0], [0, 1], 3))
    assert scores.recall[0] == 0.5
    assert scores.precision[1] == 0.0  # predicted, wrongly
    assert np.isnan(scores.recall[1])
    assert np.isnan([scores.recall[2], scores.precision[2], scores.f1[2]]).all()


def test_no_images_is_an_empty_matrix() -> None:
    np.testing.assert_array_equal(confusion_matrix([], [], 2), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("true", "said", "message"),
    [
        ([0, 1], [0], "2 labels but 1 predictions"),
        ([0, 2], [0, 1], "expected 0 to 1"),
        ([0, 1], [0, -1], "expected 0 to 1"),
        ([0.0, 1.0], [0, 1], "integers"),
        ([[0], [1]], [0, 1], "one row"),
    ],
)
def test_labels_that_do_not_fit(true: list[int], said: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        confusion_matrix(true, said, 2)
