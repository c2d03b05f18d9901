"""A plan as files: one config for each run, and the commands that train them in order."""

import shlex
from dataclasses import replace
from pathlib import Path

from headstart.errors import ConfigError
from headstart.files import atomic_write
from headstart.study.plan import Plan, PlannedRun

RUNS = "runs"
"""The folder of the runs' folders, beside the configs."""


def write_configs(plan: Plan, folder: Path) -> list[str]:
    """Write `FOLDER/NAME.toml` for each run of a plan.

    A run that continues another has that one's folder, `FOLDER/runs/OTHER`, for its `init`.

    Args:
        plan: the runs.
        folder: where to; it is made where it is not there.

    Returns:
        The commands that train them, in an order in which each finds the run that it starts from.

    Raises:
        ConfigError: a config that says something else stands there, or the folder cannot be made.
        DiskFullError: there is no room.
    """
    texts = {folder / f"{run.name}.toml": _config_text(plan, run, folder.absolute()) for run in plan.runs}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            if path.exists() and path.read_bytes() != text:
                raise ConfigError(
                    f"{path} says something else than would be written there.\n"
                    "Give another --out, or delete it if the runs made from it are no longer needed."
                )
        for path, text in texts.items():
            atomic_write(path, text)
    except OSError as error:
        raise ConfigError(f"The configs cannot be written to {folder}: {error.strerror}.") from error
    return [_command(folder, run) for run in plan.runs]


def _config_text(plan: Plan, run: PlannedRun, folder: Path) -> bytes:
    """The config, with what it is and what stands beside it as comments."""
    lines = [f"Study {plan.study.name} ({plan.study.title}): {run.name}, {run.title}."]
    if run.reference is not None:
        lines.append(f"Not comparable with the reference's figures, because {'; '.join(run.differences)}.")
    if run.same_as:
        lines.append(
            f"Trains the same layer from the same start as {', '.join(run.same_as)}; rates and epochs are its own."
        )
    comments = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    init = None if run.starts_from is None else str(folder / RUNS / run.starts_from)
    return (comments + replace(run.config, init=init).to_toml()).encode()


def _command(folder: Path, run: PlannedRun) -> str:
    config, out = folder / f"{run.name}.toml", folder / RUNS / run.name
    return f"headstart train --config {shlex.quote(str(config))} --out {shlex.quote(str(out))}"
