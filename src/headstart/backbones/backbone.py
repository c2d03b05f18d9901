"""A backbone: a network with its weights, its preprocessing, its licence and its cuts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from headstart.backbones.card import BackboneCard
from headstart.backbones.cut import MEAN, Cut
from headstart.backbones.cuts import CutNetwork, cut_network
from headstart.backbones.layers import Layer
from headstart.errors import BackboneError
from headstart.images import Preprocess

Weights = str
"""Which weights: "pretrained", "none", a file, a folder, or NAME=one of these."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network that has learned to see, and where it can be cut.

    Attributes:
        card: what is known of it without its weights.
        network: the whole network, in eval mode; it takes (N, 3, size, size) float32, normalised.
        weights: "pretrained", "none" for random ones, or the name of the user's own file or folder.
        weights_sha256: identity of the weights in the store: the file's sha256, or that of the tensors
            themselves for random weights and for those that timm adapts.
    """

    card: BackboneCard
    network: nn.Module
    weights: Weights
    weights_sha256: str

    @property
    def name(self) -> str:
        """What `--backbone` takes."""
        return self.card.name

    @property
    def preprocess(self) -> Preprocess:
        """How the weights want their images."""
        return self.card.preprocess

    def with_preprocess(self, preprocess: Preprocess) -> "Backbone":
        """The same network for images that are prepared otherwise; its features stand under a key of their own.

        Raises:
            BackboneError: the images have another size, which the network was not built for.
        """
        if preprocess.size != self.preprocess.size:
            raise BackboneError(
                f"{self.name} was loaded for images of {self.preprocess.size} pixels, not {preprocess.size}.\n"
                f"Load it for the other size: load_backbone(..., size={preprocess.size})."
            )
        return replace(self, card=replace(self.card, preprocess=preprocess))

    @cached_property
    def _cut_network(self) -> CutNetwork:
        return cut_network(self.network, size=self.preprocess.size)

    @property
    def cuts(self) -> Mapping[str, Cut]:
        """All legal cuts by canonical name, from the pixels to the output."""
        return self._cut_network.cuts

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """The field's names of layers (`pooled`, `last`, and `fc6`, `fc7` where there are such), to canonical names."""
        return {**self._cut_network.aliases, **self.card.aliases}

    @property
    def note(self) -> str | None:
        """What there is to say about its cuts: why there is only one."""
        return self._cut_network.note

    def layers(self, depth: int | None = None) -> list[Layer]:
        """The tree of modules, with what each gives and which of them are cuts.

        Args:
            depth: how many levels; by default, as far down as is readable.
        """
        return self._cut_network.layers(depth)

    def cut(self, layer: str) -> Cut:
        """The cut that a layer's name means: an alias (`pooled`), a module (`blocks.6`) or a canonical name.

        `NAME:mean` is the average over the positions of the cut that NAME means.

        Raises:
            BackboneError: there is no such layer, or it is no cut; the nearest names are given.
        """
        name, mean = (layer.removesuffix(MEAN), MEAN) if layer.endswith(MEAN) else (layer, "")
        return self._cut_network.resolve(self.aliases.get(name, name) + mean, self.aliases)

    def prefix(self, cut: Cut) -> nn.Module:
        """What gives the cut's features: from (N, 3, size, size) float32 to (N, *cut.shape).

        It shares its parameters with the network.
        """
        return self._cut_network.prefix(cut)

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """Prefix and suffix, sharing their parameters with the whole: `suffix(prefix(x))` is `network(x)`.

        The prefix takes (N, 3, size, size) float32 and gives (N, *cut.shape); the suffix goes on from there
        to (N, classes) and leaves the features it is given as they are.

        Raises:
            BackboneError: the network does not go on from there (`cut.goes_on`), as from an average beside it.
        """
        return self._cut_network.split(cut)


def sha256_of_tensors(state: Mapping[str, torch.Tensor]) -> str:
    """One sha256 for a state dict: names, shapes, dtypes and bytes, in order."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
