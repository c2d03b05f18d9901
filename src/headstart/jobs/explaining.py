"""Where a classifier looks: Grad-CAM (Selvaraju et al., 2017), by the grad-cam package."""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.backbones import Backbone, Cut
from headstart.classifier import Classifier
from headstart.errors import BackboneError, ConfigError
from headstart.images import decode_for, normalise, prepare_image
from headstart.report import Explained, RunRecord, draw_thumbnail
from headstart.runtimes import choose_device

MOST_WRONG: Final = 12
MOST_RIGHT: Final = 6

ReadAll = Callable[[Sequence[str]], Mapping[str, bytes]]
"""Gives the bytes of images by path, without those that have gone."""


def require_explainer() -> None:
    """Refuse to explain where the grad-cam package is not installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("pytorch_grad_cam") is None:
        raise ConfigError(
            "--explain needs the grad-cam package.\nInstall it: pip install 'headstart[explain]'"
        )


def explain_images(
    record: RunRecord, classifier: Classifier, read_all: ReadAll, *, device: str
) -> list[Explained]:
    """Heat maps of the surest mistakes and of some right answers, each for the class that was given.

    Args:
        record: the run's test images and what was said of them.
        classifier: the run's.
        read_all: gives the images' bytes.
        device: where the network runs.

    Raises:
        BackboneError: the network has no layer whose positions are those of the image.
        ConfigError: the head has no gradient.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    predicted, confidence = record.probabilities.argmax(axis=1), record.probabilities.max(axis=1)
    rows = choose_rows(record.labels, predicted, confidence)
    found = read_all([record.paths[i] for i in rows])
    front, network = _in_two(classifier)
    place = choose_device(device)
    network = network.to(place).eval()
    preprocess = classifier.backbone.preprocess
    explained = []
    with GradCAM(model=network, target_layers=[front], reshape_transform=_as_planes) as cam:
        for i in rows:
            if record.paths[i] not in found:
                continue
            image = prepare_image(decode_for(found[record.paths[i]], preprocess), preprocess)
            batch = normalise(image[None].to(place), preprocess).requires_grad_()
            heat = cam(input_tensor=batch, targets=[ClassifierOutputTarget(int(predicted[i]))])[0]
            pixels = image.permute(1, 2, 0).numpy()
            overlay = show_cam_on_image(pixels.astype(np.float32) / 255, heat, use_rgb=True)
            explained.append(
                Explained(
                    path=record.paths[i],
                    true=record.classes[record.labels[i]],
                    predicted=record.classes[predicted[i]],
                    probability=float(confidence[i]),
                    photo=draw_thumbnail(np.ascontiguousarray(pixels)),
                    overlay=draw_thumbnail(overlay),
                )
            )
    return explained


def choose_rows(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], confidence: NDArray[np.float64]
) -> list[int]:
    """The surest mistakes, then of as many classes as there is room for the surest right answer."""
    wrong = np.flatnonzero(labels != predicted)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_WRONG]
    right = np.flatnonzero(labels == predicted)
    right = right[np.argsort(-confidence[right], kind="stable")]
    _, first = np.unique(labels[right], return_index=True)
    return [*map(int, order), *map(int, right[np.sort(first)][:MOST_RIGHT])]


def _in_two(classifier: Classifier) -> tuple[nn.Module, nn.Module]:
    """What gives the last features that still have positions, and the whole network that it begins."""
    backbone, end = classifier.backbone, classifier.cut
    if not any(True for _ in classifier.head.parameters()) and not any(
        True for _ in classifier.head.buffers()
    ):
        raise ConfigError("--explain needs a head that can be differentiated.")
    for cut in reversed(_with_positions(backbone, end)):
        front = backbone.part(None, cut)
        rest = [] if cut.name == end.name else [backbone.part(cut, end)]
        network = nn.Sequential(front, *rest, classifier.head).eval()
        if _reaches_positions(front, network, backbone.preprocess.size):
            return front, network
    raise BackboneError(
        f"{backbone.name} has no layer whose features stand for places in the image.\nLeave out --explain."
    )


def _with_positions(backbone: Backbone, end: Cut) -> list[Cut]:
    """The cuts up to the classifier's whose features stand for places in the image, from the pixels on."""
    found = []
    for cut in backbone.cuts.values():
        if _side(cut.shape) > 1 and (cut.goes_on or cut.name == end.name):
            found.append(cut)
        if cut.name == end.name:
            break
    return found


def _reaches_positions(front: nn.Module, network: nn.Module, size: int) -> bool:
    """Whether the answer depends on the features at the image's places.

    Behind the last attention of a transformer that answers from its class token it does not.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    hook = front.register_forward_hook(keep)
    image = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(0))
    network(image.requires_grad_())[0].max().backward()
    hook.remove()
    gradient = kept[0].grad
    return gradient is not None and bool(_as_planes(gradient).any())


def _side(shape: tuple[int, ...]) -> int:
    """How many positions there are on a side: of planes (C, H, W), or of a square of tokens (N, C); else 0."""
    if len(shape) == 3:
        return min(shape[1:])
    return math.isqrt(shape[0]) if len(shape) == 2 else 0


def _as_planes(features: Tensor) -> Tensor:
    """(N, C, H, W) as they are; of tokens (N, T, C) the square at the end, without class and register tokens."""
    if features.ndim == 4:
        return features
    side = math.isqrt(features.shape[1])
    square = features[:, -side * side :]
    return square.reshape(len(square), side, side, -1).permute(0, 3, 1, 2)
