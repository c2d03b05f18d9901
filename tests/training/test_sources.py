import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from headstart.backbones import Backbone
from headstart.datasets import DiskFiles, ImageDataset, Reader, load_dataset
from headstart.errors import DataError
from headstart.features import extract_features
from headstart.images import Preprocess, decode_image, normalise, prepare_image, resize_image
from headstart.images.preprocess import ResizeMode
from headstart.runtimes import load_runtime
from headstart.training.augment import Augmentation, Kind, augment
from headstart.training.pixels import Photos
from headstart.training.sources import ComputedSource, PixelSource, Source, StoredSource

KINDS: list[Kind] = ["none", "crop", "randaugment", "trivialaugment"]


@pytest.fixture
def dataset(photo_folder: Path) -> ImageDataset:
    return load_dataset(str(photo_folder))


@pytest.fixture
def photos(dataset: ImageDataset) -> Photos:
    return Photos(files=dataset.files, names=dataset.names())


def wanted(mode: ResizeMode = "squash") -> Preprocess:
    return Preprocess(
        size=32, resize=36, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3, resize_mode=mode
    )


def pixel_source(
    photos: Photos,
    kind: Kind = "crop",
    *,
    flip: bool = True,
    mode: ResizeMode = "crop",
    memory: int | None = None,
    workers: int | None = None,
) -> PixelSource:
    how = Augmentation(kind=kind, flip=flip, seed=3)
    return PixelSource(photos, wanted(mode), how, memory=memory, workers=workers)


def computed_source(
    photos: Photos, backbone: Backbone, layer: str = "pooled", *, workers: int | None = None
) -> ComputedSource:
    runtime = load_runtime(backbone.prefix(backbone.cut(layer)), backbone.preprocess)
    return ComputedSource(photos, runtime, backbone.preprocess, workers=workers)


def all_in_batches(source: Source, order: list[int], size: int, epoch: int | None = None) -> Tensor:
    """(n, ...) in the order of the rows, asked for in another order, in batches."""
    batches = [source.inputs(rows, epoch) for rows in torch.tensor(order).split(size)]
    return torch.cat(batches)[torch.tensor(order).argsort(stable=True)]


def shuffled(n: int, seed: int) -> list[int]:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


# Stored features.


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5)])
def test_stored_rows_come_in_the_order_asked_for_in_memory_of_their_own(shape: tuple[int, ...]) -> None:
    features = np.random.default_rng(0).normal(size=(9, *shape)).astype(np.float32)
    kept = features.copy()
    source = StoredSource(features)
    with source.session():
        rows = source.inputs(torch.tensor([5, 0, 8, 5]), 4)
        assert np.array_equal(rows.numpy(), features[[5, 0, 8, 5]])
        assert rows.is_contiguous()
        rows.zero_()
    assert np.array_equal(features, kept)
    assert len(source) == 9


def test_stored_features_are_taken_from_any_array() -> None:
    features = np.arange(24, dtype=np.float32).reshape(4, 6)
    strided, sealed = features[:, ::2], features.copy()
    sealed.flags.writeable = False
    rows = torch.tensor([3, 1])
    assert np.array_equal(StoredSource(strided).inputs(rows, None).numpy(), strided[[3, 1]])
    assert np.array_equal(StoredSource(sealed).inputs(rows, None).numpy(), sealed[[3, 1]])


# Features computed anew.


@pytest.mark.parametrize("layer", ["pooled", "blocks.1"])
@pytest.mark.parametrize(("workers", "size"), [(1, 24), (2, 7), (3, 1)])
def test_computed_features_are_the_stored_ones_bit_for_bit(
    dataset: ImageDataset, photos: Photos, tiny_backbone: Backbone, layer: str, workers: int, size: int
) -> None:
    stored = extract_features(dataset, tiny_backbone, layer=layer).features.load()
    source = computed_source(photos, tiny_backbone, layer, workers=workers)
    with source.session():
        for epoch in (None, 0):
            computed = all_in_batches(source, shuffled(len(source), seed=workers), size, epoch)
            assert torch.equal(computed, torch.from_numpy(stored))
            assert computed.is_contiguous()
        twice = source.inputs(torch.tensor([4, 2, 4]), 1)
    assert torch.equal(twice, torch.from_numpy(stored[[4, 2, 4]]))


def test_computing_leaves_the_threads_of_the_training_as_they_were(
    photos: Photos, tiny_backbone: Backbone
) -> None:
    torch.set_num_threads(3)
    try:
        source = computed_source(photos, tiny_backbone, workers=2)
        with source.session():
            assert torch.get_num_threads() == 3
            source.inputs(torch.arange(5), None)
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_rows_can_be_views_of_photos(photos: Photos, tiny_backbone: Backbone, tmp_path: Path) -> None:
    views = [lambda pixels: pixels, lambda pixels: np.ascontiguousarray(pixels[:, ::-1])]
    both = Photos(
        files=photos.files, names=[photos.names[0]] * 2 + [photos.names[9]] * 2, views=views + views
    )
    source = computed_source(both, tiny_backbone)
    assert len(source) == 4
    with source.session():
        features = source.inputs(torch.arange(4), 0)
    runtime = load_runtime(tiny_backbone.prefix(tiny_backbone.cut("pooled")), tiny_backbone.preprocess)
    for row, (photo, mirrored) in enumerate([(0, False), (0, True), (9, False), (9, True)]):
        pixels = decode_image(Path(photos.files.place(photos.names[photo])).read_bytes())
        shown = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
        with runtime.session():
            expected = runtime.run([prepare_image(shown, tiny_backbone.preprocess)])
        assert np.array_equal(features[row].numpy(), expected[0])


# Pixels.


@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_plain_inputs_are_those_of_a_frozen_network(photos: Photos, mode: ResizeMode) -> None:
    places = [Path(photos.files.place(name)) for name in photos.names]
    images = [prepare_image(decode_image(place.read_bytes()), wanted(mode)) for place in places]
    expected = normalise(torch.stack(images), wanted(mode))
    for memory in (None, 0):
        source = pixel_source(photos, mode=mode, memory=memory)
        with source.session():
            for seed in range(2):
                inputs = all_in_batches(source, shuffled(len(source), seed), size=7)
                assert torch.equal(inputs, expected)


@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_inputs_are_augmented_canvases(photos: Photos, kind: Kind, mode: ResizeMode) -> None:
    source = pixel_source(photos, kind, mode=mode)
    rows = torch.tensor([7, 0, 19])
    with source.session():
        inputs = source.inputs(rows, 2)
    large = dataclasses.replace(wanted(mode), size=37, resize=37)  # 32 x 8 / 7
    expected = []
    for row in rows.tolist():
        pixels = decode_image(Path(photos.files.place(photos.names[row])).read_bytes())
        canvas = prepare_image(pixels, wanted(mode)) if kind == "none" else resize_image(pixels, large)
        assert kind == "none" or canvas.shape == (3, 37, 47 if mode == "crop" else 37)
        expected.append(augment(canvas, 32, Augmentation(kind=kind, flip=True, seed=3), 2, row))
    assert torch.equal(inputs, normalise(torch.stack(expected), wanted(mode)))
    assert (inputs.shape, inputs.dtype) == ((3, 3, 32, 32), torch.float32)
    assert inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_depends_on_batches_memory_or_workers(photos: Photos, kind: Kind) -> None:
    results: list[list[Tensor]] = []
    for memory, workers, size in [(None, 1, 24), (0, 2, 5), (10_000, 3, 1), (None, 2, 7)]:
        source = pixel_source(photos, kind, memory=memory, workers=workers)
        torch.manual_seed(size)
        state = torch.get_rng_state()
        with source.session():
            results.append(
                [all_in_batches(source, shuffled(len(source), size), size, epoch) for epoch in (0, 1, 0)]
            )
        assert torch.equal(torch.get_rng_state(), state)
    for epochs in results:
        assert torch.equal(epochs[0], epochs[2])
        assert not torch.equal(epochs[0], epochs[1])
        assert all(map(torch.equal, epochs, results[0]))


class CountingFiles(DiskFiles):
    """Remembers in which order images were asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root=root)
        object.__setattr__(self, "asked", [])

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        for name in names:
            self.asked.append(name)  # type: ignore[attr-defined]
            yield from super().readers([name])


@pytest.mark.parametrize(("kind", "times"), [("none", 1), ("crop", 2)])
def test_a_photo_is_decoded_once_and_read_from_front_to_back(
    photos: Photos, photo_folder: Path, kind: Kind, times: int
) -> None:
    files = CountingFiles(photo_folder)
    source = pixel_source(dataclasses.replace(photos, files=files), kind)
    batches = torch.tensor(shuffled(len(source), seed=0)).split(6)
    with source.session():
        first = [source.inputs(rows, 0) for rows in batches]
        asked = list(files.asked)  # type: ignore[attr-defined]
        assert asked == [photos.names[row] for rows in batches for row in rows.sort().values.tolist()]
        plain = [source.inputs(rows, None) for rows in batches]
        shutil.rmtree(photo_folder)
        assert all(map(torch.equal, first, [source.inputs(rows, 0) for rows in batches]))
        assert all(map(torch.equal, plain, [source.inputs(rows, None) for rows in batches]))
        assert len(files.asked) == times * len(source)  # type: ignore[attr-defined]


def test_images_that_must_not_be_mirrored_are_not(tmp_path: Path, photos: Photos) -> None:
    ramp = np.tile(np.arange(20, 220, 2, dtype=np.uint8)[None, :, None], (80, 1, 3))
    drawn = dataclasses.replace(photos, views=[lambda pixels: ramp] * len(photos))
    for kind in ("none", "crop"):
        source = pixel_source(drawn, kind, flip=False)
        with source.session():
            inputs = torch.cat([source.inputs(torch.arange(24), epoch) for epoch in range(4)])
        assert (inputs[..., -1] > inputs[..., 0]).all()
        flipping = pixel_source(drawn, kind, flip=True)
        with flipping.session():
            inputs = torch.cat([flipping.inputs(torch.arange(24), epoch) for epoch in range(4)])
        assert 30 < (inputs[..., -1] < inputs[..., 0])[:, 0, 0].sum() < 66


# All that read photos.


@pytest.mark.parametrize("what", ["computed", "pixels"])
def test_a_photo_that_has_vanished_is_named(
    photos: Photos, tiny_backbone: Backbone, what: str, photo_folder: Path
) -> None:
    source = computed_source(photos, tiny_backbone) if what == "computed" else pixel_source(photos)
    (photo_folder / photos.names[3]).unlink()
    with source.session():
        source.inputs(torch.tensor([0, 1, 2]), 0)
        with pytest.raises(DataError, match=f"{photos.names[3]} could be read before"):
            source.inputs(torch.tensor([2, 3]), 0)
        source.inputs(torch.tensor([4]), 0)


@pytest.mark.parametrize("what", ["computed", "pixels"])
def test_inputs_need_a_session(photos: Photos, tiny_backbone: Backbone, what: str) -> None:
    source = computed_source(photos, tiny_backbone) if what == "computed" else pixel_source(photos)
    with pytest.raises(RuntimeError, match="session"):
        source.inputs(torch.tensor([0]), None)
    for _ in range(2):  # which can be opened again
        with source.session():
            source.inputs(torch.tensor([0]), None)
    with pytest.raises(RuntimeError, match="session"):
        source.inputs(torch.tensor([0]), None)


@pytest.mark.parametrize("what", ["stored", "computed", "pixels"])
def test_inputs_can_be_had_for_judging_and_for_training(
    photos: Photos, tiny_backbone: Backbone, what: str
) -> None:
    sources: dict[str, Source] = {
        "stored": StoredSource(np.ones((24, 5), np.float32)),
        "computed": computed_source(photos, tiny_backbone),
        "pixels": pixel_source(photos),
    }
    source = sources[what]
    rows = torch.tensor([3, 1])
    with source.session():
        with torch.inference_mode():
            judged = source.inputs(rows, None)
            source.inputs(rows, 0)
        trained = source.inputs(rows, 0)
        assert torch.equal(source.inputs(rows, None), judged)
    weight = torch.ones(trained.shape[1:], requires_grad=True)
    (trained * weight).sum().backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, trained.sum(dim=0))
