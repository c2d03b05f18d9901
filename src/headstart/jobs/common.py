"""What both jobs share."""

from collections.abc import Sequence

import numpy as np

from headstart.datasets import ImageDataset, Problem
from headstart.features import Extraction


def named_problems(dataset: ImageDataset, got: Extraction) -> tuple[Problem, ...]:
    """The extraction's problems, under the data set's own names of the files."""
    reasons = {problem.path: problem.reason for problem in got.problems}
    rows = np.flatnonzero(~got.readable)
    names, paths = dataset.names(), dataset.paths()
    return tuple(Problem(path=names[row], reason=reasons[paths[row]]) for row in rows)


def listing(names: Sequence[str], most: int = 8) -> str:
    """Names for an error's text."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
