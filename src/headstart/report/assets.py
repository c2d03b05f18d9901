"""What a page carries so that it needs no other file: the chart library, style, script, and data.

The content security policy names each script by its hash: whatever a file or class may be called, nothing else runs.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from headstart.report import words
from headstart.report.style import PAGE_COLOURS

_TEMPLATES: Final = "templates"
_LONE_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
# Characters that could end a <script>, or begin a comment in it, as JSON may also write them.
_UNSAFE: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: `sections/KEY.html.j2`, under its title, and in the list of links by its short one."""

    key: str
    title: str
    short: str


def render_page(template: str, context: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """A self-contained page; encodes as UTF-8.

    Args:
        template: its name.
        context: what the template uses, besides what every page has.
        data: what the script uses: see `report.js`.
    """
    scripted = {
        "policy": _policy(),
        "script": Markup(_script()),
        "data": Markup(_json({**data, "colours": dict(PAGE_COLOURS)})),
        "library": chart_library() if data["charts"] else None,
    }
    return render_template(template, {**context, **scripted})


def render_template(template: str, context: Mapping[str, Any]) -> str:
    """What a template makes of a context; encodes as UTF-8.

    Args:
        template: its name.
        context: what it uses.
    """
    html = _environment().get_template(template).render(**context)
    # A path with bytes that are no UTF-8 holds lone surrogates, which no file could hold.
    return _LONE_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", html)


@cache
def chart_library() -> str:
    """plotly.js, packed to two fifths of its size: the page unpacks it (gzip, then base64)."""
    return base64.b64encode(gzip.compress(_plotly().encode(), 6, mtime=0)).decode()


def data_uri(image: bytes) -> str:
    """A PNG or JPEG for an <img>."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _json(data: Mapping[str, Any]) -> str:
    """JSON that can stand in a <script>; NaN would be no JSON."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)


@cache
def _policy() -> str:
    """The content security policy: our own scripts, and no request to any host."""
    scripts = " ".join(f"'sha256-{_sha256(text)}'" for text in (_script(), _plotly()))
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {scripts}"


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _script() -> str:
    return (files("headstart.report") / _TEMPLATES / "report.js").read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    return str(get_plotlyjs())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headstart.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=words.breakable, percent=words.percent, duration=words.duration, facts=words.facts
    )
    return environment
