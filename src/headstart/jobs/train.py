"""Train a run from a folder of photos."""

import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headstart.backbones import Backbone, full_weights
from headstart.config import TrainConfig
from headstart.datasets import ImageDataset, Problem, SplitRecord, assign_splits, full_location
from headstart.download import Progress as DownloadProgress
from headstart.errors import DataError, UnreadableImageError
from headstart.features import FeatureStore, measure_channels, measure_images
from headstart.images import decode_image
from headstart.jobs.auto import auto
from headstart.jobs.common import listing
from headstart.jobs.images import divide_and_extract, extract_layer_of, list_images_of, load_backbone_of
from headstart.jobs.result import Judged, make_result
from headstart.jobs.start import Start, load_start
from headstart.jobs.techniques import TECHNIQUES
from headstart.jobs.work import Observers, Outcome, RunData, Work
from headstart.metrics import score_predictions
from headstart.recipes import read_recipe
from headstart.report import RunRecord, draw_thumbnail, render_report
from headstart.runs import CHECKPOINT_FILE, Predictions, Run, RunWriter, new_run
from headstart.runtimes import choose_device


def train(
    config: TrainConfig | str,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    store: str | os.PathLike[str] | None = None,
    no_store: bool = False,
    observers: Observers | None = None,
    downloads: DownloadProgress | None = None,
) -> Run:
    """Train a classifier on a folder of photos, judge it, and write it all to a run folder.

    Args:
        config: the photos and all options; a folder of photos alone stands for all defaults.
        out: the run folder; by default the next free `runs/NAME-k`. An unfinished run of the same options that stands
            there is gone on with from its last checkpoint.
        force: replace a finished run that stands there.
        store: folder of the feature store; by default the user's own.
        no_store: compute features anew wherever they are needed, and keep none: the plain way, with the same outcome.
        observers: told how far it is.
        downloads: told how far the download of a data set is, in bytes.

    Returns:
        The finished run.

    Raises:
        ConfigError: options do not go together.
        DataError: the photos cannot be used as they are.
        BackboneError: there is no such backbone or layer.
        RunError: the run folder is taken.
        TrainingError: the loss is no longer a number.
        DownloadError: a data set that has a name cannot be fetched.
        StoreError: the store cannot be used.
        DiskFullError: there is no room for the features or the run.
        KeyboardInterrupt: it was interrupted; the same call takes it up again.
    """
    start = time.perf_counter()
    config = _resolved(config if isinstance(config, TrainConfig) else TrainConfig(config))
    observers = observers if observers is not None else Observers()
    listed = list_images_of(config, store, downloads)
    # All before the folder: a mistyped name costs nobody a run that is replaced.
    backbone, begun = load_start(config)
    _check(config, backbone)
    with _store_of(store, no_store=no_store) as features, new_run(config, listed.name, out, force=force) as writer:
        backbone, data = _read(listed, config, backbone, features, observers)
        writer.begin()
        work = Work(
            config=config,
            backbone=backbone,
            data=data,
            store=features,
            stored=not no_store,
            device=config.device,
            checkpoint=writer.folder / CHECKPOINT_FILE,
            decide=writer.decide,
            observers=observers,
            start_head=begun.head_for(data.dataset.classes) if begun is not None else None,
        )
        outcome = _run(work, writer)
        judged, seconds = _judge(data, outcome)
        return _write(writer, work, outcome, judged, {**seconds, "total": time.perf_counter() - start}, start)
