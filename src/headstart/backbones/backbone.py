"""A backbone: a network with its weights, its preprocessing, its licence and its cuts."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from headstart.backbones.card import BackboneCard
from headstart.backbones.cut import MEAN, Cut
from headstart.backbones.cuts import CutNetwork, cut_network
from headstart.backbones.layers import Layer
from headstart.backbones.native import NativeHead, build_native_head
from headstart.backbones.sources import build_network
from headstart.backbones.stages import list_stages
from headstart.backbones.starts import Starts
from headstart.backbones.weights import sha256_of_tensors
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
        return self._with_cuts(replace(self, card=replace(self.card, preprocess=preprocess)))

    def _with_cuts(self, other: "Backbone") -> "Backbone":
        """The other one of the same network, whose cuts need not be found again where they are known."""
        if "_cut_network" in vars(self):
            vars(other)["_cut_network"] = self._cut_network
        return other

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
        """What there is to say about its cuts, such as why there is only one."""
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
        return self.part(None, cut)

    def part(self, start: Cut | None, end: Cut) -> nn.Module:
        """What lies between two cuts: from the features at start to those at end.

        `part(start, end)(prefix(start)(x))` is `prefix(end)(x)` bit for bit, in eval and in train mode. It shares its
        parameters with the network, has those only that it uses, under the network's own names, and leaves the
        features it is given as they are.

        Args:
            start: where its input (N, *start.shape) comes from, or None for the pixels, (N, 3, size, size).
            end: where its output (N, *end.shape) is taken; an average (`NAME:mean`) too. The same as start for
                what changes nothing.

        Raises:
            BackboneError: the network does not go on from start, or end does not come after it.
        """
        return self._cut_network.part(start, end)

    def cut_before(self, layer: str) -> Cut | None:
        """Where the frozen prefix ends when everything from a layer on is trained.

        It is the last cut before the layer's first operation, and before a dropout in front of it. An alias, or
        the name of what has no parameters of its own, stands for the layer that makes it.

        Args:
            layer: a module (`layer4`), an operation, an alias (`fc7`), or `classifier`, in any network that has one.

        Returns:
            The cut, or None where nothing with parameters comes before the layer, so that all is trained.

        Raises:
            BackboneError: there is no such layer (the nearest names are given), or the network cannot be cut.
        """
        if self._starts is None:
            raise BackboneError(
                f"{self.name} cannot be trained from {layer!r} on, only as a whole.\n{self.note}"
            )
        return self._starts.before(layer)

    def native_head(self, n_classes: int, *, seed: int) -> NativeHead:
        """The network's own classifier, made anew: all that it does behind its `last` cut.

        Its weights are its own, and drawn as in a freshly built network; calling again with the same classes builds
        the same module, into which a state dict can be loaded.

        Args:
            n_classes: number of classes.
            seed: of the weights; torch's own generator is kept.

        Returns:
            A module in eval mode, from features (N, *last.shape) to logits (N, n_classes).

        Raises:
            BackboneError: the network has several classifiers, or cannot be cut.
        """
        return build_native_head(self.card, self.cut("last"), n_classes, seed=seed)

    @property
    def classifier_layer(self) -> str | None:
        """The layer that is the network's own classifier; None where there is none, or several.

        AlexNet's and VGG's `classifier`, which holds three weight layers; else what the last one stands in.
        """
        return self._starts.classifier_layer if self._starts is not None else None

    @property
    def classifier_layers(self) -> int:
        """How many weight layers the classifier has; 0 where there is no classifier, or several."""
        return len(self._starts.weight_layers) if self._starts is not None else 0

    @cached_property
    def _starts(self) -> Starts | None:
        return self._cut_network.starts(self.aliases)

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """Prefix and suffix, sharing their parameters with the whole: `suffix(prefix(x))` is `network(x)`.

        The prefix takes (N, 3, size, size) float32 and gives (N, *cut.shape); the suffix goes on from there
        to (N, classes) and leaves the features it is given as they are.

        Raises:
            BackboneError: the network does not go on from there (`cut.goes_on`), as from an average beside it.
        """
        suffix = self._cut_network.suffix(cut)
        return self.prefix(cut), suffix

    def stages(self, start: Cut | None, end: Cut) -> list[list[str]]:
        """The names of the parameters between two cuts in groups, from the input to the output.

        For learning rates that fall off from the output to the input (layer-wise decay, as in BEiT, Bao et al.
        2022). A group is the stem, a stage or block, or the classifier; `headstart.backbones.stages` says how they
        are found.

        Raises:
            BackboneError: the network does not go on from start, or end does not come after it.
        """
        there = {name for name, _ in self.part(start, end).named_parameters()}
        stages = ([name for name in stage if name in there] for stage in list_stages(self.network))
        return [stage for stage in stages if stage]

    def copy(self) -> "Backbone":
        """The same backbone with a network of its own, so that training it leaves this one as it is."""
        return replace(self, network=deepcopy(self.network))

    def trained(self) -> "Backbone":
        """The same network under the identity of the weights that it has now, for when they have been trained."""
        return self._with_cuts(replace(self, weights_sha256=sha256_of_tensors(self.network.state_dict())))

    def reinitialise(self, part: nn.Module, *, seed: int) -> None:
        """Give what a part of this network uses the values that it has in a freshly built network.

        Args:
            part: from `part`, `prefix` or `split`; its parameters and buffers are overwritten, and no others.
            seed: of the random weights; torch's own generator is kept.
        """
        fresh = build_network(self.card, seed=seed).state_dict()
        part.load_state_dict({name: fresh[name] for name in part.state_dict()})
