"""Which runtime computes features: what the store has, how many images there are, and what is fast and near enough."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.backbones import Backbone
from headstart.errors import CompilationError
from headstart.features import FeatureStore, choosing, extract_features
from headstart.features.choosing import centred_cosine
from headstart.features.extract import store_key
from headstart.runtimes import RuntimeName

PLAIN, BF16 = RuntimeName.TORCH_FLOAT32, RuntimeName.TORCH_BF16
COMPILED, COMPILED_BF16 = RuntimeName.OPENVINO_FLOAT32, RuntimeName.OPENVINO_BF16
ALL = (PLAIN, COMPILED, BF16, COMPILED_BF16)


class _Clock:
    """Time that passes only where a runtime says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@dataclass
class _Runtime:
    """Features with a stated error, at a stated speed."""

    clock: _Clock
    seconds: float = 1.0
    error: float = 0.0
    fails: bool = False
    batch_size: int = 4
    images: int = field(default=0)

    def run(self, images: list[Tensor]) -> NDArray[Any]:
        if self.fails:
            raise CompilationError("OpenVINO cannot compile this network: odd")
        self.clock.now += self.seconds * len(images)
        self.images += len(images)
        pixels = torch.stack(images).float().flatten(start_dim=1)
        rng = np.random.default_rng(0)
        rows = pixels[:, ::7].numpy()
        return np.asarray(rows + self.error * rows.std() * rng.standard_normal(rows.shape), dtype=np.float32)

    @contextmanager
    def session(self) -> Iterator[None]:
        yield

    def start_worker(self) -> None:
        torch.set_num_threads(1)


@pytest.fixture
def photos(photo_folder: Path) -> list[Path]:
    return sorted(photo_folder.glob("*/*.jpg"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(choosing, "time", made)
    monkeypatch.setattr(choosing, "usable_cores", lambda: 1)
    return made


def _chosen(
    backbone: Backbone,
    photos: Sequence[Path],
    runtimes: dict[RuntimeName, _Runtime],
    monkeypatch: pytest.MonkeyPatch,
    **options: Any,
) -> RuntimeName | None:
    monkeypatch.setattr(
        choosing,
        "runtimes_for",
        lambda _, precision: [name for name in runtimes if precision == "fast" or not name.bf16],
    )
    monkeypatch.setattr("headstart.features.extract.load_runtime", lambda *_, name, **__: runtimes[name])
    monkeypatch.setattr(choosing, "_FEW", options.pop("few", 1))
    store = options.pop("store", None) or FeatureStore()
    return extract_features(photos, backbone, store=store, **options).runtime


@pytest.mark.parametrize(
    ("seconds", "error", "options", "expected"),
    [
        ((1, 9, 9, 9), 0, {}, PLAIN),
        ((9, 9, 1, 9), 0, {}, BF16),
        ((9, 9, 1, 9), 0.02, {}, BF16),
        ((9, 9, 1, 9), 0.5, {}, PLAIN),
        ((9, 1, 8, 9), 0, {}, BF16),  # compiled float32 is no match for compiled bf16
        ((9, 8, 7, 6), 0, {}, COMPILED_BF16),
        ((9, 8, 7, 6), 0.5, {}, COMPILED),
        ((9, 8, 7, 6), 0, {"precision": "exact"}, COMPILED),
        ((9e-3, 8e-3, 7e-3, 6e-3), 0, {}, BF16),  # over before a network is compiled
        ((9, 8, 7, 6), 0, {"few": 25}, PLAIN),
        ((9, 8, 7, 6), 0, {"runtime": "torch-bf16"}, BF16),
        ((9, 8, 7, 6), 0.5, {"runtime": "torch-bf16"}, PLAIN),
        ((9, 8, 7, 6), 0, {"runtime": "openvino-float32"}, COMPILED),
    ],
)
def test_the_fastest_that_is_near_enough(
    photos: list[Path],
    tiny_backbone: Backbone,
    clock: _Clock,
    monkeypatch: pytest.MonkeyPatch,
    seconds: tuple[float, ...],
    error: float,
    options: dict[str, Any],
    expected: RuntimeName,
) -> None:
    runtimes = {
        name: _Runtime(clock, seconds=each, error=error if name.bf16 else 0.0)
        for name, each in zip(ALL, seconds, strict=True)
    }

    assert _chosen(tiny_backbone, photos, runtimes, monkeypatch, **options) == expected
    assert runtimes[expected].images >= len(photos)


def test_a_network_that_is_converted_already_is_tried_sooner(
    photos: list[Path], tiny_backbone: Backbone, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore()
    key = store_key(tiny_backbone, tiny_backbone.cut("pooled"), COMPILED, "cpu")
    seconds = 14 / len(photos)  # of an image: in all too few to convert a network, and enough to compile it

    def choose(photos: Sequence[Path]) -> RuntimeName | None:
        runtimes = {name: _Runtime(clock, seconds=(1 - i / 10) * seconds) for i, name in enumerate(ALL)}
        return _chosen(tiny_backbone, photos, runtimes, monkeypatch, store=store)

    assert choose(photos) == BF16
    store.prune(0)
    store.place_of_converted(key).parent.mkdir(exist_ok=True)
    store.place_of_converted(key).write_bytes(b"a network")
    assert choose(photos) == COMPILED_BF16


def test_what_computed_stored_features_goes_on(
    photos: list[Path], tiny_backbone: Backbone, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes = {name: _Runtime(clock, seconds=1 + i) for i, name in enumerate(ALL)}
    store = FeatureStore()
    options: dict[str, Any] = {"store": store, "precision": "fast"}
    _wait_until_files_are_trusted(photos)
    first = _chosen(tiny_backbone, photos[:6], runtimes, monkeypatch, runtime="torch-bf16", **options)
    runtimes[BF16].seconds, runtimes[BF16].images = 99, 0

    second = _chosen(tiny_backbone, photos, runtimes, monkeypatch, **options)
    exact = _chosen(tiny_backbone, photos, runtimes, monkeypatch, store=store, precision="exact")

    assert (first, second, exact) == (BF16, BF16, PLAIN)
    assert runtimes[BF16].images == len(photos) - 6


def _wait_until_files_are_trusted(photos: list[Path]) -> None:
    """The store believes stamps of files that have been as they are for a while."""
    import os
    import time

    for photo in photos:
        os.utime(photo, (time.time() - 3600,) * 2)
    time.sleep(2.1)


def test_a_network_that_cannot_be_compiled_runs_as_it_is(
    photos: list[Path],
    tiny_backbone: Backbone,
    clock: _Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtimes = {name: _Runtime(clock, seconds=9, fails=name.compiled) for name in ALL}

    assert _chosen(tiny_backbone, photos, runtimes, monkeypatch, precision="exact") == PLAIN
    assert "OpenVINO cannot compile this network" in caplog.text


def test_unreadable_photos_are_no_part_of_the_sample(
    photos: list[Path], tiny_backbone: Backbone, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for photo in photos[:-1]:
        photo.write_bytes(b"no photo")
    runtimes = {name: _Runtime(clock, seconds=9 - i) for i, name in enumerate(ALL)}

    chosen = _chosen(tiny_backbone, photos, runtimes, monkeypatch)
    photos[-1].write_bytes(b"no photo either")

    assert chosen == COMPILED_BF16
    assert _chosen(tiny_backbone, photos, runtimes, monkeypatch) == PLAIN


def test_the_cosine_leaves_out_what_all_images_share() -> None:
    rng = np.random.default_rng(0)
    shared, own = 100 + rng.standard_normal(50), rng.standard_normal((8, 50))
    exact, other = (shared + own).astype(np.float32), (shared - own).astype(np.float32)
    centre = exact.mean(axis=0)
    pairs = zip(exact - centre, other - centre, strict=True)
    by_hand = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])

    assert centred_cosine(exact, exact) == pytest.approx(1)
    assert centred_cosine(exact, other) == pytest.approx(by_hand, abs=1e-4)
    assert centred_cosine(exact, other) < -0.5
    assert centred_cosine(np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)) == 1
