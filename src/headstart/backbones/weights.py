"""Weights of the user's own: files and folders, the words that choose among them, and fitting them in."""

import hashlib
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from headstart.errors import BackboneError

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar")
_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which timm looks for them
_WORDS = ("pretrained", "none")
_WRAPPERS = ("state_dict", "model")
_PARALLEL = "module."  # what torch's DataParallel puts before every name
_COUNTERS = "num_batches_tracked"  # of batch norm; without effect in eval mode, so files may lack them
_NAMED = 3

# What torch.load raises for files that are not as torch.save writes them, and how it names what it refuses.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
_FORBIDDEN = re.compile(r"GLOBAL (\S+)")


@dataclass(frozen=True, kw_only=True)
class WeightsFolder:
    """A folder as timm saves it for its hub.

    Attributes:
        path: the folder.
        file: the weights in it.
        architecture: timm's name, without a tag.
        model_args: arguments the architecture is built with.
        pretrained_cfg: preprocessing and classes, in timm's words.
    """

    path: Path
    file: Path
    architecture: str
    model_args: Mapping[str, Any]
    pretrained_cfg: Mapping[str, Any]


def parse_weights(texts: Sequence[str], backbones: Sequence[str]) -> dict[str, str]:
    """Find out which weights each of several backbones gets.

    Args:
        texts: what `--weights` was given: "pretrained", "none", a file or a folder, which hold for every
            backbone, or NAME=one of these, for the backbone of that name alone, which comes first.
        backbones: the names, as the user wrote them.

    Returns:
        For each name "pretrained", "none" or a path; "pretrained" where nothing is said of it.

    Raises:
        BackboneError: a NAME is none of the backbones, or something is said twice.
    """
    named: dict[str, str] = {}
    for text in texts:
        name, value = _named(text)
        if name is not None and name not in backbones:
            raise BackboneError(
                f"--weights {text}: {name!r} is none of the backbones here ({', '.join(backbones)}).\n"
                "Give --weights NAME=FILE with the NAME as it stands in --backbone."
            )
        if (name or "") in named:
            raise BackboneError(f"--weights is given twice for {name or 'every backbone'}.\nGive it once.")
        named[name or ""] = value
    return {name: named.get(name, named.get("", "pretrained")) for name in backbones}


def full_weights(text: str) -> str:
    """Make the path in what `--weights` was given absolute, so that it means the same from any folder."""
    name, value = _named(text)
    place = Path(value).expanduser()
    if value in _WORDS or not place.exists():  # a mistake is reported where it is used
        return text
    return f"{name}={place.absolute()}" if name else str(place.absolute())


def _named(text: str) -> tuple[str | None, str]:
    """The NAME before `=`, if there is one, and what is after it."""
    name, sign, value = text.partition("=")
    return (name, value) if sign and not Path(text).exists() else (None, text)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from what `torch.save` wrote; nothing in the file is run.

    Common wrappings are taken off: `{"state_dict": ...}`, `{"model": ...}` and names that all begin with
    `module.`. Floating-point tensors become float32.

    Raises:
        BackboneError: the file is missing, of another kind, damaged, or holds more than tensors.
    """
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in _TORCH_SUFFIXES:
        raise BackboneError(
            f"{path} is no weights file that headstart knows: it ends in {suffix or 'nothing'}.\n"
            f"Expected .safetensors or what torch.save wrote ({', '.join(_TORCH_SUFFIXES)}); .npy files such as "
            "vgg16.npy and bvlc-alexnet.npy are for --backbone caffe/vgg16 and the like."
        )
    try:
        found = _read_safetensors(path) if suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise BackboneError(f"The weights {path} cannot be read: {error.strerror or error}.") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise BackboneError(f"{path} is no safetensors file, or a damaged one: {error}.") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except _UNPICKLING_ERRORS as error:
        if forbidden := _FORBIDDEN.search(str(error)):
            raise BackboneError(
                f"{path} holds more than tensors ({forbidden[1]}), and is not run.\n"
                "Save the state dict alone: torch.save(model.state_dict(), FILE), or as safetensors."
            ) from error
        raise BackboneError(
            f"{path} is no file of torch.save, or a damaged one.\nFetch or save it again."
        ) from error
    return _unwrap(found, path)


def _unwrap(found: object, path: Path) -> dict[str, Tensor]:
    """The names and tensors inside the usual wrappings."""
    while isinstance(found, Mapping) and (inner := [key for key in _WRAPPERS if _is_mapping(found, key)]):
        found = found[inner[0]]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BackboneError(
            f"{path} holds no state dict (names and tensors).\n"
            "Save one: torch.save(model.state_dict(), FILE), or as safetensors."
        )
    state: dict[str, Tensor] = {str(name): value for name, value in found.items()}
    if state and all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    return state


def _is_mapping(found: Mapping[Any, Any], key: str) -> bool:
    return isinstance(found.get(key), Mapping)


def fit_state(network: nn.Module, state: Mapping[str, Tensor], *, origin: str, name: str) -> None:
    """Put a state dict into a network: every tensor, and none left over.

    Only the counters `num_batches_tracked` of batch norm may be missing.

    Args:
        network: takes the values; untouched when they do not fit.
        state: tensors by the network's own names.
        origin: where they come from, for the message.
        name: the backbone's name, for the message.

    Raises:
        BackboneError: names the tensors that are missing, unexpected or of another shape.
    """
    if faults := misfits(network, state):
        raise BackboneError(
            f"{origin} does not fit {name}, which has {len(network.state_dict())} tensors: {faults}.\n"
            "Give the weights of that very architecture, with its names; `headstart backbones` lists others."
        )
    network.load_state_dict({**network.state_dict(), **state})


def misfits(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Which tensors are missing, unexpected or of another shape, in words; nothing where all fit."""
    own = network.state_dict()
    missing = [key for key in own if key not in state and key.rpartition(".")[2] != _COUNTERS]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return "; ".join(f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in kinds if keys)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")


def read_folder(path: Path) -> WeightsFolder:
    """Read the description in a folder as timm saves it for its hub; not the weights.

    Raises:
        BackboneError: it has no config.json, one that describes nothing, or no weights.
    """
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        # An older form has everything in one level.
        details = dict(config.get("pretrained_cfg", config))
        if "num_classes" in config:
            details["num_classes"] = config["num_classes"]
        architecture, arguments = str(config["architecture"]), dict(config.get("model_args") or {})
    except FileNotFoundError as error:
        raise BackboneError(
            f"{path} holds no config.json, so it is no folder of weights.\n"
            "Give --weights a file, or a folder as timm saves it for its hub."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"{path / 'config.json'} describes no network of timm's: {error!r}.") from error
    files = [path / name for name in _FOLDER_FILES if (path / name).is_file()]
    if not files:
        raise BackboneError(f"{path} holds no weights.\nExpected {' or '.join(_FOLDER_FILES)} in it.")
    return WeightsFolder(
        path=path,
        file=files[0],
        architecture=architecture.partition(".")[0],
        model_args=arguments,
        pretrained_cfg=details,
    )


def sha256_of_tensors(state: Mapping[str, Tensor]) -> str:
    """One sha256 for a state dict: names, shapes, dtypes and bytes, in order."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
