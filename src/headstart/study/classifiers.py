"""What a study's cases name of a network on a backbone: its classifier, and layers that it may lack."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headstart.config import TrainConfig
from headstart.errors import BackboneError
from headstart.study.rates import recipe_of
from headstart.study.study import CLASSIFIER, Case, Study

if TYPE_CHECKING:
    from headstart.backbones import Backbone

INSTEAD: Final = "pooled"
"""The layer whose features are taken where a backbone has none of the name that a case gives."""


@dataclass(frozen=True, kw_only=True)
class NetworkClassifier:
    """A backbone's own classifier.

    Attributes:
        layer: the layer from which on the network is its classifier.
        layers: how many layers with weights it has: three of AlexNet and VGG, one of most others.
    """

    layer: str
    layers: int

    @property
    def is_last_layer(self) -> bool:
        """Whether there is nothing to it but the last layer, which is new for new classes anyway."""
        return self.layers == 1


@dataclass(frozen=True, kw_only=True)
class NetworkParts:
    """What a study asks of a backbone.

    Attributes:
        classifier: its own; None where no case of the study trains it.
        absent: the layers that cases name and it does not have.
    """

    classifier: NetworkClassifier | None = None
    absent: frozenset[str] = frozenset()

    def lacking(self, case: Case) -> str | None:
        """The layer that a case takes features of, where there is none of the name."""
        layer = case.options.get("layer")
        return layer if layer in self.absent else None


def trains_classifier(case: Case) -> bool:
    """Whether a case trains the classifier of whatever backbone there is."""
    return case.options.get("from_layer") == CLASSIFIER


def find_parts(backbone: str, study: Study, layers: Collection[str]) -> NetworkParts:
    """What a backbone has of what a study asks for.

    Args:
        backbone: its name. One of the study's own is not asked for layers.
        study: whose cases may train its classifier.
        layers: those that cases take features of.

    Raises:
        BackboneError: there is no such backbone, or it lacks the classifier that a case trains.
    """
    own = backbone in study.backbones
    cases = [case.name for case in study.cases if trains_classifier(case)]
    if not cases and (own or not layers):
        return NetworkParts()
    from headstart.backbones import load_backbone

    network = load_backbone(backbone, weights="none")  # what its layers are does not depend on its weights
    absent = frozenset() if own else frozenset(layers) - _present(network, layers)
    if not cases:
        return NetworkParts(absent=absent)
    if network.classifier_layer is None:
        raise BackboneError(
            f"{backbone} has no classifier of its own, or several, and {', '.join(cases)} of the study {study.name} "
            "train it.\nChoose another --backbone."
        )
    classifier = NetworkClassifier(layer=network.classifier_layer, layers=network.classifier_layers)
    return NetworkParts(classifier=classifier, absent=absent)


def _present(network: "Backbone", layers: Collection[str]) -> set[str]:
    """Those of the layers that a network has."""
    present = set()
    for layer in layers:
        with suppress(BackboneError):
            network.cut(layer)
            present.add(layer)
    return present


def with_parts(case: Case, parts: NetworkParts) -> dict[str, Any]:
    """A case's options with what the backbone has for a classifier, and for a layer that it lacks.

    Args:
        case: the case.
        parts: the backbone's.

    Returns:
        The options, as `TrainConfig` knows them. Where the classifier is the last layer alone, training it is what a
        probe of that layer is, and is written as one.
    """
    options = dict(case.options)
    if parts.lacking(case):
        options["layer"] = INSTEAD
    classifier = parts.classifier
    if classifier is None or not trains_classifier(case):
        return options
    if classifier.is_last_layer:
        return _last_layer_only(options)
    return {**options, "from_layer": classifier.layer}


def _last_layer_only(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same training as a probe of the last layer, what its own recipe would have set written out."""
    recipe = recipe_of(TrainConfig("data", **options)).to_dict()
    if recipe["augment"] not in ("none", "six") and "augment" not in options:  # as behind any frozen prefix
        recipe |= {"augment": "none", "flip": "no"}
    unused = {"lr", "epochs"} if recipe["schedule"] not in ("constant", "cosine") else set()
    written = {key: value for key, value in recipe.items() if key not in {"technique", *unused}}
    own = {key: value for key, value in options.items() if key not in {"from_layer", "reinit"}}
    return written | own | {"recipe": "probe", "head": "native", "layer": "last"}
