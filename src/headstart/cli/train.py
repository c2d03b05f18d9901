"""`headstart train`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from headstart.cli.console import (
    TrainingBar,
    download_bar,
    epoch_line,
    extraction_bar,
    out,
    percent,
    prepare_prediction,
    show_note,
    training_bar,
)
from headstart.config import TrainConfig
from headstart.errors import ConfigError

if TYPE_CHECKING:
    from headstart.runs import Run
    from headstart.training import Epoch


def train(
    options: Annotated[TrainConfig | None, Parameter(name="*")] = None,
    *,
    config: Path | None = None,
    resume: Path | None = None,
    out_folder: Annotated[Path | None, Parameter(name="--out")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    store: Path | None = None,
    no_store: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a classifier on a folder of photos and judge it.

    The photos are all it needs. What is not set, and has no default here, is as the recipe has it.

    Args:
        options: The run's configuration.
        config: Take options from this file, such as an earlier run's config.toml; the command line wins.
        resume: Go on with the unfinished run in this folder, from its last checkpoint.
        out_folder: The run folder; by default the next free runs/NAME-k.
        force: Replace a finished run that stands there.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
        no_store: Compute features anew wherever they are needed, and keep none.
    """
    from headstart.jobs import Observers
    from headstart.jobs import train as train_run

    if resume is not None:
        options, out_folder = _resumed(options, resume, out_folder), resume
    if options is None:
        raise ConfigError("Which photos?\nGive a folder: headstart train PHOTOS, or --config FILE.")
    with extraction_bar() as bar, training_bar() as steps, download_bar() as downloads:
        run = train_run(
            options,
            out=out_folder,
            force=force,
            store=store,
            no_store=no_store,
            observers=Observers(extraction=bar, step=steps, epoch=_tell_epochs(steps), say=steps.say),
            downloads=downloads,
        )
    _show(run)
    prepare_prediction(run.folder, run.classifier, options.device)
    return 0


def _resumed(options: TrainConfig | None, resume: Path, out_folder: Path | None) -> TrainConfig:
    """The options of an unfinished run: they are what they were."""
    from headstart.config import read_config
    from headstart.runs import CONFIG_FILE, RESULT_FILE

    if options is not None or out_folder is not None:
        raise ConfigError("--resume goes on with a run as it was begun: it takes no other options.")
    if (resume / RESULT_FILE).exists():
        raise ConfigError(f"{resume} is finished: there is nothing to resume.")
    return read_config(resume / CONFIG_FILE)


def _tell_epochs(bar: TrainingBar) -> Any:
    """A line for each epoch."""

    def tell(phase: str, epoch: "Epoch", epochs: int) -> None:
        figures = vars(epoch)
        bar.say(epoch_line({"phase": phase, "epoch": epoch.number, **figures}, epochs))

    return tell


def _show(run: "Run") -> None:
    """What came out."""
    result = run.result
    images, seconds, test, choice = result["images"], result["seconds"], result["test"], result["choice"]
    for warning in result["warnings"]:
        show_note(warning)
    out.print(
        f"images    {images['train']} train, {images['val']} validation, {images['test']} test, "
        f"{len(result['classes'])} classes"
    )
    out.print(
        f"read      {images['extracted']} extracted, {images['from_store']} from the store, {seconds['read']:.1f} s"
    )
    took = ", ".join(
        f"{name} {seconds[name]:.1f} s" for name in ("fit", "probe", "finetune", "refit") if name in seconds
    )
    out.print(f"trained   {result['technique']}, {choice['rule']}; {took}", markup=False)
    if (validation := result["validation"]) is not None:
        out.print(f"checked   {percent(validation['accuracy'])} of {validation['n']} held-out images right")
    low, high = test["accuracy_ci95"]
    out.print(
        f"[bold]test      {percent(test['accuracy'])} of {test['n']} images right[/bold] "
        f"({100 * low:.1f} to {100 * high:.1f}: {test['interval']})"
    )
    out.print(f"report    {run.report}", markup=False)
    out.print(f"predict   headstart predict {shlex.quote(str(run.folder))} PHOTO", markup=False)
