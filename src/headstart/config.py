"""Every option once: command-line flags and TOML keys derive from these dataclasses."""

import tomllib
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from headstart.errors import ConfigError
from headstart.files import parse_bytes

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DEFAULT_MAX_STORE = "20G"


@dataclass(frozen=True)
class ExtractConfig:
    """What decides which features there are: the photos, and the network that looks at them.

    Attributes:
        data: Folder of photos, `PHOTOS/CLASS/*.jpg` or `PHOTOS/{train,val,test}/CLASS/*.jpg`; a table (CSV,
            Parquet), archive (zip, tar) or array file (.npz, .p); or the
            name of a data set (tf_flowers, gtsrb, cifar10, ..., torchvision:NAME, hf:NAME).
        backbone: Pretrained network (also --model, --model_name); `headstart backbones` lists them.
        weights: The network's `pretrained` weights, a file or folder of weights, or `none`: random ones, as a
            baseline.
        layer: Where to take the features; `headstart backbones NAME` lists a network's layers.
        size: Side of the network's input in pixels; by default that of its weights.
        resize: How a photo becomes a square: as the `weights` want it; `crop`, its short side resized and the middle
            cut out; or `squash`, both sides resized, so that nothing is cut off.
        split: How to divide the images: auto (as given, else 80/10/10), shares such as 80/10/10 (train, validation,
            test) or 85/15, or a reference program's protocol: r1, r3 or r5.
        group: Column of a table that says what belongs together and is never divided by a split.
        group_pattern: Regular expression on file names (with a / in it: on paths) whose first group, or whole match,
            says what belongs together.
        per_class: Use at most this many labelled images of each class (test images are kept).
        max_store: Refuse to store more than this for one extraction, such as 500M or 20G.
        seed: Seed of splits and random weights.
        device: Where the network runs: auto, cpu, cuda or mps.
    """

    data: str
    _: KW_ONLY
    backbone: str = DEFAULT_BACKBONE
    weights: str = "pretrained"
    layer: str = "pooled"
    size: int | None = None
    resize: Literal["weights", "crop", "squash"] = "weights"
    split: str = "auto"
    group: str | None = None
    group_pattern: str | None = None
    per_class: int | None = None
    max_store: str = DEFAULT_MAX_STORE
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """All bad values in one error."""
        faults = [fault for fault in (_fault(self, option.name) for option in fields(self)) if fault]
        for name, least in (("size", 1), ("per_class", 1), ("seed", 0), ("epochs", 1), ("batch_size", 1)):
            value = getattr(self, name, None)
            if isinstance(value, int) and value < least:
                faults.append(f"{name} is {value}; expected {f'at least {least}' if least else '0 or more'}")
        if self.weights == "":  # as a path it would be the current folder
            faults.append("weights is empty; expected pretrained, none, a file or a folder")
        if isinstance(self.max_store, str) and (fault := _size_fault(self.max_store)):
            faults.append(f"max_store: {fault}")
        if faults:
            raise ConfigError("; ".join(faults) + ".")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ExtractConfig):
    """What makes a run: with the same configuration, photos and machine it gives the same bits.

    Attributes:
        class_weights: Give rare classes more weight in the fit: none or balanced.
    """

    class_weights: Literal["none", "balanced"] = "none"

    def to_toml(self) -> str:
        """The configuration as TOML; options that are not set are left out."""
        return tomli_w.dumps({key: value for key, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(ExtractConfig):
    """What is probed: two files of features, or photos whose features are first written to two such files.

    Attributes:
        data: Folder of photos, where the features are still to be extracted.
        training_file: Features to train on: .p, .npz, .parquet, or a .zip of such a file.
        validation_file: Features to judge on, likewise.
        epochs: Also train a softmax layer by Adam for so many epochs, as programs in Keras do.
        batch_size: Images in a step of these epochs.
    """

    data: str = field(default="", kw_only=False)
    training_file: str | None = None
    validation_file: str | None = None
    epochs: int | None = None
    batch_size: int = 256

    def __post_init__(self) -> None:
        """All bad values in one error; then whether there is one thing to probe."""
        super().__post_init__()
        files = (self.training_file, self.validation_file)
        if any(files) if self.data else not all(files):
            raise ConfigError(
                "Expected either DATA (photos) or both of --training_file and --validation_file (features).\n"
                f"Got DATA {self.data or 'none'}, --training_file {files[0] or 'none'}, "
                f"--validation_file {files[1] or 'none'}."
            )


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
    known = [option.name for option in fields(TrainConfig)]
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


def _fault(config: ExtractConfig, name: str) -> str | None:
    """What is wrong with one value's type, or None."""
    value: Any = getattr(config, name)
    hint = get_type_hints(type(config))[name]
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return None if value in choices else f"{name} is {value!r}; expected one of {', '.join(choices)}"
    kinds = get_args(hint) or (hint,)
    if isinstance(value, kinds) and not isinstance(value, bool):
        return None
    return f"{name} is {value!r}; expected {' or '.join(kind.__name__ for kind in kinds if kind is not type(None))}"
