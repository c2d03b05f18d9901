"""Every option once: command-line flags and TOML keys derive from these dataclasses."""

import tomllib
from dataclasses import KW_ONLY, asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from headstart.errors import ConfigError
from headstart.files import parse_bytes

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DEFAULT_MAX_STORE = "20G"


@dataclass(frozen=True)
class TrainConfig:
    """What makes a run: with the same configuration, photos and machine it gives the same bits.

    Attributes:
        data: Folder of photos, `PHOTOS/CLASS/*.jpg` or `PHOTOS/{train,val,test}/CLASS/*.jpg`; a table (CSV,
            Parquet), archive (zip, tar) or array file (.npz, .p); or the name of a data set.
        backbone: Pretrained network (also --model, --model_name); `headstart backbones` lists them.
        weights: The network's `pretrained` weights, a file or folder of weights, or `none`: random ones, as a
            baseline.
        layer: Where to take the features; `headstart backbones NAME` lists a network's layers.
        split: How to divide the images: auto (as given, else 80/10/10), shares such as 80/10/10 (train, validation,
            test) or 85/15, or a reference program's protocol: r1, r3 or r5.
        group: Column of a table that says what belongs together and is never divided by a split.
        group_pattern: Regular expression on file names (with a / in it: on paths) whose first group, or whole match,
            says what belongs together.
        per_class: Use at most this many labelled images of each class (test images are kept).
        class_weights: Give rare classes more weight in the fit: none or balanced.
        max_store: Refuse to store more than this for one extraction, such as 500M or 20G.
        seed: Seed of splits and random weights.
        device: Where the network runs: auto, cpu, cuda or mps.
    """

    data: str
    _: KW_ONLY
    backbone: str = DEFAULT_BACKBONE
    weights: str = "pretrained"
    layer: str = "pooled"
    split: str = "auto"
    group: str | None = None
    group_pattern: str | None = None
    per_class: int | None = None
    class_weights: Literal["none", "balanced"] = "none"
    max_store: str = DEFAULT_MAX_STORE
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """All bad values in one error."""
        faults = [fault for fault in (_fault(self, field.name) for field in fields(self)) if fault]
        if isinstance(self.per_class, int) and self.per_class < 1:
            faults.append(f"per_class is {self.per_class}; expected at least 1")
        if isinstance(self.seed, int) and self.seed < 0:
            faults.append(f"seed is {self.seed}; expected 0 or more")
        if isinstance(self.max_store, str) and (fault := _size_fault(self.max_store)):
            faults.append(f"max_store: {fault}")
        if faults:
            raise ConfigError("; ".join(faults) + ".")

    def to_toml(self) -> str:
        """The configuration as TOML; options that are not set are left out."""
        return tomli_w.dumps({key: value for key, value in asdict(self).items() if value is not None})


def read_config(path: Path) -> TrainConfig:
    """Read a configuration that `TrainConfig.to_toml` wrote, or that was written by hand.

    Raises:
        ConfigError: the file is missing, no TOML, or has unknown keys or bad values.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The config file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file {path} is no TOML: {error}.") from error
    known = [field.name for field in fields(TrainConfig)]
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}."
            raise ConfigError(f"The config file {path} has an unknown key {key!r}{hint}")
    if "data" not in values:
        raise ConfigError(f"The config file {path} lacks the key 'data', the folder of photos.")
    return TrainConfig(**values)


def _size_fault(text: str) -> str | None:
    """What is wrong with a size in bytes, or None."""
    try:
        parse_bytes(text)
    except ConfigError as error:
        return str(error).removesuffix(".")
    return None


def _fault(config: TrainConfig, name: str) -> str | None:
    """What is wrong with one value's type, or None."""
    value: Any = getattr(config, name)
    hint = get_type_hints(TrainConfig)[name]
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return None if value in choices else f"{name} is {value!r}; expected one of {', '.join(choices)}"
    kinds = get_args(hint) or (hint,)
    if isinstance(value, kinds) and not isinstance(value, bool):
        return None
    return f"{name} is {value!r}; expected {' or '.join(kind.__name__ for kind in kinds if kind is not type(None))}"
