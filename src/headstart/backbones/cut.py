"""A cut: one place where a network can be taken apart."""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from headstart.errors import BackboneError

if TYPE_CHECKING:
    from torch import Tensor

MEAN = ":mean"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One legal cut of a network.

    Attributes:
        name: canonical name, the only one that is used as a key.
        shape: shape of one image's features there, without the batch dimension.
        parameters: number of parameters in the prefix that ends here.
        goes_on: whether the network goes on from these features; else there is a prefix but no suffix.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    goes_on: bool = True

    @property
    def bytes_per_image(self) -> int:
        """What storing one image's features costs, in bytes, as float32."""
        return 4 * prod(self.shape)

    @property
    def positions(self) -> tuple[int, ...]:
        """Which of the shape's dimensions are positions (height and width, or tokens).

        Height and width are equal here, so (H, W, C) is told from (C, H, W) by its first two being so.
        """
        if len(self.shape) == 3:
            return (0, 1) if self.shape[0] == self.shape[1] != self.shape[2] else (1, 2)
        return (0,) if len(self.shape) == 2 else ()

    @property
    def channels(self) -> int:
        """How many values there are for one position: the size of the average over positions."""
        return prod(n for i, n in enumerate(self.shape) if i not in self.positions)

    def mean_over_positions(self, features: "Tensor") -> "Tensor":
        """Features (N, *shape) of the cut -> their averages over positions, (N, channels).

        Where there is one position only they may be the same memory.
        """
        dims = tuple(1 + i for i in self.positions)
        return (features.mean(dim=dims) if dims else features).flatten(start_dim=1)

    @property
    def is_vector(self) -> bool:
        """Whether there is one position only."""
        return prod(self.shape) == self.channels

    @property
    def averaged(self) -> "Cut":
        """Its average over positions, which the network does not go on from."""
        return Cut(name=self.name + MEAN, shape=(self.channels,), parameters=self.parameters, goes_on=False)


def require_going_on(cut: Cut) -> None:
    """Refuse a cut that is no place to start from.

    Raises:
        BackboneError: the network does not go on from it.
    """
    if cut.name.endswith(MEAN):
        raise BackboneError(
            f"The network does not go on from {cut.name!r}: this average is taken beside it.\n"
            f"To train the network's own last layers, choose {cut.name.removesuffix(MEAN)!r}."
        )
    if not cut.goes_on:
        raise BackboneError(
            f"The network does not go on from {cut.name!r} as one tensor.\n"
            "Take features there, or choose another layer to train its own last layers from."
        )
