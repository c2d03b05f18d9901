"""Honest .npy and .npz files arrive as numpy gives them."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from headstart.errors import PickleRefusedError
from headstart.safe_pickle import load_npy, load_npz

ARRAYS = npst.arrays(
    st.one_of(
        npst.boolean_dtypes(),
        npst.integer_dtypes(endianness="?"),
        npst.floating_dtypes(endianness="?"),
        npst.unicode_string_dtypes(max_len=4),
    ),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
)


def saved(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@settings(max_examples=100, deadline=None)
@given(ARRAYS, st.booleans())
def test_arrays(array: np.ndarray, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    data = saved(array)
    ours, theirs = load_npy(io.BytesIO(data)), np.load(io.BytesIO(data))
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert ours.strides == theirs.strides or theirs.size < 2
    assert ours.tobytes() == theirs.tobytes()
    assert ours.flags.writeable


def test_a_saved_dict() -> None:
    value = {"conv1": [np.ones((2, 3), np.float32), np.zeros(3)], "fc": {"weights": np.arange(3)}}
    array = load_npy(io.BytesIO(saved(value)))
    assert array.shape == ()
    loaded = array.item()
    assert loaded.keys() == value.keys()
    assert np.array_equal(loaded["conv1"][0], np.ones((2, 3)))
    assert np.array_equal(loaded["fc"]["weights"], np.arange(3))


def test_versions_and_python_2() -> None:
    data = np.arange(10, dtype="<f4").tobytes()
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 5L), }   \n"
    for version, size in ((1, struct.pack("<H", len(text))), (2, struct.pack("<I", len(text)))):
        array = load_npy(io.BytesIO(b"\x93NUMPY" + bytes([version, 0]) + size + text + data))
        assert np.array_equal(array, np.arange(10).reshape(2, 5))


def test_what_follows_is_left_alone() -> None:
    file = io.BytesIO(saved(np.arange(3)) + saved(np.arange(4)))
    assert load_npy(file).tolist() == [0, 1, 2]
    assert load_npy(file).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives(save: object, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, x=np.arange(6).reshape(2, 3), y=np.array(["a", "bc"]), z=np.array({"k": 1}, dtype=object))  # type: ignore[operator]
    arrays = load_npz(path)
    assert list(arrays) == ["x", "y", "z"]
    assert np.array_equal(arrays["x"], np.arange(6).reshape(2, 3))
    assert arrays["y"].tolist() == ["a", "bc"]
    assert arrays["z"].item() == {"k": 1}


def test_an_archives_member_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.zeros(2, [("a", "f4")]))
    with pytest.raises(PickleRefusedError, match=r"a\.npz: in y\.npy, its header .* structured array"):
        load_npz(tmp_path / "a.npz")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([saved(np.arange(6).reshape(2, 3)), saved({"a": np.arange(3)}), saved(np.array(["a"]))]),
    st.integers(0, 2**16),
    st.binary(min_size=1, max_size=3),
)
def test_damaged_files_are_read_or_refused(data: bytes, place: int, junk: bytes) -> None:
    place %= len(data)
    try:
        array = load_npy(io.BytesIO(data[:place] + junk + data[place + len(junk) :]))
    except PickleRefusedError:
        return
    assert type(array) is np.ndarray
    with pytest.raises(PickleRefusedError):
        load_npy(io.BytesIO(data[:place]))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**16), st.binary(min_size=1, max_size=3), st.booleans())
def test_damaged_archives_are_read_or_refused(
    tmp_path: Path, place: int, junk: bytes, compressed: bool
) -> None:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, x=np.arange(20), y=np.array(["a"]))
    data = file.getvalue()
    place %= len(data)
    path = tmp_path / "a.npz"  # real files fail in other ways than BytesIO
    path.write_bytes(data[:place] + junk + data[place + len(junk) :])
    try:
        arrays = load_npz(path)
    except PickleRefusedError:
        return
    assert all(type(array) is np.ndarray for array in arrays.values())


def test_an_archive_with_an_impossible_directory_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[-10:-6] = struct.pack("<I", 2**31)  # the directory's size
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(PickleRefusedError, match="damaged"):
        load_npz(tmp_path / "a.npz")
