"""Heads as data: what a head is, to stand beside its tensors, and the head from both again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headstart.errors import DataError
from headstart.heads.knn import KnnHead
from headstart.heads.linear import LinearHead
from headstart.heads.mlp import MlpHead


def describe_head(head: nn.Module) -> dict[str, Any]:
    """What `build_head` needs beside the state dict: the kind ("linear", "mlp" or "knn"), sizes and plain numbers.

    A ridge head is a linear one. JSON keeps every value as it is.

    Raises:
        DataError: the head is none of these.
    """
    match head:
        case LinearHead():
            return {"kind": "linear", "features": head.in_features, "classes": head.out_features}
        case MlpHead():
            return {
                "kind": "mlp",
                "features": head.hidden.in_features,
                "hidden": head.hidden.out_features,
                "classes": head.output.out_features,
            }
        case KnnHead():
            return {
                "kind": "knn",
                "features": head.features.shape[1],
                "images": head.features.shape[0],
                "classes": head.n_classes,
                "neighbours": head.neighbours,
                "temperature": head.temperature,
            }
    raise DataError(f"A head of the type {type(head).__name__} cannot be saved; expected linear, mlp or knn.")


def build_head(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """The head that `describe_head` described, with the tensors of its state dict.

    Raises:
        DataError: the description has another kind.
        KeyError: the description lacks a size.
        RuntimeError: tensors are missing, too many, or not of these sizes.
    """
    head = _empty_head(description)
    head.load_state_dict(dict(tensors))
    return head


def _empty_head(description: Mapping[str, Any]) -> nn.Module:
    """A head of the right sizes, its values still to come."""
    width, classes = description["features"], description["classes"]
    match description["kind"]:
        case "linear":
            return LinearHead(width, classes)
        case "mlp":
            return MlpHead(width, classes, hidden=description["hidden"])
        case "knn":
            images = description["images"]
            return KnnHead(
                torch.empty(images, width),
                torch.empty(images, dtype=torch.int64),
                torch.empty(images),
                n_classes=classes,
                neighbours=description["neighbours"],
                temperature=description["temperature"],
            )
    raise DataError(
        f"There is a head of the kind {description['kind']!r}; this headstart reads linear, mlp and knn."
    )
