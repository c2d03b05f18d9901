"""`headstart cache`: care of the feature store."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App
from rich.table import Table

from headstart.cli.console import out, print_whole
from headstart.files import human_bytes, parse_bytes

if TYPE_CHECKING:
    from headstart.features import FeatureStore, StoreCheck

_SHOWN = 8

app = App(name="cache", help="List, verify, repair and prune the feature store.")


@app.default
@app.command(name="list")
def list_(*, store: Path | None = None) -> int:
    """List what is stored: one row a backbone, its weights (where their sha256 begins) and layer.

    Args:
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    opened = _open(store)
    records = opened.records()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("backbone", "weights", "layer", "images", "shards", "size", "last used"):
        table.add_column(
            title, justify="right" if title in {"images", "shards", "size"} else "left", no_wrap=True
        )
    for digest, description in opened.keys().items():
        key, own = json.loads(description), [record for record in records if record.digest == digest]
        if own:
            table.add_row(
                key["architecture"],
                key["weights"][:_SHOWN],
                key["cut"],
                str(sum(record.rows for record in own)),
                str(len(own)),
                human_bytes(sum(record.bytes for record in own)),
                datetime.fromtimestamp(max(record.last_used for record in own)).strftime("%Y-%m-%d"),
            )
    print_whole(table)
    out.print(f"{human_bytes(sum(record.bytes for record in records))} in {opened.root}", markup=False)
    return 0


@app.command
def verify(*, store: Path | None = None) -> int:
    """Read every shard and check it against its checksums and the index; exit code 1 where something is wrong.

    Args:
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    found = _open(store).verify()
    _show(found)
    if not found.sound:
        out.print("Run `headstart cache repair`.")
    return 0 if found.sound else 1


@app.command
def repair(*, store: Path | None = None) -> int:
    """Remove damaged shards and what killed processes left, and rebuild the index from the shards.

    Args:
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    _show(_open(store).repair())
    out.print("repaired: damaged rows are forgotten and will be computed again when they are needed")
    return 0


@app.command
def prune(keep: str, /, *, store: Path | None = None) -> int:
    """Remove the least recently used shards until the rest fits.

    Args:
        keep: How much may stay, such as 500M, 10G or 0.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    shards, size = _open(store).prune(parse_bytes(keep))
    out.print(f"removed {shards} shards, {human_bytes(size)}")
    return 0


def _open(store: Path | None) -> "FeatureStore":
    from headstart.features import FeatureStore

    return FeatureStore(store)


def _show(found: "StoreCheck") -> None:
    out.print(f"{found.shards} shards, {found.rows} sound rows")
    out.print(
        f"damaged: {found.bad_shards} shards, {found.bad_rows} rows; not in the index: {found.unindexed_shards}; "
        f"missing: {found.missing_shards}; left temporary files: {found.temporary_files}"
    )
