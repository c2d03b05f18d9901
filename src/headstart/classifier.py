"""A classifier: preprocess, frozen prefix, head and class names. It is what a run is for."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.backbones import Backbone, BackboneCard, Cut, NativeHead, build_network
from headstart.errors import ConfigError, DataError, RunError
from headstart.features.stream import stream_features
from headstart.files import atomic_write
from headstart.heads import build_head, describe_head
from headstart.images import Preprocess
from headstart.novelty import Novelty
from headstart.prediction import CARD_FILE, FORMAT, WEIGHTS_FILE, Prediction, best_classes, read_description
from headstart.runtimes import choose_device, load_runtime
from headstart.views import ORIGINAL, VIEW_SETS, View


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A trained classifier.

    Attributes:
        backbone: the network the prefix belongs to.
        cut: where the prefix ends.
        head: module from features (N, *cut.shape) to logits (N, K).
        classes: names of the K classes, in the order of the logits.
        views: the variants of a photo that its probabilities are averaged over: one of `VIEW_SETS`.
        seed: of the views that are drawn at random.
        novelty: tells how unlike all training images an image is; None where that could not be calibrated.
    """

    backbone: Backbone
    cut: Cut
    head: nn.Module
    classes: tuple[str, ...]
    views: tuple[View, ...] = (ORIGINAL,)
    seed: int = 0
    novelty: Novelty | None = None

    def __post_init__(self) -> None:
        """Only a set of views that has a name can be saved."""
        if self.views not in VIEW_SETS.values():
            raise ConfigError(
                f"A classifier averages over the views {' or '.join(VIEW_SETS)}; got "
                f"{', '.join(view.name for view in self.views) or 'none'}."
            )

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Class probabilities for extracted features.

        Args:
            features: (n, *cut.shape) float32.

        Returns:
            (n, K) float64, each row adding up to 1.
        """
        with torch.inference_mode():
            logits = self.head(torch.from_numpy(features))
            return np.asarray(torch.softmax(logits.double(), dim=1).numpy(), dtype=np.float64)

    def averaged(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Class probabilities, averaged over views.

        Args:
            features: of each view, in the order of `views`: (n, *cut.shape) float32.

        Returns:
            (n, K) float64, each row adding up to 1.
        """
        if len(features) != len(self.views):
            raise ValueError(f"expected the features of {len(self.views)} views; got {len(features)}")
        each = [self.probabilities(rows) for rows in features]
        return np.asarray(np.mean(each, axis=0), dtype=np.float64)

    def vectors(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features averaged over positions, as `novelty` takes them.

        Args:
            features: (n, *cut.shape) float32.

        Returns:
            (n, C) float32.
        """
        averaged = self.cut.mean_over_positions(torch.from_numpy(features))
        return np.asarray(averaged.numpy(), dtype=np.float32)

    def unlike(self, features: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """How unlike all training images each image is, in multiples of the threshold.

        Args:
            features: (n, *cut.shape) float32, of the images as they are.

        Returns:
            (n,) float64; None where the classifier cannot tell.
        """
        return None if self.novelty is None else self.novelty.unlike(self.vectors(features))

    def predict(
        self, paths: Sequence[str | os.PathLike[str]], *, top: int = 5, device: str = "auto"
    ) -> list[Prediction]:
        """Classify image files, each by the average over the classifier's views; nothing is stored.

        Args:
            paths: the files.
            top: how many classes to give for each.
            device: "auto", "cpu", "cuda" or "mps".

        Returns:
            One prediction a file, in order; for an unreadable file it holds the reason and no classes.
        """
        prefix = self.backbone.prefix(self.cut)
        runtime = load_runtime(prefix, self.backbone.preprocess, device=choose_device(device))
        stream = stream_features(
            [os.fspath(path) for path in paths],
            runtime,
            self.backbone.preprocess,
            views=self.views,
            seed=self.seed,
        )
        return [
            Prediction(path=path, classes=(), probabilities=(), problem=problem)
            if features is None
            else self._best(path, features, top)
            for path, features, problem in stream
        ]

    def _best(self, path: str, features: NDArray[np.float32], top: int) -> Prediction:
        """What is said of one image, by the features of its views; the first view is the image as it is."""
        probabilities, unlike = self.averaged([*features[:, None]])[0], self.unlike(features[:1])
        return best_classes(
            path, self.classes, probabilities, top=top, unlike=None if unlike is None else float(unlike[0])
        )

    def whole(self) -> nn.Module:
        """The network from a photo's pixels on, in eval mode, which shares the classifier's parameters.

        It takes (N, 3, size, size) float32, normalised, and gives probabilities (N, K) float32 and, where the
        classifier can tell, how unlike all training images each is, (N,) float32.
        """
        return _Whole(self).eval()

    def save(self, folder: Path) -> None:
        """Write `classifier.safetensors` (the whole network, prefix and head) and `classifier.json` (what it is).

        Raises:
            DiskFullError: there is no room.
        """
        prefix = self.backbone.prefix(self.cut)
        tensors = {f"prefix.{name}": value.contiguous() for name, value in prefix.state_dict().items()}
        tensors |= {f"head.{name}": value.contiguous() for name, value in self.head.state_dict().items()}
        if self.novelty is not None:
            tensors |= {f"novelty.{name}": value for name, value in self.novelty.tensors().items()}
        atomic_write(folder / WEIGHTS_FILE, safetensors.torch.save(tensors))
        description = {
            "format": FORMAT,
            "backbone": asdict(self.backbone.card),
            "weights": self.backbone.weights,
            "weights_sha256": self.backbone.weights_sha256,
            "licence": self.backbone.card.licence,
            "preprocess": self.backbone.preprocess.to_dict(),
            "layer": self.cut.name,
            "head": {"kind": "native"} if isinstance(self.head, NativeHead) else describe_head(self.head),
            "classes": list(self.classes),
            "views": next(name for name, views in VIEW_SETS.items() if views == self.views),
            "seed": self.seed,
            "novelty": None if self.novelty is None else self.novelty.describe(),
        }
        atomic_write(folder / CARD_FILE, json.dumps(description, indent=2, ensure_ascii=False).encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Classifier":
        """Load the classifier of a run folder; it needs nothing but that folder.

        Raises:
            RunError: the folder holds no classifier, or one that is damaged or of another version.
        """
        place = Path(folder)
        description = read_description(place)
        try:
            tensors = safetensors.torch.load_file(place / WEIGHTS_FILE)
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(
                f"{place / WEIGHTS_FILE} cannot be read: {error}.\nTrain the run again."
            ) from error
        try:
            return cls._assemble(description, tensors)
        except (DataError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"{place / CARD_FILE} and {place / WEIGHTS_FILE} do not make a classifier together: "
                "something is missing or damaged.\nTrain the run again."
            ) from error

    @classmethod
    def _assemble(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "Classifier":
        """The classifier from what its two files hold."""
        card = BackboneCard(
            **description["backbone"] | {"preprocess": Preprocess.from_dict(description["preprocess"])}
        )
        backbone = Backbone(
            card=card,
            network=build_network(card),
            weights=description["weights"],
            weights_sha256=description["weights_sha256"],
        )
        cut = backbone.cut(description["layer"])
        # The prefix shares its parameters with the network, so loading them here puts them in place.
        backbone.prefix(cut).load_state_dict(_part(tensors, "prefix."))
        classes = tuple(description["classes"])
        # Earlier versions saved none, and read what is saved now: the format is the same.
        novelty = description.get("novelty")
        return cls(
            backbone=backbone,
            cut=cut,
            head=_build_head(backbone, description["head"], _part(tensors, "head."), len(classes)),
            classes=classes,
            views=VIEW_SETS[description["views"]],
            seed=description["seed"],
            novelty=None if novelty is None else Novelty.load(novelty, _part(tensors, "novelty.")),
        )


def _build_head(
    backbone: Backbone, description: dict[str, Any], tensors: dict[str, torch.Tensor], n_classes: int
) -> nn.Module:
    """The head from what is saved of it; the network's own classifier is the network's to make."""
    if description["kind"] != "native":
        return build_head(description, tensors)
    head = backbone.native_head(n_classes, seed=0)
    head.load_state_dict(tensors)
    return head


def _part(tensors: dict[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


class _Whole(nn.Module):
    """See `Classifier.whole`."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.prefix, self.head = classifier.backbone.prefix(classifier.cut), classifier.head
        self._cut, self._novelty = classifier.cut, classifier.novelty

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.prefix(images)
        probabilities = torch.softmax(self.head(features), dim=1)
        if self._novelty is None:
            return (probabilities,)
        return probabilities, self._novelty.of(self._cut.mean_over_positions(features))
