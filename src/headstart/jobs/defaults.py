"""What the size, the resizing and the batch come to for these photos, where nobody has said."""

import math
import statistics
from dataclasses import replace

import numpy as np

from headstart.images import ResizeMode, decode_image
from headstart.jobs.probing import fit_probe, load_views
from headstart.jobs.start import load_start
from headstart.jobs.work import RunData, Work
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
    size = _photos_size(work)
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


def _photos_size(work: Work) -> int:
    """The side of the input that suits the photos, in pixels."""
    steps = math.ceil(_photos_side(work.data) / _SIZE_STEP)
    return min(work.backbone.preprocess.size, max(_LEAST_SIZE, steps * _SIZE_STEP))


def _photos_side(data: RunData) -> float:
    """The median short side of some training photos, in pixels."""
    names = data.dataset.names("train")
    some = [names[i] for i in np.linspace(0, len(names) - 1, min(_SAMPLE, len(names))).astype(int)]
    sides = [min(decode_image(read()).shape[:2]) for read in data.dataset.files.readers(some)]
    return float(statistics.median(sides))


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
