"""`headstart compare`."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from headstart.cli.console import comparison_bar, download_bar, out, percent, print_whole, show_note
from headstart.errors import ConfigError, name_some

if TYPE_CHECKING:
    from headstart.report import ReferencePanel
    from headstart.study import Plan, PlannedRun, Reference, ReferenceProtocol
    from headstart.study.leaderboard import LeaderBoard
    from headstart.study.running import MadeRun

_MOST_NAMED = 6
_SEEDS = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


def compare(
    *targets: str,
    data: Annotated[list[str] | None, Parameter(negative="")] = None,
    split: str | None = None,
    backbones: Annotated[str | None, Parameter(name=("--backbones", "--backbone"))] = None,
    recipes: str | None = None,
    seeds: Annotated[str | None, Parameter(name=("--seeds", "--seed"))] = None,
    weights: str | None = None,
    scale: float = 1.0,
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    out_folder: Annotated[Path | None, Parameter(name="--out")] = None,
    store: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train every backbone with every recipe on every data set, and say which differences are real.

    Without a target it lists the studies that come along. The same command goes on with what is there: finished runs
    are skipped, killed ones resumed, and a run that fails stops no other.

    Args:
        targets: Data sets, as `headstart train` takes them; or one study: r1 to r5, or a TOML file of your own.
        data: This data set in place of the study's own; may be given several times.
        split: Divide the images so, in place of the study's own way.
        backbones: Networks, with commas between them: NAME, or NAME=FILE for weights of your own (also --model,
            --model_name).
        recipes: How to train, with commas between them: probe, lp-ft, finetune, scratch, auto, TOML files; by default
            probe,lp-ft. A study has cases of its own.
        seeds: Seeds, such as 0-2 or 0,3.
        weights: Weights of all networks: pretrained, none, a file or a folder.
        scale: Factor on the epochs of each learning rate, such as 0.1; each keeps at least one.
        settings: KEY=VALUE, any other option of `headstart train` for every run, such as per_class=20; may be given
            several times.
        plan: Only show what would be run, and the figures of others beside it.
        out_folder: Folder of the comparison; by default comparisons/NAME.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
        force: Train runs of the same names anew that were made with other options.
    """
    if not targets and not data:
        _show_studies()
        return 0
    from headstart.study import StudyOptions
    from headstart.study.compare import compare_plan, default_folder, plan_comparison

    options = StudyOptions(
        data=tuple(data or ()),
        split=split,
        backbones=_commas(backbones),
        weights=weights,
        scale=scale,
        seeds=_read_seeds(seeds),
        settings=_read_settings(settings or []),
    )
    planned = plan_comparison(targets, recipes=_commas(recipes), options=options)
    if plan:
        _show_plan(planned)
        return 0
    folder = default_folder(planned) if out_folder is None else out_folder
    command = _command(targets, options, recipes, folder)
    with comparison_bar() as bar, download_bar() as downloads:
        todo = len(planned.runs)

        def tell(done: float, total: float, run: PlannedRun, what: str) -> None:
            place = next(i for i, each in enumerate(planned.runs, start=1) if each is run)
            bar(done, total, f"{place}/{todo} {run.name}: {what}")

        try:
            board = compare_plan(
                planned,
                folder,
                store=store,
                force=force,
                command=command,
                progress=tell,
                ended=lambda made: bar.say(_run_line(made)),
                downloads=downloads,
            )
        except KeyboardInterrupt:
            bar.say(f"Go on with: {command}")
            raise
    _show_board(board)
    return 0 if any(row["seeds"] for row in board.rows) else 2


def _commas(text: str | None) -> tuple[str, ...]:
    return tuple(each.strip() for each in (text or "").split(",") if each.strip())


def _read_seeds(text: str | None) -> tuple[int, ...]:
    """`0-2` as 0, 1, 2; `0,3` as 0, 3."""
    found: list[int] = []
    for part in _commas(text):
        match = _SEEDS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ConfigError(f"seeds is {text!r}; expected numbers such as 0-2 or 0,3.")
        found += range(first, last + 1)
    return tuple(found)


def _read_settings(texts: list[str]) -> dict[str, Any]:
    """KEY=VALUE, the value as TOML has it, or as plain text."""
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ConfigError(f"set is {text!r}; expected KEY=VALUE, such as per_class=20.")
        try:
            read = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            read = value
        found[key.strip().replace("-", "_")] = read
    return found


def _command(targets: tuple[str, ...], options: Any, recipes: str | None, folder: Path) -> str:
    """The command line that goes on with this comparison."""
    words = ["headstart", "compare", *targets]
    for name in options.data:
        words += ["--data", name]
    for flag, value in (
        ("--split", options.split),
        ("--backbones", ",".join(options.backbones)),
        ("--recipes", recipes),
        ("--seeds", ",".join(map(str, options.seeds))),
        ("--weights", options.weights),
    ):
        words += [flag, value] if value else []
    words += ["--scale", f"{options.scale:g}"] if options.scale != 1 else []
    for key, value in options.settings.items():
        words += ["--set", f"{key}={value}" if isinstance(value, str) else f"{key}={_toml(value)}"]
    return shlex.join([*words, "--out", str(folder)])


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _run_line(made: MadeRun) -> str:
    """What became of a run."""
    name = made.planned.name
    if made.run is None:
        return f"{name}  failed: {made.reason}"
    result = made.run.result
    what = "was there" if made.skipped else f"{result['seconds']['total']:.1f} s"
    return f"{name}  {percent(result['test']['accuracy'])}  {what}"


def _show_board(board: LeaderBoard) -> None:
    """The leaderboard, and what it says."""
    from headstart.study.leaderboard import cell_text

    columns = [column for column in board.brief_columns() if column.key != "dataset"]
    if len({row["backbone"] for row in board.rows}) == 1:
        columns = [column for column in columns if column.key != "backbone"]
    for data in dict.fromkeys(row["dataset"] for row in board.rows):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            left, whole = column.kind == "text", column.kind == "text" or column.key == "accuracy"
            table.add_column(column.title, justify="left" if left else "right", no_wrap=whole)
        for row in board.rows:
            if row["dataset"] == data:
                table.add_row(*(cell_text(column, row) for column in columns))
        out.print()
        out.print(data, style="bold", markup=False)
        print_whole(table)
    out.print()
    for sentence in board.verdict:
        out.print(f"- {sentence}", markup=False, soft_wrap=False)
    _show_panels(board.record.references)
    reasons: dict[str, list[str]] = {}
    for run, reason in board.record.failures:
        reasons.setdefault(reason, []).append(run)
    for reason, runs in reasons.items():
        show_note(f"{name_some(runs, _MOST_NAMED)} failed: {reason}")
    out.print(f"report     {board.folder / 'report.html'}", markup=False)
    out.print(f"all of it  {board.folder / 'leaderboard.csv'}, leaderboard.md", markup=False)
    out.print(f"again      {board.record.command}", markup=False)


def _show_panels(panels: Sequence[ReferencePanel]) -> None:
    """The figures of others beside ours; and once for all why they cannot be compared, as `--plan` shows it."""
    panels = [panel for panel in panels if panel.figures]
    if not panels:
        return
    out.print()
    titles = list(dict.fromkeys(what for panel in panels for what, _ in panel.figures if what != "remark"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    for title in titles:
        table.add_column(title.replace(", ", "\n", 1), justify="right")
    for panel in panels:
        figures = dict(panel.figures)
        table.add_row(panel.title.partition(":")[0], *(figures.get(title, "") for title in titles))
    print_whole(table)
    for panel in panels:
        if panel.difference is not None:
            out.print(f"{panel.title.partition(':')[0]}: {panel.difference}", markup=False)
    reasons = list(dict.fromkeys(reason for panel in panels for reason in panel.differences))
    if reasons:
        out.print("[bold]not comparable with the reference's figures, because[/bold]")
        for reason in reasons:
            which = [panel.title for panel in panels if reason in panel.differences]
            only = "" if len(which) == len(panels) else f" ({', '.join(t.partition(':')[0] for t in which)})"
            out.print(f"- {reason}{only}", markup=False, soft_wrap=False)
    out.print()


def _show_studies() -> None:
    from headstart.study import load_study, shipped_studies

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("study", "what", "data", "backbones", "cases"):
        table.add_column(title, justify="right" if title == "cases" else "left", no_wrap=title == "study")
    for name in shipped_studies():
        found = load_study(name)
        data = ", ".join(each.name for each in found.data)
        table.add_row(name, found.title, data, ", ".join(found.backbones), str(len(found.cases)))
    print_whole(table)
    out.print("`headstart compare NAME --plan` shows one, without --plan it is run.")
    out.print(
        "`headstart compare PHOTOS --backbones A,B --recipes probe,lp-ft --seeds 0-2` compares on your own photos."
    )


def _show_plan(plan: Plan) -> None:
    """What is to be run, and the figures of others beside it with how they came about."""
    data = ", ".join(f"{each.name} (split {each.split})" for each in plan.data)
    out.print(f"{plan.study.name}  {plan.study.title}", style="bold", markup=False)
    out.print(f"data       {data}", markup=False)
    out.print(f"backbones  {', '.join(plan.backbones)}", markup=False)
    if plan.options.weights is not None:
        out.print(f"weights    {plan.options.weights}", markup=False)
    out.print(f"seeds      {', '.join(map(str, plan.seeds))}")
    if plan.options.scale != 1:
        out.print(f"epochs     scaled by {plan.options.scale:g}, each learning rate for at least one")
    out.print()
    print_whole(_table(plan))
    out.print()
    for line in [*_coincidences(plan), *_remarks(plan), *plan.study.notes]:
        out.print(f"- {line}", markup=False)
    compared = [beside.reference.protocol for run in plan.runs for beside in run.beside]
    for protocol in plan.study.protocols.values():
        if protocol in compared or not compared:
            _show_protocol(protocol)
    _show_differences(plan)


def _table(plan: Plan) -> Table:
    """One line a run."""
    from headstart.study import rates_in_words

    same = any(run.same_as for run in plan.runs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    for title in ("technique", "learning rate x epochs"):
        table.add_column(title)
    for title in ("normalise", "augment"):
        table.add_column(title, no_wrap=True)
    if same:
        table.add_column("same as")
    compared = any(run.beside for run in plan.runs)
    for title in ("reference train", "held out") if compared else ():
        table.add_column(title, justify="right")
    for run in plan.runs:
        table.add_row(
            run.name,
            run.case.title,
            rates_in_words(run.config),
            run.config.normalise,
            run.config.augment or "as the recipe",
            *((", ".join(run.same_as),) if same else ()),
            *_figures([beside.reference for beside in run.beside]),
        )
    return table


def _figures(references: Sequence[Reference]) -> tuple[str, ...]:
    """Accuracy on what was trained on and on what was held out, a line for each; of several with the backbone."""
    if not references:
        return ()
    held_out = [
        _percent(each.figures.validation_accuracy)
        if each.figures.test_accuracy is None
        else f"{_percent(each.figures.test_accuracy)} (test)"
        for each in references
    ]
    if len(references) > 1:
        held_out = [f"{each.backbone} {words}" for each, words in zip(references, held_out, strict=True)]
    return "\n".join(_percent(each.figures.train_accuracy) for each in references), "\n".join(held_out)


def _percent(share: float | None) -> str:
    """As it is stated, with two digits; empty where it is not."""
    return "" if share is None else f"{100 * share:.2f} %"


def _coincidences(plan: Plan) -> list[str]:
    """Which runs come to the same because the classifier is one layer."""
    from headstart.study import same_groups

    return [
        f"{', '.join(group)}: the same layer is trained from the same start, because this backbone's classifier is its "
        "last layer alone, which is new in each; only their learning rates and epochs are their own."
        for group in same_groups(plan.runs)
    ]


def _remarks(plan: Plan) -> list[str]:
    """What there is to say of single figures."""
    return [
        f"The reference's figure of {run.name}: {beside.reference.remark}."
        for run in plan.runs
        for beside in run.beside
        if beside.reference.remark
    ]


def _show_protocol(protocol: ReferenceProtocol) -> None:
    out.print()
    out.print("[bold]how the reference's figures came about[/bold]")
    for what, how in protocol.in_words():
        out.print(f"{what:<12}{how}", markup=False)


def _show_differences(plan: Plan) -> None:
    """Why no difference to the reference's figures is computed: what holds for all runs once, the rest by run."""
    reasons: dict[str, list[str]] = {}
    compared = [run for run in plan.runs if run.beside]
    for run in compared:
        for reason in dict.fromkeys(reason for beside in run.beside for reason in beside.differences):
            reasons.setdefault(reason, []).append(run.name)
    out.print()
    if not compared:
        out.print("No figure of others stands beside these runs.")
        return
    if not reasons:
        out.print("As far as it is known before the run, these can be compared with the reference's figures.")
        return
    out.print("[bold]not comparable with the reference's figures, because[/bold]")
    for reason, names in reasons.items():
        which = "" if len(names) == len(compared) else f" ({', '.join(names)})"
        out.print(f"- {reason}{which}", markup=False)
