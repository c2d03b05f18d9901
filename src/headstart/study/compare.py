"""Compare: plan, run, and say what has come out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headstart.download import Progress as DownloadProgress
from headstart.errors import ConfigError
from headstart.study.adhoc import make_study
from headstart.study.leaderboard import LeaderBoard, make_board, write_board
from headstart.study.plan import Plan, StudyOptions, plan_study
from headstart.study.reading import load_study, shipped_studies
from headstart.study.running import Ended, Progress, run_plan

_FOLDER = "comparisons"


def plan_comparison(
    targets: Sequence[str],
    *,
    recipes: Sequence[str] = (),
    options: StudyOptions | None = None,
) -> Plan:
    """What a comparison takes: of a study, or of data sets.

    Args:
        targets: the name of one study that comes along, one TOML file, or data sets.
        recipes: of data sets; a study has cases of its own.
        options: what takes the place of the study's own; of data sets, what they are compared on.

    Raises:
        ConfigError: what was given does not go together, or cannot be used.
        BackboneError: there is no such backbone or layer.
    """
    options = options if options is not None else StudyOptions()
    studies = [name for name in targets if is_study(name)]
    if not studies:
        study = make_study(
            (*targets, *options.data), backbones=options.backbones, recipes=recipes, seeds=options.seeds
        )
        return plan_study(study, replace(options, data=()))
    if len(targets) > 1:
        raise ConfigError(
            f"{studies[0]} is a study and stands alone; got {len(targets)} names.\n"
            f"Give other data with --data: headstart compare {studies[0]} --data PHOTOS."
        )
    if recipes:
        raise ConfigError(f"The study {studies[0]} has cases of its own.\nLeave out --recipes.")
    return plan_study(load_study(studies[0]), options)


def is_study(name: str) -> bool:
    """Whether a name is that of a study that comes along, and of no folder here, or of a TOML file."""
    return name.endswith(".toml") or (name in shipped_studies() and not Path(name).exists())


def default_folder(plan: Plan) -> Path:
    """Where a comparison lies unless it is said: the same each time, so that the same call goes on with it."""
    return Path(_FOLDER) / plan.study.name


def compare_plan(
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    force: bool = False,
    command: str = "",
    progress: Progress | None = None,
    ended: Ended | None = None,
    downloads: DownloadProgress | None = None,
) -> LeaderBoard:
    """Run what is left of a plan, and write the leaderboard; see `run_plan` and `headstart.compare`."""
    made = run_plan(
        plan, folder, store=store, force=force, progress=progress, ended=ended, downloads=downloads
    )
    place = Path(folder)
    board = make_board(plan, made, folder=place, command=command or f"headstart compare --out {place}")
    write_board(board)
    return board


def compare(
    *data: str | os.PathLike[str],
    backbones: Sequence[str] = (),
    recipes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    split: str | None = None,
    weights: str | None = None,
    scale: float = 1.0,
    settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> LeaderBoard:
    """Train every backbone with every recipe on every data set, and say which differences are real.

    The same call goes on with what is there: finished runs are skipped, killed ones resumed.

    Args:
        data: data sets as `train` takes them; or one study: its name (`r1` to `r5`) or a TOML file.
        backbones: names, or NAME=WEIGHTS; by default the bundled one, or the study's.
        recipes: names or TOML files; by default probe and lp-ft. A study has cases of its own.
        seeds: by default 0, or the study's.
        split: how images are divided; by default as given, else 80/10/10, or the study's way.
        weights: of all backbones: pretrained, none, a file or a folder.
        scale: factor on the epochs of each learning rate.
        settings: options of `TrainConfig` for every run, such as `{"per_class": 20}`.
        out: the comparison's folder; by default `comparisons/NAME`.
        store: folder of the feature store; by default the user's own.
        force: replace runs of the same names that were made with other options.

    Returns:
        The leaderboard; it has also been written to the folder.

    Raises:
        ConfigError: options cannot be used or do not go together.
        BackboneError: there is no such backbone or layer.
        RunError: the folder is in use, or holds runs of other options (without `force`).
    """
    options = StudyOptions(
        split=split,
        backbones=tuple(backbones),
        weights=weights,
        scale=scale,
        seeds=tuple(seeds),
        settings=settings or {},
    )
    plan = plan_comparison([os.fspath(each) for each in data], recipes=recipes, options=options)
    return compare_plan(plan, default_folder(plan) if out is None else out, store=store, force=force)
