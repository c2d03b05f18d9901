"""Where a run starts from: pretrained weights, random ones, or an earlier run's classifier (`--init RUN`)."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torch import nn

from headstart.backbones import Backbone, NativeHead
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.heads import LinearHead, MlpHead
from headstart.jobs.images import load_backbone_of
from headstart.jobs.shelf import Shelf

# The heads that can be trained further.
_KINDS: Final[Mapping[str, type[nn.Module]]] = MappingProxyType(
    {"native": NativeHead, "linear": LinearHead, "mlp": MlpHead}
)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A network to start from.

    Attributes:
        backbone: this run's own.
        head: the earlier run's, on features of `layer`; None without an earlier run.
        layer: canonical name of the cut that the head stands on.
        classes: names of the head's classes.
    """

    backbone: Backbone
    head: nn.Module | None = None
    layer: str | None = None
    classes: tuple[str, ...] = ()

    def head_for(self, classes: tuple[str, ...], layer: str, kind: str | None) -> nn.Module | None:
        """The earlier head, where it names the same classes, stands on the same features and can be trained.

        Args:
            classes: the names.
            layer: canonical name of the cut.
            kind: native, linear or mlp; None where any will do.
        """
        kinds = tuple(_KINDS.values()) if kind is None else (_KINDS[kind],)
        fits = (classes, layer) == (self.classes, self.layer) and isinstance(self.head, kinds)
        return self.head if fits else None


def load_start(config: TrainConfig, shelf: Shelf | None = None) -> Start:
    """Load the network that a configuration starts from.

    Args:
        config: a run's configuration.
        shelf: where the network may stand already; one that goes on from an earlier run is always loaded anew.

    Raises:
        RunError: the earlier run holds no classifier.
        ConfigError: it has another network.
    """
    if config.init is None:
        shelf = shelf if shelf is not None else Shelf()
        return Start(backbone=shelf.get("network", _network_key(config), lambda: load_backbone_of(config)))
    backbone = load_backbone_of(config)
    earlier = Classifier.load(config.init)
    if earlier.backbone.card.architecture != backbone.card.architecture:
        raise ConfigError(
            f"The run {config.init} has the network {earlier.backbone.name}, and this one is to have {backbone.name}.\n"
            f"Use the same: --backbone {earlier.backbone.name}."
        )
    state = earlier.backbone.prefix(earlier.cut).state_dict()
    backbone.prefix(backbone.cut(earlier.cut.name)).load_state_dict(state)
    return Start(
        backbone=backbone.trained(), head=earlier.head, layer=earlier.cut.name, classes=earlier.classes
    )


def _network_key(config: TrainConfig) -> tuple[Hashable, ...]:
    """What decides which network it is; the seed only where the weights are random."""
    seed = config.seed if config.weights.endswith("none") else None
    return (config.backbone, config.weights, config.size, config.resize, seed)
