"""`torchvision/NAME`: all that torchvision classifies with, with every set of weights it publishes.

`torchvision/resnet50` has torchvision's default weights (`ResNet50_Weights.DEFAULT`);
`torchvision/resnet50.imagenet1k_v1` has that entry's.
"""

import contextlib
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision import models

from headstart.backbones.card import BackboneCard
from headstart.backbones.source import BackboneSource
from headstart.backbones.weights import fit_state, read_state
from headstart.errors import BackboneError
from headstart.files import sha256_of_file
from headstart.images import Preprocess

PREFIX: Final = "torchvision/"

# GoogLeNet's and Inception's weights were trained with inputs normalised otherwise, which the network mends
# itself. Their auxiliary classifiers only help training from scratch, and stand in no path to the output.
_INCEPTIONS: Final = {"aux_logits": False, "transform_input": True, "init_weights": True}
_ARGUMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    "googlenet": _INCEPTIONS,
    "inception_v3": _INCEPTIONS,
}
_AUXILIARY: Final[Mapping[str, tuple[str, ...]]] = {
    "googlenet": ("aux1.", "aux2."),
    "inception_v3": ("AuxLogits.",),
}
_INCEPTION_AUXILIARY_PARAMETERS: Final = 3_326_696  # torchvision counts them in, GoogLeNet's not

# Positions are learned for one input size.
_FIXED_SIZE: Final = ("vit_", "maxvit_")

# The fully connected layers of the papers, after their ReLU. AlexNet drops out before each of the two, VGG
# after, so the same index is another layer.
_ALEXNET_ALIASES: Final = {"fc6": "classifier.2", "fc7": "classifier.5"}
_VGG_ALIASES: Final = {"fc6": "classifier.1", "fc7": "classifier.4"}

_SWAG_LICENCE: Final = "CC-BY-NC-4.0"
_UNSTATED_LICENCE: Final = "not stated"  # torchvision itself is BSD-3-Clause


class TorchvisionSource(BackboneSource):
    """The classification networks of `torchvision.models`."""

    def cards(self) -> list[BackboneCard]:
        """One card for each set of weights; an architecture's default comes first, without a tag."""
        return [
            _card(architecture, entry, tag)
            for architecture in models.list_models(module=models)
            for entry, tag in _entries(architecture)
        ]

    def other_names(self) -> Mapping[str, str]:
        """The default weights have their own tag too."""
        names = {}
        for architecture in models.list_models(module=models):
            tag = models.get_model_weights(architecture).DEFAULT.name.lower()
            names[f"{PREFIX}{architecture}.{tag}"] = f"{PREFIX}{architecture}"
        return names

    def build(self, card: BackboneCard) -> nn.Module:
        """The architecture with random weights, from torch's global generator."""
        arguments: dict[str, Any] = dict(card.arguments)
        network: nn.Module = models.get_model(_architecture(card), weights=None, **arguments)
        return network

    def load(self, card: BackboneCard, network: nn.Module) -> str:
        """Put the pretrained weights into `network`, downloaded by torchvision where they are not here.

        Returns:
            The sha256 of the checkpoint file.

        Raises:
            BackboneError: the file cannot be fetched, or is damaged.
        """
        entry = _entry(card)
        path = _checkpoint(entry)
        if not path.is_file():
            _download(entry, path, card.name)
        sha256 = _checked_sha256(path)
        state = entry.get_state_dict(progress=False, map_location="cpu", weights_only=True)
        fit_state(network, _without_auxiliary(card, state), origin=str(path), name=card.name)
        return sha256

    def imagenet_accuracy(self, card: BackboneCard) -> float | None:
        """As torchvision states it with the weights; VGG16's convolutions alone have none."""
        percent = _entry(card).meta["_metrics"]["ImageNet-1K"]["acc@1"]
        return None if math.isnan(percent) else float(percent) / 100

    def adapt(self, card: BackboneCard, preprocess: Preprocess) -> BackboneCard:
        """The card for other images, if the architecture can take them.

        Raises:
            BackboneError: positions are learned for one size, or the images are too small.
        """
        size, own = preprocess.size, card.preprocess.size
        if _architecture(card).startswith(_FIXED_SIZE) and size != own:
            raise BackboneError(
                f"{card.name} takes images of {own} pixels only, not {size}.\n"
                "timm's transformers (timm/vit_*) can be had for other sizes."
            )
        if size < (least := max(_entry(card).meta["min_size"])):
            raise BackboneError(f"{card.name} takes images of at least {least} pixels, not {size}.")
        return replace(card, preprocess=preprocess)

    def read_weights(self, card: BackboneCard, path: Path) -> Mapping[str, Tensor]:
        """A file of the user's weights, without the auxiliary classifiers that the network lacks here."""
        return _without_auxiliary(card, read_state(path))


def _entries(architecture: str) -> list[tuple[models.WeightsEnum, str]]:
    """The weights of an architecture with the tag that their card's name has, the default ones first."""
    weights = models.get_model_weights(architecture)
    others = [entry for entry in weights if entry is not weights.DEFAULT]
    return [(weights.DEFAULT, ""), *((entry, f".{entry.name.lower()}") for entry in others)]


def _card(architecture: str, entry: models.WeightsEnum, tag: str) -> BackboneCard:
    return BackboneCard(
        name=f"{PREFIX}{architecture}{tag}",
        source="torchvision",
        architecture=f"{PREFIX}{architecture}",
        arguments=dict(_ARGUMENTS.get(architecture, {})),
        preprocess=_preprocess(entry.transforms()),
        licence=_SWAG_LICENCE if "SWAG" in entry.meta.get("license", "") else _UNSTATED_LICENCE,
        parameters=entry.meta["num_params"]
        - (_INCEPTION_AUXILIARY_PARAMETERS if architecture == "inception_v3" else 0),
        weights_sha256=None,
        weights_here=_checkpoint(entry).is_file(),
        get_weights=f"{entry.meta['_file_size']:.0f} MB, fetched when used",
        aliases=_aliases(architecture, entry),
        summary=f"{architecture} of torchvision, weights {entry.name}",
    )


def _preprocess(transforms: Any) -> Preprocess:
    """What the weights' own transforms do, in our words."""
    return Preprocess(
        size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _aliases(architecture: str, entry: models.WeightsEnum) -> Mapping[str, str]:
    if entry.name == "IMAGENET1K_FEATURES":  # VGG16's convolutions alone: its classifier is not trained
        return {}
    if architecture.startswith("vgg"):
        return dict(_VGG_ALIASES)
    return dict(_ALEXNET_ALIASES) if architecture == "alexnet" else {}


def _architecture(card: BackboneCard) -> str:
    return card.architecture.removeprefix(PREFIX)


def _entry(card: BackboneCard) -> models.WeightsEnum:
    """The weights that the card's name means."""
    weights = models.get_model_weights(_architecture(card))
    tag = card.name.removeprefix(card.architecture).removeprefix(".")
    return weights[tag.upper()] if tag else weights.DEFAULT


def _checkpoint(entry: models.WeightsEnum) -> Path:
    """Where torchvision keeps the file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name


def _download(entry: models.WeightsEnum, path: Path, name: str) -> None:
    """Have torchvision fetch the file and check the start of its sha256, which stands in its name."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch writes there what it does; stdout is for results
            entry.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise BackboneError(
            f"The weights of {name} are not here and cannot be fetched: {entry.url} ({error}).\n"
            f"Fetch that file elsewhere and put it into {path.parent}, or give it as --weights FILE."
        ) from error


def _checked_sha256(path: Path) -> str:
    """The file's sha256, whose start must be what stands in its name."""
    sha256 = sha256_of_file(path)
    start = path.stem.rpartition("-")[2]
    if not sha256.startswith(start):
        raise BackboneError(
            f"{path} is damaged: its sha256 begins with {sha256[: len(start)]}, not with {start}.\n"
            "Delete it; the next use fetches it again."
        )
    return sha256


def _without_auxiliary(card: BackboneCard, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    starts = _AUXILIARY.get(_architecture(card), ())
    return {name: value for name, value in state.items() if not name.startswith(starts)} if starts else state
