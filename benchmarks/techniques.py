"""auto, probe, finetune and lp-ft on several data sets and seeds, with paired tests between them.

    python benchmarks/techniques.py --data ../shared/data --out techniques [--sets flowers pets] [--seeds 0 1 2]
    python benchmarks/techniques.py --self-test

Each run is `headstart train` in a fresh folder with a shared feature store. After each, its row is added to
OUT/runs.csv and whether each test image was classified right to OUT/right/SET-SEED-TECHNIQUE.csv; what stands there is
not run again, so the program can be stopped at any time and started again. `--options KEY=VALUE` gives every technique
but the probe other options than its own (`epochs=12 lr=1e-3`); rows with other options are kept, and neither run again
nor counted.

Then come the means over seeds and over sets, and for lp-ft against probe and finetune a paired test: of each image
the share of seeds in which it was classified right, the mean difference of it between the two, and a two-sided
permutation test (20,000 resamples) that changes the sign of images' differences at random. p-values of single sets are
Holm's over the sets of a comparison. The test says what the sampling of the test images explains. It takes images
for independent, which frames of one traffic sign are not, so on gtsrb, and on all sets together, it is given also
with the frames of one sign changing their sign together. These are development sets: options that were chosen by
looking at this table look better in it than they are.
"""

import argparse
import csv
import io
import itertools
import re
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from figures import describe_machine
from numpy.typing import NDArray
from scipy.stats import permutation_test

from headstart.config import TrainConfig
from headstart.files import atomic_write
from headstart.jobs import train

SETS = ("cifar10", "flowers", "gtsrb", "hymenoptera", "pets", "scenes")
TECHNIQUES = ("auto", "probe", "finetune", "lp-ft")
COMPARISONS = (("lp-ft", "probe"), ("lp-ft", "finetune"))
# What of an image's path says which physical thing it shows: the class and the track of a traffic sign.
UNITS = {"gtsrb": re.compile(r"(.+/\d+)_\d+\.png")}
_WHOLE_PATH = re.compile("(.+)")
# What `auto` is to reach on each set, in percent, in no more than so many seconds on two cores.
FLOORS = {"hymenoptera": 95, "pets": 82, "flowers": 90, "scenes": 91.5, "cifar10": 79, "gtsrb": 75}
_MOST_SECONDS = 300
_RESAMPLES = 20_000
_BATCH = 1000  # resamples at once


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run. Accuracies are shares of 1; that on validation is empty where nothing was held out."""

    set: str
    seed: int
    technique: str
    options: str
    kept: str
    validation: str
    test: float
    n: int
    seconds: float

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What is not run twice; options are not the probe's."""
        return self.set, self.seed, self.technique, self.options


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two techniques on the same images: how much better the first is, as a share of 1, and how surely."""

    difference: float
    p: float
    images: int
    units: int


class Results:
    """The folder with all runs so far."""

    def __init__(self, folder: Path) -> None:
        self._runs, self._right = folder / "runs.csv", folder / "right"
        self._right.mkdir(parents=True, exist_ok=True)
        self.rows: list[Row] = []
        if self._runs.exists():
            with self._runs.open(newline="") as file:
                self.rows = [
                    Row(**{name: _KINDS.get(name, str)(value) for name, value in row.items()})
                    for row in csv.DictReader(file)
                ]

    def add(self, row: Row, right: Mapping[str, bool]) -> None:
        """Keep a run: its images first, so that a row is never without them."""
        _write(
            self._place(row), ("path", "right"), [(path, int(is_right)) for path, is_right in right.items()]
        )
        self.rows.append(row)
        _write(self._runs, tuple(vars(row)), [tuple(vars(each).values()) for each in self.rows])

    def has(self, key: tuple[str, int, str, str]) -> bool:
        """Whether this was run."""
        return any(row.key == key for row in self.rows)

    def right(self, row: Row) -> dict[str, bool]:
        """Each test image of a run, and whether it was classified right."""
        with self._place(row).open(newline="") as file:
            return {each["path"]: each["right"] == "1" for each in csv.DictReader(file)}

    def _place(self, row: Row) -> Path:
        options = "".join(f"-{part}" for part in row.options.split())
        return self._right / f"{row.set}-{row.seed}-{row.technique}{options.replace('/', '_')}.csv"


_KINDS: Mapping[str, Any] = {"seed": int, "test": float, "n": int, "seconds": float}


def main() -> int:
    options = _options()
    if options.self_test:
        self_test()
        print("paired tests agree with counting all signs; Holm's steps are right")
        return 0
    print(describe_machine(), flush=True)
    results = Results(options.out)
    for seed, name, technique in itertools.product(options.seeds, options.sets, TECHNIQUES):
        if not results.has((name, seed, technique, _asked(technique, options))):
            _run(results, name, seed, technique, options)
    asked = [row for row in results.rows if row.options == _asked(row.technique, options)]
    rows = [row for row in asked if row.set in options.sets and row.seed in options.seeds]
    print("\n" + _accuracies(rows, options) + "\n")
    good = [_print_paired(results, rows, *pair) for pair in COMPARISONS]
    return 0 if all([*good, _print_floors(rows)]) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder that holds the sets")
    parser.add_argument("--out", type=Path, help="folder for the figures")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--store", type=Path, help="feature store; by default the user's own")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="not for the probe")
    parser.add_argument("--self-test", action="store_true", help="check the statistics, and nothing else")
    options = parser.parse_args()
    if not options.self_test and (options.data is None or options.out is None):
        parser.error("--data and --out are needed")
    return options


def _asked(technique: str, options: argparse.Namespace) -> str:
    """The options that a technique gets beyond its own."""
    return "" if technique == "probe" else " ".join(sorted(options.options))


def _run(results: Results, name: str, seed: int, technique: str, options: argparse.Namespace) -> None:
    """One run, from a fresh folder to a row."""
    asked = _asked(technique, options)
    config = replace(
        TrainConfig(str(options.data / name), recipe=technique, seed=seed), **_values(asked.split())
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = train(config, out=Path(folder) / "run", store=options.store)
        seconds = time.perf_counter() - start
        columns = run.predictions().select(["path", "true", "predicted"]).to_pydict()
    right = {
        path: true == predicted
        for path, true, predicted in zip(columns["path"], columns["true"], columns["predicted"], strict=True)
    }
    validation, test = run.result["validation"], run.result["test"]
    row = Row(
        set=name,
        seed=seed,
        technique=technique,
        options=asked,
        kept=run.result["technique"],
        validation="" if validation is None else str(validation["accuracy"]),
        test=test["accuracy"],
        n=test["n"],
        seconds=round(seconds, 1),
    )
    results.add(row, right)
    print(f"{name}, seed {seed}, {technique}: test {row.test:.1%} of {row.n}, {seconds:.0f} s", flush=True)


def _values(pairs: Sequence[str]) -> dict[str, object]:
    """`epochs=12` as {"epochs": 12}; numbers are numbers."""
    values: dict[str, object] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        kind = next((kind for kind, form in _FORMS.items() if form.fullmatch(text)), str)
        values[key] = kind(text)
    return values


_FORMS = {int: re.compile(r"\d+"), float: re.compile(r"\d*\.?\d+(e[+-]?\d+)?")}


def _accuracies(rows: Sequence[Row], options: argparse.Namespace) -> str:
    """Test accuracies in Markdown: means over the seeds, and of these over the sets."""
    lines = [f"| set | n | {' | '.join(TECHNIQUES)} |", f"|---|---|{'---|' * len(TECHNIQUES)}"]
    means: dict[str, list[float]] = {technique: [] for technique in TECHNIQUES}
    for name in options.sets:
        cells = [name, str(max((row.n for row in rows if row.set == name), default=0))]
        for technique in TECHNIQUES:
            found = [row.test for row in rows if (row.set, row.technique) == (name, technique)]
            if found:
                means[technique].append(statistics.mean(found))
            cells.append(f"{100 * means[technique][-1]:.1f} ({len(found)})" if found else "")
        lines.append(f"| {' | '.join(cells)} |")
    overall = [f"{100 * statistics.mean(each):.2f}" if each else "" for each in means.values()]
    lines.append(f"| mean over sets | | {' | '.join(overall)} |")
    seeds = ", ".join(map(str, options.seeds))
    return f"Test accuracy in %, means over seeds {seeds} (in brackets: how many); development sets.\n\n" + (
        "\n".join(lines)
    )


def _print_paired(results: Results, rows: Sequence[Row], first: str, second: str) -> bool:
    """All tests of one comparison; whether the first is nowhere significantly worse, and on the whole no worse."""
    differences = {name: _differences(results, rows, name, first, second) for name in SETS}
    differences = {name: found for name, found in differences.items() if found}
    if not differences:
        return True
    by_image, by_unit = ({}, {})
    for name, found in differences.items():
        by_image[name] = paired_test(list(found.values()))
        by_unit[name] = paired_test(list(found.values()), units=_units(name, found))
    corrected = [holm([found.p for found in each.values()]) for each in (by_image, by_unit)]
    print(f"{first} against {second}, test accuracy in points:")
    for place, (name, test) in enumerate(by_image.items()):
        line = f"  {name:12} {100 * test.difference:+.2f}, p {test.p:.4f}, Holm {corrected[0][place]:.4f}"
        if name in UNITS:
            other = by_unit[name]
            line += f"; with {other.units} signs p {other.p:.4f}, Holm {corrected[1][place]:.4f}"
        print(f"{line}; {test.images} images")
    values = [value for found in differences.values() for value in found.values()]
    units = [unit for name, found in differences.items() for unit in _units(name, found)]
    pooled, pooled_by_unit = paired_test(values), paired_test(values, units=units)
    print(
        f"  {'all':12} {100 * pooled.difference:+.2f}, p {pooled.p:.4f}; {pooled.images} images taken together; "
        f"frames of one sign as one p {pooled_by_unit.p:.4f} ({pooled_by_unit.units} units)"
    )
    worse = [
        name
        for (name, test), p in zip(by_image.items(), corrected[0], strict=True)
        if p < 0.05 and test.difference < 0
    ]
    if worse:
        print(f"  significantly worse on: {', '.join(worse)}")
    return not worse and pooled.difference >= 0


def _differences(
    results: Results, rows: Sequence[Row], name: str, first: str, second: str
) -> dict[str, float]:
    """Of each test image of a set: the share of seeds in which the first was right, less that of the second.

    Only seeds that both were run with count.
    """
    found = {
        (row.technique, row.seed): results.right(row)
        for row in rows
        if row.set == name and row.technique in (first, second)
    }
    seeds = sorted({seed for _, seed in found if (first, seed) in found and (second, seed) in found})
    if not seeds:
        return {}
    paths = sorted(found[first, seeds[0]])
    for seed in seeds:
        for technique in (first, second):
            if sorted(found[technique, seed]) != paths:
                raise SystemExit(
                    f"{name}: {technique} with seed {seed} was tested on other images than the rest"
                )
    return {
        path: sum(int(found[first, seed][path]) - int(found[second, seed][path]) for seed in seeds)
        / len(seeds)
        for path in paths
    }


def _units(name: str, paths: Sequence[str] | Mapping[str, float]) -> list[str]:
    """What each image shows: itself, or where a set has several images of one thing, that thing."""
    found = []
    for path in paths:
        match = UNITS.get(name, _WHOLE_PATH).fullmatch(path)
        if match is None:
            raise SystemExit(f"{name}: {path} does not say what it shows; expected {UNITS[name].pattern}")
        found.append(f"{name}/{match[1]}")
    return found


def paired_test(differences: Sequence[float], *, units: Sequence[str] | None = None) -> Paired:
    """Whether the mean of paired differences is other than 0, by changing signs at random.

    Where nothing makes the two techniques different, each difference could as well have had the other sign. The
    p-value is twice the smaller one-sided one, the observed signs counted among the resamples; with fewer than about
    14 differences other than 0, all signs are gone through instead.

    Args:
        differences: (n,) of each image.
        units: (n,) what changes its sign together; by default each image.
    """
    values = np.asarray(differences, dtype=np.float64)
    _, numbers = np.unique(np.arange(len(values)) if units is None else units, return_inverse=True)
    sums = np.bincount(numbers, weights=values)
    moved = sums[np.abs(sums) > 1e-9]  # a 0 keeps its sign
    p = 1.0
    if len(moved) > 1:  # a single one's two signs are as good as each other
        test = permutation_test(
            (moved,),
            _total,
            permutation_type="samples",
            vectorized=True,
            n_resamples=_RESAMPLES,
            batch=_BATCH,
            random_state=np.random.default_rng(0),
        )
        p = float(test.pvalue)
    return Paired(difference=float(values.mean()), p=p, images=len(values), units=len(sums))


def _total(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """The sum, rounded so that sums which are equal but for the order of their terms count as equal."""
    summed: NDArray[np.float64] = np.round(values.sum(axis=axis), 9)
    return summed


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected for their number (Holm 1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, number in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = largest
    return corrected


def _print_floors(rows: Sequence[Row]) -> bool:
    """`auto` beside what it is to reach; whether it does."""
    if any(row.technique == "auto" and not row.options for row in rows):
        print(f"auto, with no other option, and what it is to reach in {_MOST_SECONDS} s:")
    reached = True
    for name, floor in FLOORS.items():
        found = [row for row in rows if (row.set, row.technique, row.options) == (name, "auto", "")]
        if found:
            mean, slowest = 100 * statistics.mean(r.test for r in found), max(r.seconds for r in found)
            good = mean >= floor - 1e-9 and slowest <= _MOST_SECONDS
            reached = reached and good
            kept = ", ".join(row.kept for row in found)
            print(
                f"  {name:12} {mean:.1f} of {floor} %, at most {slowest:.0f} s, kept {kept}{'' if good else ': NO'}"
            )
    return reached


def self_test() -> None:
    """The statistics against counting all signs, and Holm's correction against one done by hand."""
    rng = np.random.default_rng(0)
    for n in (1, 3, 8, 12, 17):
        values = rng.integers(-3, 4, n) / 3
        exact = _by_counting(values)
        # Up to 14 differences are gone through; of more, 20,000 are drawn: a standard error of at most 0.0035 x 2.
        allowed = 1e-9 if np.count_nonzero(values) <= 14 else 0.02
        assert abs(paired_test(values).p - exact) <= allowed, (n, paired_test(values).p, exact)
    values, units = np.array([1, 1, 1, -1, 1, 1]) / 3, list("aabbcc")
    assert abs(paired_test(values, units=units).p - _by_counting(np.array([2, 0, 2]) / 3)) <= 1e-9
    assert paired_test([0.0, 0.0]).p == 1.0
    assert np.allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def _by_counting(values: NDArray[np.float64]) -> float:
    """The p-value by all 2^n signs, on whole numbers."""
    thirds = np.round(3 * values).astype(int)
    thirds = thirds[thirds != 0]
    if not len(thirds):
        return 1.0
    sums = np.array(list(itertools.product((1, -1), repeat=len(thirds)))) @ thirds
    above, below = (sums >= thirds.sum()).mean(), (sums <= thirds.sum()).mean()
    return min(1.0, 2 * float(min(above, below)))


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(rows)
    atomic_write(path, text.getvalue().encode())


if __name__ == "__main__":
    raise SystemExit(main())
