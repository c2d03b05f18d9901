"""`timm/NAME`: everything that timm has pretrained weights for.

A name is timm's own, `timm/ARCHITECTURE.TAG`; without the tag, timm's default weights are meant. Cards come
from timm's registry, so that listing them all builds no network.
"""

import os
import pickle
import socket
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import floor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import huggingface_hub
import safetensors
import timm
import torch
from huggingface_hub import constants as hub
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from headstart.backbones.card import BackboneCard
from headstart.backbones.source import BackboneSource
from headstart.backbones.weights import WeightsFolder, sha256_of_tensors
from headstart.errors import BackboneError, ConfigError
from headstart.images import Preprocess

PREFIX: Final = "timm/"

# In the order in which timm looks for them.
_HUB_FILES: Final = ("model.safetensors", "pytorch_model.bin")

# What a hub without an answer, a damaged file and one of another network raise.
_LOADING_ERRORS: Final = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
)

# As SPDX writes them; what is not here stands on the card as timm has it.
_SPDX: Final = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
}


class TimmSource(BackboneSource):
    """The networks of timm that have pretrained weights."""

    def cards(self) -> list[BackboneCard]:
        """One card for each set of weights, but those that `refused` names."""
        here = _cached_repositories()
        return [
            _card(name, _configs()[name], preprocess, here)
            for name, preprocess in _preprocesses().items()
            if isinstance(preprocess, Preprocess)
        ]

    def refused(self) -> Mapping[str, str]:
        """The networks whose images headstart cannot prepare, and why."""
        found = _preprocesses().items()
        return {f"{PREFIX}{name}": reason for name, reason in found if isinstance(reason, str)}

    def other_names(self) -> Mapping[str, str]:
        """An architecture's name alone means timm's default weights."""
        return {f"{PREFIX}{short}": f"{PREFIX}{full}" for short, full in _default_names().items()}

    def build(self, card: BackboneCard) -> nn.Module:
        """The architecture with random weights, from torch's global generator.

        Raises:
            BackboneError: it cannot be built with the card's arguments.
        """
        arguments: dict[str, Any] = dict(card.arguments)
        try:
            network: nn.Module = timm.create_model(card.architecture, pretrained=False, **arguments)
        except Exception as error:  # whatever an architecture raises for a size or an argument it cannot take
            if not arguments:
                raise
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            raise BackboneError(f"{card.name} cannot be built with {given}: {error}") from error
        return network

    def load(self, card: BackboneCard, network: nn.Module) -> str:
        """Put the pretrained weights into `network`, downloaded by timm where they are not here.

        Returns:
            The sha256 of the tensors as loaded: timm adapts some files to the architecture.

        Raises:
            BackboneError: the weights cannot be fetched or read.
        """
        cfg = _config(card.architecture)
        cached = _cached_file(cfg) if cfg.hf_hub_id else None
        try:
            if cached is not None:  # without asking the hub, which would take half a minute off line
                loaded = _create(card, {"file": str(cached), "custom_load": False})
            else:
                _require_host(cfg)
                loaded = _create(card, {})
        except _LOADING_ERRORS as error:
            raise BackboneError(_cannot_fetch(card.name, cfg, cached, error)) from error
        network.load_state_dict(loaded.state_dict())
        return sha256_of_tensors(network.state_dict())

    def adapt(self, card: BackboneCard, preprocess: Preprocess) -> BackboneCard:
        """The card for other images; an architecture of one fixed size is built for theirs.

        Raises:
            BackboneError: the images are too small.
        """
        arguments = dict(card.arguments)
        cfg = _config(card.architecture)
        if cfg.min_input_size and preprocess.size < (least := max(cfg.min_input_size[1:])):
            raise BackboneError(
                f"{card.name} takes images of at least {least} pixels, not {preprocess.size}."
            )
        if cfg.fixed_input_size and preprocess.size != card.preprocess.size:
            arguments["img_size"] = preprocess.size
        return replace(card, preprocess=preprocess, arguments=arguments)

    def convert(self, card: BackboneCard, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What timm's own loading makes of a state dict: names of older versions, positions of other sizes."""
        try:
            return _create(card, {"state_dict": dict(state), "custom_load": False}).state_dict()
        except _LOADING_ERRORS:
            return state  # it fits no better; what is wrong with it is said where it is fitted

    def adopt(self, card: BackboneCard, folder: WeightsFolder) -> BackboneCard:
        """The card as a folder of timm's describes it.

        Raises:
            BackboneError: the folder holds another architecture, or wants images that cannot be prepared.
        """
        return adopt_folder(card, folder)


def _create(card: BackboneCard, overlay: dict[str, Any]) -> nn.Module:
    """The card's network with pretrained weights, with other entries in timm's record; random state is kept."""
    arguments: dict[str, Any] = dict(card.arguments)
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model(
            card.architecture, pretrained=True, pretrained_cfg_overlay=overlay, **arguments
        )
    return network


def adopt_folder(card: BackboneCard, folder: WeightsFolder) -> BackboneCard:
    """The card of one of timm's architectures with a folder's arguments, preprocessing and licence.

    Raises:
        BackboneError: the folder holds another architecture, or wants images that cannot be prepared.
    """
    architecture = card.architecture.partition(".")[0]
    if folder.architecture != architecture:
        raise BackboneError(
            f"{folder.path} holds weights of {folder.architecture}, not of {architecture}.\n"
            f"Give --backbone timm/{folder.architecture}, or another folder."
        )
    if (channels := folder.model_args.get("in_chans", 3)) != 3:
        raise BackboneError(f"{folder.path} wants images of {channels} channels, not 3.")
    try:
        preprocess = _preprocess(_config(card.architecture).to_dict() | dict(folder.pretrained_cfg))
    except (ConfigError, TypeError, ValueError) as error:
        raise BackboneError(f"The images that {folder.path} wants cannot be prepared: {error}") from error
    return replace(
        card,
        arguments={**card.arguments, **_folder_arguments(folder)},
        preprocess=preprocess,
        licence=_licence(folder.pretrained_cfg.get("license")),
    )


def _folder_arguments(folder: WeightsFolder) -> dict[str, object]:
    """What the folder's network was built with."""
    arguments = dict(folder.model_args)
    cfg = folder.pretrained_cfg
    if "num_classes" in cfg:
        arguments.setdefault("num_classes", cfg["num_classes"])
    if cfg.get("fixed_input_size") and "input_size" in cfg:
        arguments.setdefault("img_size", cfg["input_size"][-1])
    return arguments


@cache
def _configs() -> Mapping[str, Any]:
    """What timm has on record of each set of weights, by its name."""
    return {name: _config(name) for name in timm.list_models(pretrained=True)}


@cache
def _preprocesses() -> Mapping[str, Preprocess | str]:
    """How images are prepared for each set of weights, or why they cannot be."""
    return {name: _preprocess_or_reason(cfg) for name, cfg in _configs().items()}


@cache
def _default_names() -> Mapping[str, str]:
    """The architectures' names alone, to those of timm's default weights."""
    architectures = dict.fromkeys(name.partition(".")[0] for name in _configs())
    return {name: f"{name}.{_config(name).tag}" for name in architectures}


def _config(name: str) -> Any:
    """The record of one set of weights; of an architecture's default ones without a tag."""
    return timm.get_pretrained_cfg(name)


def _card(name: str, cfg: Any, preprocess: Preprocess, here: frozenset[str]) -> BackboneCard:
    cached = _cached_file(cfg) is not None if cfg.hf_hub_id in here or not cfg.hf_hub_id else False
    return BackboneCard(
        name=f"{PREFIX}{name}",
        source="timm",
        architecture=name,
        arguments={},
        preprocess=preprocess,
        licence=_licence(cfg.license),
        parameters=None,
        weights_sha256=None,
        weights_here=cached,
        get_weights="fetched when used",
        aliases={},
        summary=cfg.description or f"{cfg.architecture} of timm, weights {cfg.tag}",
    )


def _licence(text: str | None) -> str:
    return _SPDX.get(text, text) if text and text != "unknown" else "not stated"


def _preprocess_or_reason(cfg: Any) -> Preprocess | str:
    """How images are prepared for these weights, or why they cannot be."""
    try:
        return _preprocess(cfg.to_dict())
    except ConfigError as error:
        return str(error)


def _preprocess(cfg: Mapping[str, Any]) -> Preprocess:
    """What timm's evaluation transform does for a config, in our words.

    Raises:
        ConfigError: images that are not square, or are padded instead of cropped.
    """
    data: dict[str, Any] = resolve_data_config(pretrained_cfg=dict(cfg))  # type: ignore[no-untyped-call]
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise ConfigError(f"it takes images of {channels} x {height} x {width}, not square ones in RGB.")
    if data["crop_mode"] not in ("center", "squash"):
        raise ConfigError(f"its images are prepared by {data['crop_mode']!r}, not by centre or squash.")
    if data["crop_pct"] > 1:
        raise ConfigError(f"its images are padded (crop_pct {data['crop_pct']}), not cropped.")
    return Preprocess(
        size=height,
        resize=floor(height / data["crop_pct"]),
        interpolation=data["interpolation"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        resize_mode="squash" if data["crop_mode"] == "squash" else "crop",
    )


def _cached_repositories() -> frozenset[str]:
    """The hub's repositories of which something is here: one look at one folder."""
    folders = Path(hub.HF_HUB_CACHE).glob("models--*")
    return frozenset(folder.name.removeprefix("models--").replace("--", "/") for folder in folders)


def _cached_file(cfg: Any) -> Path | None:
    """The weights on this machine, in the hub's cache or torch's; None where they are not."""
    if not cfg.hf_hub_id:
        path = _torch_file(cfg)
        return path if path.is_file() else None
    repository, _, revision = cfg.hf_hub_id.partition("@")
    for name in [cfg.hf_hub_filename] if cfg.hf_hub_filename else _HUB_FILES:
        found = huggingface_hub.try_to_load_from_cache(
            repository, name, cache_dir=hub.HF_HUB_CACHE, revision=revision or None
        )
        if isinstance(found, str):
            return Path(found)
    return None


def _torch_file(cfg: Any) -> Path:
    """Where torch keeps a file from a plain address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(cfg.url).path).name


def _address(cfg: Any) -> str:
    return f"{hub.ENDPOINT}/{cfg.hf_hub_id}" if cfg.hf_hub_id else str(cfg.url)


def _require_host(cfg: Any) -> None:
    """Fail at once without a network: the hub's client tries again for most of a minute.

    Raises:
        OSError: the host's name cannot be found. Behind a proxy that is no sign, so it is not asked there.
    """
    if not any(name.lower() in {"https_proxy", "all_proxy"} for name in os.environ):
        socket.getaddrinfo(urlsplit(_address(cfg)).hostname, 443)


def _cannot_fetch(name: str, cfg: Any, cached: Path | None, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if cached is not None:
        return (
            f"The weights of {name} in {cached} cannot be loaded: {reason}\nDelete that file and try again."
        )
    folder = Path(hub.HF_HUB_CACHE) if cfg.hf_hub_id else _torch_file(cfg).parent
    file = f"{_HUB_FILES[0]} of it" if cfg.hf_hub_id else "it"
    return (
        f"The weights of {name} are not here and cannot be fetched: {_address(cfg)} ({reason}).\n"
        f"Fetch {file} elsewhere and give it as --weights FILE; a copy of the cache belongs into {folder}."
    )
