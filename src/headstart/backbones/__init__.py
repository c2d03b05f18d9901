"""Backbones: pretrained networks, their weights, their preprocessing and their cuts."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn

from headstart.backbones.backbone import Backbone, Weights
from headstart.backbones.card import BackboneCard
from headstart.backbones.cuts import Cut
from headstart.backbones.names import SHORT_NAMES, candidates, nearest_names
from headstart.backbones.native import NativeHead
from headstart.backbones.source import BackboneSource
from headstart.backbones.sources import SOURCES, build_network
from headstart.backbones.weights import (
    fit_state,
    full_weights,
    misfits,
    parse_weights,
    read_folder,
    sha256_of_tensors,
)
from headstart.errors import BackboneError
from headstart.files import sha256_of_file
from headstart.images import Preprocess, ResizeMode

__all__ = [
    "SHORT_NAMES",
    "Backbone",
    "BackboneCard",
    "BackboneSource",
    "Cut",
    "NativeHead",
    "Weights",
    "build_network",
    "find_card",
    "full_weights",
    "imagenet_accuracy",
    "is_backbone",
    "list_backbones",
    "load_backbone",
    "parse_weights",
]


def list_backbones(pattern: str = "*") -> list[BackboneCard]:
    """The backbones whose name holds `pattern` (with `*` and `?` as in file names), by source and name."""
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    cards = [card for source in SOURCES.values() for card in source.cards()]
    return [card for card in cards if fnmatchcase(card.name, wanted)]


def is_backbone(name: str) -> bool:
    """Whether a name means one backbone that can be used."""
    cards = _all_cards()
    return any(full in cards for full in _meanings(name))


def find_card(name: str) -> BackboneCard:
    """The card of one backbone; `headstart.backbones.names` says what a name means.

    Raises:
        BackboneError: there is no such backbone (the nearest names are given), or it cannot be used.
    """
    cards = _all_cards()
    refused = {key: reason for source in SOURCES.values() for key, reason in source.refused().items()}
    for full in _meanings(name):
        if full in refused:
            raise BackboneError(f"{full} cannot be used: {refused[full]}")
        if full in cards:
            return cards[full]
    # Those that can be used at once stand first.
    close = sorted(nearest_names(name, cards), key=lambda each: not cards[each].weights_here)
    raise BackboneError(
        f"There is no backbone {name!r}. Nearest: {', '.join(close[:3] or list(cards)[:3])}. "
        "`headstart backbones` lists what can be used."
    )


def _all_cards() -> dict[str, BackboneCard]:
    return {card.name: card for card in list_backbones()}


def _meanings(name: str) -> list[str]:
    """The full names that a name may mean, the first that exists first."""
    others = {key: own for source in SOURCES.values() for key, own in source.other_names().items()}
    return [others.get(candidate, candidate) for candidate in candidates(name)]


def imagenet_accuracy(backbone: Backbone) -> float | None:
    """What is published for a backbone: top-1 accuracy on ImageNet-1k's validation images, 0 to 1.

    None where it is not known: of most of timm's weights, of random ones, and of a file of the user's.
    """
    card = backbone.card
    return SOURCES[card.source].imagenet_accuracy(card) if backbone.weights == "pretrained" else None


def load_backbone(
    name: str,
    *,
    weights: Weights = "pretrained",
    seed: int = 0,
    preprocess: Preprocess | None = None,
    size: int | None = None,
    resize_mode: ResizeMode | None = None,
) -> Backbone:
    """Build a backbone, with its weights.

    Args:
        name: one of `list_backbones()`, or a shorter name (`headstart.backbones.names`).
        weights: "pretrained"; "none" for random weights (the baseline); a file of weights (.safetensors, or what
            torch.save wrote) or a folder as timm saves it for its hub, whose arguments and preprocessing are
            taken over; or NAME=one of these.
        seed: seed of the random weights; without effect on others.
        preprocess: how to prepare images, instead of how the weights want them.
        size: side of the network's input in pixels, instead of the weights' own; the resize before the crop
            grows with it.
        resize_mode: "crop", or "squash" or "pad" (the whole photo), instead of how the weights want it.

    Returns:
        The backbone, in eval mode, on the CPU, float32.

    Raises:
        BackboneError: there is no such backbone, its weights cannot be had or do not fit, or it takes no
            images of that size.
        ConfigError: no image can have that size.
    """
    choice = parse_weights([weights], [name])[name]
    card = find_card(name)
    path = None if choice in ("pretrained", "none") else Path(choice).expanduser()
    if path is not None:
        card, path = _with_own_weights(card, path)
    own_size = card.preprocess.size
    card = _with_input(card, preprocess, size, resize_mode)
    network = build_network(card, seed=seed)
    if card.preprocess.size != own_size:
        _require_size(card, network)
    return Backbone(
        card=card,
        network=network,
        weights=Path(choice).expanduser().absolute().name if path is not None else choice,
        weights_sha256=_fill(card, network, path, choice),
    )


def _fill(card: BackboneCard, network: nn.Module, path: Path | None, choice: Weights) -> str:
    """Put the chosen weights into the network, and give their sha256."""
    source = SOURCES[card.source]
    if path is not None:
        state = source.read_weights(card, path)
        if misfits(network, state):
            state = source.convert(card, state)
        fit_state(network, state, origin=str(path), name=card.name)
        return sha256_of_file(path)
    return sha256_of_tensors(network.state_dict()) if choice == "none" else source.load(card, network)


def _with_own_weights(card: BackboneCard, path: Path) -> tuple[BackboneCard, Path]:
    """The card with weights of the user's own, which are not those its name and licence tell of; and their file."""
    library, sign, name = card.name.rpartition("/")
    card = replace(
        card,
        name=f"{library}{sign}{name.partition('.')[0]}",
        licence=f"not stated (weights of {path.name})",
        weights_sha256=None,
        summary=f"{name.partition('.')[0]}, weights of {path.name}",
    )
    if not path.exists():
        raise BackboneError(
            f"There are no weights {path}.\nGive --weights pretrained, none, a file, a folder, or NAME=FILE."
        )
    if not path.is_dir():
        return card, path
    folder = read_folder(path)
    return SOURCES[card.source].adopt(card, folder), folder.file


def _with_input(
    card: BackboneCard, preprocess: Preprocess | None, size: int | None, resize_mode: ResizeMode | None
) -> BackboneCard:
    """The card with the input that was asked for."""
    wanted = preprocess if preprocess is not None else card.preprocess
    if size is not None and size != wanted.size:
        wanted = replace(wanted, size=size, resize=round(wanted.resize * size / wanted.size))
    if resize_mode is not None and resize_mode != wanted.resize_mode:
        # Squashed or padded, the whole photo is the input: nothing is cut off around it.
        resize = wanted.resize if resize_mode == "crop" else wanted.size
        wanted = replace(wanted, resize=resize, resize_mode=resize_mode)
    return card if wanted == card.preprocess else SOURCES[card.source].adapt(card, wanted)


def _require_size(card: BackboneCard, network: nn.Module) -> None:
    """Try one image: what sizes an architecture takes is written nowhere.

    Raises:
        BackboneError: it cannot take the card's size.
    """
    size = card.preprocess.size
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 3, size, size))
    except Exception as error:  # whatever a foreign forward() raises for it
        raise BackboneError(
            f"{card.name} takes no images of {size} pixels: {error}\nGive another size, or another backbone."
        ) from error
