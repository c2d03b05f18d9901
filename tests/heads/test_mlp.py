"""The head with a hidden layer: what it computes, and what its weights begin as."""

import math

import pytest
import torch

from headstart.heads import MlpHead


def test_it_is_two_dense_layers_with_a_relu_between_them() -> None:
    head, features = MlpHead(12, 3, hidden=7, seed=1), torch.randn(5, 3, 2, 2)
    with torch.no_grad():
        head.hidden.bias.uniform_(-1, 1)
        head.output.bias.uniform_(-1, 1)

    flat = features.flatten(1)
    hidden = (flat @ head.hidden.weight.T + head.hidden.bias).clamp_min(0)
    expected = hidden @ head.output.weight.T + head.output.bias

    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head(flat), expected)
    assert sorted(head.state_dict()) == ["hidden.bias", "hidden.weight", "output.bias", "output.weight"]


def test_it_has_a_thousand_hidden_units() -> None:
    assert MlpHead(20, 5).hidden.out_features == 1000


@pytest.mark.parametrize(("layer", "inputs", "outputs"), [("hidden", 400, 300), ("output", 300, 50)])
def test_weights_begin_as_glorots_and_biases_as_0(layer: str, inputs: int, outputs: int) -> None:
    part = getattr(MlpHead(400, 50, hidden=300, seed=3), layer)
    bound = math.sqrt(6 / (inputs + outputs))
    assert part.weight.shape == (outputs, inputs)
    assert float(part.weight.detach().abs().max()) == pytest.approx(bound, rel=1e-3)
    assert float(part.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not part.bias.any()


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = MlpHead(10, 3, hidden=8, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    again, other = MlpHead(10, 3, hidden=8, seed=5), MlpHead(10, 3, hidden=8, seed=6)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.hidden.weight, other.hidden.weight)


def test_it_can_be_trained() -> None:
    head, features = MlpHead(10, 3, hidden=8), torch.randn(6, 10)
    loss = torch.nn.functional.cross_entropy(head(features), torch.arange(6) % 3)
    loss.backward()
    assert all(each.grad is not None and bool(each.grad.any()) for each in head.parameters())
