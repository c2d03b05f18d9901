"""Channel statistics: those of numpy over all pixels, from six values an image."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.datasets import load_dataset
from headstart.errors import DataError
from headstart.features import ChannelStatistics, FeatureStore, extract_features, measure_channels
from headstart.features import job as job_module
from headstart.images import Preprocess, decode_for, decode_image, prepare_image

PREPROCESS = Preprocess(size=32, resize=36, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)


def by_numpy(paths: list[Path], preprocess: Preprocess) -> ChannelStatistics:
    """All prepared pixels at once."""
    images = [prepare_image(decode_image(path.read_bytes()), preprocess) for path in paths]
    pixels = torch.stack(images).numpy().astype(np.float64) / 255
    mean, std = pixels.mean((0, 2, 3)).round(6), pixels.std((0, 2, 3)).round(6)
    return ChannelStatistics(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def save(folder: Path, *colours: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> list[Path]:
    """One image of each colour."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(len(colours))]
    for path, colour in zip(paths, colours, strict=True):
        Image.new("RGB", size, colour).save(path)
    return paths


@pytest.fixture
def photos(photo_folder: Path) -> list[Path]:
    return sorted(photo_folder.glob("*/*.jpg"))


@pytest.mark.parametrize(("mode", "resize"), [("crop", 36), ("crop", 32), ("squash", 32)])
def test_equals_numpy_over_all_pixels(mode: str, resize: int, photos: list[Path]) -> None:
    preprocess = replace(PREPROCESS, resize_mode=mode, resize=resize)
    assert measure_channels(photos, preprocess) == by_numpy(photos, preprocess)


def test_measures_the_images_of_a_data_set(photo_folder: Path, photos: list[Path]) -> None:
    rows = np.array([0, 1, 2, 20])
    part = load_dataset(str(photo_folder)).subset(rows)
    assert measure_channels(part, PREPROCESS) == by_numpy([photos[i] for i in rows], PREPROCESS)


def test_bars_are_not_measured(tmp_path: Path) -> None:
    padded = replace(PREPROCESS, resize=32, resize_mode="pad")
    long = save(tmp_path, (200, 100, 50), (100, 200, 150), size=(80, 10))
    expected = by_numpy(long, replace(padded, resize_mode="squash"))
    assert measure_channels(long, padded) == expected
    assert measure_channels(long, replace(padded, mean=(0.1, 0.2, 0.3))) == expected
    assert expected.mean == pytest.approx((150 / 255, 150 / 255, 100 / 255), abs=1e-6)


def test_more_photos_cost_so_many_decodings(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(
        job_module, "decode_for", lambda data, wanted: decoded.append(data) or decode_for(data, wanted)
    )
    measure_channels(photos[:14], PREPROCESS)
    assert len(decoded) == 14
    assert measure_channels(photos, PREPROCESS) == by_numpy(photos, PREPROCESS)
    assert len(decoded) == len(photos) == 24
    # What normalises the pixels afterwards changes none of them; another size does.
    measure_channels(photos, replace(PREPROCESS, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)))
    assert len(decoded) == 24
    measure_channels(photos, replace(PREPROCESS, size=30))
    assert len(decoded) == 48


def test_order_company_and_workers_change_nothing(photos: list[Path], tmp_path: Path) -> None:
    first = measure_channels(photos, PREPROCESS, workers=1)
    again = measure_channels(photos[::-1], PREPROCESS, workers=3, store=FeatureStore(tmp_path / "other"))
    assert first == again


def test_an_image_that_stands_twice_counts_twice(tmp_path: Path) -> None:
    black, white = save(tmp_path, (0, 0, 0), (255, 255, 255))
    got = measure_channels([black, white, white], PREPROCESS)
    assert got == by_numpy([black, white, white], PREPROCESS)
    assert got.mean == (0.666667,) * 3


def test_unreadable_images_are_left_out(photos: list[Path]) -> None:
    photos[1].write_bytes(b"no image")
    assert measure_channels(photos, PREPROCESS) == by_numpy([photos[0], *photos[2:]], PREPROCESS)


def test_no_readable_image_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="None of 0 images"):
        measure_channels([], PREPROCESS)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"None of 1 images can be read.*\n.*a\.jpg: "):
        measure_channels([tmp_path / "a.jpg"], PREPROCESS)


@pytest.mark.parametrize(
    ("colours", "named"),
    [
        ([(0, 0, 0)], "red and green and blue"),
        ([(137, 0, 9), (137, 0, 9), (137, 1, 9)], "red and blue"),  # 137 / 255 is no float32
        ([(10, 20, 255), (11, 21, 255)] * 50, "blue"),
    ],
)
def test_a_channel_of_one_value_is_an_error_in_words(
    colours: list[tuple[int, int, int]], named: str, tmp_path: Path
) -> None:
    paths = save(tmp_path / "plain", *colours)
    with pytest.raises(DataError, match=rf"the same {re.escape(named)}, .*\n.*--normalise weights"):
        measure_channels(paths, PREPROCESS)


def test_small_differences_are_measured_well(tmp_path: Path) -> None:
    paths = save(tmp_path / "plain", *[(250, 251, 252 + (i == 0)) for i in range(99)], (251, 252, 253))
    assert measure_channels(paths, PREPROCESS) == by_numpy(paths, PREPROCESS)


def test_a_backbone_normalised_so_has_features_of_its_own(photos: list[Path], tiny_backbone) -> None:
    own = measure_channels(photos, tiny_backbone.preprocess)
    before = extract_features(photos, tiny_backbone)

    other = tiny_backbone.with_preprocess(replace(tiny_backbone.preprocess, mean=own.mean, std=own.std))

    got = extract_features(photos, other)
    assert (got.extracted, got.features.key.preprocess["mean"]) == (24, list(own.mean))
    assert not np.allclose(got.features.load(), before.features.load(), atol=1e-3)


def test_torch_has_its_threads_again(photos: list[Path]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measure_channels(photos, PREPROCESS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
