"""Which bars are reached: ratios of medians of paired repeats, and paired tests of what was classified right."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from techniques import UNITS, holm, paired_test

from comparing.rows import Row, Rows


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Theirs is to take at least so many times as long as ours."""

    comparison: str
    ours: str
    theirs: str
    ratio: float


BARS = (
    Bar(comparison="extract", ours="headstart exact, empty store", theirs="ordinary script", ratio=6),
    Bar(comparison="extract", ours="headstart, empty store", theirs="ordinary script", ratio=11),
    Bar(comparison="extract", ours="headstart exact, empty store", theirs="tuned script", ratio=3),
    Bar(comparison="extract", ours="headstart, empty store", theirs="tuned script", ratio=5),
    Bar(comparison="heads", ours="headstart", theirs="scikit-learn, at the same gap", ratio=5),
    Bar(comparison="finetune", ours="headstart", theirs="fastai", ratio=2),
)
_PREDICT_WITHIN = 6.0
_TRAIN_RATIO = 2.0
_LEVEL = 0.05


def judge(rows: Rows) -> tuple[list[str], bool]:
    """What can be said of the bars, a line each, and whether none of them is missed."""
    found = [line for bar in BARS for line in _judge_bar(rows, bar)]
    found += _judge_prediction(rows)
    for side in _fastai_sides(rows):
        found += _judge_training(rows, side)
    return [f"{words}: {'reached' if good else 'NOT REACHED'}" for words, good in found], all(
        good for _, good in found
    )


def ratios(ours: Sequence[Row], theirs: Sequence[Row]) -> list[float]:
    """How many times as long theirs took, of each repeat that both were measured in."""
    seconds = {row.repeat: row.seconds for row in ours}
    return [row.seconds / seconds[row.repeat] for row in theirs if row.repeat in seconds]


def _judge_bar(rows: Rows, bar: Bar) -> list[tuple[str, bool]]:
    lines = []
    for case in cases(rows, bar.comparison):
        found = ratios(rows.of(bar.comparison, case, bar.ours), rows.of(bar.comparison, case, bar.theirs))
        if found:
            median = statistics.median(found)
            words = (
                f"{bar.comparison}, {case}: {bar.theirs} takes {median:.1f} times as long as {bar.ours}, "
                f"bar {bar.ratio:g}"
            )
            lines.append((words, median >= bar.ratio))
    return lines


def _judge_prediction(rows: Rows) -> list[tuple[str, bool]]:
    seconds = [row.seconds for row in rows.of("predict", side="headstart predict")]
    if not seconds:
        return []
    median = statistics.median(seconds)
    return [
        (f"predict: one photo, cold, in {median:.1f} s, bar {_PREDICT_WITHIN:g} s", median <= _PREDICT_WITHIN)
    ]


def cases(rows: Rows, comparison: str) -> list[str]:
    """The cases of a comparison, in the order in which they came."""
    return list(dict.fromkeys(row.case for row in rows if row.comparison == comparison))


def _fastai_sides(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row.side for row in rows.of("train") if row.side.startswith("fastai")))


def _judge_training(rows: Rows, theirs: str) -> list[tuple[str, bool]]:
    """First runs against one side of fastai's: accuracy, set by set and pooled, and time."""
    ours, differences, times = "headstart, first run", {}, []
    for case in cases(rows, "train"):
        mine, other = rows.of("train", case, ours), rows.of("train", case, theirs)
        if found := _differences(mine, other):
            differences[case] = found
            times.append((_median(mine), _median(other)))
    if not differences:
        return []
    tests = {
        case: paired_test(list(found.values()), units=units(case, found))
        for case, found in differences.items()
    }
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    worse = [case for case, test in tests.items() if test.difference < 0 and corrected[case] < _LEVEL]
    values = [value for found in differences.values() for value in found.values()]
    pooled = paired_test(
        values, units=[unit for case, each in differences.items() for unit in units(case, each)]
    )
    by_set = ", ".join(
        f"{case} {100 * test.difference:+.1f} (p {corrected[case]:.3f})" for case, test in tests.items()
    )
    taken, given = (sum(each) for each in zip(*times, strict=True))
    accuracy = (
        f"{100 * pooled.difference:+.2f} points on {pooled.images} test photos together, p {pooled.p:.4f} "
        f"({pooled.units} independent things), bar above 0 with p below {_LEVEL}"
    )
    time = (
        f"first runs {taken:.0f} s, fastai {given:.0f} s over {len(times)} sets, {given / taken:.1f} times as long, "
        f"bar {_TRAIN_RATIO:g}"
    )
    lines = [
        (accuracy, pooled.difference > 0 and pooled.p < _LEVEL),
        (f"set by set (Holm's p): {by_set}; bar none significantly worse", not worse),
        (time, given / taken >= _TRAIN_RATIO),
    ]
    return [(f"train against {theirs}: {words}", good) for words, good in lines]


def _median(rows: Sequence[Row]) -> float:
    return statistics.median(row.seconds for row in rows)


def _differences(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[str, float]:
    """Of each test photo: the share of repeats in which ours was right, less that of theirs, in those both have."""
    mine, other = ({row.repeat: row.right for row in each} for each in (ours, theirs))
    repeats = sorted(mine.keys() & other.keys())
    if not repeats:
        return {}
    paths = sorted(mine[repeats[0]])
    for right in [each[repeat] for each in (mine, other) for repeat in repeats]:
        if sorted(right) != paths:
            raise SystemExit("headstart and fastai were tested on different photos")
    return {
        path: sum(mine[repeat][path] - other[repeat][path] for repeat in repeats) / len(repeats)
        for path in paths
    }


def units(case: str, paths: Sequence[str] | dict[str, float]) -> list[str]:
    """What each photo shows: itself, or where several are frames of one sign, that sign."""
    pattern = UNITS.get(case.split("-", maxsplit=1)[0])
    if pattern is None:
        return [f"{case}/{path}" for path in paths]
    matches = {path: pattern.fullmatch(path) for path in paths}
    if odd := [path for path, match in matches.items() if match is None]:
        raise SystemExit(f"{case}: {odd[0]} does not say what it shows; expected {pattern.pattern}")
    return [f"{case}/{match[1]}" for match in matches.values() if match is not None]
