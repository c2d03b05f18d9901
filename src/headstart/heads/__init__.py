"""Heads: what stands behind a backbone's features. Pure: tensors in, modules and tensors out."""

from headstart.heads.linear import (
    LinearHead,
    LinearPath,
    cross_validate_linear_path,
    default_strengths,
    fit_linear_path,
    linear_head,
)
from headstart.heads.temperature import fit_temperature

__all__ = [
    "LinearHead",
    "LinearPath",
    "cross_validate_linear_path",
    "default_strengths",
    "fit_linear_path",
    "fit_temperature",
    "linear_head",
]
