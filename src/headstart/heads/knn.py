"""The nearest-neighbours head: the training images vote, the nearer ones with more weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from headstart.errors import ConfigError
from headstart.heads.inputs import EMPTY_CLASS_LOGIT, check_inputs, mean_one_weights, not_finite

VOTE_TEMPERATURE: Final = 0.07
"""How fast a vote fades with distance: the value of Wu et al. 2018, kept by DINO."""

NEIGHBOURS: Final = (50, 20, 10, 5, 2, 1)
"""Numbers of neighbours that are tried, the smoothest first."""

# Similarities held at once: 32 MB.
_BLOCK_SIMILARITIES = 8_000_000
# Values of the stored features in float64 at once: 16 MB.
_BLOCK_VALUES = 2_000_000


class KnnHead(nn.Module):
    """Features (N, D) or (N, C, H, W) to logits (N, K) by a vote of the most similar training images.

    Weighted nearest neighbours of Wu et al. 2018 (arXiv:1805.01978, section 3.4), as DINO judges features (Caron et
    al. 2021, arXiv:2104.14294): of the k training images of the highest cosine similarity s, each votes for its class
    with the weight exp(s / 0.07). Class c has the share v_c of all votes. So that no class is impossible, the shares
    count as k observations, beside one more that the P classes with training images share (a symmetric Dirichlet prior
    of total weight 1, Perks 1947):

        logit_c = log(k v_c + 1 / P) / temperature

    and with a temperature of 1, p_c = (k v_c + 1 / P) / (k + 1). The temperature is to be fitted on images outside of
    the training ones (`fit_temperature`). A class without any training image keeps -30, where the largest of the other
    logits is never below 0.

    Of equally similar images those that stand first are taken. Similarities are computed in float64 and rounded to
    float32, so that identical images are equally near, whatever batch they are asked in. Memory beside the stored
    features is bounded: queries go through in blocks.

    Attributes:
        features: (n, D) float32 of length 1, those of the training images (buffer).
        labels: (n,) int64, their classes (buffer).
        weights: (n,) float32, a factor on the vote of each (buffer).
        n_classes: K.
        neighbours: k, at most n.
        temperature: what the logits are divided by.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        weights: Tensor,
        *,
        n_classes: int,
        neighbours: int,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.register_buffer("labels", labels)
        self.register_buffer("weights", weights)
        self.n_classes = n_classes
        self.neighbours = neighbours
        self.temperature = temperature

    def forward(self, features: Tensor) -> Tensor:
        """The logits, float32."""
        return self.logits(features, (self.neighbours,))[0]

    def logits(self, features: Tensor, neighbours: Sequence[int]) -> Tensor:
        """Logits (S, N, K) float32 by several numbers of neighbours, each at most n."""
        result = self.features.new_empty(len(neighbours), len(features), self.n_classes)
        step = max(1, _BLOCK_SIMILARITIES // len(self.features))
        for start in range(0, len(features), step):
            block = slice(start, start + step)
            similarities, nearest = self._nearest(unit_rows(features[block]), max(neighbours))
            for index, count in enumerate(neighbours):
                result[index, block] = self._count(similarities[:, :count], nearest[:, :count])
        present = self.present()
        return torch.where(present, result / self.temperature, EMPTY_CLASS_LOGIT)

    def present(self) -> Tensor:
        """(K,) bool, the classes that have training images."""
        present = torch.zeros(self.n_classes, dtype=torch.bool, device=self.labels.device)
        present[self.labels] = True
        return present

    def _nearest(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Similarities (b, count) and training images (b, count) of queries (b, D), the nearest first."""
        queries = queries.double()
        similarities = self.features.new_empty(len(queries), len(self.features))
        step = max(1, _BLOCK_VALUES // self.features.shape[1])
        for start in range(0, len(self.features), step):
            block = slice(start, start + step)
            similarities[:, block] = queries @ self.features[block].double().T
        # topk does not say which of equal ones it takes. All above the last one's similarity are in; of those equal to
        # it, the first ones are, as many as there is room for.
        last = similarities.topk(count, dim=1).values[:, -1:]
        above, level = similarities > last, similarities == last
        room = count - above.sum(1, keepdim=True)
        taken = above | (level & (level.cumsum(1) <= room))
        rows = taken.nonzero()[:, 1].view(len(queries), count)  # in the order of the training images
        nearest, order = similarities.gather(1, rows).sort(dim=1, descending=True, stable=True)
        return nearest, rows.gather(1, order)

    def _count(self, similarities: Tensor, nearest: Tensor) -> Tensor:
        """log(k v + 1 / P), (b, K), of the votes of k neighbours, (b, k)."""
        # The share of a vote does not change when all are divided by that of the nearest.
        votes = ((similarities - similarities[:, :1]) / VOTE_TEMPERATURE).exp() * self.weights[nearest]
        sums = votes.new_zeros(len(votes), self.n_classes).scatter_add_(1, self.labels[nearest], votes)
        observations = sums * (nearest.shape[1] / sums.sum(1, keepdim=True))
        return (observations + 1 / int(self.present().sum())).log()


@dataclass(frozen=True, kw_only=True)
class KnnPath:
    """Nearest-neighbour heads of several numbers of neighbours, with the same training images.

    Attributes:
        neighbours: S numbers, most neighbours first.
        largest: the head of the most neighbours; the others share its buffers.
    """

    neighbours: tuple[int, ...]
    largest: KnnHead

    @property
    def values(self) -> tuple[int, ...]:
        """The numbers of neighbours."""
        return self.neighbours

    @property
    def present(self) -> Tensor:
        """(K,) bool, the classes that have training images."""
        return self.largest.present()

    def logits(self, features: Tensor) -> Tensor:
        """Logits (S, n, K) float32 of features (n, D) or (n, C, H, W), any floating dtype."""
        return self.largest.logits(features, self.neighbours)

    def head(self, index: int, *, temperature: float = 1.0) -> nn.Module:
        """The head of one number of neighbours, as a module of its own, with a temperature."""
        return KnnHead(
            self.largest.features,
            self.largest.labels,
            self.largest.weights,
            n_classes=self.largest.n_classes,
            neighbours=self.neighbours[index],
            temperature=temperature,
        )


@torch.no_grad()
def fit_knn_path(
    features: Tensor,
    labels: Tensor,
    *,
    n_classes: int,
    neighbours: Sequence[int],
    sample_weights: Tensor | None = None,
) -> KnnPath:
    """Keep the training images' features, normalised, for heads of several numbers of neighbours.

    Args:
        features: (n, D), or (n, C, H, W), any floating dtype.
        labels: (n,) int64 in 0 .. n_classes - 1.
        n_classes: at least 2.
        neighbours: S numbers from 1 to the number of images (of a weight above 0), in any order; see
            `default_neighbours`.
        sample_weights: (n,) not negative, factors on the images' votes; only their ratios matter, and 0 leaves out.

    Raises:
        DataError: features, labels or weights do not fit together, or hold values that cannot be used.
        ConfigError: there is no number of neighbours, or one that is below 1 or above the number of images.
    """
    features = features.flatten(1)
    check_inputs(features, labels, n_classes)
    weights = mean_one_weights(labels, sample_weights).float()
    if not bool(weights.all()):
        features, labels, weights = (each[weights > 0] for each in (features, labels, weights))
    ordered = tuple(sorted(neighbours, reverse=True))
    if not ordered or ordered[-1] < 1 or ordered[0] > len(features):
        raise ConfigError(
            f"Numbers of neighbours came as {list(neighbours)} for {len(features)} images.\n"
            f"They must be 1 to {len(features)}, at least one of them."
        )
    bank = unit_rows(features)
    if not bool(bank.isfinite().all()):
        raise not_finite(features)
    head = KnnHead(bank, labels, weights, n_classes=n_classes, neighbours=ordered[0])
    return KnnPath(neighbours=ordered, largest=head)


def default_neighbours(images: int) -> tuple[int, ...]:
    """Those of `NEIGHBOURS` that so many training images, at least 1, have."""
    return tuple(count for count in NEIGHBOURS if count <= images)


def unit_rows(features: Tensor) -> Tensor:
    """Features (n, ...) as rows (n, D) float32 of length 1; a row of zeros stays one, similar to nothing."""
    return nn.functional.normalize(features.flatten(1).float(), dim=1)
