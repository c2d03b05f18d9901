"""Networks that OpenVINO has converted, in files."""

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.backbones import Backbone
from headstart.runtimes import RuntimeName, has_bf16, load_runtime

pytest.importorskip("openvino", reason="needs the openvino extra")

from headstart.runtimes.converted import read_converted  # after the check: it needs the extra


def _features(backbone: Backbone, file: Path | None, name: RuntimeName) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    images = list(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator))
    prefix = backbone.prefix(backbone.cut("pooled"))
    return load_runtime(prefix, backbone.preprocess, name=name, converted=file).run(images)


@pytest.mark.parametrize("name", [RuntimeName.OPENVINO_FLOAT32, RuntimeName.OPENVINO_BF16])
def test_what_is_read_back_gives_the_same_bits(
    tmp_path: Path, tiny_backbone: Backbone, name: RuntimeName
) -> None:
    if name.bf16 and not has_bf16("cpu"):
        pytest.skip("this processor does not multiply bfloat16")
    file = tmp_path / "converted" / "network"
    first = _features(tiny_backbone, file, name)
    written = file.read_bytes()

    # Not converted again: what the file holds is no function of this one.
    again = load_runtime(torch.nn.Identity(), tiny_backbone.preprocess, name=name, converted=file)

    generator = torch.Generator().manual_seed(0)
    images = list(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator))
    np.testing.assert_array_equal(again.run(images), first)
    assert file.read_bytes() == written


@pytest.mark.parametrize("place", [0, 60, 90, 5000, -1])
def test_a_damaged_file_is_converted_anew(tmp_path: Path, tiny_backbone: Backbone, place: int) -> None:
    file = tmp_path / "network"
    expected = _features(tiny_backbone, file, RuntimeName.OPENVINO_FLOAT32)
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 1
    file.write_bytes(damaged)

    assert read_converted(file) is None
    got = _features(tiny_backbone, file, RuntimeName.OPENVINO_FLOAT32)

    np.testing.assert_array_equal(got, expected)
    assert read_converted(file) is not None


@pytest.mark.parametrize("length", [0, 10, 100])
def test_half_a_file_is_none(tmp_path: Path, tiny_backbone: Backbone, length: int) -> None:
    file = tmp_path / "network"
    _features(tiny_backbone, file, RuntimeName.OPENVINO_FLOAT32)
    file.write_bytes(file.read_bytes()[:length])

    assert read_converted(file) is None
    assert read_converted(tmp_path / "none") is None


def test_where_it_cannot_be_kept_the_features_come_all_the_same(
    tmp_path: Path, tiny_backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("no folder")
    expected = _features(tiny_backbone, None, RuntimeName.OPENVINO_FLOAT32)

    with caplog.at_level(logging.WARNING, "headstart"):
        got = _features(tiny_backbone, tmp_path / "a file" / "network", RuntimeName.OPENVINO_FLOAT32)

    np.testing.assert_array_equal(got, expected)
    assert "The converted network is not kept in" in caplog.text


def test_of_many_the_newest_stay(
    tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("oldest", "older", "newest")]
    for age, file in zip((9000, 8000), files, strict=False):
        _features(tiny_backbone, file, RuntimeName.OPENVINO_FLOAT32)
        os.utime(file, (time.time() - age,) * 2)
    monkeypatch.setattr("headstart.runtimes.converted._MOST_BYTES", int(2.5 * files[0].stat().st_size))

    _features(tiny_backbone, files[-1], RuntimeName.OPENVINO_FLOAT32)

    assert [file.exists() for file in files] == [False, True, True]
