"""What the size, the resizing and the batch come to for these photos, where nobody has said."""

import math
import statistics
from contextlib import suppress
from dataclasses import replace

import numpy as np

from headstart.datasets import ImageDataset
from headstart.errors import UnreadableImageError
from headstart.images import ResizeMode, decode_image
from headstart.jobs.probing import fit_probe, load_views
from headstart.jobs.start import load_start
from headstart.jobs.work import Work
from headstart.metrics import score_predictions
from headstart.recipes import Recipe
from headstart.views import ORIGINAL

# Photos smaller than what the weights were trained on are not blown up to it: the network finds the same in them at
# their own size, in a fraction of the time. Below the least size its last maps would have too few positions.
_LEAST_SIZE, _SIZE_STEP = 128, 32
_SAMPLE = 50
# An epoch of fewer steps than this hardly moves a network.
_LEAST_STEPS, _LEAST_BATCH = 10, 8


def suit_photos(work: Work) -> Work:
    """The work with a network whose input is as large as the photos, but no larger than its weights had it.

    Where a photo's margin matters it is squashed to that, so that nothing is cut off; where its shape does, it is
    resized as the weights want it. Which it is a probe of each tells, by its log loss on held-out images.
    """
    config = work.config
    if config.size is not None:
        return work
    size = size_for(work.data.dataset, work.backbone.preprocess.size)
    if config.resize != "weights":
        return _resized(work, size, config.resize)
    own = _resized(work, size, work.backbone.preprocess.resize_mode)
    squashed = _resized(work, size, "squash")
    if own.backbone.preprocess == squashed.backbone.preprocess:
        return own
    losses = [_probe_loss(candidate) for candidate in (own, squashed)]
    return own if losses[0] <= losses[1] else squashed


def suit_few_images(work: Work, recipe: Recipe) -> Recipe:
    """The recipe with smaller batches where an epoch would have too few steps, and smaller steps with them.

    Nothing is changed where batch size, learning rate or schedule are the user's own.
    """
    own = (work.config.batch_size, work.config.lr, work.config.schedule)
    if own != (None, None, None) or recipe.batch_norm != "eval":
        return recipe
    batch, images = recipe.batch_size, len(work.data.rows("train"))
    while batch > _LEAST_BATCH and images < _LEAST_STEPS * batch:
        batch //= 2
    return replace(recipe, batch_size=batch, lr=recipe.lr * batch / recipe.batch_size)


def size_for(dataset: ImageDataset, largest: int) -> int:
    """The side of the input that suits a data set's training photos, in pixels.

    Args:
        dataset: with splits; what cannot be read does not count.
        largest: the side that the weights were trained on.
    """
    names = dataset.names("train")
    some = [names[i] for i in np.linspace(0, len(names) - 1, min(_SAMPLE, len(names))).astype(int)]
    sides = []
    for read in dataset.files.readers(some):
        with suppress(UnreadableImageError):
            sides.append(min(decode_image(read()).shape[:2]))
    side = float(statistics.median(sides)) if sides else largest
    steps = math.ceil(side / _SIZE_STEP)
    return min(largest, max(_LEAST_SIZE, steps * _SIZE_STEP))


def _resized(work: Work, size: int, mode: ResizeMode) -> Work:
    """The work with its network for images of another size, or resized otherwise."""
    now = work.backbone.preprocess
    if (now.size, now.resize_mode) == (size, mode):
        return work
    start = load_start(replace(work.config, size=size, resize=mode))
    preprocess = replace(start.backbone.preprocess, mean=now.mean, std=now.std)
    return replace(work, start=start, backbone=start.backbone.with_preprocess(preprocess))


def _probe_loss(work: Work) -> float:
    """The log loss of a probe on held-out images; 0 where nothing can be held out."""
    features = load_views(work, work.backbone.cut(work.config.layer), (ORIGINAL,))
    _, held_out = fit_probe(work, features, "linear")
    if held_out is None:
        return 0.0
    return score_predictions(held_out.probabilities, work.data.labels[held_out.rows]).log_loss
