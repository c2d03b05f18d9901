"""`headstart backbones`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from headstart.cli.console import out
from headstart.files import human_bytes

if TYPE_CHECKING:
    from headstart.backbones import BackboneCard


def backbones(name: str | None = None, /) -> int:
    """List the backbones that can be used; for one NAME, its layers.

    Without a name, those with a short name and those whose weights are on this machine are listed.

    Args:
        name: A backbone, for its layers; else part of some names, or a pattern with * and ? ("*" is all).
    """
    from headstart.backbones import find_card, is_backbone, list_backbones

    if name is None:
        _show_overview()
    elif is_backbone(name):
        _show_layers(name)
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
        f"{len(cards) - len(listed)} more of torchvision and timm: "
        "`headstart backbones mobilenet` lists those whose name holds that, `headstart backbones '*'` all."
    )


def _show_cards(cards: Sequence[BackboneCard], names: Mapping[str, str] | None = None) -> None:
    """A table of cards; with `names`, each under another name, its own beside it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", *(("in full",) if names else ()), "input", "weights", "licence"):
        table.add_column(title, justify="right" if title == "input" else "left", no_wrap=title != "licence")
    for card in cards:
        table.add_row(
            *((names[card.name], card.name) if names else (card.name,)),
            str(card.preprocess.size),
            "here" if card.weights_here else "to fetch",
            card.licence,
        )
    out.print(table)


def _show_layers(name: str) -> None:
    from headstart.backbones import load_backbone

    backbone = load_backbone(name, weights="none")  # its layers do not depend on its weights
    card = backbone.card
    parameters = sum(each.numel() for each in backbone.network.parameters())
    here = "here" if card.weights_here else f"not here: {card.get_weights}"
    out.print(f"[bold]{card.name}[/bold]  {card.summary}")
    out.print(
        f"{parameters / 1e6:.1f} M parameters, input {card.preprocess.size} pixels, {card.licence}, weights {here}"
    )
    names = {alias: backbone.cut(alias).name for alias in card.aliases}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("layer (--layer)", "features", "an image", "parameters before"):
        table.add_column(title, justify="left" if title.startswith("layer") else "right")
    for cut in backbone.cuts.values():
        also = [alias for alias, canonical in names.items() if canonical == cut.name]
        table.add_row(
            Text.assemble(cut.name, (f"  = {', '.join(also)}" if also else "", "bold green")),
            " x ".join(map(str, cut.shape)),
            human_bytes(cut.bytes_per_image),
            f"{cut.parameters / 1e6:.2f} M",
        )
    out.print(table)
