"""Honest pickles arrive as Python's own reader gives them; damaged ones never do worse than being refused."""

import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from headstart.errors import PickleRefusedError
from headstart.safe_pickle import load_pickle

PROTOCOLS = range(6)
ADMITTED = (dict, list, tuple, set, frozenset, str, bytes, int, float, complex, bool, type(None))


def read(data: bytes, **options: Any) -> Any:
    return load_pickle(io.BytesIO(data), **options)


def same(ours: object, theirs: object) -> bool:
    """Equal in value, kind, dtype, shape and memory order; NaN equals NaN."""
    if type(ours) is not type(theirs):
        return False
    match ours, theirs:
        case np.ndarray(), np.ndarray():
            return same_array(ours, theirs)
        case ((list() | tuple()), (list() | tuple())):
            return len(ours) == len(theirs) and all(map(same, ours, theirs))
        case dict(), dict():
            return same(list(ours.items()), list(theirs.items()))
        case ((set() | frozenset()), (set() | frozenset())):
            return sorted(map(repr, ours)) == sorted(map(repr, theirs))
    return repr(ours) == repr(theirs)


def same_array(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if theirs.dtype.isnative and not ours.dtype.isnative:  # pickle swaps the bytes, below protocol 5
        ours = ours.astype(ours.dtype.newbyteorder("="))
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    if theirs.size > 1 and ours.strides != theirs.strides:
        return False
    if ours.dtype == object:
        return all(map(same, ours.ravel().tolist(), theirs.ravel().tolist()))
    return ours.tobytes() == theirs.tobytes() and ours.flags.writeable


def object_array(items: list[object]) -> np.ndarray:
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


DTYPES = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(endianness="?"),
    npst.byte_string_dtypes(max_len=5),
    npst.unicode_string_dtypes(max_len=5, endianness="?"),
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays in C, Fortran and other orders, and views with steps."""
    array = draw(npst.arrays(DTYPES, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)))
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    return array[::-1] if array.ndim and draw(st.booleans()) else array


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    DTYPES.flatmap(lambda dtype: npst.arrays(dtype, ()).map(lambda array: array[()])),
)
KEYS = st.one_of(
    st.text(),
    st.binary(),
    st.integers(-(2**64) + 1, 2**64 - 1),
    st.booleans(),
    st.tuples(st.text(), st.integers()),
)
VALUES = st.recursive(
    SCALARS | arrays() | DTYPES,
    lambda parts: st.one_of(
        st.lists(parts),
        st.tuples(parts, parts),
        st.lists(parts).map(tuple),
        st.dictionaries(KEYS, parts),
        st.sets(KEYS),
        st.frozensets(KEYS),
        st.lists(parts, max_size=4).map(object_array),
        parts.map(lambda part: [part, part]),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.sampled_from(PROTOCOLS))
def test_honest_values_arrive_as_pickle_gives_them(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert same(read(data), pickle.loads(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_parts_stay_shared(protocol: int) -> None:
    part, array, dtype = [1], np.arange(3), np.dtype(">i4")
    value = read(pickle.dumps([part, part, array, array, (dtype, dtype)], protocol))
    assert value[0] is value[1]
    assert value[2] is value[3]
    assert value[4][0] == dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_large_arrays_and_long_lists(protocol: int) -> None:
    value = {
        "features": np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8),
        "labels": list(range(3000)),
        "names": {f"name {i}": float(i) for i in range(3000)},
    }
    data = pickle.dumps(value, protocol)
    assert same(read(data), value)


def test_what_follows_is_left_alone_and_reading_starts_where_the_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "two.p"
    path.write_bytes(b"head" + pickle.dumps("first") + pickle.dumps("second"))
    with path.open("rb") as file:
        file.seek(4)
        assert (load_pickle(file), load_pickle(file)) == ("first", "second")


def test_the_file_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "train.p"
    path.write_bytes(pickle.dumps(Path))
    with pytest.raises(
        PickleRefusedError, match=r"train\.p: it asks for pathlib\.Path, which is not admitted"
    ):
        load_pickle(path)
    with pytest.raises(FileNotFoundError):
        load_pickle(tmp_path / "absent.p")


def test_room_can_be_made_smaller_and_larger() -> None:
    data = pickle.dumps(np.zeros(10**6))
    with pytest.raises(PickleRefusedError, match=r"more memory than the 1\.0 MB allowed"):
        read(data, max_bytes=10**6)
    assert len(read(data, max_bytes=10**8)) == 10**6
    sets = b"(" + b"\x8f" * 10_000 + b"l."
    with pytest.raises(PickleRefusedError, match="more memory"):
        read(sets, max_bytes=10**6)
    assert len(read(sets)) == 10_000


# Python 2: written by hand, as cPickle wrote them


def old_text(data: bytes) -> bytes:
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data


def old_array(array: np.ndarray) -> bytes:
    """An array as numpy 1 under Python 2 pickled it with protocol 2."""
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in array.shape) + b"t"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\n" + old_text(array.dtype.str[1:].encode()) + b"K\x00K\x01\x87R(K\x03"
        + old_text(array.dtype.str[:1].encode()) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + old_text(array.tobytes()) + b"tb"
    )  # fmt: skip


def old_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A CIFAR-10 batch: a dict of str keys, a list of numbers, an array and a list of str."""
    return (
        b"\x80\x02}q\x01(" + old_text(b"data") + old_array(pixels)
        + old_text(b"labels") + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
        + old_text(b"batch_label") + old_text(b"training batch 1 of 5")
        + old_text(b"filenames") + b"](" + b"".join(old_text(b"caf\xe9_%d.png" % label) for label in labels) + b"eu."
    )  # fmt: skip


def test_python_2_batches() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    data = old_batch(pixels, [6, 9, 9, 4])
    batch = read(data)
    assert same(batch, pickle.loads(data, encoding="latin1"))
    assert np.array_equal(batch["data"], pixels)
    assert batch["labels"] == [6, 9, 9, 4]
    assert batch["filenames"][0] == "café_6.png"
    assert same(read(data, encoding="bytes"), pickle.loads(data, encoding="bytes"))
    with pytest.raises(PickleRefusedError, match="damaged"):
        read(data, encoding="ascii")


def test_python_2_protocol_0() -> None:
    data = np.array([1.5, -2.0, 3e30], "<f8").tobytes()
    stream = (
        b"(dp1\nS'x'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntp5\nS'b'\np6\n"
        b"tp7\nRp8\n(I1\n(I3\ntp9\ncnumpy\ndtype\np10\n(S'f8'\np11\nI0\nI1\ntp12\nRp13\n(I3\nS'<'\np14\n"
        b"NNNI-1\nI-1\nI0\ntp15\nbI00\nS" + repr(data)[1:].encode() + b"\np16\ntp17\nbsS'n'\nL123456789012L\n"
        b"sS'i'\nI01\nsVna\\u00efve\nF1.5\ns."
    )  # fmt: skip
    value = read(stream)
    assert same(value, pickle.loads(stream, encoding="latin1"))
    assert value["x"].tolist() == [1.5, -2.0, 3e30]
    assert (value["n"], value["i"], value["naïve"]) == (123456789012, True, 1.5)


# Damage


def seeds() -> list[bytes]:
    value = {
        "a": np.arange(6, dtype=">i2").reshape(2, 3), "s": {1, 2}, "t": (1.5, b"x", "é", None, 2**70, 1j),
        "o": object_array([1, [2]]), "n": [np.float32(1), np.str_("ab"), np.dtype("U3"), frozenset("a")],
    }  # fmt: skip
    return [pickle.dumps(value, p) for p in PROTOCOLS] + [old_batch(np.zeros((2, 4), np.uint8), [1, 2])]


def damage(data: bytes, place: int, change: tuple[str, bytes]) -> bytes:
    how, junk = change
    place %= len(data) + 1
    after = {"replace": place + len(junk), "insert": place, "delete": place + 3, "cut": len(data)}[how]
    return data[:place] + (b"" if how in ("delete", "cut") else junk) + data[after:]


OPCODES = st.sampled_from([instruction.code.encode("latin1") for instruction in pickletools.opcodes])
CHANGES = st.tuples(
    st.sampled_from(["replace", "insert", "delete", "cut"]), OPCODES | st.binary(min_size=1, max_size=4)
)


def assert_admitted(value: object) -> None:
    """Nothing but what the reader promises, looked at once each."""
    waiting, seen = [value], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, np.ndarray):
            assert type(part) is np.ndarray
            assert part.dtype.kind in "biufcSUO"
            waiting.extend(part.ravel().tolist() if part.dtype == object else ())
        elif isinstance(part, np.dtype):
            assert part.names is None
        elif not isinstance(part, np.generic):
            assert type(part) in ADMITTED
        if type(part) is dict:
            waiting.extend([*part, *part.values()])
        elif type(part) in (list, tuple, set, frozenset):
            waiting.extend(part)  # type: ignore[arg-type]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(seeds()), st.lists(st.tuples(st.integers(0, 2**16), CHANGES), min_size=1, max_size=4))
def test_damaged_pickles_are_read_or_refused(
    data: bytes, changes: list[tuple[int, tuple[str, bytes]]]
) -> None:
    for place, change in changes:
        data = damage(data, place, change)
    assume(data)
    try:
        value = read(data)
    except PickleRefusedError:
        return
    assert_admitted(value)


@settings(max_examples=300, deadline=None)
@given(st.lists(OPCODES | st.binary(min_size=1, max_size=3), max_size=30))
def test_random_instructions_are_read_or_refused(parts: list[bytes]) -> None:
    try:
        value = read(b"".join(parts) + b".")
    except PickleRefusedError:
        return
    assert_admitted(value)


@pytest.mark.parametrize("data", seeds())
def test_every_cut_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(PickleRefusedError):
            read(data[:end])
