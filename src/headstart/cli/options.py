"""How options are shown in a command's help: in groups, most used first, without what goes without saying."""

from cyclopts import App, Argument, ArgumentCollection, Group, Parameter

_GROUPS = {
    Group("Data", sort_key=0): (
        "data",
        "training_file",
        "validation_file",
        "split",
        "per_class",
        "group",
        "group_pattern",
    ),
    Group("Network", sort_key=1): ("backbone", "weights", "layer", "size", "resize", "normalise"),
    Group("Audit", sort_key=2): ("labels", "most"),
    Group("Training", sort_key=2): (
        "recipe",
        "from_layer",
        "head",
        "epochs",
        "time",
        "init",
        "reinit",
        "class_weights",
    ),
    Group("Augmentation", sort_key=3): ("augment", "flip", "average_views"),
    Group("Run", sort_key=4): (
        "out_folder",
        "out_path",
        "format_",
        "config",
        "resume",
        "force",
        "seed",
        "device",
        "precision",
        "runtime",
        "store",
        "no_store",
        "max_store",
    ),
    Group("Training step by step", sort_key=5): (
        "lr",
        "schedule",
        "warmup",
        "optimizer",
        "momentum",
        "weight_decay",
        "layer_decay",
        "batch_size",
        "batch_norm",
        "label_smoothing",
        "clip",
        "patience",
        "keep",
        "interpolate",
        "refit",
        "stop_after",
        "dtype",
    ),
}
"""The options of the commands that take a configuration, by their names in Python, in the order they are shown in."""

_PLACES = {name: (place, group) for group, names in _GROUPS.items() for place, name in enumerate(names)}

_FIRST = (-1, None)

_SHORT_NAMES = {"from_layer": "--from"}
"""Flags beside those that an option has by its name in Python."""


class GroupingApp(App):
    """An app whose commands show the options of a configuration in groups.

    The groups stand here, and not at the fields of `headstart.config`, which knows nothing of any command line.
    """

    def assemble_argument_collection(
        self, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        """The arguments of a command; see `App`."""
        found = super().assemble_argument_collection(
            default_parameter=default_parameter, parse_docstring=parse_docstring
        )
        for argument in found:  # the lines of a docstring are no lines of a help text
            text = " ".join((argument.parameter.help or "").split())
            argument.parameter = Parameter.combine(argument.parameter, Parameter(help=text or None))
        if not any(argument.keys for argument in found):  # no configuration among them
            return found
        for argument in found:
            argument.parameter = Parameter.combine(argument.parameter, *_shown(argument))
        found.sort(key=lambda argument: _PLACES.get(argument.field_info.name, _FIRST)[0])
        return found


def _shown(argument: Argument) -> list[Parameter]:
    """What is to be changed of an option: its group, its names, and no word that its help says anyway."""
    name = argument.field_info.name
    if name not in _PLACES:
        return []
    changed = [Parameter(group=_PLACES[name][1], show_choices=False)]
    if name in _SHORT_NAMES:
        changed.append(Parameter(name=(_SHORT_NAMES[name], *argument.names)))
    if argument.hint is bool:
        changed.append(Parameter(negative=""))  # --reinit=false undoes what a config file has
    if argument.field_info.default is False or argument.field_info.default == "":
        changed.append(Parameter(show_default=False))
    return changed
