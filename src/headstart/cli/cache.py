"""`headstart cache`: care of the feature store."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from rich.table import Table

from headstart.cli.console import out, print_whole
from headstart.files import human_bytes, parse_bytes

if TYPE_CHECKING:
    from headstart.features import FeatureStore, ShardRecord, StoreCheck

_SHOWN = 8

_Key = Mapping[str, Any]
"""What stored features are a function of, as the store describes it in JSON."""

app = App(name="cache", help="List, verify, repair and prune the feature store.")


@app.default
@app.command(name="list")
def list_(*, store: Path | None = None) -> int:
    """List what is stored: one row a backbone, its weights (where their sha256 begins), layer, input and view.

    Args:
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    opened = _open(store)
    records = opened.records()
    shards: dict[str, list[ShardRecord]] = {}
    for record in records:
        shards.setdefault(record.digest, []).append(record)
    # What is in the index without a shard has been pruned.
    keys = {digest: json.loads(text) for digest, text in opened.keys().items() if digest in shards}
    table, notes = _table(keys, shards)
    print_whole(table)
    for number, note in enumerate(notes, start=1):
        out.print(f"({number}) {note}", markup=False)
    out.print(f"{human_bytes(sum(record.bytes for record in records))} in {opened.root}", markup=False)
    return 0


def _table(
    keys: Mapping[str, _Key], shards: Mapping[str, Sequence["ShardRecord"]]
) -> tuple[Table, list[str]]:
    """One line a key, in order of the names; and notes on what tells apart those that have all names in common."""
    names = {digest: _names(key) for digest, key in keys.items()}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("backbone", "weights", "layer", "view", "input"):
        table.add_column(title, no_wrap=True)
    for title in ("images", "size", "last used"):
        table.add_column(title, justify="right", no_wrap=True)
    notes: list[str] = []
    for digest in sorted(keys, key=names.__getitem__):
        own, mark = shards[digest], ""
        if note := _apart(keys[digest], [keys[other] for other in keys if names[other] == names[digest]]):
            notes.append(note)
            mark = f" ({len(notes)})"
        *first, taken = names[digest]
        table.add_row(
            *first,
            taken + mark,
            str(sum(record.rows for record in own)),
            human_bytes(sum(record.bytes for record in own)),
            datetime.fromtimestamp(max(record.last_used for record in own)).strftime("%Y-%m-%d"),
        )
    return table, notes


def _names(key: _Key) -> tuple[str, ...]:
    """Backbone, weights, layer, view and input of a key, in words."""
    from headstart.features import CHANNEL_STATISTICS

    preprocess = key["preprocess"]
    # The usual mode is left out of a key.
    last = (
        key["view"].replace(" v1", ""),
        f"{preprocess['size']} {preprocess.get('resize_mode', 'crop')}",
    )
    if key["architecture"] == CHANNEL_STATISTICS:
        return "pixels: channel statistics", "", "", *last
    return key["architecture"], key["weights"][:_SHOWN], key["cut"], *last


def _apart(key: _Key, alike: Sequence[_Key]) -> str:
    """What else a key has that others with the same names have not, such as another normalisation."""
    kinds = [{**other, **other["preprocess"], **other["decoder"]} for other in alike]
    own = {**key, **key["preprocess"], **key["decoder"]}
    differing = [
        name
        for name in own
        if name not in ("preprocess", "decoder") and any(kind.get(name) != own[name] for kind in kinds)
    ]
    return ", ".join(f"{name} {_value(own[name])}" for name in differing)


def _value(value: object) -> str:
    """A list of numbers in short; whatever else as it is."""
    return " ".join(f"{each:.2f}" for each in value) if isinstance(value, list) else str(value)


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
