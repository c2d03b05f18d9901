import copy
from collections.abc import Iterator, Mapping

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

from headstart.backbones import Backbone, Cut, load_backbone
from headstart.backbones.cuts import CutNetwork, TracedNetwork
from headstart.errors import BackboneError

ORDINARY = {
    "squeezenet1_1": lambda: models.squeezenet1_1(num_classes=7),
    "alexnet": lambda: models.alexnet(num_classes=7),
    "resnet18": lambda: models.resnet18(num_classes=7),
    "densenet121": lambda: models.densenet121(num_classes=7),
    "googlenet": lambda: models.googlenet(num_classes=7, aux_logits=False, init_weights=False),
    "drop_path": lambda: timm.create_model("efficientnet_lite0", num_classes=7, drop_path_rate=0.5),
    "vit": lambda: timm.create_model("test_vit", num_classes=7, img_size=64, drop_path_rate=0.5),
}
SIZES = {"alexnet": 96}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine the threads of small images wait for each other, tenfold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(name: str) -> tuple[nn.Module, int]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ORDINARY[name]().eval(), SIZES.get(name, 64)


def images(size: int, n: int = 2) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def going_on(cuts: Mapping[str, Cut]) -> list[str]:
    """Names of the cuts that have a suffix."""
    return [name for name, cut in cuts.items() if cut.goes_on]


def seeded(module: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        return module(x)


def assert_splits(network: nn.Module, traced: CutNetwork, name: str, x: Tensor, *, training: bool) -> None:
    """suffix(prefix(x)) is network(x) bit for bit, and the suffix leaves the features alone."""
    network.train(training)
    state = copy.deepcopy(network.state_dict())
    whole = seeded(network, x)
    after = copy.deepcopy(network.state_dict())
    network.load_state_dict(state)
    prefix, suffix = traced.part(None, traced.cuts[name]), traced.suffix(traced.cuts[name])
    assert prefix.training is suffix.training is training
    torch.manual_seed(5)
    with torch.no_grad():
        features = prefix(x)
        kept = features.clone()
        result = suffix(features)
    assert torch.equal(result, whole), name
    assert torch.equal(features, kept), f"the suffix from {name} on overwrote its input"
    assert features.shape[1:] == traced.cuts[name].shape
    for key, value in network.state_dict().items():  # running statistics too
        assert torch.equal(value, after[key]), (name, key)
    network.load_state_dict(state)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ORDINARY)
def test_every_cut_splits_bit_for_bit(name: str, training: bool) -> None:
    network, size = build(name)
    traced = TracedNetwork(network, size=size)
    assert len(traced.cuts) >= 10
    for cut in going_on(traced.cuts):
        assert_splits(network, traced, cut, images(size), training=training)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_every_cut_of_the_bundled_network_splits_bit_for_bit(training: bool) -> None:
    backbone = load_backbone("tf_efficientnet_lite0")
    x = images(224)
    assert len(backbone.cuts) >= 40
    for cut in going_on(backbone.cuts):
        assert_splits(backbone.network, backbone._cut_network, cut, x, training=training)


@pytest.mark.parametrize("training", [False, True])
def test_every_cut_of_a_tiny_network_splits_bit_for_bit(tiny_backbone: Backbone, training: bool) -> None:
    for cut in going_on(tiny_backbone.cuts):
        assert_splits(
            tiny_backbone.network, tiny_backbone._cut_network, cut, images(32, 4), training=training
        )


def test_auxiliary_outputs_are_kept_out_of_the_cuts() -> None:
    network = models.googlenet(num_classes=7, aux_logits=True, init_weights=False).eval()
    traced = TracedNetwork(network, size=64)
    # In training, data leaves for the first auxiliary classifier after inception4a.
    assert "maxpool3" in traced.cuts
    assert "fc" not in traced.cuts
    for cut in going_on(traced.cuts):
        assert_splits(network, traced, cut, images(64), training=False)


def test_parts_share_the_parameters(tiny_backbone: Backbone) -> None:
    own = {id(p) for p in tiny_backbone.network.parameters()}
    for cut in map(tiny_backbone.cuts.__getitem__, going_on(tiny_backbone.cuts)):
        prefix, suffix = tiny_backbone.split(cut)
        first, second = ({id(p): p.numel() for p in part.parameters()} for part in (prefix, suffix))
        assert first.keys() | second.keys() == own
        assert sum(first.values()) == cut.parameters


def test_a_network_is_left_in_the_mode_it_was_in_with_the_state_it_had() -> None:
    network, size = build("resnet18")
    network.train()
    network.layer1.eval()  # frozen batch norm
    modes = [module.training for module in network.modules()]
    state = copy.deepcopy(network.state_dict())
    generator = torch.get_rng_state()
    TracedNetwork(network, size=size)
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


class Dag(nn.Module):
    """Node i adds up the nodes in `edges[i]` (the pixels are node -1) and scales; the last node is the output."""

    def __init__(self, edges: list[list[int]]) -> None:
        super().__init__()
        self.edges = edges
        self.ops = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in edges)

    def forward(self, x: Tensor) -> Tensor:
        values = {-1: x}
        for i, (op, sources) in enumerate(zip(self.ops, self.edges, strict=True)):
            total = values[sources[0]]
            for source in sources[1:]:
                total = total + values[source]
            values[i] = op(total)
        return values[len(self.edges) - 1]


def reachable(edges: list[list[int]], removed: int | None) -> bool:
    """Whether the output can be reached from the pixels without the removed node."""
    found = {-1}
    for i, sources in enumerate(edges):
        if i != removed and found & set(sources):
            found.add(i)
    return len(edges) - 1 in found


@st.composite
def dags(draw: st.DrawFn) -> list[list[int]]:
    n = draw(st.integers(1, 9))
    return [
        draw(st.lists(st.integers(max(-1, i - 4), i - 1), min_size=1, max_size=3, unique=True))
        for i in range(n)
    ]


@settings(max_examples=60, deadline=None)
@given(edges=dags())
def test_cuts_are_the_nodes_without_which_the_output_cannot_be_reached(edges: list[list[int]]) -> None:
    network = Dag(edges).eval()
    traced = TracedNetwork(network, size=4)
    found = {int(name.removeprefix("ops.")) for name in going_on(traced.cuts) if name.startswith("ops.")}
    expected = {i for i in range(len(edges)) if not reachable(edges, i)}
    assert found == expected
    for name in going_on(traced.cuts):
        assert_splits(network, traced, name, images(4), training=False)


class InPlace(nn.Module):
    """Statements whose result nobody takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x.relu_()
        y = self.second(x)
        y.add_(x)
        return self.third(y)


def test_operations_that_only_change_their_argument_are_kept() -> None:
    network = InPlace().eval()
    traced = TracedNetwork(network, size=4)
    # `second` is none: `y.add_(x)` carries `first` around it.
    assert set(going_on(traced.cuts)) == {"first", "third"}
    for name in going_on(traced.cuts):
        assert_splits(network, traced, name, images(4), training=False)


class InPlaceFirst(nn.Module):
    """An in-place ReLU stands first in the suffix of `conv`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.last = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.conv(x)))


def test_an_in_place_operation_first_in_the_suffix_leaves_the_features_alone() -> None:
    network = InPlaceFirst().eval()
    traced = TracedNetwork(network, size=4)
    assert_splits(network, traced, "conv", images(4), training=False)


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_traced_says_so() -> None:
    with pytest.raises(BackboneError, match="Untraceable cannot be traced, so it has no cuts"):
        TracedNetwork(Untraceable(), size=4)


def test_a_modules_name_means_its_last_cut() -> None:
    network, size = build("resnet18")
    traced = TracedNetwork(network, size=size)
    assert traced.resolve("layer4").name == "layer4.1.relu_1"
    assert traced.resolve("layer4.1.relu_1").name == "layer4.1.relu_1"
    assert traced.resolve("avgpool").shape == (512, 1, 1)


def test_a_layer_around_which_data_flows_is_refused() -> None:
    network, size = build("resnet18")
    traced = TracedNetwork(network, size=size)
    with pytest.raises(BackboneError, match=r"Layer 'layer4.1.conv1' is no cut: data flows around it"):
        traced.resolve("layer4.1.conv1")


def test_an_unknown_layer_gets_the_nearest_names() -> None:
    network, size = build("resnet18")
    with pytest.raises(BackboneError, match=r"There is no layer 'layer44'\. Nearest cuts: .*layer4"):
        TracedNetwork(network, size=size).resolve("layer44")
