"""A run as a notebook shows it: a short card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from headstart.report.words import headline, percent

_CARD = Markup(
    '<div style="border:1px solid rgba(128,128,128,.4);border-radius:6px;padding:.8em 1em;max-width:46em">'
    '<div style="font-size:1.1em"><b>{name}</b> · {technique} · {backbone}</div>'
    '<p style="margin:.5em 0">{verdict}</p>'
    "<table><tr>{titles}</tr><tr>{values}</tr></table>"
    '<p style="margin:.5em 0 0"><a href="{link}">{page}</a></p></div>'
)


def render_card(name: str, result: Mapping[str, Any], page: Path) -> str:
    """A card with the verdict, the key numbers and a link to the report; all names are escaped.

    Args:
        name: of the data set.
        result: content of the run's `result.json`.
        page: the run's report.
    """
    test, images = result["test"], result["images"]
    numbers = {
        "balanced accuracy": percent(test["balanced_accuracy"]),
        "macro F1": f"{test['macro_f1']:.3f}",
        "log loss": f"{test['log_loss']:.3f}",
        "calibration error": percent(test["ece"]),
        "training images": f"{images['train']:,}",
        "seconds": f"{result['seconds']['total']:.1f}",
    }
    return _CARD.format(
        name=name,
        technique=result["technique"],
        backbone=result["backbone"]["name"],
        verdict=headline(test),
        titles=Markup().join(Markup("<th>{}</th>").format(title) for title in numbers),
        values=Markup().join(Markup("<td>{}</td>").format(value) for value in numbers.values()),
        link=page.absolute().as_uri(),
        page=str(page),
    )
