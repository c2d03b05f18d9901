"""Where a batch's inputs come from."""

from typing import Protocol

from torch import Tensor


class Source(Protocol):
    """Gives the inputs of a training: of images, by their numbers."""

    def __len__(self) -> int:
        """How many images there are."""
        ...

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        """Inputs (b, ...) float32 of images (b,) int64 in an epoch; epoch None means as they are, not augmented."""
        ...
