"""Which labels may be wrong: what models that had not seen an image say of it, against what it is called."""

from dataclasses import dataclass
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.errors import ConfigError

DOUBTFUL: Final = 0.1
"""A label whose class gets less than this out of fold is listed, whatever cleanlab's rule says."""


@dataclass(frozen=True, kw_only=True)
class LabelIssues:
    """L images whose label is doubtful, the most doubtful first.

    Attributes:
        rows: (L,) int64.
        scores: (L,) float64, the out-of-fold probability of the label as it stands, 0 to 1.
        suggested: (L,) int64, the class that is most probable instead.
        judged: how many images were judged.
        wrong: how many wrong labels there are by cleanlab's estimate, named or not.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    suggested: NDArray[np.int64]
    judged: int
    wrong: int


def find_label_issues(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], judged: NDArray[np.bool_]
) -> LabelIssues:
    """Find doubtful labels by confident learning (Northcutt, Jiang & Chuang 2021, arXiv:1911.00068).

    Listed is what cleanlab prunes by noise rate, and any image whose label is not the most probable class and has a
    probability below `DOUBTFUL`; ranked by self-confidence, the label's own probability.

    Args:
        probabilities: (n, K) out of fold: from models that had seen neither the image nor a copy of it.
        labels: (n,) int64, 0 to K - 1.
        judged: (n,) which images have such probabilities.

    Returns:
        The doubtful ones.

    Raises:
        ConfigError: cleanlab is not installed.
    """
    cleanlab = load_cleanlab()
    rows = np.flatnonzero(judged)
    present, given = np.unique(labels[rows], return_inverse=True)
    if len(present) < 2:
        return _issues(rows[:0], rows[:0], np.empty(0), judged=len(rows), wrong=0)
    p = probabilities[np.ix_(rows, present)]
    p /= p.sum(axis=1, keepdims=True)
    own, said = p[np.arange(len(rows)), given], p.argmax(axis=1)
    pruned = cleanlab.filter.find_label_issues(
        given, p, filter_by="prune_by_noise_rate", min_examples_per_class=1, n_jobs=1
    )
    listed = np.flatnonzero((said != given) & (pruned | (own < DOUBTFUL)))
    listed = listed[np.argsort(own[listed], kind="stable")]
    return _issues(
        rows[listed],
        present[said[listed]],
        own[listed],
        judged=len(rows),
        wrong=int(cleanlab.count.num_label_issues(given, p)),
    )


def _issues(
    rows: NDArray[np.int64],
    suggested: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    judged: int,
    wrong: int,
) -> LabelIssues:
    return LabelIssues(rows=rows, suggested=suggested, scores=scores, judged=judged, wrong=wrong)


def load_cleanlab() -> ModuleType:
    """The library that ranks label errors.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import cleanlab
        import cleanlab.count
        import cleanlab.filter
    except ImportError as error:
        raise ConfigError(
            "Label errors are ranked by the library cleanlab, which is not installed.\n"
            'Install it: pip install "headstart[audit]", or audit without it: --labels no.'
        ) from error
    module: ModuleType = cleanlab
    return module


def can_be_judged(
    labels: NDArray[np.int64], folds: NDArray[np.int64], among: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which images can be judged out of fold: those whose class has an image in another fold.

    Args:
        labels: (n,) int64.
        folds: (n,) int64, the fold in which each image is held out.
        among: (n,) which images have a fold.

    Returns:
        (n,) bool.
    """
    rows = np.flatnonzero(among)
    _, numbers = np.unique(labels[rows], return_inverse=True)
    counts = np.zeros((numbers.max(initial=0) + 1, folds[rows].max(initial=0) + 1), np.int64)
    np.add.at(counts, (numbers, folds[rows]), 1)
    judged = np.zeros(len(labels), np.bool_)
    judged[rows] = counts.sum(axis=1)[numbers] > counts[numbers, folds[rows]]
    return judged
