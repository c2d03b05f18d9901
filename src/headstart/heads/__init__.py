"""Heads: what stands behind a backbone's features. Pure: tensors in, modules and tensors out."""

from headstart.heads.knn import KnnHead, KnnPath, default_neighbours, fit_knn_path
from headstart.heads.linear import (
    LinearHead,
    LinearPath,
    LogisticPath,
    default_strengths,
    fit_linear_path,
    linear_head,
    new_linear_head,
)
from headstart.heads.mlp import MlpHead
from headstart.heads.paths import FitPath, HeadPath, cross_validate
from headstart.heads.ridge import default_ridge_strengths, fit_ridge_path
from headstart.heads.saved import build_head, describe_head
from headstart.heads.temperature import fit_temperature

__all__ = [
    "FitPath",
    "HeadPath",
    "KnnHead",
    "KnnPath",
    "LinearHead",
    "LinearPath",
    "LogisticPath",
    "MlpHead",
    "build_head",
    "cross_validate",
    "default_neighbours",
    "default_ridge_strengths",
    "default_strengths",
    "describe_head",
    "fit_knn_path",
    "fit_linear_path",
    "fit_ridge_path",
    "fit_temperature",
    "linear_head",
    "new_linear_head",
]
