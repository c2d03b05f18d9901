"""The seam through which networks come: a source knows cards, builds architectures and loads their weights."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from headstart.backbones.card import BackboneCard
from headstart.backbones.weights import WeightsFolder, read_state
from headstart.errors import BackboneError
from headstart.images import Preprocess


class BackboneSource(Protocol):
    """Where networks come from: the one seam for new ones.

    A source inherits from this class and gives the first three methods; the others have defaults that suit a
    network which takes images of any size and whose weights files hold its own state dict.
    """

    def cards(self) -> list[BackboneCard]:
        """What there is, whether or not the weights are here; builds nothing and asks no network."""
        ...

    def build(self, card: BackboneCard) -> nn.Module:
        """The architecture with random weights, drawn from torch's global generator.

        It has as many classes as the card's arguments say with `num_classes`, where they do.
        """
        ...

    def load(self, card: BackboneCard, network: nn.Module) -> str:
        """Put the pretrained weights into the network and give their sha256 identity, hex.

        Raises:
            BackboneError: they cannot be had, or are not what they should be.
        """
        ...

    def refused(self) -> Mapping[str, str]:
        """Names that exist but cannot be used, with the reason in words."""
        return {}

    def other_names(self) -> Mapping[str, str]:
        """Further names of its cards, to the cards' own."""
        return {}

    def imagenet_accuracy(self, card: BackboneCard) -> float | None:
        """What is published for the card's own weights: top-1 accuracy on ImageNet-1k's validation, 0 to 1."""
        return None

    def adapt(self, card: BackboneCard, preprocess: Preprocess) -> BackboneCard:
        """The card for images that are prepared otherwise than its weights want.

        Raises:
            BackboneError: the architecture takes no such images.
        """
        return replace(card, preprocess=preprocess)

    def read_weights(self, card: BackboneCard, path: Path) -> Mapping[str, Tensor]:
        """A file of the user's weights as a state dict under the network's own names.

        Raises:
            BackboneError: it is no weights file.
        """
        return read_state(path)

    def convert(self, card: BackboneCard, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights that do not fit, in the form of an older version or another size, made to fit if they can be.

        Whatever comes back is fitted as strictly as before.
        """
        return state

    def adopt(self, card: BackboneCard, folder: WeightsFolder) -> BackboneCard:
        """The card as a folder of weights describes it: other arguments, other preprocessing.

        Raises:
            BackboneError: such folders are of no use to this source, or this one holds another architecture.
        """
        raise BackboneError(
            f"{folder.path} is a folder of timm's, and {card.name} is none of timm's networks.\n"
            "Give --weights a file (.safetensors, .pth)."
        )
