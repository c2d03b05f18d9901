"""A backbone that is trained: a network of its own, its identity, its random weights."""

from dataclasses import replace

import torch

from headstart.backbones import Backbone, build_network
from headstart.backbones.weights import sha256_of_tensors


def test_a_copy_has_a_network_of_its_own(tiny_backbone: Backbone) -> None:
    other = tiny_backbone.copy()
    assert other.card is tiny_backbone.card
    assert other.trained().weights_sha256 == tiny_backbone.weights_sha256
    body = other.part(other.cut_before("blocks.3"), other.cut("pooled"))
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.add_(1)
    assert sha256_of_tensors(tiny_backbone.network.state_dict()) == tiny_backbone.weights_sha256
    assert other.weights_sha256 == tiny_backbone.weights_sha256  # until it is said to be trained
    assert other.trained().weights_sha256 != tiny_backbone.weights_sha256
    assert other.trained().network is other.network


def test_running_statistics_are_part_of_what_was_trained(tiny_backbone: Backbone) -> None:
    tiny_backbone.network.get_buffer("bn1.running_mean").add_(1)
    assert tiny_backbone.trained().weights_sha256 != tiny_backbone.weights_sha256


def test_a_part_gets_the_values_of_a_freshly_built_network(tiny_backbone: Backbone) -> None:
    before = {name: value.clone() for name, value in tiny_backbone.network.state_dict().items()}
    fresh = build_network(tiny_backbone.card, seed=7).state_dict()
    generator = torch.get_rng_state()
    for value in tiny_backbone.network.state_dict().values():
        value.add_(1)
    part = tiny_backbone.part(tiny_backbone.cut_before("blocks.3"), tiny_backbone.cut("pooled"))
    tiny_backbone.reinitialise(part, seed=7)
    assert torch.equal(torch.get_rng_state(), generator)
    assert part.state_dict()
    for name, value in tiny_backbone.network.state_dict().items():
        expected = fresh[name] if name in part.state_dict() else before[name] + 1
        assert torch.equal(value, expected), name


def test_the_cuts_of_one_network_are_found_once(tiny_backbone: Backbone) -> None:
    first = tiny_backbone.cuts
    other = tiny_backbone.with_preprocess(replace(tiny_backbone.preprocess, resize_mode="squash"))

    assert other.cuts is first
    assert other.trained().cuts is first
    assert other.copy().cuts == first
    assert other.copy().cuts is not first  # its parts are another network's
