"""What every measurement here is printed with: the machine, and medians with their ranges."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version

_PACKAGES = ("torch", "torchvision", "timm", "simplejpeg", "pillow", "numpy")


def describe_machine() -> str:
    """Platform, cores, load and the versions that speed depends on."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load}\n"
        f"{versions}"
    )


def median_and_range(values: Sequence[float], form: str = ".2f") -> str:
    """`2.31 (2.20 to 2.45)`."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
