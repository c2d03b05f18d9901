"""What the tests of the backbones share."""

import pytest
from torch import Tensor, nn


class Untraceable(nn.Module):
    """Chooses its way by a value; has what timm's networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 7)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stem(x) if x.sum() >= 0 else -self.stem(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


@pytest.fixture
def untraceable() -> nn.Module:
    """A network in eval mode whose operations cannot be followed."""
    return Untraceable().eval()
