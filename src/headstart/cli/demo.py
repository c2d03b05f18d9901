"""`headstart demo`."""

import shlex
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from headstart.cli.console import extraction_bar, out
from headstart.cli.train import train
from headstart.config import TrainConfig


def demo(
    name: Literal["materials", "flowers"] = "materials",
    /,
    *,
    folder: Path = Path("headstart-demo"),
    store: Path | None = None,
) -> int:
    """Run the main job on patches of real photographs that come along (offline), or on real flower photos.

    Args:
        name: materials, or flowers (fetches 229 MB).
        folder: Where photos and runs are written.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.demo import compare, prepare_photos
    from headstart.runs import load_run

    photos = prepare_photos(name, folder)
    config = TrainConfig(photos, recipe="probe")
    command = ["headstart", "train", photos, "--recipe", "probe", "--out", str(folder / "run")]
    out.print(Text(f"$ {shlex.join(command)}", "bold"))
    train(config, out_folder=folder / "run", force=True, store=store)
    first = load_run(folder / "run")
    out.print("\n[bold]The same again: what is frozen is computed once[/bold]")
    train(first.config, out_folder=folder / "run-again", force=True, store=store)
    again = load_run(folder / "run-again")
    with extraction_bar() as bar:
        rows = compare(first, folder / "baselines", store=store, progress=bar)
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for title in ("images a class", "pretrained features", "random features", "raw pixels"):
        table.add_column(title, justify="right")
    for row in rows:
        figures = (f"{100 * share:.0f} %" for share in (row.pretrained, row.random, row.pixels))
        table.add_row(str(row.per_class), *figures)
    n = first.result["test"]["n"]
    out.print(f"\n[bold]What the head start is worth: accuracy on the same {n} test images[/bold]")
    out.print(table)
    took, retook = first.result["seconds"], again.result["seconds"]
    out.print(
        f"\nfirst run   {took['read']:.1f} s to read the photos, {took['total']:.1f} s in all\n"
        f"second run  {retook['read']:.2f} s to read the photos, {retook['total']:.1f} s in all"
    )
    out.print(f"report      {first.report}", markup=False)
    return 0
