"""`headstart rank`."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from headstart.cli.console import download_bar, extraction_bar, out, percent, print_whole, show_note
from headstart.config import DEFAULT_ESTIMATOR, DEFAULT_SAMPLE, Estimator, ExtractConfig
from headstart.files import atomic_write, require_place_for

if TYPE_CHECKING:
    from headstart.study import RankedBackbone, Ranking

_COLUMNS = (
    "backbone",
    "input",
    "parameters",
    "features",
    "probe",
    "95 %",
    "kNN",
    "LogME",
    "ImageNet",
    "verdict",
)
_KEYS = (
    *(
        "backbone",
        "input_pixels",
        "parameters",
        "feature_values",
        "extracted",
        "feature_seconds",
        "estimate_seconds",
    ),
    *("probe_accuracy", "probe_low", "probe_high", "probe_log_loss", "knn_accuracy", "logme"),
    *("imagenet_accuracy", "behind_first", "p", "within_noise_of_first", "left_out_because"),
)
_TITLES = {"probe": "probe accuracy", "knn": "kNN accuracy", "logme": "LogME"}


def rank(
    data: str,
    /,
    *,
    backbones: Annotated[str | None, Parameter(name=("--backbones", "--backbone"))] = None,
    weights: Annotated[list[str] | None, Parameter(negative="")] = None,
    sample: int = DEFAULT_SAMPLE,
    by: Estimator = DEFAULT_ESTIMATOR,
    out_path: Annotated[Path | None, Parameter(name="--out")] = None,
    split: str = "auto",
    group: str | None = None,
    group_pattern: str | None = None,
    size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Literal["exact", "fast"] = "fast",
    store: Path | None = None,
) -> int:
    """Rank backbones by what a sample of the training photos tells of each, without training any.

    Each looks once at the sample; `train` finds these features in the store. Test photos are not looked at.

    Args:
        data: The photos, as `train` takes them.
        backbones: Names with commas between them; by default all whose weights are on this machine.
        weights: NAME=FILE for the backbone of that name; may be given several times.
        sample: Training photos to look at: a stratified draw, of each class at least five (or all it has).
        by: What to sort by: logme (which agrees best with what fine-tuning reaches), the accuracy of probes out of
            fold (probe), or that of nearest neighbours (knn).
        out_path: Write the figures to this CSV file too.
        split: How to divide the images, as `train` does.
        group: Column of a table that says what belongs together.
        group_pattern: Regular expression on file names whose first group says what belongs together.
        size: Side of the networks' input in pixels; by default that of their weights, or of the photos if they are
            smaller, as in fine-tuning.
        seed: Seed of the split, the sample and the folds.
        device: Where the networks run: auto, cpu, cuda or mps.
        precision: exact computes in float32; fast in bfloat16 where that is near enough.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.study import rank_backbones

    if out_path is not None:
        require_place_for(out_path)
    config = ExtractConfig(
        data,
        split=split,
        group=group,
        group_pattern=group_pattern,
        size=size,
        seed=seed,
        device=device,
        precision=precision,
    )
    names = [name.strip() for name in (backbones or "").split(",") if name.strip()]
    with download_bar() as downloads, extraction_bar() as bar:
        ranking = rank_backbones(
            config,
            names,
            weights=weights or (),
            sample=sample,
            by=by,
            store=store,
            progress=bar,
            downloads=downloads,
            begin=bar.name,
        )
    _show(ranking, config, weights or (), named=bool(names))
    if out_path is not None:
        atomic_write(out_path, _as_csv(ranking).encode())
        out.print(f"written   {out_path}", markup=False)
    return 0


def _show(ranking: Ranking, config: ExtractConfig, weights: Sequence[str], *, named: bool) -> None:
    """The table, and what it means in words."""
    for note in ranking.notes:
        show_note(note)
    for problem in ranking.problems:
        show_note(f"{problem.path}: {problem.reason}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in _COLUMNS:
        left = title in ("backbone", "verdict")
        table.add_column(title, justify="left" if left else "right", no_wrap=title != "verdict")
    for place, each in enumerate(ranking.backbones):
        table.add_row(*_row(each, ranking, is_first=not place))
    for lost in ranking.left_out:
        table.add_row(escape(lost.name), *[""] * (len(_COLUMNS) - 2), "left out, because ...")
    print_whole(table)
    for lost in ranking.left_out:
        reason = lost.reason.replace("\n", " ")
        out.print(f"... {lost.name}: {reason}", markup=False)
    groups = ", whole groups" if ranking.grouped else ""
    out.print(
        f"\nsample    {ranking.images:,} of {ranking.of:,} training images, {ranking.classes} classes; sorted by "
        f"{_TITLES[ranking.by]}; accuracies by {ranking.folds}-fold cross-validation{groups}"
    )
    out.print(f"interval  {ranking.backbones[0].probe.interval.replace('test set', 'sample')}")
    for word, sentence in zip(
        ("verdict", "next"), (_verdict(ranking), _next(ranking, config, weights)), strict=True
    ):
        out.print(f"{word:10}{sentence}", markup=False)
    if not named:
        out.print(
            "These are the backbones whose weights are on this machine. Others: --backbones resnet50,convnext_tiny "
            "(weights are fetched); `headstart backbones '*'` lists all."
        )


def _row(each: RankedBackbone, ranking: Ranking, *, is_first: bool) -> list[str]:
    low, high = each.probe.accuracy_ci95
    seconds = "stored" if not each.extracted else f"{each.feature_seconds:.1f} s"
    if 0 < each.extracted < ranking.images:
        seconds += f" for {each.extracted:,}"
    return [
        escape(each.name),
        str(each.size),
        f"{each.parameters / 1e6:.1f} M",
        seconds,
        percent(each.probe.accuracy),
        f"{100 * low:.1f} to {100 * high:.1f}",
        percent(each.knn),
        f"{each.logme:.3f}",
        "" if each.imagenet is None else percent(each.imagenet),
        "first" if is_first else _standing(each),
    ]


def _standing(each: RankedBackbone) -> str:
    """Where a backbone stands to the first, by the probes' paired answers."""
    if each.ties:
        return "within noise of the first"
    points = 100 * abs(each.behind)
    return f"{points:.1f} points {'behind' if each.behind > 0 else 'ahead of'} the first (p {_p(each.p)})"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(ranking: Ranking) -> str:
    """What the sample tells of the first, in a sentence."""
    first, *others = ranking.backbones
    if not others:
        return f"{first.name} is the only one: there is nothing to compare it with."
    if ahead := [each.name for each in others if not each.ties and each.behind < 0]:
        return (
            f"{first.name} is first by {_TITLES[ranking.by]}, which foretells fine-tuning; of probes, those on "
            f"{', '.join(ahead)} are better."
        )
    if not ranking.ties:
        return f"{first.name} stands out from the {'other' if len(others) == 1 else f'{len(others)} others'}."
    tied = [each for each in others if each.ties]
    more = ", though a larger --sample may" if ranking.images < ranking.of else ""
    small = min((first, *tied), key=lambda each: each.parameters)
    smallest = "" if small is first else f" Of these {small.name} is the smallest."
    return f"These photos do not tell {first.name} from {', '.join(ranking.ties)}{more}.{smallest}"


def _next(ranking: Ranking, config: ExtractConfig, weights: Sequence[str]) -> str:
    """The command that trains on the first, with the options that were given here."""
    name = ranking.backbones[0].name
    words = ["headstart", "train", config.data, "--backbone", name]
    own = [text for text in weights if text.startswith(f"{name}=")] or [t for t in weights if "=" not in t]
    if own:
        words += ["--weights", own[0]]
    for option in fields(config):
        value = getattr(config, option.name)
        if option.name not in ("data", "backbone", "weights") and value != option.default:
            words += [f"--{option.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _as_csv(ranking: Ranking) -> str:
    """A row for each backbone, those left out at the end."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _KEYS, restval="")
    writer.writeheader()
    for each in ranking.backbones:
        low, high = each.probe.accuracy_ci95
        values = (
            *(each.name, each.size, each.parameters, each.width, each.extracted),
            *(round(each.feature_seconds, 3), round(each.estimate_seconds, 3)),
            *(each.probe.accuracy, low, high, each.probe.log_loss, each.knn, each.logme),
            *("" if each.imagenet is None else each.imagenet, each.behind, each.p, each.ties),
        )
        writer.writerow(dict(zip(_KEYS, values, strict=False)))
    for lost in ranking.left_out:
        writer.writerow({"backbone": lost.name, "left_out_because": lost.reason.replace("\n", " ")})
    return text.getvalue()
