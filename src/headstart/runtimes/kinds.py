"""What runs a frozen prefix, and the numbers that it is computed in."""

from enum import StrEnum
from typing import Final, Literal

Precision = Literal["exact", "fast"]
"""exact computes features in float32; fast in bf16 where the machine has it and features stay near enough."""

DEFAULT_PRECISION: Final[Precision] = "fast"


class RuntimeName(StrEnum):
    """An engine and the numbers it computes in.

    torch runs everywhere; OpenVINO compiles a network for the CPU. float32, or bf16: products with 8 bits of mantissa,
    sums and features in float32.
    """

    TORCH_FLOAT32 = "torch-float32"
    TORCH_BF16 = "torch-bf16"
    OPENVINO_FLOAT32 = "openvino-float32"
    OPENVINO_BF16 = "openvino-bf16"

    @property
    def bf16(self) -> bool:
        """Whether products have 8 bits of mantissa."""
        return self.value.endswith("-bf16")

    @property
    def compiled(self) -> bool:
        """Whether the network is compiled first, which takes seconds."""
        return self.value.startswith("openvino")

    @property
    def dtype(self) -> str:
        """float32 or bf16."""
        return "bf16" if self.bf16 else "float32"

    def in_float32(self) -> "RuntimeName":
        """The same engine's float32."""
        return RuntimeName(self.value.replace("bf16", "float32"))
