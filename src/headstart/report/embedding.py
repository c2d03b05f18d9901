"""A map of images: features of many dimensions laid out in two, near ones near each other."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

MOST_TSNE: Final = 2000
"""Up to so many images are laid out by t-SNE, which takes 5 s for them on one core; more by PCA alone."""

_LEAST_TSNE: Final = 12  # of fewer there are no neighbourhoods to keep
_COMPONENTS: Final = 50  # as van der Maaten & Hinton (2008) do before t-SNE
_PERPLEXITY: Final = 30.0

Method = Literal["t-SNE", "PCA"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageMap:
    """Where images stand on the map.

    Attributes:
        places: (n, 2) float32.
        method: what has laid them out.
    """

    places: NDArray[np.float32]
    method: Method


def lay_out(features: NDArray[Any], *, most_tsne: int = MOST_TSNE) -> ImageMap | None:
    """Lay images out by PCA and, where they are not too many, by t-SNE on its first 50 components.

    The same features give the same map on the same machine.

    Args:
        features: (n, d), or (n, ...) whose last axes are positions, which are averaged over.
        most_tsne: of more images the map is PCA's.

    Returns:
        The map; None where features do not differ in two directions, so that there is none.
    """
    # sklearn takes a second to be imported: only where there is a map.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rows = features.reshape(*features.shape[:2], -1).mean(axis=2, dtype=np.float64)
    n, d = rows.shape
    if min(n, d) < 2 or not np.isfinite(rows).all() or (rows.std(axis=0) > 0).sum() < 2:
        return None
    # Threads that wait for one another would take far longer than one on a machine that is busy.
    with threadpool_limits(1):
        components = PCA(min(_COMPONENTS, n, d), svd_solver="randomized", random_state=0).fit_transform(rows)
        if not _LEAST_TSNE <= n <= most_tsne:
            return ImageMap(places=components[:, :2].astype(np.float32), method="PCA")
        perplexity = min(_PERPLEXITY, (n - 1) / 3)
        tsne = TSNE(init="pca", perplexity=perplexity, random_state=0, n_jobs=1)
        return ImageMap(places=tsne.fit_transform(components).astype(np.float32), method="t-SNE")
