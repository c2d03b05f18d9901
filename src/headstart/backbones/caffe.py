"""`caffe/NAME`: the networks of the papers with the weights that were first trained in Caffe, from .npy files.

`bvlc-alexnet.npy`, `vgg16.npy` and `vgg19.npy` hold a pickled dict, layer -> [weights, bias], as TensorFlow's ports
of these networks read it: convolutions are (height, width, in, out), fully connected layers (in, out) over an image
flattened in height, width, channel order, and the image is blue, green, red, 0 to 255, minus a mean. All of that is
turned around when the file is read, so that the network takes headstart's normalised RGB and torch's layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision import models

from headstart.backbones.card import BackboneCard
from headstart.backbones.source import BackboneSource
from headstart.errors import BackboneError
from headstart.images import Preprocess
from headstart.safe_pickle import load_npy

Shape = tuple[int, ...]
Array = npt.NDArray[Any]

_MOST_FAULTS: Final = 4


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One layer of the file: the network's name for it, and the shape of its weights in the file."""

    module: str
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class _Network:
    """One network: its file, what the card says of it, and how the file's layers become the network's."""

    file: str
    origin: str
    licence: str
    parameters: int
    preprocess: Preprocess
    layers: Mapping[str, _Layer]
    flattened: Shape
    """Height, width and channels of what `fc6` is applied to."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    summary: str

    @property
    def first(self) -> str:
        """The layer that sees the image."""
        return next(iter(self.layers))


def _preprocess(size: int, mean: tuple[float, float, float]) -> Preprocess:
    """The short side to `size`, the central square of it, and minus `mean` (red, green, blue, 0 to 255)."""
    red, green, blue = (value / 255 for value in mean)
    return Preprocess(
        size=size,
        resize=size,
        interpolation="bilinear",
        mean=(red, green, blue),
        std=(1 / 255, 1 / 255, 1 / 255),
    )


def _fully_connected(inputs: int, *names: str) -> dict[str, _Layer]:
    """`fc6`, `fc7` and `fc8`, under the network's three names."""
    shapes = ((inputs, 4096), (4096, 4096), (4096, 1000))
    return {
        f"fc{6 + i}": _Layer(module=name, shape=shape)
        for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }


def _alexnet() -> _Network:
    convolutions = {
        "conv1": (11, 11, 3, 96),
        "conv2": (5, 5, 48, 256),
        "conv3": (3, 3, 256, 384),
        "conv4": (3, 3, 192, 384),
        "conv5": (3, 3, 192, 256),
    }
    return _Network(
        file="bvlc-alexnet.npy",
        origin="Caffe's bvlc_alexnet, converted at the University of Toronto for its AlexNet in TensorFlow",
        licence="unrestricted use (BVLC)",
        parameters=60_965_224,
        preprocess=_preprocess(227, (122.67891434, 116.66876762, 104.00698793)),
        layers={name: _Layer(module=name, shape=shape) for name, shape in convolutions.items()}
        | _fully_connected(9216, "linear6", "linear7", "linear8"),
        flattened=(6, 6, 256),
        aliases={"fc6": "relu6", "fc7": "relu7", "last": "relu7"},
        summary="AlexNet of 2012 (groups, local response normalisation), ImageNet-1k, trained in Caffe",
    )


def _vgg(depth: int, *, blocks: tuple[int, ...], parameters: int) -> _Network:
    layers, index, inputs = {}, 0, 3
    for block, (count, outputs) in enumerate(zip(blocks, (64, 128, 256, 512, 512), strict=True), start=1):
        for i in range(1, count + 1):
            layers[f"conv{block}_{i}"] = _Layer(module=f"features.{index}", shape=(3, 3, inputs, outputs))
            index, inputs = index + 2, outputs  # each is followed by its ReLU
        index += 1  # the pooling
    return _Network(
        file=f"vgg{depth}.npy",
        origin="the Visual Geometry Group's Caffe weights, converted for the tensorflow-vgg project",
        licence="CC-BY-4.0",
        parameters=parameters,
        preprocess=_preprocess(224, (123.68, 116.779, 103.939)),
        layers=layers | _fully_connected(25088, "classifier.0", "classifier.3", "classifier.6"),
        flattened=(7, 7, 512),
        aliases={"fc6": "classifier.1", "fc7": "classifier.4", "last": "classifier.4"},
        summary=f"VGG-{depth} of 2014, ImageNet-1k, trained in Caffe",
    )


_NETWORKS: Final[Mapping[str, _Network]] = {
    "alexnet": _alexnet(),
    "vgg16": _vgg(16, blocks=(2, 2, 3, 3, 3), parameters=138_357_544),
    "vgg19": _vgg(19, blocks=(2, 2, 4, 4, 4), parameters=143_667_240),
}


class AlexNet(nn.Sequential):
    """AlexNet as Caffe's bvlc_alexnet has it: normalisation before pooling, convolutions 2, 4 and 5 in two groups.

    Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012; the
    normalisation is that of section 3.3 with Caffe's constants (k 1, n 5, alpha 1e-4 over n, beta 0.75). Takes
    (N, 3, H, W) and gives (N, num_classes); at 227 pixels, where `fit5` changes nothing, it is the paper's
    network. Ports that pad the first convolution too (TensorFlow's "SAME") compute other codes from the same
    weights.
    """

    def __init__(self, *, num_classes: int = 1000) -> None:
        super().__init__()
        self._add("1", nn.Conv2d(3, 96, 11, stride=4), normalised=True)
        self._add("2", nn.Conv2d(96, 256, 5, padding=2, groups=2), normalised=True)
        self._add("3", nn.Conv2d(256, 384, 3, padding=1))
        self._add("4", nn.Conv2d(384, 384, 3, padding=1, groups=2))
        self._add("5", nn.Conv2d(384, 256, 3, padding=1, groups=2))
        self.pool5 = _pooling()
        self.fit5 = nn.AdaptiveAvgPool2d(6)
        self.flatten = nn.Flatten()
        for i, inputs in ((6, 9216), (7, 4096)):
            # Not fc6 and fc7: these names mean what comes out of the ReLU, and one name means one layer.
            self.add_module(f"linear{i}", nn.Linear(inputs, 4096))
            self.add_module(f"relu{i}", nn.ReLU(inplace=True))
            self.add_module(f"drop{i}", nn.Dropout())
        self.linear8 = nn.Linear(4096, num_classes)

    def _add(self, number: str, convolution: nn.Conv2d, *, normalised: bool = False) -> None:
        self.add_module(f"conv{number}", convolution)
        self.add_module(f"relu{number}", nn.ReLU(inplace=True))
        if normalised:
            self.add_module(f"norm{number}", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0))
            self.add_module(f"pool{number}", _pooling())


def _pooling() -> nn.MaxPool2d:
    """Caffe's pooling reaches over the edge where the windows do not fit; at 227 pixels they do."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class CaffeSource(BackboneSource):
    """The networks that were first trained in Caffe; their weights come from files of the user's."""

    def cards(self) -> list[BackboneCard]:
        """What there is; the weights never are."""
        return [_card(name, network) for name, network in _NETWORKS.items()]

    def build(self, card: BackboneCard) -> nn.Module:
        """The architecture with random weights, from torch's global generator."""
        name, arguments = _name(card), dict[str, Any](card.arguments)
        network: nn.Module = (
            AlexNet(**arguments) if name == "alexnet" else models.get_model(name, weights=None, **arguments)
        )
        return network

    def load(self, card: BackboneCard, network: nn.Module) -> NoReturn:
        """There is no place to fetch the weights from.

        Raises:
            BackboneError: says which file they are in, whose it is, and how to give it.
        """
        known = _NETWORKS[_name(card)]
        raise BackboneError(
            f"The weights of {card.name} cannot be fetched; they are in {known.file} ({known.origin}).\n"
            f"Get that file and give it with --weights FILE, or train from random ones with --weights none."
        )

    def read_weights(self, card: BackboneCard, path: Path) -> dict[str, Tensor]:
        """Read an .npy file of weights as the network's state dict: float32, torch's layout, for RGB images.

        Raises:
            BackboneError: the file cannot be read, or its layers are not this network's; they are named.
            PickleRefusedError: it is damaged, or holds more than arrays.
        """
        known = _NETWORKS[_name(card)]
        layers = _read_layers(path)
        _check_layers(layers, known, f"{path} does not fit {card.name}")
        state: dict[str, Tensor] = {}
        for name, layer in known.layers.items():
            weights, bias = layers.pop(name)  # half a gigabyte: free each as soon as it is converted
            state[f"{layer.module}.weight"] = _tensor(_turn(weights, name, known))
            state[f"{layer.module}.bias"] = _tensor(bias)
        return state


def _card(name: str, network: _Network) -> BackboneCard:
    return BackboneCard(
        name=f"caffe/{name}",
        source="caffe",
        architecture=f"caffe_{name}",
        arguments={},
        preprocess=network.preprocess,
        licence=network.licence,
        parameters=network.parameters,
        weights_sha256=None,
        weights_here=False,
        get_weights=f"--weights {network.file}",
        aliases=network.aliases,
        summary=network.summary,
    )


def _name(card: BackboneCard) -> str:
    return card.architecture.removeprefix("caffe_")


def _read_layers(path: Path) -> dict[str, Any]:
    """The pickled dict in an .npy file."""
    if path.suffix.lower() != ".npy":
        raise BackboneError(f"{path} is no .npy file, which the weights of Caffe's networks are in.")
    try:
        array = load_npy(path, encoding="latin1")
    except OSError as error:
        raise BackboneError(f"The weights {path} cannot be read: {error.strerror or error}.") from error
    layers = array.item() if array.shape == () else None
    if not isinstance(layers, dict):
        raise BackboneError(f"{path} holds no weights.\nExpected a dict of layers, each [weights, bias].")
    return layers


def _check_layers(layers: Mapping[str, object], known: _Network, complaint: str) -> None:
    """See that each layer is there with its shape, and none besides."""
    expected = {name: (layer.shape, layer.shape[-1:]) for name, layer in known.layers.items()}
    faults = [f"{name} is missing" for name in expected if name not in layers]
    faults += [f"{str(name)[:40]!a} is no layer of it" for name in layers if name not in expected]
    for name, shapes in expected.items():
        if name in layers and (found := _shapes(layers[name])) != shapes:
            came = " and ".join(map(str, found)) if found else "no arrays of floating-point numbers"
            faults.append(f"{name} is {came} instead of {shapes[0]} and {shapes[1]}")
    if faults:
        more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise BackboneError(
            f"{complaint}: {'; '.join(faults[:_MOST_FAULTS])}{more}.\n"
            f"Expected {known.file}, a dict of {', '.join(known.layers)}, each [weights, bias]."
        )


def _shapes(layer: object) -> tuple[Shape, ...] | None:
    """The shapes of weights and bias; None where the layer is no such pair."""
    if not isinstance(layer, list | tuple | np.ndarray) or len(layer) != 2:
        return None
    if not all(isinstance(part, np.ndarray) and part.dtype.kind == "f" for part in layer):
        return None
    return tuple(part.shape for part in layer)


def _turn(weights: Array, name: str, known: _Network) -> Array:
    """Weights in torch's layout: (out, in, height, width) or (out, in)."""
    if weights.ndim == 4:
        turned = weights.transpose(3, 2, 0, 1)
        return turned[:, ::-1] if name == known.first else turned  # blue, green, red to red, green, blue
    if name == "fc6":
        image = weights.reshape(*known.flattened, -1)
        return image.transpose(3, 2, 0, 1).reshape(weights.shape[1], -1)
    return weights.T


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
