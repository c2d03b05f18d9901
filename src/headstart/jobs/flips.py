"""Whether training images may be mirrored: not where left and right mean something."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.backbones import load_backbone
from headstart.config import DEFAULT_BACKBONE
from headstart.datasets import Reader
from headstart.heads import fit_linear_path
from headstart.images import decode_for, normalise, prepare_image
from headstart.jobs.work import RunData
from headstart.metrics import wilson_interval

_SIZE, _LAYER, _POSITIONS = 128, "blocks.2", 4
_MOST_IMAGES = 600
_STRENGTH = 1.0
_BATCH = 16
# Where held-out images are told from their mirror images more often than this for sure, mirrors are no photos that
# could have been taken.
_LIMIT = 0.6


@dataclass(frozen=True, kw_only=True)
class FlipFinding:
    """How often images are told from their mirror images.

    Attributes:
        told: share of held-out images of which a classifier says rightly which of the two is the mirror image; 0
            where there are none.
        n: number of held-out images.
        safe: whether mirroring training images is safe.
    """

    told: float
    n: int
    safe: bool

    def __str__(self) -> str:
        verdict = "are mirrored at random" if self.safe else "are not mirrored"
        if not self.n:
            return f"No image can be held out to tell mirror images from photos: training images {verdict}."
        return (
            f"Mirror images are told from photos in {self.told:.0%} of {self.n} held-out pairs (50 % is chance): "
            f"training images {verdict}."
        )


def judge_flips(data: RunData) -> FlipFinding:
    """Find out on held-out images whether mirror images look like photos of the same kind.

    A linear classifier learns to tell images from their mirror images (visual chirality; Lin et al. 2020,
    arXiv:2006.09512), by what the bundled network sees in 4 x 4 parts of them. Flowers give it nothing to go by;
    traffic signs do. Held out is the last third of each class by name: neighbours by name may be frames of one scene.
    With one image a class there is nothing to find out on, and nothing is mirrored.
    """
    fit, held_out = _halves(data)
    if not len(held_out):
        return FlipFinding(told=0.0, n=0, safe=False)
    see = _Seeing(data)
    originals, mirrored = see.features(np.concatenate([fit, held_out]))
    n = len(fit)
    path = fit_linear_path(
        torch.cat([originals[:n], mirrored[:n]]),
        torch.arange(2).repeat_interleave(n),
        n_classes=2,
        strengths=torch.tensor([_STRENGTH], dtype=torch.float64),
    )
    margins = [(path.logits(part[n:])[0] @ torch.tensor([-1.0, 1.0])) for part in (originals, mirrored)]
    told = int((margins[1] > margins[0]).sum())
    low, _ = wilson_interval(told, len(held_out))
    return FlipFinding(told=told / len(held_out), n=len(held_out), safe=low <= _LIMIT)


def _halves(data: RunData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows to judge on, of train and validation, evenly from all classes."""
    rows = np.sort(np.concatenate([data.rows("train"), data.rows("val")]))
    labels = data.labels[rows]
    most = max(3, _MOST_IMAGES // len(data.dataset.classes))
    fit, held_out = [], []
    for label in np.unique(labels):
        own = rows[labels == label]
        own = own[np.linspace(0, len(own) - 1, min(most, len(own))).astype(int)]
        third = max(1, len(own) // 3) if len(own) > 1 else 0
        fit.append(own[: len(own) - third])
        held_out.append(own[len(own) - third :])
    return np.concatenate(fit), np.concatenate(held_out)


class _Seeing:
    """What the bundled network sees in images and their mirror images."""

    def __init__(self, data: RunData) -> None:
        backbone = load_backbone(DEFAULT_BACKBONE, size=_SIZE, resize_mode="squash")
        self._data, self._preprocess = data, backbone.preprocess
        self._network = nn.Sequential(
            backbone.prefix(backbone.cut(_LAYER)), nn.AdaptiveAvgPool2d(_POSITIONS), nn.Flatten()
        ).eval()

    @torch.inference_mode()
    def features(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(n, d) of images, and of their mirror images."""
        names = self._data.dataset.names()
        readers = self._data.dataset.files.readers([names[row] for row in np.sort(rows)])
        pixels = dict(zip(np.sort(rows).tolist(), map(self._prepare, readers), strict=True))
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for batch in torch.split(torch.stack([pixels[row] for row in rows.tolist()]), _BATCH):
            inputs = normalise(batch, self._preprocess)
            for features, images in zip(found, (inputs, inputs.flip(-1)), strict=True):
                features.append(self._network(images.contiguous(memory_format=torch.channels_last)))
        return torch.cat(found[0]), torch.cat(found[1])

    def _prepare(self, reader: Reader) -> Tensor:
        return prepare_image(decode_for(reader(), self._preprocess), self._preprocess)
