"""Weights between two states of a network."""

import torch
from torch import nn

from headstart.training import Interpolation


def _network() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Linear(4, 2)


def _state(body: nn.Module, head: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in nn.Sequential(body, head).state_dict().items()}


def _train(body: nn.Module, head: nn.Module) -> None:
    """Change weights, running statistics and the number of batches that these saw."""
    body(torch.randn(5, 3, 8, 8))
    with torch.no_grad():
        for parameter in (*body.parameters(), *head.parameters()):
            parameter.add_(torch.randn(parameter.shape))


def test_weights_and_running_statistics_are_mixed() -> None:
    body, head = _network()
    interpolation, first = Interpolation(body, head), _state(body, head)
    _train(body, head)
    last = _state(body, head)

    interpolation.go(0.25)

    now = _state(body, head)
    assert not torch.equal(first["0.1.running_mean"], last["0.1.running_mean"])
    for name, value in now.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * first[name] + 0.25 * last[name])
        else:
            assert torch.equal(value, last[name])


def test_all_the_way_is_the_trained_network_bit_for_bit() -> None:
    body, head = _network()
    interpolation = Interpolation(body, head)
    _train(body, head)
    last = _state(body, head)

    for share in (0.2, 0.6, 1.0):
        interpolation.go(share)

    for name, value in _state(body, head).items():
        assert torch.equal(value, last[name])
