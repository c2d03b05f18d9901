"""The rows of a leaderboard: one for each data set, backbone and case, over its seeds."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headstart.report import Column
from headstart.runs import Run
from headstart.study.plan import Plan, PlannedRun
from headstart.study.rates import rates_in_words, recipe_of
from headstart.study.running import RUNS, MadeRun

_TRAINING: Final = ("fit", "probe", "finetune", "refit")
"""The parts of a run's seconds that are training; reading and extracting are shared by all runs of a data set."""

COLUMNS: Final = (
    Column(key="dataset", title="data", kind="text", better=None),
    Column(key="backbone", title="backbone", kind="text", better=None),
    Column(key="recipe", title="recipe", kind="text", better=None),
    Column(key="seeds", title="seeds", kind="integer", better=None),
    Column(key="accuracy", title="accuracy", kind="percent", better="higher"),
    Column(key="accuracy_low", title="95 % from", kind="percent", better=None),
    Column(key="accuracy_high", title="to", kind="percent", better=None),
    Column(key="accuracy_sd", title="spread over seeds", kind="percent", better="lower"),
    Column(key="balanced_accuracy", title="balanced accuracy", kind="percent", better="higher"),
    Column(key="macro_f1", title="macro-F1", kind="percent", better="higher"),
    Column(key="log_loss", title="log loss", kind="number", better="lower"),
    Column(key="ece", title="calibration error", kind="percent", better="lower"),
    Column(key="train_accuracy", title="train accuracy", kind="percent", better=None),
    Column(key="train_loss", title="train loss", kind="number", better=None),
    Column(key="validation_accuracy", title="validation accuracy", kind="percent", better=None),
    Column(key="validation_loss", title="validation loss", kind="number", better=None),
    Column(key="seconds", title="training", kind="seconds", better="lower"),
    Column(key="seconds_per_epoch", title="an epoch", kind="seconds", better="lower"),
    Column(key="ms_per_image", title="inference ms", kind="number", better="lower"),
    Column(key="parameters", title="parameters", kind="integer", better="lower"),
    Column(key="megabytes", title="size, MB", kind="number", better="lower"),
)
"""What every leaderboard has."""

CASE_COLUMNS: Final = (
    Column(key="technique", title="technique", kind="text", better=None),
    Column(key="learning_rates", title="learning rates x epochs", kind="text", better=None),
    Column(key="epochs", title="epochs", kind="integer", better=None),
    Column(key="normalisation", title="normalisation", kind="text", better=None),
    Column(key="synthetic", title="synthetic data", kind="text", better=None),
)
"""What distinguishes the cases of a study."""

REMARK: Final = Column(key="remark", title="remark", kind="text", better=None)
"""Why runs of a row failed, where some did."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the leaderboard with the runs it stands on.

    Attributes:
        label: data set, backbone and case in words, as far as there are several.
        short: the same without the data set.
        planned: its first run.
        made: its runs, a seed each.
        values: by column.
    """

    label: str
    short: str
    planned: PlannedRun
    made: tuple[MadeRun, ...]
    values: Mapping[str, Any]

    @property
    def runs(self) -> list[Run]:
        """Those that did not fail."""
        return [made.run for made in self.made if made.run is not None]

    @property
    def accuracies(self) -> list[float]:
        """On test, one a seed."""
        return [run.result["test"]["accuracy"] for run in self.runs]


def make_entries(plan: Plan, made: Sequence[MadeRun]) -> list[Entry]:
    """The rows, the data sets in the plan's order, and within each the most accurate first and what failed last."""
    groups: dict[tuple[str, str, str], list[MadeRun]] = {}
    for each in made:
        run = each.planned
        groups.setdefault((run.data, run.backbone, run.case.name), []).append(each)
    entries = [_entry(plan, tuple(group)) for group in groups.values()]
    order = {run.data: place for place, run in reversed([*enumerate(plan.runs)])}
    return sorted(entries, key=lambda entry: (order[entry.planned.data], *_goodness(entry)))


def columns_of(plan: Plan, entries: Sequence[Entry]) -> tuple[Column, ...]:
    """The columns: a study's cases have their own beside the usual ones."""
    remark = (REMARK,) if any(entry.values["remark"] for entry in entries) else ()
    return COLUMNS + (CASE_COLUMNS if plan.study.is_written else CASE_COLUMNS[:1]) + remark


def _goodness(entry: Entry) -> tuple[bool, float, float]:
    """What sorts rows; of equally accurate ones the one that is less surprised comes first."""
    accuracy, loss = entry.values["accuracy"], entry.values["log_loss"]
    return (accuracy is None, -(accuracy or 0.0), loss or 0.0)


def _entry(plan: Plan, made: tuple[MadeRun, ...]) -> Entry:
    planned = made[0].planned
    short = " ".join([planned.backbone] * (len(plan.backbones) > 1) + [planned.case.name])
    label = " ".join([planned.data] * (len(plan.data) > 1) + [short])
    runs = [each.run for each in made if each.run is not None]
    first = next((f"{RUNS}/{each.folder.name}" for each in made if each.run is not None), None)
    values = {
        "dataset": planned.data,
        "backbone": planned.backbone,
        "recipe": planned.case.name,
        "seeds": len(runs),
        **_figures(runs),
        **_case_values(planned, runs),
        "remark": _remark(made),
        "run": first,
    }
    return Entry(label=label, short=short, planned=planned, made=made, values=values)


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    """Means over seeds. The interval's bounds are means too, so that it is as wide as that of a single run."""
    results = [run.result for run in runs]

    def mean(figure: Callable[[Mapping[str, Any]], float | None]) -> float | None:
        values = [value for result in results if (value := figure(result)) is not None]
        return statistics.fmean(values) if values else None

    def of(part: str, name: str) -> float | None:
        return mean(lambda result: None if result[part] is None else result[part][name])

    accuracies = [result["test"]["accuracy"] for result in results]
    epochs = [_seconds_per_epoch(run) for run in runs]
    timed = [seconds for seconds in epochs if seconds is not None]
    return {
        **{
            name: of("test", name)
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")
        },
        "accuracy_low": mean(lambda result: result["test"]["accuracy_ci95"][0]),
        "accuracy_high": mean(lambda result: result["test"]["accuracy_ci95"][1]),
        "accuracy_sd": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "train_accuracy": of("train", "accuracy"),
        "train_loss": of("train", "loss"),
        "validation_accuracy": of("validation", "accuracy"),
        "validation_loss": of("validation", "log_loss"),
        "seconds": mean(lambda result: sum(result["seconds"].get(part, 0.0) for part in _TRAINING)),
        "seconds_per_epoch": statistics.fmean(timed) if timed else None,
        "ms_per_image": of("classifier", "ms_per_image"),
        "parameters": results[0]["classifier"]["parameters"] if results else None,
        "megabytes": results[0]["classifier"]["bytes"] / 1e6 if results else None,
    }


def _seconds_per_epoch(run: Run) -> float | None:
    """Of the layers' epochs, or of a head's where that is all there is; `auto` draws a head's only to show them."""
    phase = "probe" if run.result["technique"] == "probe" else "finetune"
    if recipe_of(run.config).is_solved_for or (phase == "probe" and run.config.recipe == "auto"):
        return None
    seconds = [row["seconds"] for row in run.history() if row["phase"] == phase]
    return statistics.fmean(seconds) if seconds else None


def _case_values(planned: PlannedRun, runs: Sequence[Run]) -> dict[str, Any]:
    """What a run does, in the words of a table of cases."""
    recipe = recipe_of(planned.config)
    kept = sorted({run.result["technique"] for run in runs})
    return {
        "technique": " or ".join(kept) or recipe.technique,
        "learning_rates": rates_in_words(planned.config),
        "epochs": recipe.rates().epochs,
        "normalisation": "the data set's" if planned.config.normalise == "dataset" else "the weights'",
        "synthetic": {"none": "none", "six": "six-fold"}.get(recipe.augment, f"random ({recipe.augment})"),
    }


def _remark(made: Sequence[MadeRun]) -> str | None:
    """Which seeds failed, and why."""
    failed = [each for each in made if each.reason is not None]
    if not failed:
        return None
    seeds = ", ".join(str(each.planned.config.seed) for each in failed)
    reason = str(failed[0].reason).splitlines()[0]
    return f"seed {seeds} failed: {reason}" if len(made) > 1 else f"failed: {reason}"
