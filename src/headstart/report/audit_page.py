"""The page of an audit: every kind of finding with the photos that it is about, in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from headstart.report import words
from headstart.report.assets import data_uri, render_template

if TYPE_CHECKING:
    from headstart.audit import Audit, Finding, Kind

THUMBNAIL_SIDE: Final = 160
_OF_A_SET: Final = 6
_OF_TWO_CLASSES: Final = 6
_PROBLEMS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One photo of the page.

    Attributes:
        path: which.
        lines: what to write below it.
    """

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """Photos that stand side by side.

    Attributes:
        title: what they have in common.
        photos: some of them.
        more: how many are not shown.
    """

    title: str
    photos: tuple[Shown, ...]
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """The photos that a page shows of an audit.

    Attributes:
        shown: kind of finding -> sets of photos.
        totals: kind of finding -> how many sets there are, shown or not.
    """

    shown: Mapping[Kind, Sequence[PhotoSet]]
    totals: Mapping[Kind, int]

    @property
    def paths(self) -> list[str]:
        """All photos that are shown, in order of their names."""
        sets = (each for found in self.shown.values() for each in found)
        return sorted({photo.path for each in sets for photo in each.photos})


def render_audit(
    audit: Audit, thumbnails_of: Callable[[Sequence[str]], Mapping[str, bytes]], *, most: int = 30
) -> str:
    """Render the page.

    Args:
        audit: what was found.
        thumbnails_of: gives small JPEGs of photos by path; called once.
        most: findings of each kind that are shown.

    Returns:
        HTML that asks nothing of any host.
    """
    suspects = find_suspects(audit, most)
    pictures = thumbnails_of(suspects.paths)
    context = {
        "audit": audit,
        "verdict": verdict(audit),
        "suspects": suspects,
        "pictures": {path: data_uri(image) for path, image in pictures.items()},
        "problems": audit.problems[:_PROBLEMS],
    }
    return render_template("audit.html.j2", context)


def find_suspects(audit: Audit, most: int) -> Suspects:
    """The surest findings of an audit, at most `most` of each kind."""
    found: dict[Kind, list[PhotoSet]] = {
        "duplicate-across": _copies(audit, "duplicate-across"),
        "duplicate-within": _copies(audit, "duplicate-within"),
        "label": [_label(finding) for finding in audit.of_kind("label")],
        "classes": [_classes(audit, finding) for finding in audit.of_kind("classes")],
        "outlier": [_outlier(finding) for finding in audit.of_kind("outlier")],
    }
    return Suspects(
        shown={kind: sets[:most] for kind, sets in found.items()},
        totals={kind: len(sets) for kind, sets in found.items()},
    )


def verdict(audit: Audit) -> list[str]:
    """What a reader should take home, a sentence each."""
    sentences = [_on_leaks(audit)]
    doubtful = len(audit.of_kind("label"))
    if audit.labels_judged is None:
        sentences.append("Labels were not judged.")
    elif doubtful:
        sentences.append(
            f"{doubtful:,} of {audit.labels_judged:,} labels are doubtful, judged by models that get "
            f"{words.percent(audit.out_of_fold or 0)} right; by cleanlab’s estimate "
            f"{audit.wrong_labels:,} are wrong."
        )
    else:
        sentences.append("No doubtful label was found at this threshold.")
    if audit.pattern is not None:
        sentences.append("File names show what belongs together, and splits should not divide it.")
    return sentences


def _on_leaks(audit: Audit) -> str:
    leaks = audit.leaks
    if leaks is None:
        return "There are no test images, so nothing can leak into them here."
    if not leaks.leaking:
        return "No test image that training has seen was found at this threshold."
    what = "belong together with" if leaks.grouped else "are copies of"
    share = f"{leaks.leaking:,} of {leaks.test:,} test images ({words.percent(leaks.share)})"
    sentence = f"{share} {what} images of other splits"
    return f"{sentence}: this test asks for what training has shown." if leaks.many else f"{sentence}."


def _copies(audit: Audit, kind: Kind) -> list[PhotoSet]:
    """Sets of copies, in the order of their surest pair."""
    by_group = sorted(audit.of_kind(kind), key=lambda finding: (finding.group or 0, finding.rank))
    sets = [list(pairs) for _, pairs in groupby(by_group, key=lambda finding: finding.group)]
    sets.sort(key=lambda pairs: pairs[0].rank)
    return [_set(pairs) for pairs in sets]


def _set(pairs: Sequence[Finding]) -> PhotoSet:
    photos: dict[str, Shown] = {}
    for pair in pairs:
        theirs = pair.suggested or pair.class_name
        photos.setdefault(
            pair.other, Shown(path=pair.other, lines=(f"{theirs} · {pair.other_split}", pair.other))
        )
        photos.setdefault(
            pair.path, Shown(path=pair.path, lines=(f"{pair.class_name} · {pair.split}", pair.path))
        )
    score, note = pairs[0].score, pairs[0].note
    alike = note if "identical" in note else f"detail {score:.2f}{f', {note}' if note else ''}"
    shown = tuple(photos.values())[:_OF_A_SET]
    return PhotoSet(title=f"{len(photos)} photos: {alike}", photos=shown, more=len(photos) - len(shown))


def _label(finding: Finding) -> PhotoSet:
    lines = (
        f"called {finding.class_name} ({words.percent(finding.score)}) · {finding.split}",
        f"looks like {finding.suggested}",
        finding.path,
    )
    return PhotoSet(title="", photos=(Shown(path=finding.path, lines=lines),))


def _outlier(finding: Finding) -> PhotoSet:
    lines = (f"{finding.class_name} · {finding.split}", f"{finding.score:.1f} deviations away", finding.path)
    return PhotoSet(title="", photos=(Shown(path=finding.path, lines=lines),))


def _classes(audit: Audit, finding: Finding) -> PhotoSet:
    paths = audit.confused[finding.rank]
    labels = f"{finding.class_name} and {finding.suggested}"
    return PhotoSet(
        title=f"{labels}: {words.percent(finding.score)} of both, {finding.note}",
        photos=tuple(Shown(path=path, lines=(path,)) for path in paths[:_OF_TWO_CLASSES]),
        more=max(0, len(paths) - _OF_TWO_CLASSES),
    )
