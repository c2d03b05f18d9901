"""The plan of a study: which runs it takes, in order, each with its whole configuration."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from headstart.config import TrainConfig, require_known
from headstart.datasets import full_location
from headstart.errors import ConfigError
from headstart.study.classifiers import INSTEAD, NetworkParts, find_parts, trains_classifier, with_parts
from headstart.study.comparing import differences
from headstart.study.rates import recipe_of, scale_epochs
from headstart.study.study import Case, Reference, Study, StudyData

_ELSEWHERE = {
    **{name: f"--{name}" for name in ("data", "split", "weights")},
    "backbone": "--backbones",
    "seed": "--seeds",
    "recipe": "--recipes, or a case of a study",
    "init": "start_from in a study",
}
"""What is asked for by other means than a setting, and by which."""

_RATES = ("lr", "epochs", "schedule", "warmup")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What is asked for in place of a study's own.

    Attributes:
        data: the data sets; none for the study's own.
        split: how they are divided.
        backbones: the backbones, each a name or NAME=WEIGHTS; none for the study's own.
        weights: their weights, where they do not come with the name.
        scale: factor on the epochs of each learning rate; each keeps at least one.
        seeds: the seeds; none for the study's own.
        settings: options of `TrainConfig` that take the place of every case's.
    """

    data: tuple[str, ...] = ()
    split: str | None = None
    backbones: tuple[str, ...] = ()
    weights: str | None = None
    scale: float = 1.0
    seeds: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The scale is a number above 0, nothing is named twice, and what has an option of its own is no setting."""
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"scale is {self.scale}; expected a number above 0, such as 0.1.")
        for name in ("data", "backbones", "seeds"):
            values = getattr(self, name)
            if twice := [value for value in values if values.count(value) > 1]:
                raise ConfigError(f"{name} names {twice[0]!r} twice; expected each once.")
        require_known(self.settings, [option.name for option in fields(TrainConfig)], "set")
        if own := [key for key in self.settings if key in _ELSEWHERE]:
            raise ConfigError(f"set has {own[0]}; give {_ELSEWHERE[own[0]]} instead.")


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Figures of others that stand beside a run.

    Attributes:
        reference: the figures.
        differences: why these cannot be compared with what comes out, as far as that is known before the run.
    """

    reference: Reference
    differences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training of a study.

    Attributes:
        name: the case's, after the data set and the backbone where there are several, before the seed likewise.
        folder: name of its folder, which is the same whatever else is planned beside it.
        data, backbone: what tables call them.
        case: what is done.
        title: the case's title, and whether another layer was taken and its epochs were scaled.
        config: all options, except `init`, which is known once there is a folder.
        starts_from: name of the earlier planned run that it continues.
        same_as: names of the runs, earlier and later, that train the same layer from the same start because the
            backbone's classifier is that one layer; learning rates and epochs stay each one's own.
        beside: figures of others for it; several where none is of its data set and backbone.
    """

    name: str
    folder: str
    data: str
    backbone: str
    case: Case
    title: str
    config: TrainConfig
    starts_from: str | None
    same_as: tuple[str, ...]
    beside: tuple[Beside, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All runs of a study, in the order in which they can be made: what shares features stands together.

    Attributes:
        study: the study.
        options: what was asked for in place of its own.
        data, backbones, seeds: what is run.
        runs: the runs.
    """

    study: Study
    options: StudyOptions
    data: tuple[StudyData, ...]
    backbones: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[PlannedRun, ...]

    def run(self, name: str) -> PlannedRun:
        """The run of a name."""
        return next(run for run in self.runs if run.name == name)


def plan_study(study: Study, options: StudyOptions | None = None) -> Plan:
    """Work out the runs that a study takes.

    Args:
        study: the study.
        options: what is to be used in place of its own data sets, backbones and seeds.

    Raises:
        ConfigError: an option cannot be used, or has to be given.
        BackboneError: there is no such backbone, or it lacks the classifier that a case trains.
    """
    options = options if options is not None else StudyOptions()
    data, networks = _choose_data(study, options), _choose_networks(study, options)
    seeds = options.seeds or study.seeds
    labels = _data_labels([each.name for each in data])
    layers = {layer for case in study.cases if (layer := _options_of(case, options).get("layer"))}
    parts = {name: find_parts(name, study, layers) for name in dict.fromkeys(n.name for n in networks)}
    runs: list[PlannedRun] = []
    for each, network, seed in product(data, networks, seeds):
        cell = _Cell(
            data=each,
            label=labels[each.name],
            network=network,
            seed=seed,
            several=(len(data) > 1, len(networks) > 1, len(seeds) > 1),
            parts=parts[network.name],
        )
        runs += _plan_cell(study, options, cell)
    names = [run.folder for run in runs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"Two runs of the study {study.name} would be called {twice[0]!r}.\nRename one of its cases."
        )
    backbones = tuple(network.label for network in networks)
    return Plan(study=study, options=options, data=data, backbones=backbones, seeds=seeds, runs=tuple(runs))


@dataclass(frozen=True, kw_only=True)
class _Network:
    """A backbone as it was written: its name, the weights that were given with it, and what tables call it.

    `size` is the input's side that its weights want.
    """

    name: str
    weights: str | None
    label: str
    size: int


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One data set, backbone and seed, of which of them there are several, and what the backbone has."""

    data: StudyData
    label: str
    network: _Network
    seed: int
    several: tuple[bool, bool, bool]
    parts: NetworkParts

    def name(self, case: str) -> str:
        """Of a case's run, with what distinguishes it."""
        data, backbone, seed = self.several
        before = [self.label] * data + [self.network.label] * backbone
        return "".join(f"{_slug(name)}-" for name in before) + case + f"-seed-{self.seed}" * seed

    def folder(self, case: str) -> str:
        """Of a case's run, with all that there is."""
        return f"{_slug(self.label)}-{_slug(self.network.label)}-{case}-seed-{self.seed}"


def _choose_networks(study: Study, options: StudyOptions) -> tuple[_Network, ...]:
    """The study's own backbones, or those that are asked for, under the study's name for one that is its own."""
    from headstart.backbones import find_card

    written = [each.partition("=") for each in options.backbones or study.backbones]
    names = [name if name in study.backbones else _studys_name(name, study) for name, _, _ in written]
    return tuple(
        _Network(
            name=name,
            weights=weights if sign else options.weights,
            label=f"{name} ({Path(weights).stem})" if names.count(name) > 1 and sign else name,
            size=find_card(name).preprocess.size,
        )
        for name, (_, sign, weights) in zip(names, written, strict=True)
    )


def _studys_name(backbone: str, study: Study) -> str:
    from headstart.backbones import find_card

    card = find_card(backbone)
    own = (name for name in study.backbones if "=" not in name and find_card(name).name == card.name)
    return next(own, backbone)


def _choose_data(study: Study, options: StudyOptions) -> tuple[StudyData, ...]:
    """The data sets, by the study's own splits or the one that is asked for."""
    own = {each.name: each for each in study.data}
    chosen = tuple(own.get(name, StudyData(name=name, split="")) for name in options.data) or study.data
    if options.split is not None:
        return tuple(replace(each, split=options.split) for each in chosen)
    splits = sorted({each.split for each in study.data})
    if (strange := [each.name for each in chosen if not each.split]) and len(splits) > 1:
        raise ConfigError(
            f"The study {study.name} divides its data sets in different ways: {', '.join(splits)}.\n"
            f"Say how {strange[0]} is to be divided: --split, such as auto for folders train and test as they are."
        )
    return tuple(replace(each, split=each.split or splits[0]) for each in chosen)


def _data_labels(names: Sequence[str]) -> dict[str, str]:
    """What tables call data sets: the last part of a path, where no two have the same."""
    short = {name: re.split(r"[/\\]", name.rstrip("/\\"))[-1] or name for name in names}
    return {name: label if [*short.values()].count(label) == 1 else name for name, label in short.items()}


def _plan_cell(study: Study, options: StudyOptions, cell: _Cell) -> list[PlannedRun]:
    """The cases of one cell."""
    cases = [replace(case, options=_options_of(case, options)) for case in study.cases]
    configs = {case.name: _config(case, cell) for case in cases}
    same = _same(study, configs, cell)
    runs = []
    for case in cases:
        config = scale_epochs(configs[case.name], options.scale)
        scale = options.scale if config != configs[case.name] else 1.0
        lacking = cell.parts.lacking(case)
        other = (f"the reference takes features of {lacking}, here of {INSTEAD}",) if lacking else ()
        beside = tuple(
            Beside(
                reference=each,
                differences=differences(study, each, config, scale=scale, settings=options.settings) + other,
            )
            for each in study.references_of(case.name, {cell.data.name, cell.label}, cell.network.name)
        )
        title = case.title + (f"; {INSTEAD}, as there is no {lacking}" if lacking else "")
        runs.append(
            PlannedRun(
                name=cell.name(case.name),
                folder=cell.folder(case.name),
                data=cell.label,
                backbone=cell.network.label,
                case=case,
                title=title + (f" (epochs scaled by {scale:g})" if scale != 1 else ""),
                config=replace(config, data=full_location(config.data)),
                starts_from=None if case.start_from is None else cell.name(case.start_from),
                same_as=tuple(cell.name(other) for other in same[case.name]),
                beside=beside,
            )
        )
    return runs


def _options_of(case: Case, options: StudyOptions) -> dict[str, Any]:
    """A case's options with those that take their place."""
    return {**case.options, **options.settings}


def _same(study: Study, configs: Mapping[str, TrainConfig], cell: _Cell) -> dict[str, list[str]]:
    """For each case those that differ from it in learning rates and epochs only, on a classifier of one layer.

    Elsewhere such cases differ on purpose, in a study of learning rates.
    """
    classifier = cell.parts.classifier
    if classifier is None or not classifier.is_last_layer:
        return {name: [] for name in configs}
    merged = {case.name for case in study.cases if trains_classifier(case)}
    what = {case.name: (_but_for_rates(configs[case.name]), case.start_from) for case in study.cases}
    return {
        name: [
            other for other in what if other != name and what[other] == what[name] and {name, other} & merged
        ]
        for name in what
    }


def _config(case: Case, cell: _Cell) -> TrainConfig:
    """A case's configuration for a cell; the size is that of the weights unless it is said, whatever the photos."""
    values = {"size": cell.network.size, **with_parts(case, cell.parts)}
    if cell.network.weights is not None:
        from headstart.backbones import full_weights

        values["weights"] = full_weights(cell.network.weights)
    return TrainConfig(
        cell.data.name, split=cell.data.split, backbone=cell.network.name, seed=cell.seed, **values
    )


def _but_for_rates(config: TrainConfig) -> dict[str, Any]:
    """All that makes a training, without its learning rates and their epochs."""
    values = asdict(config) | recipe_of(config).to_dict()
    return {key: value for key, value in values.items() if key not in _RATES}


def _slug(name: str) -> str:
    """A name as part of a file's."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.")


def same_groups(runs: Sequence[PlannedRun]) -> list[tuple[str, ...]]:
    """The groups of runs that train the same layer from the same start, each once, in order."""
    groups = [
        tuple(run.name for run in runs if run.name == own.name or run.name in own.same_as) for own in runs
    ]
    return list(dict.fromkeys(group for group in groups if len(group) > 1))
