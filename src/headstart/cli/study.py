"""`headstart study`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from headstart.cli.console import out, print_whole, show_note

if TYPE_CHECKING:
    from headstart.study import Figures, Plan, ReferenceProtocol


def study(
    name: str | None = None,
    /,
    *,
    data: str | None = None,
    split: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    scale: float = 1.0,
    seed: int | None = None,
    out_folder: Annotated[Path | None, Parameter(name="--out")] = None,
) -> int:
    """List the studies that come along; for one NAME or FILE.toml, its cases, or with --out configs to train them.

    Args:
        name: A study that comes along, or a TOML file with one of your own.
        data: This data set in place of the study's own.
        split: Divide the images so, in place of the study's own way.
        backbone: This network in place of the study's own (also --model, --model_name).
        weights: Its weights: pretrained, none, a file or a folder.
        scale: Factor on the epochs of each learning rate, such as 0.1; each keeps at least one.
        seed: This seed in place of the study's own.
        out_folder: Write a config for each case to this folder, and print the commands that train them in order.
    """
    from headstart.study import StudyOptions, load_study, plan_study, write_configs

    if name is None:
        _show_studies()
        return 0
    options = StudyOptions(data=data, split=split, backbone=backbone, weights=weights, scale=scale, seed=seed)
    plan = plan_study(load_study(name), options)
    if out_folder is None:
        _show_plan(plan)
        return 0
    commands = write_configs(plan, out_folder)
    for line in _coincidences(plan):
        show_note(line)
    for command in commands:
        out.print(command, markup=False)
    return 0


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
    out.print("`headstart study NAME` shows one; with --out DIR it writes a config for each of its cases.")


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
    compared = [run.reference.protocol for run in plan.runs if run.reference is not None]
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
    compared = any(run.reference is not None for run in plan.runs)
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
            *(_figures(run.reference.figures) if run.reference is not None else ()),
        )
    return table


def _figures(figures: Figures) -> tuple[str, str]:
    """Accuracy on what was trained on and on what was held out."""
    if figures.test_accuracy is not None:
        return _percent(figures.train_accuracy), f"{_percent(figures.test_accuracy)} (test)"
    return _percent(figures.train_accuracy), _percent(figures.validation_accuracy)


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
        f"The reference's figure of {run.name}: {run.reference.remark}."
        for run in plan.runs
        if run.reference is not None and run.reference.remark
    ]


def _show_protocol(protocol: ReferenceProtocol) -> None:
    counts = [("trained on", protocol.n_train), ("held out", protocol.n_held_out)]
    numbers = ", ".join(f"{what}: {'not stated' if n is None else f'{n:,}'}" for what, n in counts)
    out.print()
    out.print("[bold]how the reference's figures came about[/bold]")
    for key, value in (
        ("data", protocol.data),
        ("split", protocol.split),
        ("images", numbers),
        ("backbone", protocol.backbone),
        ("weights", protocol.weights),
        ("held out", protocol.held_out_use),
        ("figures", protocol.metric),
        ("not stated", ", ".join(protocol.not_stated)),
    ):
        out.print(f"{key:<12}{value}", markup=False)


def _show_differences(plan: Plan) -> None:
    """Why no difference to the reference's figures is computed: what holds for all runs once, the rest by run."""
    reasons: dict[str, list[str]] = {}
    compared = [run for run in plan.runs if run.reference is not None]
    for run in compared:
        for reason in run.differences:
            reasons.setdefault(reason, []).append(run.name)
    out.print()
    if not compared:
        out.print("No figure of others stands beside these runs.")
        return
    out.print("[bold]not comparable with the reference's figures, because[/bold]")
    for reason, names in reasons.items():
        which = "" if len(names) == len(compared) else f" ({', '.join(names)})"
        out.print(f"- {reason}{which}", markup=False)
