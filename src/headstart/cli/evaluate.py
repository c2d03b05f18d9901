"""`headstart evaluate`."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.console import download_bar, extraction_bar, out, percent, show_note
from headstart.files import require_place_for


def evaluate(
    run: Path,
    photos: str,
    /,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    csv_: Annotated[Path | None, Parameter(name="--csv")] = None,
    group: str | None = None,
    group_pattern: str | None = None,
    device: str = "auto",
    store: Path | None = None,
) -> int:
    """Judge a run on a folder of photos it has not been fitted on.

    Args:
        run: A run folder that `headstart train` made.
        photos: A folder of class folders; where it has a test part, that is judged.
        json_: Print the figures as JSON; "unlike" is the share of images that are unlike anything in training.
        csv_: Write one row an image to this file: path, true, predicted, probability of each class.
        group: Column of a table that says what belongs together; the interval takes account of it.
        group_pattern: Regular expression on file names that says so, as in `headstart train`.
        device: Where the network runs: auto, cpu, cuda or mps.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.jobs import evaluate as evaluate_run
    from headstart.runs import write_predictions_csv

    if csv_ is not None:
        require_place_for(csv_)
    with extraction_bar() as bar, download_bar() as downloads:
        evaluation = evaluate_run(
            run,
            photos,
            group=group,
            group_pattern=group_pattern,
            store=store,
            device=device,
            progress=bar,
            downloads=downloads,
        )
    if csv_ is not None:
        write_predictions_csv(csv_, evaluation.predictions, evaluation.classes)
    for problem in evaluation.problems:
        show_note(f"{problem.path}: {problem.reason}")
    if evaluation.fitted_on:
        show_note(f"{evaluation.fitted_on} images are left out: this run was fitted on them.")
    scores = evaluation.scores
    unlike = None if evaluation.unlike is None else float((evaluation.unlike > 1).mean())
    if json_:
        out.print(json.dumps({**scores.to_dict(), "unlike": unlike}, indent=2), markup=False)
        return 0
    low, high = scores.accuracy_ci95
    out.print(
        f"[bold]{percent(scores.accuracy)} of {scores.n} images right[/bold] "
        f"({100 * low:.1f} to {100 * high:.1f}: {scores.interval}), {evaluation.part}"
    )
    out.print(
        f"balanced accuracy {percent(scores.balanced_accuracy)}, macro F1 {scores.macro_f1:.3f}, "
        f"log loss {scores.log_loss:.3f}, calibration error {scores.ece:.3f}"
    )
    if unlike is not None:
        out.print(f"{percent(unlike)} of them are unlike anything in training")
    return 0
