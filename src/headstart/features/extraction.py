"""What an extraction gives, and whom it tells how far it is."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.datasets import Problem
from headstart.errors import StoreError
from headstart.features.key import StoreKey
from headstart.features.store import FeatureStore, sound_rows
from headstart.runtimes import RuntimeName


class Progress(Protocol):
    """Told how far an extraction is, in images; called from one thread."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` images are behind us."""
        ...


@dataclass(frozen=True, kw_only=True)
class Features:
    """Stored features of some images, not yet loaded.

    Attributes:
        store: where they stand.
        key: what they are features of.
        sha256s: the images, in order; an image may stand there more than once.
        shape: shape of one image's features.
    """

    store: FeatureStore
    key: StoreKey
    sha256s: tuple[bytes, ...]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.sha256s)

    def load(self) -> NDArray[np.float32]:
        """All of them, (n, *shape) float32.

        Raises:
            StoreError: a row has been removed or damaged since the extraction.
        """
        rows = np.empty((len(self), *self.shape), np.float32)
        positions: dict[bytes, list[int]] = {}
        for i, sha in enumerate(self.sha256s):
            positions.setdefault(sha, []).append(i)
        for _, shard, wanted in self.store.shards_of(self.key, list(positions)):
            sound = sound_rows(shard)
            for sha in wanted:
                if shard is not None and sha in sound:
                    rows[positions.pop(sha)] = shard.features[sound[sha]]
        if positions:
            raise StoreError(
                f"{len(positions)} stored features have been removed or damaged since they were extracted.\n"
                "Run the same command again: they are computed anew."
            )
        return rows


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an extraction gave.

    Attributes:
        features: those of the readable images, in the order of the images.
        readable: (n,) bool, which of the images could be read.
        problems: the others, with the reason.
        extracted: how many forward passes were made (identical files need one).
        from_store: how many images needed none.
        seconds: how long it took, without building the network; with other views, where they were extracted together.
        runtime: what computed the features, where there are several.
    """

    features: Features
    readable: NDArray[np.bool_]
    problems: tuple[Problem, ...]
    extracted: int
    from_store: int
    seconds: float
    runtime: RuntimeName | None = None
