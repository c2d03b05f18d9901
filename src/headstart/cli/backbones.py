"""`headstart backbones`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from headstart.cli.console import out
from headstart.errors import BackboneError
from headstart.files import human_bytes

if TYPE_CHECKING:
    from headstart.backbones.layers import Layer

_TREE_WIDTH = 120
_COLUMNS: Mapping[str, JustifyMethod] = {
    "layer": "left",
    "kind": "left",
    "parameters": "right",
    "output": "right",
    "an image": "right",
}


def backbones(pattern: str = "*", /, *, depth: int | None = None) -> int:
    """List the backbones that can be used; for one NAME, the tree of its layers.

    Args:
        pattern: Part of a name, or a name with * and ?.
        depth: Levels of the tree to show. By default two, and no level without a layer to take features from.
    """
    from headstart.backbones import find_card, list_backbones

    cards = list_backbones(pattern)
    if not cards:
        find_card(pattern)  # raises, with the nearest names
        raise BackboneError(f"No backbone's name holds {pattern!r}.")
    if len(cards) == 1 and cards[0].name == pattern:
        _show_layers(pattern, depth)
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "parameters", "input", "licence", "weights", "what it is"):
        table.add_column(
            title, justify="right" if title in {"parameters", "input"} else "left", no_wrap=title == "name"
        )
    for card in cards:
        table.add_row(
            card.name,
            f"{card.parameters / 1e6:.1f} M",
            str(card.preprocess.size),
            card.licence,
            "here" if card.weights_here else card.get_weights,
            card.summary,
        )
    out.print(table)
    return 0


def _show_layers(name: str, depth: int | None) -> None:
    from headstart.backbones import load_backbone

    backbone = load_backbone(name, weights="none")  # its layers do not depend on its weights
    card = backbone.card
    here = "here" if card.weights_here else f"not here: {card.get_weights}"
    out.print(f"[bold]{card.name}[/bold]  {card.summary}")
    out.print(
        f"{card.parameters / 1e6:.1f} M parameters, input {card.preprocess.size} pixels, {card.licence}, weights {here}"
    )
    layers = backbone.layers(depth)
    tree = _tree(layers, {alias: backbone.cut(alias).name for alias in backbone.aliases})
    # Names are there to be copied: they are not cut short where the terminal is narrow.
    Console(highlight=False, width=max(out.width, _TREE_WIDTH)).print(tree)
    hidden = len(backbone.cuts) - len({layer.cut.name for layer in layers if layer.cut})
    more = f" {hidden} more lie deeper: --depth 9 shows them." if hidden else ""
    out.print(
        f"[dim]--layer takes the layers in bold; the last column is what storing one image costs.{more}[/dim]"
    )
    if backbone.note:
        out.print(backbone.note)


def _tree(layers: Sequence["Layer"], aliases: Mapping[str, str]) -> Table:
    """One line a layer; bold where features can be taken."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in _COLUMNS.items():
        table.add_column(title, justify=justify, no_wrap=True)
    for layer in layers:
        cut = layer.cut
        also = [alias for alias, name in aliases.items() if cut is not None and name == cut.name]
        table.add_row(
            Text.assemble(
                "  " * layer.depth,
                (layer.name, "bold" if cut else "dim"),
                (f"  = {', '.join(also)}" if also else "", "bold green"),
            ),
            Text(layer.kind, style="dim"),
            _count(layer.parameters),
            " x ".join(map(str, layer.shape or ())),
            human_bytes(cut.bytes_per_image) if cut else "",
        )
    return table


def _count(parameters: int) -> str:
    if parameters < 1000:
        return str(parameters or "")
    return f"{parameters / 1e3:.1f} k" if parameters < 1e6 else f"{parameters / 1e6:.2f} M"
