"""The plan of a study: which runs it takes, in order, each with its whole configuration."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from headstart.config import TrainConfig
from headstart.datasets import full_location
from headstart.errors import ConfigError
from headstart.study.classifiers import NetworkClassifier, find_classifier, trains_classifier, with_classifier
from headstart.study.comparing import differences
from headstart.study.rates import recipe_of, scale_epochs
from headstart.study.study import Case, Reference, Study, StudyData

_RATES = ("lr", "epochs", "schedule", "warmup")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What is asked for in place of a study's own.

    Attributes:
        data: one data set.
        split: how it is divided.
        backbone: one backbone.
        weights: its weights.
        scale: factor on the epochs of each learning rate; each keeps at least one.
        seed: one seed.
    """

    data: str | None = None
    split: str | None = None
    backbone: str | None = None
    weights: str | None = None
    scale: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        """The scale is a number above 0."""
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"scale is {self.scale}; expected a number above 0, such as 0.1.")


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training of a study.

    Attributes:
        name: of its files: the case's, after the data set and the backbone where there are several.
        case: what is done.
        title: the case's title, and whether its epochs were scaled.
        config: all options, except `init`, which is known once there is a folder.
        starts_from: name of the earlier planned run that it continues.
        same_as: names of the runs, earlier and later, that train the same layer from the same start because the
            backbone's classifier is that one layer; learning rates and epochs stay each one's own.
        reference: figures of others for it.
        differences: why these cannot be compared with what comes out; empty without a reference.
    """

    name: str
    case: Case
    title: str
    config: TrainConfig
    starts_from: str | None
    same_as: tuple[str, ...]
    reference: Reference | None
    differences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All runs of a study, in the order in which they can be made.

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


def plan_study(study: Study, options: StudyOptions | None = None) -> Plan:
    """Work out the runs that a study takes.

    Args:
        study: the study.
        options: what is to be used in place of its own data sets, backbones and seeds.

    Raises:
        ConfigError: an option cannot be used, or has to be given.
        BackboneError: there is no such backbone, or it lacks the layer or the classifier that a case names.
    """
    options = options if options is not None else StudyOptions()
    data = _choose_data(study, options)
    backbones = _choose_backbones(study, options.backbone)
    seeds = study.seeds if options.seed is None else (options.seed,)
    classifiers = {name: find_classifier(name, study) for name in backbones}
    runs: list[PlannedRun] = []
    for each, backbone, seed in product(data, backbones, seeds):
        before = [each.name] * (len(data) > 1) + [backbone] * (len(backbones) > 1)
        cell = _Cell(
            data=each,
            backbone=backbone,
            seed=seed,
            before="".join(f"{_slug(name)}-" for name in before),
            after=f"-seed-{seed}" if len(seeds) > 1 else "",
            classifier=classifiers[backbone],
        )
        runs += _plan_cell(study, options, cell)
    names = [run.name for run in runs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"Two runs of the study {study.name} would be called {twice[0]!r}.\nRename one of its cases."
        )
    return Plan(study=study, options=options, data=data, backbones=backbones, seeds=seeds, runs=tuple(runs))


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One data set, backbone and seed, what the names of their runs begin and end with, and the classifier."""

    data: StudyData
    backbone: str
    seed: int
    before: str
    after: str
    classifier: NetworkClassifier | None

    def name(self, case: str) -> str:
        """Of a case's run."""
        return f"{self.before}{case}{self.after}"


def _choose_backbones(study: Study, backbone: str | None) -> tuple[str, ...]:
    """The study's own backbones, or the one that is asked for, under the study's name for it if it is one of them."""
    if backbone is None:
        return study.backbones
    if backbone in study.backbones:
        return (backbone,)
    from headstart.backbones import find_card

    card = find_card(backbone)
    own = [name for name in study.backbones if find_card(name).name == card.name]
    return (own[0] if own else backbone,)


def _choose_data(study: Study, options: StudyOptions) -> tuple[StudyData, ...]:
    """The data sets, by the study's own splits or the one that is asked for."""
    chosen = study.data
    if options.data is not None:
        own = [each for each in study.data if each.name == options.data]
        splits = {each.split for each in own or study.data}
        if options.split is None and len(splits) > 1:
            raise ConfigError(
                f"The study {study.name} divides its data sets in different ways: {', '.join(sorted(splits))}.\n"
                f"Say how {options.data} is to be divided: --split."
            )
        chosen = (StudyData(name=options.data, split=min(splits)),)
    return chosen if options.split is None else tuple(replace(each, split=options.split) for each in chosen)


def _plan_cell(study: Study, options: StudyOptions, cell: _Cell) -> list[PlannedRun]:
    """The cases of one cell."""
    configs = {case.name: _config(case, options, cell) for case in study.cases}
    same = _same(study, configs, cell)
    runs = []
    for case in study.cases:
        config = scale_epochs(configs[case.name], options.scale)
        scale = options.scale if config != configs[case.name] else 1.0
        reference = study.reference(case.name, cell.data.name, cell.backbone)
        reasons = () if reference is None else differences(study, reference, config, scale=scale)
        runs.append(
            PlannedRun(
                name=cell.name(case.name),
                case=case,
                title=case.title + (f" (epochs scaled by {scale:g})" if scale != 1 else ""),
                config=replace(config, data=full_location(config.data)),
                starts_from=None if case.start_from is None else cell.name(case.start_from),
                same_as=tuple(cell.name(other) for other in same[case.name]),
                reference=reference,
                differences=reasons,
            )
        )
    return runs


def _same(study: Study, configs: Mapping[str, TrainConfig], cell: _Cell) -> dict[str, list[str]]:
    """For each case those that differ from it in learning rates and epochs only, on a classifier of one layer.

    Elsewhere such cases differ on purpose, in a study of learning rates.
    """
    if cell.classifier is None or not cell.classifier.is_last_layer:
        return {name: [] for name in configs}
    merged = {case.name for case in study.cases if trains_classifier(case)}
    what = {case.name: (_but_for_rates(configs[case.name]), case.start_from) for case in study.cases}
    return {
        name: [
            other for other in what if other != name and what[other] == what[name] and {name, other} & merged
        ]
        for name in what
    }


def _config(case: Case, options: StudyOptions, cell: _Cell) -> TrainConfig:
    """A case's configuration for a cell; the size is that of the weights unless it is said, whatever the photos."""
    from headstart.backbones import find_card

    values = {"size": find_card(cell.backbone).preprocess.size, **with_classifier(case, cell.classifier)}
    if options.weights is not None:
        from headstart.backbones import full_weights

        values["weights"] = full_weights(options.weights)
    return TrainConfig(
        cell.data.name, split=cell.data.split, backbone=cell.backbone, seed=cell.seed, **values
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
