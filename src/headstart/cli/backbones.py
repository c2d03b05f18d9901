"""`headstart backbones`."""

from rich.table import Table
from rich.text import Text

from headstart.cli.console import out
from headstart.errors import BackboneError
from headstart.files import human_bytes


def backbones(pattern: str = "*", /) -> int:
    """List the backbones that can be used; for one NAME, its layers.

    Args:
        pattern: Part of a name, or a name with * and ?.
    """
    from headstart.backbones import find_card, list_backbones

    cards = list_backbones(pattern)
    if not cards:
        find_card(pattern)  # raises, with the nearest names
        raise BackboneError(f"No backbone's name holds {pattern!r}.")
    if len(cards) == 1 and cards[0].name == pattern:
        _show_layers(pattern)
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "parameters", "input", "licence", "weights", "what it is"):
        table.add_column(
            title, justify="right" if title in {"parameters", "input"} else "left", no_wrap=title == "name"
        )
    for card in cards:
        table.add_row(
            card.name,
            "" if card.parameters is None else f"{card.parameters / 1e6:.1f} M",
            str(card.preprocess.size),
            card.licence,
            "here" if card.weights_here else card.get_weights,
            card.summary,
        )
    out.print(table)
    return 0


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
