"""Which differences on a leaderboard are real, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.errors import name_some
from headstart.metrics import holm, paired_permutation
from headstart.runs import Run
from headstart.study.rows import Entry

LEVEL: Final = 0.05
_MOST_NAMED: Final = 12


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Which test images a run got right.

    Attributes:
        images: (n,) path and true class of each, sorted.
        correct: (n,) whether it was right.
        units: (n,) what belongs together: the image's group, or the image itself.
    """

    images: tuple[tuple[str, str], ...]
    correct: NDArray[np.bool_]
    units: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """The best row of a data set against another.

    Attributes:
        label: of the other.
        p: of the paired test, corrected by Holm's method for all rows of the data set; None where the two were not
            tested on the same images, so that they cannot be paired.
    """

    label: str
    p: float | None

    @property
    def is_real(self) -> bool:
        """Whether the difference is more than chance would give."""
        return self.p is not None and self.p <= LEVEL


def read_answers(run: Run) -> Answers:
    """What a run's predictions say of each of its test images."""
    told = run.predictions().select(["path", "true", "predicted"]).to_pydict()
    images = run.images().to_pydict()
    group: Mapping[str, object] = dict(zip(images["path"], images.get("group", images["path"]), strict=True))
    rows = sorted(zip(told["path"], told["true"], told["predicted"], strict=True))
    return Answers(
        images=tuple((path, true) for path, true, _ in rows),
        correct=np.array([true == predicted for _, true, predicted in rows]),
        units=tuple(str(group[path]) for path, _, _ in rows),
    )


def compare_best(entries: Sequence[Entry]) -> list[Pairing]:
    """The first of a data set's rows against each of the others that has runs.

    Per image the seeds' answers are added up, and whole groups are thrown together where there are groups.

    Args:
        entries: the rows of one data set, the best first.
    """
    answers = [{run.config.seed: read_answers(run) for run in entry.runs} for entry in entries]
    others = [i for i in range(1, len(entries)) if answers[i]]
    raw = {i: _p_value(answers[0], answers[i]) for i in others}
    tested = [i for i in others if raw[i] is not None]
    corrected = dict(zip(tested, holm([p for i in tested if (p := raw[i]) is not None]), strict=True))
    return [Pairing(label=entries[i].short, p=corrected.get(i)) for i in others]


def _p_value(first: Mapping[int, Answers], second: Mapping[int, Answers]) -> float | None:
    """Of the paired test over the seeds that both have; None where these have other test images."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds or any(first[seed].images != second[seed].images for seed in seeds):
        return None
    units = [unit for seed in seeds for unit in first[seed].units]
    _, numbers = np.unique(np.array(units, dtype=object).astype(str), return_inverse=True)
    hits = [np.concatenate([side[seed].correct for seed in seeds]) for side in (first, second)]
    return paired_permutation(*hits, groups=numbers)


def verdict(entries: Sequence[Entry]) -> list[str]:
    """What the leaderboard says, a sentence each: for each data set the best row, what it beats, what it ties with."""
    found: list[str] = []
    for data in dict.fromkeys(entry.planned.data for entry in entries):
        of_data = [entry for entry in entries if entry.planned.data == data]
        found += _of_data(data, of_data)
    return found


def _of_data(data: str, entries: Sequence[Entry]) -> list[str]:
    best = entries[0]
    if not best.runs:
        return [f"On {data} every run failed."]
    sentences = [_headline(data, best)]
    pairings = compare_best(entries)
    beaten = [each for each in pairings if each.is_real]
    tied = [each for each in pairings if each.p is not None and not each.is_real]
    unpaired = [each.label for each in pairings if each.p is None]
    if beaten:
        sentences.append(
            f"On {data} it really beats {_listed(beaten)}: more than chance would give, image by image."
        )
    if tied:
        sentences.append(f"On {data} it ties with {_listed(tied)}: these test images cannot tell them apart.")
    if unpaired:
        sentences.append(
            f"On {data} it is not compared image by image with {name_some(unpaired, _MOST_NAMED)}: "
            "these were tested on other images or other seeds."
        )
    return sentences


def _headline(data: str, best: Entry) -> str:
    values, seeds = best.values, len(best.runs)
    interval = best.runs[0].result["test"]["interval"]
    over = (
        ""
        if seeds == 1
        else f", mean of {seeds} seeds that spread by {100 * values['accuracy_sd']:.1f} points"
    )
    return (
        f"On {data}, {best.short} is best: {100 * values['accuracy']:.1f} % of the test images right "
        f"({100 * values['accuracy_low']:.1f} to {100 * values['accuracy_high']:.1f}; {interval}{over})."
    )


def _listed(pairings: Sequence[Pairing]) -> str:
    """Labels with their corrected p-values."""
    return name_some([f"{each.label} (p {_small(each.p)})" for each in pairings], _MOST_NAMED)


def _small(p: float | None) -> str:
    assert p is not None
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
