"""Numbers and findings in plain words."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from headstart.metrics import ReliabilityBin
from headstart.report.findings import ClassFinding, Confusion

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float, digits: int = 1) -> str:
    """0.86 as "86.0 %", with a space that does not break."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def power_of_ten(value: float) -> str:
    """0.001 as "10⁻³"."""
    return "10" + f"{np.log10(value):.0f}".translate(_SUPERSCRIPTS)


def breakable(text: str) -> Markup:
    """A name or path for a page, escaped, that may be broken where its parts meet."""
    return Markup(re.sub(r"([_/\\]+)", r"\1<wbr>", str(escape(text))))


def duration(seconds: float) -> str:
    """A time in the units people use."""
    if seconds < 120:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def headline(test: Mapping[str, Any]) -> str:
    """The one sentence: how often it is right."""
    low, high = test["accuracy_ci95"]
    _, _, scope = test["interval"].partition(", ")
    return (
        f"This classifier gets {percent(test['accuracy'])} of {test['n']:,} test images right "
        f"(95\N{NO-BREAK SPACE}% interval {100 * low:.1f} to {percent(high)}; {scope or test['interval']})."
    )


def verdict(
    test: Mapping[str, Any], classes: Sequence[ClassFinding], confusions: Sequence[Confusion]
) -> list[str]:
    """What a reader should take home, a sentence each.

    Args:
        test: the test scores, as in `result.json`.
        classes: sorted as `find_classes` does.
        confusions: sorted as `find_confusions` does.
    """
    sentences = [headline(test), _baseline(classes)]
    if not confusions:
        return [*sentences, "It makes no mistake on them."]
    return [*sentences, _weakest(classes), _confusion(confusions)]


def reliability(bins: Sequence[ReliabilityBin], ece: float) -> list[str]:
    """Whether the probabilities can be taken at their word, a sentence each.

    Args:
        bins: of the test images.
        ece: the calibration error.
    """
    n = sum(each.count for each in bins)
    said = sum(each.count * each.confidence for each in bins) / n
    was = sum(each.count * each.accuracy for each in bins) / n
    words = "too sure" if said > was else "too modest"
    gap = "as often as it says"
    if abs(said - was) >= 0.005:
        gap = f"on the whole {words}, by {100 * abs(said - was):.1f} points"
    both = f"gives its answer {percent(said)}, and is right {percent(was)} of the time"
    whole = f"On average the classifier {both}: {gap}."
    apart = f"{100 * ece:.1f} points apart (expected calibration error {percent(ece)})"
    return [whole, f"Taken bin by bin, the two lie {apart}; with {n:,} images some of that is chance."]


def facts(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A mapping as pairs of text; what is nested becomes "outer.inner"."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += facts(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", _fact(value)))
    return pairs


def _fact(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _baseline(classes: Sequence[ClassFinding]) -> str:
    commonest = max(classes, key=lambda each: each.n)
    share = commonest.n / sum(each.n for each in classes)
    return f"Always giving the same answer, “{commonest.name}”, would get {percent(share)}."


def _weakest(classes: Sequence[ClassFinding]) -> str:
    worst = classes[0]
    return f"It does worst on “{worst.name}”, with {worst.correct} of {worst.n} right."


def _confusion(confusions: Sequence[Confusion]) -> str:
    most = confusions[0]
    if most.count == 1:
        return "No class is taken for the same other class more than once."
    return (
        f"What it most often confuses: {most.count} of {most.n} images of “{most.true}” "
        f"are taken for “{most.predicted}”."
    )
