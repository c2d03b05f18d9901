"""What the tests of studies share: networks whose classifiers are known without building them."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from headstart.backbones import Cut
from headstart.errors import BackboneError


@dataclass(frozen=True)
class FakeNetwork:
    """As much of a backbone as a study asks about."""

    classifier_layer: str | None
    classifier_layers: int

    def cut(self, layer: str) -> Cut | None:
        if layer not in ("pooled", "last"):
            raise BackboneError(f"There is no layer {layer!r}.")
        return None


NETWORKS = {
    "alexnet": FakeNetwork("classifier", 3),
    "vgg11": FakeNetwork("classifier", 3),
    "tf_efficientnet_lite0": FakeNetwork("classifier", 1),
    "resnet18": FakeNetwork("fc", 1),
    "mobilenet_v3_small": FakeNetwork("dense", 2),
    "timm/deit_tiny_distilled_patch16_224": FakeNetwork(None, 0),
}

Loads = list[str]


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """The names of the backbones that were asked for; each is a `FakeNetwork`."""
    names: Loads = []

    def load(name: str, *, weights: str) -> FakeNetwork:
        assert weights == "none"
        names.append(name)
        return NETWORKS[name]

    monkeypatch.setattr("headstart.backbones.load_backbone", load)
    return names


@pytest.fixture
def values() -> Callable[..., dict[str, object]]:
    """`values(**others)` is what stands in the file of a small study, with other keys above its own."""

    def make(**others: object) -> dict[str, object]:
        own: dict[str, object] = {
            "title": "A small study",
            "data": [{"name": "photos"}],
            "backbones": ["alexnet"],
            "cases": [
                {"name": "probe", "title": "a probe"},
                {"name": "all", "title": "everything", "options": {"recipe": "finetune", "epochs": 4}},
            ],
            "options": {"recipe": "probe"},
        }
        return own | others

    return make
