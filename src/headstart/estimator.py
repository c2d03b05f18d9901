"""A scikit-learn compatible estimator: image files in, classes out."""

import os
import warnings
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from headstart.backbones import Backbone, Weights, load_backbone
from headstart.classifier import Classifier
from headstart.config import DEFAULT_BACKBONE
from headstart.datasets import stratified_folds
from headstart.errors import DataError, name_some
from headstart.features import Extraction, FeatureStore, extract_features
from headstart.runtimes import choose_device
from headstart.training import fit_head

_MOST_FOLDS = 5
_NAMED_FILES = 5


class HeadstartClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A linear probe on a frozen pretrained network, as scikit-learn knows classifiers.

    Features are computed once and stored, so cross-validation and searches over this estimator cost one
    extraction. The head's strength is chosen by cross-validation within the images it is fitted on.

    Args:
        backbone: name of the network; see `headstart.list_backbones`.
        layer: where to take the features.
        weights: "pretrained", a file or folder of weights, or "none" for random ones.
        class_weight: None, or "balanced" to weigh each class the same.
        random_state: seed of the folds and of random weights.
        device: "auto", "cpu", "cuda" or "mps".
        store: folder of the feature store; by default the user's own.

    Attributes:
        classes_: (K,) the labels, sorted.
        classifier_: the fitted `headstart.Classifier`.
        strength_: the chosen strength.
        n_features_in_: 1, as there is one path an image.
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        *,
        layer: str = "pooled",
        weights: Weights = "pretrained",
        class_weight: Literal["balanced"] | None = None,
        random_state: int = 0,
        device: str = "auto",
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        self.backbone = backbone
        self.layer = layer
        self.weights = weights
        self.class_weight = class_weight
        self.random_state = random_state
        self.device = device
        self.store = store

    def fit(self, X: Sequence[str | os.PathLike[str]] | ArrayLike, y: ArrayLike) -> Self:
        """Fit on image files.

        Args:
            X: n paths, as a sequence, (n,) or (n, 1) array. An unreadable file is named in a warning and left out.
            y: (n,) labels.

        Returns:
            The estimator.

        Raises:
            DataError: fewer than two classes are left.
            ValueError: X and y are not what scikit-learn's classifiers take.
        """
        paths, labels = _as_paths(X), column_or_1d(y, warn=True)
        check_consistent_length(paths, labels)
        check_classification_targets(labels)
        backbone = load_backbone(self.backbone, weights=self.weights, seed=self.random_state)
        got = self._extract(paths, backbone)
        if not got.readable.all():
            warnings.warn(f"left out of the fit: {_named(got)}", stacklevel=2)
        self.classes_, targets = np.unique(labels[got.readable], return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"A classifier needs readable images of two classes; got {len(self.classes_)} class."
            )
        smallest = int(np.bincount(targets).min())
        folds = (
            stratified_folds(targets, min(_MOST_FOLDS, smallest), self.random_state) if smallest > 1 else None
        )
        fitted = fit_head(
            got.features.load(),
            targets.astype(np.int64),
            n_classes=len(self.classes_),
            folds=folds,
            class_weights=self.class_weight == "balanced",
        )
        self.strength_ = fitted.value
        self.n_features_in_ = 1
        self.classifier_ = Classifier(
            backbone=backbone,
            cut=backbone.cut(self.layer),
            head=fitted.head,
            classes=tuple(map(str, self.classes_)),
        )
        return self

    def predict_proba(self, X: Sequence[str | os.PathLike[str]] | ArrayLike) -> NDArray[np.float64]:
        """Class probabilities of image files.

        Args:
            X: n paths.

        Returns:
            (n, K) float64, columns in the order of `classes_`.

        Raises:
            DataError: a file cannot be read; all such files are counted, the first ones named.
        """
        check_is_fitted(self)
        got = self._extract(_as_paths(X), self.classifier_.backbone)
        if not got.readable.all():
            raise DataError(f"No probabilities for unreadable files: {_named(got)}.")
        return self.classifier_.probabilities(got.features.load())

    def predict(self, X: Sequence[str | os.PathLike[str]] | ArrayLike) -> NDArray[np.generic]:
        """The most probable label of each image file, (n,); raises as `predict_proba` does."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[np.generic] = self.classes_[best]
        return labels

    def _extract(self, paths: list[str], backbone: Backbone) -> Extraction:
        return extract_features(
            paths,
            backbone,
            layer=self.layer,
            store=FeatureStore(self.store),
            device=choose_device(self.device),
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def _as_paths(X: Sequence[str | os.PathLike[str]] | ArrayLike) -> list[str]:
    """A list of paths from whatever scikit-learn hands over."""
    array = np.asarray(X, dtype=object)
    if array.ndim != 1 and array.shape[1:] != (1,):
        if array.size == 0:  # in scikit-learn's own words
            raise ValueError(f"0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
        raise ValueError(f"X holds one path an image, (n,) or (n, 1); got the shape {array.shape}.")
    values = array.ravel()
    if not len(values):
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
    if wrong := [value for value in values if not isinstance(value, str | os.PathLike)]:
        raise ValueError(f"X holds paths of image files; got {type(wrong[0]).__name__}: {wrong[0]!r}.")
    return [os.fspath(value) for value in values]


def _named(got: Extraction) -> str:
    return name_some([f"{problem.path} ({problem.reason})" for problem in got.problems], _NAMED_FILES, "; ")
