"""Extraction of features: what a frozen prefix gives for images, or for views of them."""

import os
from collections.abc import Sequence
from dataclasses import replace

from headstart.backbones import Backbone, Cut
from headstart.datasets import DiskFiles, ImageDataset, ImageFiles
from headstart.features.choosing import Passes, choose_runtime
from headstart.features.extraction import Extraction, Progress
from headstart.features.job import Job
from headstart.features.key import StoreKey
from headstart.features.store import FeatureStore
from headstart.images import decoder_identity
from headstart.runtimes import (
    DEFAULT_PRECISION,
    Precision,
    Runtime,
    RuntimeName,
    choose_device,
    load_runtime,
    runtime_identity,
)
from headstart.views import ORIGINAL, View


def extract_features(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
    backbone: Backbone,
    *,
    layer: str = "pooled",
    view: View = ORIGINAL,
    seed: int = 0,
    store: FeatureStore | None = None,
    device: str = "cpu",
    runtime: str | None = None,
    precision: Precision = DEFAULT_PRECISION,
    workers: int | None = None,
    max_store: int | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Compute the features that are not in the store, and store them.

    Args:
        images: a data set, or image files.
        backbone: the network.
        layer: where to take the features; see `Backbone.cut`.
        view: which variant of each image; `extract_views` decodes an image once for several.
        seed: of a view that is drawn at random; without effect on others.
        store: by default the user's own.
        device: "cpu", "cuda", "mps" or "auto".
        runtime: what computes them, a `RuntimeName`; by default see `choose_runtime`.
        precision: "exact" for float32, "fast" for bf16 where that is near enough; see `choose_runtime`.
        workers: threads that decode and run the network; by default as many as there are usable cores.
        max_store: refuse to store more than so many bytes; by default only the disk's room is a limit.
        progress: told how far it is.

    Returns:
        The features, not yet loaded, with what was done to have them.

    Raises:
        BackboneError: there is no such layer.
        StoreError: the store cannot be written, or the features would take more than `max_store`.
        DiskFullError: there is no room for the features.
    """
    (extraction,) = extract_views(
        images,
        backbone,
        [view],
        layer=layer,
        seed=seed,
        store=store,
        device=device,
        runtime=runtime,
        precision=precision,
        workers=workers,
        max_store=max_store,
        progress=progress,
    )
    return extraction


def extract_views(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
    backbone: Backbone,
    views: Sequence[View],
    *,
    layer: str = "pooled",
    seed: int = 0,
    store: FeatureStore | None = None,
    device: str = "cpu",
    runtime: str | None = None,
    precision: Precision = DEFAULT_PRECISION,
    workers: int | None = None,
    max_store: int | None = None,
    progress: Progress | None = None,
) -> tuple[Extraction, ...]:
    """As `extract_features`, for several views: each image is read and decoded once.

    Args:
        images: a data set, or image files.
        backbone: the network.
        views: which variants of each image: at least one, none of them twice.
        layer: where to take the features; see `Backbone.cut`.
        seed: of the views that are drawn at random.
        store: by default the user's own.
        device: "cpu", "cuda", "mps" or "auto".
        runtime: what computes them, a `RuntimeName`; by default see `choose_runtime`.
        precision: "exact" for float32, "fast" for bf16 where that is near enough; see `choose_runtime`.
        workers: threads that decode and run the network; by default as many as there are usable cores.
        max_store: refuse to store more than so many bytes, all views together.
        progress: told how many images are done with all their views.

    Returns:
        The features of each view, in order; the same images are readable in all. The seconds are those of all views.

    Raises:
        BackboneError: there is no such layer.
        StoreError: the store cannot be written, or the features would take more than `max_store`.
        DiskFullError: there is no room for the features.
    """
    if not views or len(set(views)) != len(views):
        raise ValueError(f"expected different views, at least one; got {[view.name for view in views]}")
    cut, device = backbone.cut(layer), choose_device(device)
    store = store if store is not None else FeatureStore()
    name, loaded = runtime_for(
        images,
        backbone,
        cut,
        views,
        seed=seed,
        store=store,
        device=device,
        runtime=runtime,
        precision=precision,
    )
    keys = [store_key(backbone, cut, name, device, view=view, seed=seed) for view in views]
    for key in keys:
        store.open_key(key)
    files, names = files_and_names(images)
    job = Job(
        store=store,
        keys=keys,
        views=views,
        seed=seed,
        runtime=loaded,
        shape=cut.shape,
        preprocess=backbone.preprocess,
        files=files,
        max_store=max_store,
    )
    extractions = job.run(names, workers=workers, progress=progress)
    return tuple(replace(extraction, runtime=name) for extraction in extractions)


def runtime_for(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
    backbone: Backbone,
    cut: Cut,
    views: Sequence[View],
    *,
    seed: int,
    store: FeatureStore,
    device: str,
    runtime: str | None,
    precision: Precision,
) -> tuple[RuntimeName, Runtime]:
    """What computes the features of some images at a cut; see `choose_runtime`. Arguments are those of `extract_views`.

    Raises:
        ConfigError: there is no such runtime here for this device.
    """
    files, names = files_and_names(images)
    prefix = backbone.prefix(cut)
    plain = store_key(backbone, cut, RuntimeName.OPENVINO_FLOAT32, device)
    converted = None if store.read_only else store.place_of_converted(plain)
    passes = Passes(
        load=lambda name: load_runtime(
            prefix, backbone.preprocess, device=device, name=name, converted=converted
        ),
        key=lambda name: store_key(backbone, cut, name, device, view=views[0], seed=seed),
        converted=converted is not None and converted.exists(),
        store=store,
        files=files,
        names=names,
        preprocess=backbone.preprocess,
        views=len(views),
    )
    wanted = None if runtime is None else RuntimeName(runtime)
    return choose_runtime(passes, device=device, wanted=wanted, precision=precision)


def files_and_names(
    images: ImageDataset | Sequence[str | os.PathLike[str]],
) -> tuple[ImageFiles, list[str]]:
    """Where images are read from, and what they are called there."""
    if isinstance(images, ImageDataset):
        return images.files, images.names()
    return DiskFiles(), [os.fspath(path) for path in images]


def store_key(
    backbone: Backbone, cut: Cut, runtime: RuntimeName, device: str, *, view: View = ORIGINAL, seed: int = 0
) -> StoreKey:
    """Under which key the features of a cut stand that a runtime computes, for one view of the images."""
    identity = runtime_identity(runtime, device)
    return StoreKey(
        architecture=backbone.card.architecture,
        arguments=backbone.card.arguments,
        weights=backbone.weights_sha256,
        cut=cut.name,
        preprocess=backbone.preprocess.to_dict(),
        decoder=decoder_identity(),
        view=view.identity(seed),
        runtime=identity["runtime"],
        precision=identity["precision"],
    )
