"""Where a run starts from: pretrained weights, random ones, or an earlier run's classifier (`--init RUN`)."""

from dataclasses import dataclass

from torch import nn

from headstart.backbones import Backbone
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.jobs.images import load_backbone_of


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

    def head_for(self, classes: tuple[str, ...], layer: str) -> nn.Module | None:
        """The earlier head, where it names the same classes and stands on the same features."""
        return self.head if (classes, layer) == (self.classes, self.layer) else None


def load_start(config: TrainConfig) -> Start:
    """Load the network that a configuration starts from.

    Raises:
        RunError: the earlier run holds no classifier.
        ConfigError: it has another network.
    """
    backbone = load_backbone_of(config)
    if config.init is None:
        return Start(backbone=backbone)
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
