"""Features: what a frozen prefix gives for an image, extracted once and stored."""

from headstart.features.extract import Extraction, Features, Progress, extract_features
from headstart.features.key import StoreKey
from headstart.features.store import FeatureStore, StoreCheck

__all__ = [
    "Extraction",
    "FeatureStore",
    "Features",
    "Progress",
    "StoreCheck",
    "StoreKey",
    "extract_features",
]
