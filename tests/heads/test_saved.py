"""Heads as data: described, put into JSON and built again, they say the same."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from headstart.errors import DataError
from headstart.heads import (
    MlpHead,
    build_head,
    describe_head,
    fit_knn_path,
    fit_ridge_path,
    linear_head,
)


def images() -> tuple[Tensor, Tensor]:
    return torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


HEADS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: linear_head(torch.randn(3, 6), torch.randn(3)),
    "ridge": lambda: fit_ridge_path(*images(), n_classes=3).head(5, temperature=0.1),
    "mlp": lambda: MlpHead(6, 3, hidden=11, seed=4),
    "knn": lambda: fit_knn_path(*images(), n_classes=3, neighbours=[5]).head(0, temperature=1 / 3),
}


@pytest.mark.parametrize("kind", HEADS)
def test_built_again_it_says_the_same(kind: str) -> None:
    head, queries = HEADS[kind](), torch.randn(9, 6)

    description = json.loads(json.dumps(describe_head(head)))
    again = build_head(description, head.state_dict())

    assert type(again) is type(head)
    assert torch.equal(again(queries), head(queries))
    assert describe_head(again) == describe_head(head)


def test_a_head_owns_its_values() -> None:
    head = HEADS["linear"]()
    again = build_head(describe_head(head), head.state_dict())
    assert next(again.parameters()).data_ptr() != next(head.parameters()).data_ptr()


def test_what_is_no_head_of_ours_is_refused() -> None:
    with pytest.raises(DataError, match="type Linear cannot be saved"):
        describe_head(nn.Linear(2, 2))


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(DataError, match="kind 'tree'; this headstart reads linear, mlp and knn"):
        build_head({"kind": "tree", "features": 2, "classes": 2}, {})


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("damage", ["missing", "more", "other size"])
def test_tensors_that_do_not_fit_are_refused(kind: str, damage: str) -> None:
    head = HEADS[kind]()
    description, tensors = describe_head(head), dict(head.state_dict())
    if damage == "missing":
        tensors.popitem()
    elif damage == "more":
        tensors["another"] = torch.zeros(1)
    else:
        description["features"] += 1
    with pytest.raises(RuntimeError):
        build_head(description, tensors)
