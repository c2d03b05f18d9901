"""Features: what a frozen prefix gives for an image, extracted once and stored."""

from headstart.features.extract import extract_features, extract_views, runtime_for
from headstart.features.extraction import Extraction, Features, Progress
from headstart.features.formats import FeatureTable, check_writable, read_features, write_features
from headstart.features.index import ShardRecord
from headstart.features.key import StoreKey
from headstart.features.statistics import (
    CHANNEL_STATISTICS,
    ChannelStatistics,
    measure_channels,
    measure_images,
)
from headstart.features.store import FeatureStore, StoreCheck

__all__ = [
    "CHANNEL_STATISTICS",
    "ChannelStatistics",
    "Extraction",
    "FeatureStore",
    "FeatureTable",
    "Features",
    "Progress",
    "ShardRecord",
    "StoreCheck",
    "StoreKey",
    "check_writable",
    "extract_features",
    "extract_views",
    "measure_channels",
    "measure_images",
    "read_features",
    "runtime_for",
    "write_features",
]
