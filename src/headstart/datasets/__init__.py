"""Data sets: which images there are, with which labels, in which splits. Nothing here decodes an image."""

from headstart.datasets.arrays import dataset_from_arrays
from headstart.datasets.dataset import SCHEMA, SPLITS, ImageDataset, Problem, Split, make_table
from headstart.datasets.duplicates import Overlap, overlapping_labels, shared_between_splits
from headstart.datasets.files import DiskFiles, HeldFiles, ImageFiles, Reader, read_image
from headstart.datasets.folders.loose import list_images
from headstart.datasets.groups import group_by_pattern
from headstart.datasets.held.pixels import ArrayFiles, JoinedFiles, encode_ppm
from headstart.datasets.named.registry import NAMED, NamedSet
from headstart.datasets.options import ReadOptions
from headstart.datasets.protocols import parse_protocol
from headstart.datasets.sources import SOURCES, DataSource, full_location, load_dataset
from headstart.datasets.splits import (
    FEW_IMAGES,
    VALIDATION_MADE,
    Choice,
    SplitRecord,
    assign_splits,
    balanced_weights,
    imbalance,
    stratified_folds,
    stratified_sample,
)

__all__ = [
    "FEW_IMAGES",
    "NAMED",
    "SCHEMA",
    "SOURCES",
    "SPLITS",
    "VALIDATION_MADE",
    "ArrayFiles",
    "Choice",
    "DataSource",
    "DiskFiles",
    "HeldFiles",
    "ImageDataset",
    "ImageFiles",
    "JoinedFiles",
    "NamedSet",
    "Overlap",
    "Problem",
    "ReadOptions",
    "Reader",
    "Split",
    "SplitRecord",
    "assign_splits",
    "balanced_weights",
    "dataset_from_arrays",
    "encode_ppm",
    "full_location",
    "group_by_pattern",
    "imbalance",
    "list_images",
    "load_dataset",
    "make_table",
    "overlapping_labels",
    "parse_protocol",
    "read_image",
    "shared_between_splits",
    "stratified_folds",
    "stratified_sample",
]
