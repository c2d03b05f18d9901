"""Which classes are taken for which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.errors import DataError


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of each of K classes; NaN where a score is not defined.

    Attributes:
        recall: (K,) share of the class's images that were found, 0 to 1; NaN for a class without images.
        precision: (K,) share of the answers with this class that were right; NaN for a class never predicted.
        f1: (K,) harmonic mean of both; NaN for a class that is neither present nor predicted.
        support: (K,) int64, images of the class.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count how often each class was taken for each.

    Args:
        labels: (n,) true classes, integers from 0 to `classes` - 1.
        predicted: (n,) predicted classes, likewise.
        classes: K, the number of classes, whether or not they occur.

    Returns:
        (K, K) int64: row = true class, column = predicted class.

    Raises:
        DataError: the lengths differ, or a class lies outside 0 to K - 1.
    """
    true, said = check_labels(labels, classes), check_labels(predicted, classes)
    if len(true) != len(said):
        raise DataError(f"Got {len(true)} labels but {len(said)} predictions; expected as many of each.")
    return np.bincount(true * classes + said, minlength=classes * classes).reshape(classes, classes)


def per_class_scores(matrix: NDArray[np.int64]) -> ClassScores:
    """Recall, precision and F1 of each class.

    Args:
        matrix: (K, K) counts, row = true class, column = predicted class.

    Returns:
        The scores, in the order of the classes.
    """
    found = np.diagonal(matrix)
    support, answers = matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(
        recall=_ratio(found, support),
        precision=_ratio(found, answers),
        f1=_ratio(2 * found, support + answers),
        support=support,
    )


def check_labels(labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Labels as (n,) int64, or a DataError that says what is wrong with them."""
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise DataError(f"Labels must be one row of integers; got shape {array.shape} of {array.dtype}.")
    if array.size and not 0 <= array.min() <= array.max() < classes:
        raise DataError(f"Labels run from {array.min()} to {array.max()}; expected 0 to {classes - 1}.")
    return array.astype(np.int64)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Part / whole, NaN where there is no whole."""
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
