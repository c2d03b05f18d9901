"""What stands for "the classifier" of a study's cases on a backbone, and which cases come to the same there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart.config import TrainConfig
from headstart.errors import BackboneError
from headstart.study.rates import recipe_of
from headstart.study.study import CLASSIFIER, Case, Study


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


def trains_classifier(case: Case) -> bool:
    """Whether a case trains the classifier of whatever backbone there is."""
    return case.options.get("from_layer") == CLASSIFIER


def find_classifier(backbone: str, study: Study) -> NetworkClassifier | None:
    """The classifier of a backbone; None where no case of the study trains it.

    Raises:
        BackboneError: there is no such backbone, or it lacks the layer or the classifier that a case names.
    """
    own = backbone in study.backbones
    cases = [case.name for case in study.cases if trains_classifier(case)]
    if own and not cases:
        return None
    from headstart.backbones import load_backbone

    network = load_backbone(backbone, weights="none")  # what its layers are does not depend on its weights
    if not own:
        for layer in sorted({case.options["layer"] for case in study.cases if "layer" in case.options}):
            network.cut(layer)
    if not cases:
        return None
    if network.classifier_layer is None:
        raise BackboneError(
            f"{backbone} has no classifier of its own, or several, and {', '.join(cases)} of the study {study.name} "
            "train it.\nChoose another --backbone."
        )
    return NetworkClassifier(layer=network.classifier_layer, layers=network.classifier_layers)


def with_classifier(case: Case, classifier: NetworkClassifier | None) -> dict[str, Any]:
    """A case's options with what the backbone has for a classifier.

    Args:
        case: the case.
        classifier: the backbone's; None where no case of the study trains it.

    Returns:
        The options, as `TrainConfig` knows them. Where the classifier is the last layer alone, training it is what a
        probe of that layer is, and is written as one.
    """
    if classifier is None or not trains_classifier(case):
        return dict(case.options)
    if classifier.is_last_layer:
        return _last_layer_only(case.options)
    return {**case.options, "from_layer": classifier.layer}


def _last_layer_only(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same training as a probe of the last layer, what its own recipe would have set written out."""
    recipe = recipe_of(TrainConfig("data", **options)).to_dict()
    if recipe["augment"] not in ("none", "six") and "augment" not in options:  # as behind any frozen prefix
        recipe |= {"augment": "none", "flip": "no"}
    unused = {"lr", "epochs"} if recipe["schedule"] not in ("constant", "cosine") else set()
    written = {key: value for key, value in recipe.items() if key not in {"technique", *unused}}
    own = {key: value for key, value in options.items() if key not in {"from_layer", "reinit"}}
    return written | own | {"recipe": "probe", "head": "native", "layer": "last"}
