"""Study files: TOML in, a `Study` out, or an error that names the key."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from headstart.config import TrainConfig, read_toml, require_known
from headstart.datasets import parse_protocol
from headstart.errors import ConfigError
from headstart.study.rates import recipe_of
from headstart.study.study import Case, Figures, Reference, ReferenceProtocol, Study, StudyData

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)

_OF_THE_STUDY: Final = {
    "data": "[[data]]",
    "split": "[[data]]",
    "backbone": "backbones",
    "seed": "seeds",
    "init": "start_from",
}
"""Options that a study sets for its cases, and the key that says them."""

_Kinds = Mapping[str, Any]
"""The keys of a table and what each holds: a type, or within brackets that of a list's items."""

_STUDY: Final[_Kinds] = {
    "title": str,
    "notes": [str],
    "data": [dict],
    "backbones": [str],
    "seeds": [int],
    "options": dict,
    "cases": [dict],
    "protocols": dict,
    "references": [dict],
}
_DATA: Final[_Kinds] = {"name": str, "split": str, "also": [str]}
_CASE: Final[_Kinds] = {"name": str, "title": str, "start_from": str, "options": dict}
_PROTOCOL: Final[_Kinds] = {
    "data": str,
    "split": str,
    "n_train": int,
    "n_held_out": int,
    "backbone": str,
    "weights": str,
    "weights_file": str,
    "held_out_use": str,
    "metric": str,
    "not_stated": [str],
}
_FIGURES: Final[_Kinds] = {field.name: float for field in fields(Figures)}
_REFERENCE: Final[_Kinds] = {
    "case": str,
    "data": str,
    "backbone": str,
    "protocol": str,
    "remark": str,
    **_FIGURES,
}


def shipped_studies() -> tuple[str, ...]:
    """The names of the studies that come along."""
    here = files("headstart.study").iterdir()
    return tuple(sorted(each.name.removesuffix(".toml") for each in here if each.name.endswith(".toml")))


def load_study(name: str) -> Study:
    """A study by name: one of `shipped_studies()`, or a TOML file.

    Raises:
        ConfigError: there is no such study, or its file has unknown keys or bad values.
    """
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        return parse_study(read_toml(path, "study"), name=path.stem, where=f"The study {path}")
    if name not in shipped_studies():
        raise ConfigError(f"study is {name!r}; expected {', '.join(shipped_studies())} or a TOML file.")
    return _shipped(name)


@cache
def _shipped(name: str) -> Study:
    text = files("headstart.study").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse_study(tomllib.loads(text), name=name, where=f"The study {name}")


def parse_study(values: Mapping[str, Any], *, name: str, where: str) -> Study:
    """A study from what stands in its file.

    Args:
        values: the file's keys and values.
        name: the study's name.
        where: what errors begin with.

    Raises:
        ConfigError: keys are unknown or missing, values are of the wrong kind or contradict each other.
    """
    _check(values, _STUDY, where, needed=("title", "data", "backbones", "cases"))
    data = tuple(_data(table, f"{where}, data {i}") for i, table in enumerate(values["data"], start=1))
    backbones = tuple(values["backbones"])
    cases: list[Case] = []
    for i, table in enumerate(values["cases"], start=1):
        cases.append(_case(table, values.get("options", {}), cases, f"{where}, case {i}"))
    protocols = {
        key: _protocol(table, f"{where}, protocol {key}")
        for key, table in values.get("protocols", {}).items()
    }
    study = Study(
        name=name,
        title=values["title"],
        data=data,
        backbones=backbones,
        seeds=tuple(values.get("seeds", [0])),
        notes=tuple(values.get("notes", [])),
        cases=tuple(cases),
        protocols=protocols,
        references=(),
    )
    references = [
        _reference(table, study, f"{where}, reference {i}")
        for i, table in enumerate(values.get("references", []), start=1)
    ]
    _require_sound(study, references, where)
    return replace(study, references=tuple(references))


def _data(table: Mapping[str, Any], where: str) -> StudyData:
    _check(table, _DATA, where, needed=("name",))
    split = table.get("split", "auto")
    _explained(where, lambda: parse_protocol(split))
    return StudyData(name=table["name"], split=split, also=tuple(table.get("also", ())))


def _case(table: Mapping[str, Any], shared: Mapping[str, Any], before: Sequence[Case], where: str) -> Case:
    _check(table, _CASE, where, needed=("name", "title"))
    name, start = table["name"], table.get("start_from")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where} is called {name!r}; expected small letters, digits and hyphens.")
    earlier = [case.name for case in before]
    if name in earlier:
        raise ConfigError(f"{where} is called {name!r}, as an earlier one is.")
    if start is not None and start not in earlier:
        raise ConfigError(
            f"{where} starts from {start!r}; expected one of the earlier cases {', '.join(earlier)}."
        )
    options = {**shared, **table.get("options", {})}
    for option, key in _OF_THE_STUDY.items():
        if option in options:
            raise ConfigError(f"{where} has the option {option!r}, which is the study's to set: see {key}.")
    require_known(options, [field.name for field in fields(TrainConfig)], f"{where}, options")
    _explained(where, lambda: recipe_of(TrainConfig("data", **options)))
    return Case(name=name, title=table["title"], options=options, start_from=start)


def _protocol(table: Any, where: str) -> ReferenceProtocol:
    needed = ("data", "split", "backbone", "weights", "held_out_use", "metric")
    _check(table, _PROTOCOL, where, needed=needed)
    return ReferenceProtocol(
        **{key: table[key] for key in needed},
        n_train=table.get("n_train"),
        n_held_out=table.get("n_held_out"),
        weights_file=table.get("weights_file"),
        not_stated=tuple(table.get("not_stated", [])),
    )


def _reference(table: Mapping[str, Any], study: Study, where: str) -> Reference:
    """One row of figures; data set, backbone and protocol go without saying where the study has only one."""
    _check(table, _REFERENCE, where, needed=("case",))
    figures = {key: table[key] for key in _FIGURES if key in table}
    if not figures:
        raise ConfigError(f"{where} has no figure; expected one of {', '.join(_FIGURES)}.")
    for key, value in figures.items():
        if value < 0 or (value > 1 and key.endswith("accuracy")):
            raise ConfigError(
                f"{where}: {key} is {value}; expected {'0 to 1' if value > 0 else '0 or more'}."
            )
    return Reference(
        case=_one_of([case.name for case in study.cases], "case", table, where),
        data=_one_of([data.name for data in study.data], "data", table, where),
        backbone=_one_of(study.backbones, "backbone", table, where),
        figures=Figures(**figures),
        protocol=study.protocols[_one_of(list(study.protocols), "protocol", table, where)],
        remark=table.get("remark", ""),
    )


def _one_of(names: Sequence[str], key: str, table: Mapping[str, Any], where: str) -> str:
    """The name under a key; the only one there is where the key is left out."""
    name = table.get(key, names[0] if len(names) == 1 else None)
    if name not in names:
        came = "lacks its" if name is None else f"is of the unknown {key} {name!r}, not a"
        raise ConfigError(f"{where} {came} {key}; expected one of {', '.join(names)}.")
    return str(name)


def _require_sound(study: Study, references: Sequence[Reference], where: str) -> None:
    """There is something to do, and nothing twice."""
    axes: Mapping[str, Sequence[object]] = {
        "data": [data.name for data in study.data],
        "backbones": study.backbones,
        "seeds": study.seeds,
        "cases": [case.name for case in study.cases],
    }
    for key, values in axes.items():
        if not values:
            raise ConfigError(f"{where}: {key} is empty; expected at least one.")
        if len(set(values)) < len(values):
            raise ConfigError(f"{where}: {key} names one twice.")
    if min(study.seeds) < 0:
        raise ConfigError(f"{where}: seeds holds {min(study.seeds)}; expected 0 or more.")
    rows = [(each.case, each.data, each.backbone) for each in references]
    for row in rows:
        if rows.count(row) > 1:
            raise ConfigError(f"{where} has two references for {', '.join(row)}.")


def _check(table: Any, kinds: _Kinds, where: str, *, needed: Sequence[str]) -> None:
    """A table has the keys that it needs, none that nobody knows, and values of the right kinds.

    Raises:
        ConfigError: otherwise.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is {table!r}; expected a table.")
    require_known(table, list(kinds), where)
    for key in needed:
        if key not in table:
            raise ConfigError(f"{where} lacks the key {key!r}.")
    for key, value in table.items():
        kind = kinds[key]
        if isinstance(kind, list):
            (inner,) = kind
            if not isinstance(value, list) or not all(_is_a(each, inner) for each in value):
                raise ConfigError(f"{where}: {key} is {value!r}; expected a list of {_WORDS[inner]}s.")
        elif not _is_a(value, kind):
            raise ConfigError(f"{where}: {key} is {value!r}; expected a {_WORDS[kind]}.")


_WORDS: Final[Mapping[Any, str]] = {str: "text", int: "whole number", float: "number", dict: "table"}


def _is_a(value: object, kind: Any) -> bool:
    """Whether a value is of a kind; a bool is no number, an int is a float."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _explained(where: str, check: Callable[[], object]) -> None:
    """Run a check whose error does not know where it is."""
    try:
        check()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
