"""Caffe's networks, proved against a forward in numpy that is written from the papers and reads the same file.

The oracle works as the files do: blue, green, red minus the mean, images as (height, width, channels), weights
as (height, width, in, out), and knows nothing of torch.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from headstart.backbones import Backbone, BackboneCard, build_network, find_card, list_backbones
from headstart.backbones.caffe import CaffeSource
from headstart.errors import BackboneError, PickleRefusedError
from headstart.images import normalise

Layers = Mapping[str, list[np.ndarray]]

ALEXNET_MEAN = (104.00698793, 116.66876762, 122.67891434)  # blue, green, red
VGG_MEAN = (103.939, 116.779, 123.68)

ALEXNET_SHAPES = {
    "conv1": (11, 11, 3, 96),
    "conv2": (5, 5, 48, 256),
    "conv3": (3, 3, 256, 384),
    "conv4": (3, 3, 192, 384),
    "conv5": (3, 3, 192, 256),
    "fc6": (9216, 4096),
    "fc7": (4096, 4096),
    "fc8": (4096, 1000),
}
VGG_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def vgg_shapes(name: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for block, (count, outputs) in enumerate(zip(VGG_BLOCKS[name], (64, 128, 256, 512, 512), strict=True)):
        for i in range(count):
            shapes[f"conv{block + 1}_{i + 1}"] = (3, 3, inputs, outputs)
            inputs = outputs
    return shapes | {"fc6": (25088, 4096), "fc7": (4096, 4096), "fc8": (4096, 1000)}


def random_layers(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, list[np.ndarray]]:
    """Weights that keep the activations' size (He), and biases of the order of the activations."""
    rng = np.random.default_rng(seed)
    layers = {}
    for name, shape in shapes.items():
        weights = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        layers[name] = [weights, 5 * rng.standard_normal(shape[-1], np.float32)]
    return layers


# The oracle


def conv(
    x: np.ndarray, layer: list[np.ndarray], *, stride: int = 1, pad: int = 0, groups: int = 1
) -> np.ndarray:
    """(h, w, in) float64 and (kh, kw, in / groups, out): each group of outputs sees its group of inputs."""
    weights, bias = (part.astype(np.float64) for part in layer)
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weights.shape[:2], axis=(0, 1))[::stride, ::stride]
    parts = [
        np.tensordot(inputs, kernel, axes=([3, 4, 2], [0, 1, 2]))
        for inputs, kernel in zip(np.split(windows, groups, 2), np.split(weights, groups, 3), strict=True)
    ]
    return np.concatenate(parts, 2) + bias


def dense(x: np.ndarray, layer: list[np.ndarray]) -> np.ndarray:
    weights, bias = layer
    rows = range(0, len(weights), 4096)  # in parts: the whole in float64 would be a gigabyte
    return sum(x[i : i + 4096] @ weights[i : i + 4096].astype(np.float64) for i in rows) + bias


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def pool(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))
    return windows[::stride, ::stride].max((3, 4))


def response_norm(x: np.ndarray) -> np.ndarray:
    """b_i = a_i / (k + alpha / n * sum of a_j ** 2 over the n channels around i) ** beta, as Caffe divides alpha."""
    n, alpha, beta, k = 5, 1e-4, 0.75, 1.0
    channels = x.shape[2]
    out = np.empty_like(x)
    for i in range(channels):
        near = x[:, :, max(0, i - n // 2) : min(channels, i + n // 2 + 1)]
        out[:, :, i] = x[:, :, i] / (k + alpha / n * (near**2).sum(2)) ** beta
    return out


def alexnet_features(x: np.ndarray, layers: Layers) -> np.ndarray:
    x = pool(response_norm(relu(conv(x, layers["conv1"], stride=4))), 3, 2)
    x = pool(response_norm(relu(conv(x, layers["conv2"], pad=2, groups=2))), 3, 2)
    x = relu(conv(x, layers["conv3"], pad=1))
    x = relu(conv(x, layers["conv4"], pad=1, groups=2))
    return pool(relu(conv(x, layers["conv5"], pad=1, groups=2)), 3, 2)


def vgg_features(x: np.ndarray, layers: Layers) -> np.ndarray:
    for block in "12345":
        for name in sorted(name for name in layers if name.startswith(f"conv{block}_")):
            x = relu(conv(x, layers[name], pad=1))
        x = pool(x, 2, 2)
    return x


def forward(pixels: np.ndarray, layers: Layers) -> dict[str, np.ndarray]:
    """(h, w, 3) uint8 RGB to the codes and the output."""
    alexnet = "conv1" in layers
    x = pixels[:, :, ::-1].astype(np.float64) - (ALEXNET_MEAN if alexnet else VGG_MEAN)
    flat = (alexnet_features if alexnet else vgg_features)(x, layers).reshape(-1)
    fc6 = relu(dense(flat, layers["fc6"]))
    fc7 = relu(dense(fc6, layers["fc7"]))
    return {"fc6": fc6, "fc7": fc7, "output": dense(fc7, layers["fc8"])}


# headstart's side


def photo(card: BackboneCard) -> np.ndarray:
    """Smooth colour and noise, different in each channel and corner."""
    size = card.preprocess.size
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:size, :size] / size
    smooth = np.stack([200 * x, 120 + 100 * np.sin(9 * y), 220 * (1 - x) * y], 2)
    return np.clip(smooth + rng.normal(0, 25, smooth.shape), 0, 255).astype(np.uint8)


def load(name: str, path: Path) -> Backbone:
    card = find_card(f"caffe/{name}")
    network = build_network(card)
    network.load_state_dict(CaffeSource().read_weights(card, path))
    return Backbone(card=card, network=network, weights="pretrained", weights_sha256="0" * 64)


def codes(backbone: Backbone, pixels: np.ndarray) -> dict[str, np.ndarray]:
    batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    x = normalise(batch, backbone.preprocess)
    with torch.inference_mode():
        found = {layer: backbone.split(backbone.cut(layer))[0](x)[0] for layer in ("fc6", "fc7")}
        return {name: value.numpy() for name, value in (found | {"output": backbone.network(x)[0]}).items()}


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def assert_equals_the_oracle(name: str, path: Path, layers: Layers) -> None:
    backbone = load(name, path)
    pixels = photo(backbone.card)
    ours, theirs = codes(backbone, pixels), forward(pixels, layers)
    for layer, values in theirs.items():
        assert difference(ours[layer], values) < 1e-4, layer
        assert 1 < np.abs(values).max() < 1e5
    assert 0.2 < np.mean(theirs["fc6"] > 0) < 0.8
    # The measure would see a slip: the same photo with red and blue exchanged is far away.
    assert difference(codes(backbone, pixels[:, :, ::-1])["fc7"], theirs["fc7"]) > 0.05


@pytest.fixture(scope="module")
def alexnet_layers() -> dict[str, list[np.ndarray]]:
    return random_layers(ALEXNET_SHAPES, seed=0)


def save(path: Path, layers: object) -> Path:
    np.save(path, np.array(layers, dtype=object), allow_pickle=True)
    return path


def test_alexnet_is_the_papers(tmp_path: Path, alexnet_layers: Layers) -> None:
    assert_equals_the_oracle("alexnet", save(tmp_path / "bvlc-alexnet.npy", alexnet_layers), alexnet_layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_vgg_is_the_papers(name: str, tmp_path: Path) -> None:
    layers = random_layers(vgg_shapes(name), seed=1)
    path = save(tmp_path / f"{name}.npy", layers)
    try:
        assert_equals_the_oracle(name, path, layers)
    finally:
        path.unlink()  # half a gigabyte


def save_as_python_2(path: Path, layers: Layers) -> Path:
    """The file as numpy 1 under Python 2 wrote it, which is how these files came into the world."""
    begin = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"

    def text(data: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(data)) + data

    def dtype(code: bytes, order: bytes, flags: int) -> bytes:
        state = b"(K\x03" + text(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + bytes([flags]) + b"tb"
        return b"cnumpy\ndtype\n" + text(code) + b"K\x00K\x01\x87R" + state

    def array(values: np.ndarray) -> bytes:
        shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in values.shape) + b"t"
        return begin + shape + dtype(b"f4", b"<", 0) + b"\x89" + text(values.tobytes()) + b"tb"

    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n")
        file.write(b"\x80\x02" + begin + b")" + dtype(b"O8", b"|", 63) + b"\x89]}(")
        for name, (weights, bias) in layers.items():
            file.write(text(name.encode()) + b"](" + array(weights) + array(bias) + b"e")
        file.write(b"uatb.")
    return path


def test_a_file_of_python_2_gives_the_same_weights(tmp_path: Path, alexnet_layers: Layers) -> None:
    card = find_card("caffe/alexnet")
    old = CaffeSource().read_weights(card, save_as_python_2(tmp_path / "old.npy", alexnet_layers))
    new = CaffeSource().read_weights(card, save(tmp_path / "new.npy", alexnet_layers))
    assert old.keys() == new.keys() == build_network(card).state_dict().keys()
    assert all(torch.equal(old[key], new[key]) for key in new)
    assert all(value.dtype == torch.float32 for value in new.values())


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19"])
def test_the_cards_tell_the_truth(name: str) -> None:
    card = find_card(f"caffe/{name}")
    with torch.device("meta"):
        network = CaffeSource().build(card)
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())
    shapes = ALEXNET_SHAPES if name == "alexnet" else vgg_shapes(name)
    assert card.parameters == sum(int(np.prod(shape)) + shape[-1] for shape in shapes.values())
    assert card in list_backbones("caffe/*")
    side = 227 if name == "alexnet" else 224
    assert (card.preprocess.size, card.preprocess.resize) == (side, side)


def test_aliases_are_codes_after_their_relu(alexnet_layers: Layers) -> None:
    card = find_card("caffe/alexnet")
    backbone = Backbone(card=card, network=build_network(card), weights="none", weights_sha256="0" * 64)
    assert all(backbone.cut(name) == cut for name, cut in backbone.cuts.items())
    assert backbone.cut("fc6").shape == backbone.cut("fc7").shape == backbone.cut("last").shape == (4096,)
    assert backbone.cut("pool5").shape == (256, 6, 6)
    prefix, suffix = backbone.split(backbone.cut("fc6"))
    x = torch.randn(2, 3, 227, 227)
    with torch.inference_mode():
        features = prefix(x)
        assert features.min() == 0
        assert torch.equal(suffix(features), backbone.network(x))


def test_alexnet_takes_other_sizes() -> None:
    network = CaffeSource().build(find_card("caffe/alexnet")).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 128, 128)).shape == (1, 1000)
    assert isinstance(network.fit5, nn.AdaptiveAvgPool2d)
    x = torch.randn(1, 256, 6, 6)
    assert torch.equal(network.fit5(x), x)


def test_weights_that_are_not_here_are_asked_for() -> None:
    card = find_card("caffe/vgg16")
    with pytest.raises(BackboneError, match=r"in vgg16\.npy \(.*tensorflow-vgg.*\)\.\n.*--weights FILE"):
        CaffeSource().load(card, nn.Identity())


def with_layer(layers: Layers, name: str, value: object) -> dict[str, object]:
    return {**layers, name: value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda layers: {k: v for k, v in layers.items() if k != "conv3"}, "conv3 is missing"),
        (lambda layers: with_layer(layers, "conv9", layers["conv1"]), "'conv9' is no layer of it"),
        (
            lambda layers: with_layer(layers, "conv1", [np.zeros((96, 3, 11, 11), "f4"), np.zeros(96, "f4")]),
            r"conv1 is \(96, 3, 11, 11\) and \(96,\) instead of \(11, 11, 3, 96\) and \(96,\)",
        ),
        (lambda layers: with_layer(layers, "fc8", layers["fc8"][:1]), "fc8 is no arrays"),
        (lambda layers: with_layer(layers, "fc8", [1, 2]), "fc8 is no arrays"),
        (lambda layers: {}, "conv1 is missing; .* and 4 more"),
        (list, "holds no weights"),
        (lambda layers: 5, "holds no weights"),
    ],
)
def test_layers_that_do_not_fit_are_named(
    change: object, words: str, tmp_path: Path, alexnet_layers: Layers
) -> None:
    path = save(tmp_path / "wrong.npy", change(alexnet_layers))  # type: ignore[operator]
    with pytest.raises(BackboneError, match=words):
        CaffeSource().read_weights(find_card("caffe/alexnet"), path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    card = find_card("caffe/alexnet")
    with pytest.raises(BackboneError, match=r"no \.npy file"):
        CaffeSource().read_weights(card, tmp_path / "weights.zip")
    with pytest.raises(BackboneError, match="cannot be read: No such file"):
        CaffeSource().read_weights(card, tmp_path / "absent.npy")
    path = save(tmp_path / "hostile.npy", Path("x"))
    with pytest.raises(PickleRefusedError, match="pathlib"):
        CaffeSource().read_weights(card, path)
