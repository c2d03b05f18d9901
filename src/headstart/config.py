"""Every option once: command-line flags and TOML keys derive from these dataclasses."""

import math
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomli_w

from headstart.errors import ConfigError
from headstart.files import parse_bytes, parse_duration

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DEFAULT_MAX_STORE = "20G"

Estimator = Literal["probe", "knn", "logme"]
"""What backbones are ranked by."""
DEFAULT_ESTIMATOR: Estimator = "logme"  # what agrees best with fine-tuning: benchmarks/ranking.py
DEFAULT_SAMPLE = 1000  # images that they are ranked on
DEFAULT_REPEATS = 5  # of a learning curve
DEFAULT_MOST = 5000  # images that take part in it

_LEAST = {
    **dict.fromkeys(("size", "per_class", "epochs", "batch_size", "most"), 1),
    **dict.fromkeys(
        (
            "seed",
            "lr",
            "warmup",
            "momentum",
            "weight_decay",
            "label_smoothing",
            "clip",
            "patience",
        ),
        0,
    ),
    "stop_after": 0,
}


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
        size: Side of the network's input in pixels; by default that of its weights, and where layers are trained that
            of the photos, if they are smaller.
        resize: How a photo becomes a square: as the `weights` want it (where layers are trained, squashed if a probe is
            better so); `crop`, its short side resized and the middle cut out; `squash`, both sides resized; or `pad`,
            the long side resized and bars added: neither cuts anything off.
        normalise: Scale pixels as the weights want it, or by mean and std of the training images (dataset).
        split: How to divide the images: auto (as given, else 80/10/10), shares such as 80/10/10 (train, validation,
            test) or 85/15, or a reference program's protocol: r1, r3 or r5.
        group: Column of a table that says what belongs together and is never divided by a split.
        group_pattern: Regular expression on file names (with a / in it: on paths) whose first group, or whole match,
            says what belongs together.
        per_class: Use at most this many labelled images of each class (test images are kept).
        max_store: Refuse to store more than this for one extraction, such as 500M or 20G.
        seed: Seed of splits and random weights.
        device: Where the network runs: auto, cpu, cuda or mps.
        precision: exact computes in float32; fast in bfloat16 where this machine has it and, on a sample of these very
            photos, features stay near enough.
        runtime: What computes features: auto (what the store has features of, else the fastest here), torch-float32,
            torch-bf16, openvino-float32 or openvino-bf16.
    """

    data: str
    _: KW_ONLY
    backbone: str = DEFAULT_BACKBONE
    weights: str = "pretrained"
    layer: str = "pooled"
    size: int | None = None
    resize: Literal["weights", "crop", "squash", "pad"] = "weights"
    normalise: Literal["weights", "dataset"] = "weights"
    split: str = "auto"
    group: str | None = None
    group_pattern: str | None = None
    per_class: int | None = None
    max_store: str = DEFAULT_MAX_STORE
    seed: int = 0
    device: str = "auto"
    precision: Literal["exact", "fast"] = "fast"
    runtime: Literal["auto", "torch-float32", "torch-bf16", "openvino-float32", "openvino-bf16"] = "auto"

    def __post_init__(self) -> None:
        """All bad values in one error."""
        if faults := self._faults():
            raise ConfigError("; ".join(faults) + ".")

    def _faults(self) -> list[str]:
        """What is wrong with the values."""
        faults = [fault for fault in (_fault(self, option.name) for option in fields(self)) if fault]
        for name, least in _LEAST.items():
            value = getattr(self, name, None)
            if isinstance(value, float) and not math.isfinite(value):
                faults.append(f"{name} is {value}; expected a finite number")
            elif isinstance(value, int | float) and value < least:
                faults.append(f"{name} is {value}; expected {f'at least {least}' if least else '0 or more'}")
        if self.precision == "exact" and isinstance(self.runtime, str) and self.runtime.endswith("bf16"):
            faults.append(f"runtime is {self.runtime}, and precision exact computes in float32")
        if self.weights == "":  # as a path it would be the current folder
            faults.append("weights is empty; expected pretrained, none, a file or a folder")
        for name, parse in (("max_store", parse_bytes), ("time", parse_duration)):
            value = getattr(self, name, None)
            if isinstance(value, str) and (fault := _text_fault(parse, value)):
                faults.append(f"{name}: {fault}")
        return faults


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ExtractConfig):
    """What makes a run: with the same configuration, photos and machine it gives the same bits.

    Options that are not set are those of the recipe.

    Attributes:
        recipe: How to train: auto (probe, then lp-ft where it gains on validation), probe (also feature-extraction),
            finetune, lp-ft, scratch, or a TOML file with a recipe of your own.
        from_layer: Train from this layer on; what comes before it is frozen, computed once and stored.
        head: What replaces the last layer: linear, mlp, ridge, knn, or native, the network's own made anew.
        reinit: Start the trained layers from random weights.
        init: Start from the classifier of this earlier run's folder.
        epochs: Number of passes over the training images.
        lr: Learning rate, at its highest.
        schedule: cosine, constant, or learning rates each with its epochs, such as '3e-4:7, 3e-5:7, 3e-6:4'.
        warmup: Epochs over which the learning rate rises to its highest.
        optimizer: sgd, adam or adamw.
        momentum: Momentum of SGD.
        weight_decay: Decay of weights; never of norms and biases.
        layer_decay: Factor on the learning rate from each stage of the network to the one before it.
        batch_size: Images in a step.
        batch_norm: eval keeps the running statistics of batch norms as they are; train lets them follow.
        label_smoothing: Share of each target that goes to all classes, 0 to 1.
        clip: Largest norm of a gradient; 0 for no limit.
        patience: End after so many epochs without a gain on validation; 0 for never.
        keep: Keep the weights of the epoch that is best on validation, or of the last.
        interpolate: Keep weights between those the training began with and those it ended with, as near to either as
            validation likes best: yes or no.
        refit: Once validation has judged the network, train a fresh one on the validation images too and keep that: yes
            or no. By default auto does where that is over within five minutes from its start.
        augment: none; six fixed views of each image, stored; or random ones: crop, randaugment, trivialaugment.
        flip: Mirror training images at random: yes, no, or auto, decided on validation.
        average_views: With --augment six, average over the views when judging and predicting too.
        time: Bound on the time of auto, such as 5m or 90s.
        stop_after: End after so many epochs of the schedule; with auto, 0 keeps the probe.
        dtype: What layers are trained in: auto (bfloat16 where precision is fast and it is faster here), float32, bf16.
        class_weights: Give rare classes more weight in the fit: none or balanced.
    """

    recipe: str = "auto"
    from_layer: str | None = None
    head: Literal["linear", "mlp", "ridge", "knn", "native"] | None = None
    reinit: bool = False
    init: str | None = None
    epochs: int | None = None
    lr: float | None = None
    schedule: str | None = None
    warmup: float | None = None
    optimizer: Literal["sgd", "adam", "adamw"] | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    layer_decay: float | None = None
    batch_size: int | None = None
    batch_norm: Literal["eval", "train"] | None = None
    label_smoothing: float | None = None
    clip: float | None = None
    patience: int | None = None
    keep: Literal["best", "last"] | None = None
    interpolate: Literal["yes", "no"] | None = None
    refit: Literal["yes", "no"] | None = None
    augment: Literal["none", "six", "crop", "randaugment", "trivialaugment"] | None = None
    flip: Literal["auto", "yes", "no"] | None = None
    average_views: bool = False
    time: str | None = None
    stop_after: int | None = None
    dtype: Literal["auto", "float32", "bf16"] = "auto"
    class_weights: Literal["none", "balanced"] = "none"

    def _faults(self) -> list[str]:
        faults = super()._faults()
        # Of another type they have been named already.
        if isinstance(self.momentum, int | float) and self.momentum >= 1:
            faults.append(f"momentum is {self.momentum}; expected less than 1")
        if isinstance(self.label_smoothing, int | float) and self.label_smoothing >= 1:
            faults.append(f"label_smoothing is {self.label_smoothing}; expected less than 1")
        if isinstance(self.layer_decay, int | float) and not 0 < self.layer_decay <= 1:
            faults.append(f"layer_decay is {self.layer_decay}; expected more than 0 and at most 1")
        return faults

    def to_toml(self) -> str:
        """The configuration as TOML; options that are not set are left out."""
        return tomli_w.dumps({key: value for key, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class AuditConfig(ExtractConfig):
    """What is audited: the photos, with the splits that `train` makes with the same options.

    Attributes:
        labels: Rank label errors, which needs cleanlab: yes or no.
        most: Show at most so many findings of each kind in the page; the table has all.
    """

    labels: Literal["yes", "no"] = "yes"
    most: int = 30


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(ExtractConfig):
    """What is probed: two files of features, or photos whose features are first written to two such files.

    Attributes:
        data: Folder of photos, where the features are still to be extracted.
        training_file: Features to train on: .p, .npz, .parquet, or a .zip of such a file.
        validation_file: Features to judge on, likewise.
        epochs: Also train a softmax layer for so many epochs, as programs in Keras do.
        batch_size: Images in a step of these epochs.
        lr: Learning rate of these epochs, at its highest; by default 1e-3.
        schedule: constant (the default), cosine, or learning rates each with its epochs, such as '1e-3:30, 1e-4:20'.
        optimizer: adam (the default), adamw or sgd.
        momentum: Momentum of SGD; by default 0.9.
        weight_decay: Decay of weights, never of biases; by default none.
    """

    data: str = field(default="", kw_only=False)
    training_file: str | None = None
    validation_file: str | None = None
    epochs: int | None = None
    batch_size: int = 256
    lr: float | None = None
    schedule: str | None = None
    optimizer: Literal["sgd", "adam", "adamw"] | None = None
    momentum: float | None = None
    weight_decay: float | None = None

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
    values = read_toml(path, "config file")
    require_known(values, [option.name for option in fields(TrainConfig)], f"The config file {path}")
    if "data" not in values:
        raise ConfigError(f"The config file {path} lacks the key 'data', the folder of photos.")
    return TrainConfig(**values)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: the file.
        what: what it is to be, for the message: "config file", "recipe".

    Raises:
        ConfigError: the file is missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The {what} {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The {what} {path} is no TOML: {error}.") from error


def require_known(keys: Iterable[str], known: Sequence[str], where: str) -> None:
    """Let no key pass that is not known: it would be a mistyped one, without effect.

    Raises:
        ConfigError: one is not; with the nearest that is, or all of them.
    """
    for key in keys:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}."
            raise ConfigError(f"{where} has an unknown key {key!r}{hint}")


def _text_fault(parse: Callable[[str], float], text: str) -> str | None:
    """What is wrong with a size or a duration, or None."""
    try:
        parse(text)
    except ConfigError as error:
        return str(error).removesuffix(".")
    return None


def _fault(config: ExtractConfig, name: str) -> str | None:
    """What is wrong with one value's type, or None."""
    value: Any = getattr(config, name)
    hint = get_type_hints(type(config))[name]
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    plain = tuple(kind for kind in kinds if get_origin(kind) is not Literal)
    if value in choices or (isinstance(value, plain) and (not isinstance(value, bool) or bool in plain)):
        return None
    if (
        float in plain and isinstance(value, int) and not isinstance(value, bool)
    ):  # TOML's 1 is as good as 1.0
        return None
    if choices:
        return f"{name} is {value!r}; expected one of {', '.join(choices)}"
    return f"{name} is {value!r}; expected {' or '.join(kind.__name__ for kind in plain if kind is not NoneType)}"
