"""Do two photos show the same pixels? Small pictures, laid over each other as well as a crop allows, and compared.

A re-encoded, a slightly cropped and a mirrored copy have one thing in common: there is a frame in which nearly every
detail of one lies on the same detail of the other, in the same colour. The frame is found by least squares on an image
pyramid (Lucas & Kanade 1981; gain and bias as in Baker, Gross & Matthews 2003, "Lucas-Kanade 20 years on", part 3).
What is compared there is detail with its local contrast evened out, as two skies have the same gradient and two seas
the same horizon, but not the same clouds and waves; and colour, as two signs of one kind have the same drawing, but
not the same light.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

SIDE: Final = 64
"""Side of the pictures that are compared."""

LEAST_DETAIL: Final = 0.65
MOST_COLOUR: Final = 0.03
"""What a copy has at least of detail, and at most of a difference in colour.

Chosen on 240 planted copies (quality 60, borders cut by 5 %, mirrored) in photos of flowers, pets, scenes and insects,
and on frames of traffic signs. All copies had a detail of 0.75 and more and a colour below 0.015; none of the 35,000
other pairs of neighbours passed both thresholds. Of 10,000 pairs of signs from two tracks 30 did.
"""

_LEVELS: Final = ((16, 4), (32, 4), (64, 4))
"""Sides of the pyramid, each with the steps that are made on it."""

_LEAST_COARSE: Final = 0.7
_MOST_COARSE_COLOUR: Final = 0.06
"""A pair is given up at 16 pixels a side with less correlation, or another colour, than these."""

_MOST_PATCH_COLOUR: Final = 0.12
"""A pair is not even laid over each other if its 4 x 4 patches differ more in colour, as it is and mirrored."""

_MOST_SHIFT: Final = 0.35
"""In half sides of a picture: what lies further off is no copy with its borders cut."""

_LEAST_GAIN: Final = 0.1
_LEAST_OVERLAP: Final = 0.5
_PAIRS_AT_ONCE: Final = 256
_RIDGE: Final = 1e-4
_SOFT_CONTRAST: Final = 0.05  # detail weaker than this is noise of the encoding, and is not blown up


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the pictures of P pairs agree where they lie over each other.

    Attributes:
        detail: (P,) float32, correlation of what is left of both without light and shade, -1 to 1; -1 where it was
            plain before that there is none.
        colour: (P,) float32, mean difference of their colours, 0 to 1.
        mirrored: (P,) bool, whether the second had to be mirrored.
    """

    detail: NDArray[np.float32]
    colour: NDArray[np.float32]
    mirrored: NDArray[np.bool_]

    @property
    def same(self) -> NDArray[np.bool_]:
        """(P,) whether they are copies, or as near as two frames of one film."""
        return (self.detail >= LEAST_DETAIL) & (self.colour <= MOST_COLOUR)


@torch.no_grad()
def compare_pictures(pictures: NDArray[np.uint8], pairs: NDArray[np.int64]) -> Agreement:
    """Lay the pictures of each pair over each other, the second as it is or mirrored, and compare them.

    Args:
        pictures: (n, SIDE, SIDE, 3) uint8 RGB, whole photos squashed to squares.
        pairs: (P, 2) rows of pictures.

    Returns:
        The agreement of each pair; the order within a pair makes little difference.
    """
    found = Agreement(
        detail=np.full(len(pairs), -1, np.float32),
        colour=np.ones(len(pairs), np.float32),
        mirrored=np.zeros(len(pairs), np.bool_),
    )
    likely = _alike_in_patches(pictures, pairs)
    for rows in _blocks(likely):
        first, second = (pictures[pairs[rows, side]] for side in (0, 1))
        found.detail[rows], found.colour[rows], found.mirrored[rows] = _compare(
            _planes(first), _planes(second)
        )
    return found


def _alike_in_patches(pictures: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which pairs (P, 2) may be copies by the colours of 4 x 4 patches: their positions."""
    size = SIDE // 4
    patches = np.empty((len(pictures), 4, 4, 3), np.float32)
    for rows in _blocks(np.arange(len(pictures))):
        patches[rows] = (
            pictures[rows].reshape(-1, 4, size, 4, size, 3).mean(axis=(2, 4), dtype=np.float32) / 255
        )
    likely = np.zeros(len(pairs), np.bool_)
    for rows in _blocks(np.arange(len(pairs))):
        first, second = patches[pairs[rows, 0]], patches[pairs[rows, 1]]
        plain, turned = (np.abs(first - seen).mean(axis=(1, 2, 3)) for seen in (second, second[:, :, ::-1]))
        likely[rows] = np.minimum(plain, turned) <= _MOST_PATCH_COLOUR
    return np.flatnonzero(likely)


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        yield rows[start : start + _PAIRS_AT_ONCE]


def _planes(pictures: NDArray[np.uint8]) -> Tensor:
    """(P, SIDE, SIDE, 3) uint8 -> (P, 3, SIDE, SIDE) float32, 0 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _compare(a: Tensor, b: Tensor) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Detail, colour and whether mirrored of one block: (P, 3, SIDE, SIDE) each."""
    grey_a, grey_b = (x.mean(dim=1, keepdim=True) for x in (a, b))
    side, steps = _LEVELS[0]
    (plain, by_plain), (turned, by_turned) = (
        _register(_shrink(grey_a, side), _shrink(seen, side), steps, None)
        for seen in (grey_b, grey_b.flip(-1))
    )
    mirrored = by_turned > by_plain
    b = torch.where(mirrored[:, None, None, None], b.flip(-1), b)
    frame = torch.where(mirrored[:, None], turned, plain)
    colour = _colour(_shrink(a, side), _shrink(b, side), frame, 4)
    detail = torch.full((len(a),), -1.0)
    near = torch.maximum(by_plain, by_turned) >= _LEAST_COARSE
    alive = (near & (colour <= _MOST_COARSE_COLOUR)).nonzero()[:, 0]
    if len(alive):
        detail[alive], colour[alive] = _judge(a[alive], b[alive], frame[alive])
    return detail.numpy(), colour.numpy(), mirrored.numpy()


def _judge(a: Tensor, b: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Detail and colour (P,) of pairs, b mirrored already, from frames that are nearly right."""
    grey_a, grey_b = (x.mean(dim=1, keepdim=True) for x in (a, b))
    for side, steps in _LEVELS[1:]:
        frame, _ = _register(_shrink(grey_a, side), _shrink(grey_b, side), steps, frame)
    grid, inside = _grid(frame, SIDE)
    detail = _correlate(_detail(grey_a)[:, 0], _detail(_look(grey_b, grid))[:, 0], inside)
    enough = inside.mean(dim=(1, 2)) >= _LEAST_OVERLAP
    return torch.where(enough, detail, -1.0), _colour(a, b, frame, 8)


def _register(a: Tensor, b: Tensor, steps: int, frame: Tensor | None) -> tuple[Tensor, Tensor]:
    """Frames (P, 4) in which grey b lies on a, and the correlation (P,) there; see `_grid`."""
    frame = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(len(a), 1) if frame is None else frame
    slopes = torch.cat([b, _slope(b, -1), _slope(b, -2)], dim=1)
    best, highest = frame, torch.full((len(a),), -2.0)
    for step in range(steps + 1):
        grid, inside = _grid(frame, a.shape[-1])
        seen = _look(slopes, grid)
        correlation = _correlate(a[:, 0], seen[:, 0], inside)
        better = correlation > highest
        best, highest = torch.where(better[:, None], frame, best), torch.maximum(correlation, highest)
        if step < steps:
            frame = _step(frame, a[:, 0], seen, inside)
    return best, highest


def _look(b: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(b, grid, padding_mode="border", align_corners=False)


def _shrink(pictures: Tensor, side: int) -> Tensor:
    return functional.avg_pool2d(pictures, SIDE // side) if side < SIDE else pictures


def _slope(pictures: Tensor, dim: int) -> Tensor:
    """Change from pixel to pixel along a dimension, in units of half a side; 0 at the edges."""
    side = pictures.shape[dim]
    slope = (torch.roll(pictures, -1, dim) - torch.roll(pictures, 1, dim)) * (side / 4)
    return slope.index_fill(dim, torch.tensor([0, side - 1]), 0.0)


def _centres(side: int) -> Tensor:
    return (torch.arange(side) + 0.5) * (2 / side) - 1


def _grid(frame: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Where in b each pixel of a lies, (P, side, side, 2), and whether that is inside, (P, side, side) of 0 and 1.

    A frame is (width, height, x, y): a's point (u, v), each from -1 to 1, lies at (width u + x, height v + y).
    """
    x = frame[:, 0, None] * _centres(side) + frame[:, 2, None]
    y = frame[:, 1, None] * _centres(side) + frame[:, 3, None]
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=-1)
    return grid, (grid.abs() <= 1).all(dim=-1).float()


def _step(frame: Tensor, a: Tensor, seen: Tensor, inside: Tensor) -> Tensor:
    """One step of least squares: a = gain (b + slopes . change of frame) + bias, where b is seen."""
    centres = _centres(a.shape[-1])
    value, across, down = seen.unbind(1)
    columns = [across * centres, down * centres[:, None], across, down, value, torch.ones_like(value)]
    design = torch.stack(columns, dim=1).flatten(2)  # (P, 6, pixels)
    weighed = design * inside.flatten(1)[:, None]
    normal = weighed @ design.mT
    normal += torch.diag_embed(_RIDGE * normal.diagonal(dim1=1, dim2=2) + 1e-6)
    solved = torch.linalg.solve(normal, weighed @ a.flatten(1)[..., None])[..., 0]
    gain = solved[:, 4:5]
    change = torch.where(gain > _LEAST_GAIN, solved[:, :4] / gain.clamp_min(_LEAST_GAIN), 0.0).clamp(
        -0.1, 0.1
    )
    neutral = torch.tensor([1.0, 1.0, 0.0, 0.0])
    return (frame + change - neutral).clamp(-_MOST_SHIFT, _MOST_SHIFT) + neutral


def _colour(a: Tensor, b: Tensor, frame: Tensor, patch: int) -> Tensor:
    """Mean difference (P,) of the colours of patches, where b lies on a."""
    grid, inside = _grid(frame, a.shape[-1])
    mask = inside[:, None]
    difference = functional.avg_pool2d((a - _look(b, grid)) * mask, patch).abs().mean(dim=(1, 2, 3))
    return difference / inside.mean(dim=(1, 2)).clamp_min(1e-6)


def _detail(pictures: Tensor) -> Tensor:
    """What is left without light and shade, its contrast evened out."""
    detail = pictures - _blur(pictures, 7)
    return detail / (_blur(detail * detail, 9) + _SOFT_CONTRAST**2).sqrt()


def _blur(pictures: Tensor, side: int) -> Tensor:
    return functional.avg_pool2d(functional.pad(pictures, [side // 2] * 4, mode="replicate"), side, stride=1)


def _correlate(a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """Correlation (P,) of pictures (P, S, S) where they are inside; 0 where one of them is flat."""
    n = inside.sum(dim=(1, 2)).clamp_min(1)
    a = (a - ((a * inside).sum(dim=(1, 2)) / n)[:, None, None]) * inside
    b = (b - ((b * inside).sum(dim=(1, 2)) / n)[:, None, None]) * inside
    spread = ((a * a).sum(dim=(1, 2)) * (b * b).sum(dim=(1, 2))).sqrt()
    return torch.where(spread > 1e-6 * n, (a * b).sum(dim=(1, 2)) / spread.clamp_min(1e-12), 0.0)
