"""`headstart report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.console import download_bar, extraction_bar, out, show_note, steps_bar
from headstart.files import human_bytes


def report(
    run: Path,
    /,
    *,
    explain: Annotated[bool, Parameter(negative="")] = False,
    audit: Annotated[bool, Parameter(negative="")] = False,
    learning_curve: Annotated[bool, Parameter(negative="")] = False,
    device: str = "auto",
    store: Path | None = None,
) -> int:
    """Write the report of a run anew: one page for the browser that needs no other file.

    Args:
        run: A run folder that `headstart train` made.
        explain: Show by Grad-CAM where the classifier looks (needs the extra: pip install 'headstart[explain]').
        audit: Show what is suspect in the data: copies across splits, doubtful labels, photos unlike all others.
        learning_curve: Show what more photos would bring.
        device: Where the network runs to explain: auto, cpu, cuda or mps.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.jobs import report as report_on

    with (
        download_bar() as downloads,
        extraction_bar() as bar,
        extraction_bar("pixels") as pictures,
        steps_bar("probes") as steps,
    ):
        page = report_on(
            run,
            explain=explain,
            audit=audit,
            learning_curve=learning_curve,
            device=device,
            store=store,
            say=show_note,
            progress=bar,
            pictures=pictures,
            steps=steps,
            downloads=downloads,
        )
    out.print(f"report    {page} ({human_bytes(page.stat().st_size)})", markup=False)
    return 0
