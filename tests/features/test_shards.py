import hashlib
from pathlib import Path

import numpy as np
import pytest

from headstart.features.shards import read_shard, write_shard

ROWS = np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32)
SHAS = [hashlib.sha256(bytes([i])).digest() for i in range(3)]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "one.safetensors"
    assert write_shard(path, ROWS, SHAS, digest="00" * 16) == path.stat().st_size
    return path


def assert_never_wrong(path: Path, place: tuple[int, int]) -> int:
    """Whatever is called sound is what was written; how many rows are."""
    got = read_shard(path)
    if got is None:
        return 0
    sound = [i for i in range(len(got.sha256s)) if got.sound[i]]
    for i in sound:
        j = SHAS.index(got.sha256s[i])
        assert got.features.dtype == np.float32, place
        assert np.array_equal(got.features[i], ROWS[j]), place
    return len(sound)


def test_what_is_written_is_read(shard: Path) -> None:
    got = read_shard(shard)
    assert got is not None
    assert np.array_equal(got.features, ROWS)
    assert got.sha256s == SHAS
    assert got.sound.tolist() == [True] * 3
    assert [path.name for path in shard.parent.iterdir()] == [shard.name]


def test_values_that_are_no_numbers_survive(tmp_path: Path) -> None:
    rows = np.array([[np.nan, np.inf, -0.0]], np.float32)
    write_shard(tmp_path / "x.safetensors", rows, SHAS[:1], digest="")
    got = read_shard(tmp_path / "x.safetensors")
    assert got is not None
    assert got.features.tobytes() == rows.tobytes()
    assert got.sound.all()


def test_a_flipped_byte_anywhere_is_found(shard: Path) -> None:
    data = shard.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for place in range(len(data)):
        for change in (0x01, 0x04, 0x0F, 0x20, 0x80, 0xFF):  # 0x0F makes "I32" of "F32"
            shard.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
            sound = assert_never_wrong(shard, (place, change))
            # A byte of the rows, sha256s or checksums costs that one row, one of the header all or none.
            assert sound in ((0, 1, 2, 3) if place < header else (2,)), (place, change)


@pytest.mark.slow
def test_no_byte_of_the_header_can_change_a_value(shard: Path) -> None:
    data = shard.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for place in range(header):
        for change in range(1, 256):
            shard.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
            assert_never_wrong(shard, (place, change))


def test_a_shard_cut_short_is_none(shard: Path) -> None:
    data = shard.read_bytes()
    for length in range(len(data)):
        shard.write_bytes(data[:length])
        assert read_shard(shard) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 4096, b"\xff" * 4096, b"no shard"])
def test_other_content_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert read_shard(path) is None


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_shard(tmp_path / "x.safetensors") is None
