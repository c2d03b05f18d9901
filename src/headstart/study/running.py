"""The runner: trains what a plan holds, what shares features one after the other, and skips what is finished."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from headstart.config import TrainConfig
from headstart.download import Progress as DownloadProgress
from headstart.errors import HeadstartError, RunError
from headstart.files import locked
from headstart.jobs import Observers, Shelf, train, written_out
from headstart.runs import RESULT_FILE, Run, load_run
from headstart.study.plan import Plan, PlannedRun
from headstart.study.rates import recipe_of

RUNS = "runs"
"""The folder of the runs' folders, in that of a comparison."""

# An epoch of the layers, of what a probe costs: only for the time that is said to be left.
_EPOCH_COST = 5.0


class Progress(Protocol):
    """Told how far a comparison is."""

    def __call__(self, done: float, total: float, run: PlannedRun, what: str) -> object:
        """`done` of `total` units of work are behind us; this run is at work, or at its end, on this."""
        ...


@dataclass(frozen=True, kw_only=True)
class MadeRun:
    """What became of a planned run.

    Attributes:
        planned: the run.
        folder: where it lies.
        run: it, once it is finished.
        reason: why it failed; None where it did not.
        skipped: whether it had been finished before.
    """

    planned: PlannedRun
    folder: Path
    run: Run | None
    reason: str | None = None
    skipped: bool = False


Ended = Callable[[MadeRun], object]
"""Told of each run as it ends."""


def run_plan(
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    ended: Ended | None = None,
    downloads: DownloadProgress | None = None,
) -> list[MadeRun]:
    """Train every run of a plan that is not finished yet, each in `FOLDER/runs/NAME`.

    A run that fails does not stop the others. One that was killed is taken up where its last checkpoint is; a second
    call skips what is finished.

    Args:
        plan: the runs.
        folder: of the comparison; it is made where it is not there.
        store: folder of the feature store; by default the user's own.
        force: replace runs of the same names with other options.
        progress: told how far it is.
        ended: told of each run as it ends.
        downloads: told how far the download of a data set is, in bytes.

    Returns:
        What became of each, in the plan's order.

    Raises:
        RunError: the folder cannot be made, another process works on it, or a run of other options stands there.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    place = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder {place} cannot be written: {error.strerror}.") from error
    with locked(place, "compares in"):
        configs = _full_configs(plan, place)
        stale = [run for run in plan.runs if _other_options(place / RUNS / run.folder, configs[run.name])]
        if stale and not force:
            raise RunError(_taken(place, stale[0], configs[stale[0].name]))
        _forget(place, plan, stale)
        work = _Runner(plan, place, configs, store, force, progress, ended, downloads)
        return [work.make(run) for run in plan.runs]


class _Runner:
    """Makes the runs of one plan, in order; what they have in common is loaded once."""

    def __init__(
        self,
        plan: Plan,
        place: Path,
        configs: Mapping[str, TrainConfig],
        store: str | os.PathLike[str] | None,
        force: bool,
        progress: Progress | None,
        ended: Ended | None,
        downloads: DownloadProgress | None,
    ) -> None:
        self._place, self._configs, self._store, self._force = place, configs, store, force
        self._progress, self._ended, self._downloads = progress, ended, downloads
        self._shelf = Shelf()
        self._made: dict[str, MadeRun] = {}
        todo = [run for run in plan.runs if not self._is_finished(run)]
        self._total = sum(map(_cost, todo))
        self._done = 0.0

    def make(self, planned: PlannedRun) -> MadeRun:
        """Train one run, or take it as it is; whatever is wrong with it is its own affair."""
        folder = self._place / RUNS / planned.folder
        before = None if planned.starts_from is None else self._made[planned.starts_from]
        if before is not None and before.run is None:
            made = MadeRun(
                planned=planned,
                folder=folder,
                run=None,
                reason=f"{planned.starts_from}, which it continues, failed",
            )
        elif self._is_finished(planned):
            made = MadeRun(planned=planned, folder=folder, run=load_run(folder), skipped=True)
        else:
            made = self._train(planned, folder)
        if not made.skipped:
            self._done += _cost(planned)
            self._tell(planned, 0.0, "done")
        self._made[planned.name] = made
        if self._ended is not None:
            self._ended(made)
        return made

    def _train(self, planned: PlannedRun, folder: Path) -> MadeRun:
        self._tell(planned, 0.0, "reading")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            run = train(
                self._configs[planned.name],
                out=folder,
                force=self._force,
                store=self._store,
                observers=self._observers(planned),
                downloads=self._downloads,
                report=False,
                may_end_early=False,
                shelf=self._shelf,
            )
        except HeadstartError as error:
            return MadeRun(planned=planned, folder=folder, run=None, reason=str(error))
        return MadeRun(planned=planned, folder=folder, run=run)

    def _is_finished(self, planned: PlannedRun) -> bool:
        return (self._place / RUNS / planned.folder / RESULT_FILE).exists()

    def _observers(self, planned: PlannedRun) -> Observers:
        """What the run tells of itself becomes a share of the whole."""

        def extraction(done: int, total: int) -> None:
            self._tell(planned, 0.0, f"features {done:,}/{total:,}")

        def step(
            done_images: int, total_images: int, *, epoch: int, epochs: int, loss: float, accuracy: float
        ) -> None:
            share = (epoch - 1 + done_images / max(1, total_images)) / epochs
            self._tell(planned, share, f"epoch {epoch}/{epochs}")

        return Observers(extraction=extraction, step=step)

    def _tell(self, planned: PlannedRun, share: float, what: str) -> None:
        if self._progress is not None:
            done = self._done + min(1.0, share) * _cost(planned)
            self._progress(done, self._total, planned, what)


def _cost(planned: PlannedRun) -> float:
    """About how much work a run is, a solved-for probe being 1."""
    recipe = recipe_of(planned.config)
    epochs = recipe.rates().epochs
    return 1.0 if recipe.technique == "probe" else 1.0 + _EPOCH_COST * epochs


def _full_configs(plan: Plan, place: Path) -> dict[str, TrainConfig]:
    """The configuration of each run, by its name, with the folder of the run that it continues."""
    folders = {run.name: str(place / RUNS / run.folder) for run in plan.runs}
    return {
        run.name: written_out(
            replace(run.config, init=None if run.starts_from is None else folders[run.starts_from])
        )
        for run in plan.runs
    }


def _other_options(folder: Path, config: TrainConfig) -> dict[str, tuple[object, object]]:
    """The options in which a finished run differs from what is asked for: there, and here; none without a run."""
    if not (folder / RESULT_FILE).exists():
        return {}
    was, wanted = load_run(folder).result.get("asked", {}), vars(config)
    return {name: (was.get(name), value) for name, value in wanted.items() if was.get(name) != value}


def _taken(place: Path, planned: PlannedRun, config: TrainConfig) -> str:
    """That a run of other options stands in the way."""
    name, (was, wanted) = next(iter(_other_options(place / RUNS / planned.folder, config).items()))
    return (
        f"{place / RUNS / planned.folder} was made with {name} {_shown(was)}, and {_shown(wanted)} is asked for.\n"
        "Choose another --out, or train such runs anew with --force."
    )


def _shown(value: object) -> str:
    return "as the recipe has it" if value is None else str(value)


def _forget(place: Path, plan: Plan, stale: Sequence[PlannedRun]) -> None:
    """Make runs to be replaced unfinished ones, with all that continue them, these first."""
    names = {run.name for run in stale}
    for run in plan.runs:  # each comes after the one that it continues
        if run.starts_from in names:
            names.add(run.name)
    for run in reversed(plan.runs):
        if run.name in names:
            (place / RUNS / run.folder / RESULT_FILE).unlink(missing_ok=True)
