"""`headstart train`."""

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.console import download_bar, extraction_bar, out, percent, show_note
from headstart.config import TrainConfig


def train(
    options: Annotated[TrainConfig, Parameter(name="*")],
    *,
    config: Path | None = None,
    out_folder: Annotated[Path | None, Parameter(name="--out")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    store: Path | None = None,
) -> int:
    """Train a classifier on a folder of photos and judge it.

    Args:
        options: The run's configuration.
        config: Take options from this file, such as an earlier run's config.toml; the command line wins.
        out_folder: The run folder; by default the next free runs/NAME-k.
        force: Replace a finished run that stands there.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.jobs import train as train_run

    with extraction_bar() as bar, download_bar() as downloads:
        run = train_run(options, out=out_folder, force=force, store=store, progress=bar, downloads=downloads)
    result = run.result
    images, seconds, test = result["images"], result["seconds"], result["test"]
    for warning in result["warnings"]:
        show_note(warning)
    out.print(
        f"images    {images['train']} train, {images['val']} validation, {images['test']} test, "
        f"{len(result['classes'])} classes"
    )
    out.print(
        f"features  {images['extracted']} extracted, {images['from_store']} from the store, {seconds['extract']:.1f} s"
    )
    out.print(f"head      {result['choice']['rule']}, {seconds['fit']:.1f} s")
    if (validation := result["validation"]) is not None:
        out.print(f"checked   {percent(validation['accuracy'])} of {validation['n']} held-out images right")
    low, high = test["accuracy_ci95"]
    out.print(
        f"[bold]test      {percent(test['accuracy'])} of {test['n']} images right[/bold] "
        f"({100 * low:.1f} to {100 * high:.1f}: {test['interval']})"
    )
    out.print(f"report    {run.report}", markup=False)
    out.print(f"predict   headstart predict {shlex.quote(str(run.folder))} PHOTO", markup=False)
    return 0
