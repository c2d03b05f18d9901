"""`headstart backbones`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from headstart.cli.console import out, print_whole
from headstart.files import human_bytes

if TYPE_CHECKING:
    from headstart.backbones import BackboneCard
    from headstart.backbones.layers import Layer

_COLUMNS: Mapping[str, JustifyMethod] = {
    "layer": "left",
    "kind": "left",
    "parameters": "right",
    "output": "right",
    "an image": "right",
}


def backbones(name: str | None = None, /, *, depth: int | None = None) -> int:
    """List the backbones that can be used; for one NAME, the tree of its layers.

    Without a name, those with a short name and those whose weights are on this machine are listed.

    Args:
        name: A backbone, for its layers; else part of some names, or a pattern with * and ? ("*" is all).
        depth: Levels of the tree to show. By default two, and no level without a layer to take features from.
    """
    from headstart.backbones import find_card, is_backbone, list_backbones

    if name is None:
        _show_overview()
    elif is_backbone(name):
        _show_layers(name, depth)
    elif cards := list_backbones(name):
        _show_cards(cards)
    else:
        find_card(name)  # raises, with the nearest names
    return 0


def _show_overview() -> None:
    from headstart.backbones import SHORT_NAMES, list_backbones

    short = {full: name for name, full in SHORT_NAMES.items()}
    cards = list_backbones()
    listed = [card for card in cards if card.weights_here or card.name in short]
    _show_cards(listed, {card.name: short.get(card.name, card.name) for card in listed})
    out.print(
        f"{len(cards) - len(listed)} more of torchvision, timm and Caffe: "
        "`headstart backbones mobilenet` lists those whose name holds that, `headstart backbones '*'` all."
    )


def _show_cards(cards: Sequence[BackboneCard], names: Mapping[str, str] | None = None) -> None:
    """A table of cards; with `names`, each under another name, its own beside it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", *(("in full",) if names else ()), "input", "weights", "licence"):
        table.add_column(title, justify="right" if title == "input" else "left", no_wrap=True)
    for card in cards:
        table.add_row(
            *((names[card.name], card.name) if names else (card.name,)),
            str(card.preprocess.size),
            _where(card),
            card.licence,
        )
    print_whole(table)


def _where(card: BackboneCard) -> str:
    """Where the weights are, in a word or two."""
    by_hand = card.get_weights.startswith("--weights")  # nobody serves them
    return "here" if card.weights_here else "by hand" if by_hand else "to fetch"


def _show_layers(name: str, depth: int | None) -> None:
    from headstart.backbones import load_backbone

    backbone = load_backbone(name, weights="none")  # its layers do not depend on its weights
    card = backbone.card
    parameters = sum(each.numel() for each in backbone.network.parameters())
    here = "here" if card.weights_here else f"not here: {card.get_weights}"
    out.print(f"[bold]{card.name}[/bold]  {card.summary}")
    out.print(
        f"{parameters / 1e6:.1f} M parameters, input {card.preprocess.size} pixels, licence {card.licence}, "
        f"weights {here}"
    )
    layers = backbone.layers(depth)
    tree = _tree(layers, {alias: backbone.cut(alias).name for alias in backbone.aliases})
    print_whole(tree)
    hidden = len(backbone.cuts) - len({layer.cut.name for layer in layers if layer.cut})
    more = f" {hidden} more lie deeper: --depth 9 shows them." if hidden else ""
    out.print(
        f"[dim]--layer takes the layers in bold; the last column is what storing one image costs.{more}[/dim]"
    )
    if backbone.note:
        out.print(backbone.note, markup=False)  # it may quote code, whose brackets are no markup


def _tree(layers: Sequence[Layer], aliases: Mapping[str, str]) -> Table:
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
