"""Files of features: what is written is read back, by us and by others, and what cannot be used is named."""

import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.errors import DataError, HeadstartError, PickleRefusedError
from headstart.features import FeatureTable, packs, read_features, write_features

SUFFIXES = (".p", ".npz", ".parquet")


def _table(n: int = 12, shape: tuple[int, ...] = (5,)) -> FeatureTable:
    rng = np.random.default_rng(0)
    return FeatureTable(
        features=rng.normal(size=(n, *shape)).astype(np.float32),
        labels=np.arange(n, dtype=np.int64) % 3,
        classes=("brick", "grün", "sky", "never seen"),
        names=tuple(f"a folder/{i}.jpg" for i in range(n)),
        splits=tuple(("train", "val", "test", None)[i % 4] for i in range(n)),
        groups=np.arange(n, dtype=np.int64) // 2,
    )


def _write_pickle(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


# Round trips


@pytest.mark.parametrize("shape", [(5,), (1, 1, 5), (3, 2, 4)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_back(suffix: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    table = _table(shape=shape)

    write_features(tmp_path / f"codes{suffix}", table)
    read = read_features(tmp_path / f"codes{suffix}")

    expected = table.features[:, None, None, :] if suffix == ".p" and shape == (5,) else table.features
    np.testing.assert_array_equal(read.features, expected)
    np.testing.assert_array_equal(read.labels, table.labels)
    assert (read.features.dtype, read.labels.dtype) == (np.float32, np.int64)
    if suffix == ".p":
        assert (read.classes, read.names, read.splits, read.groups) == (None, None, None, None)
    else:
        assert (read.classes, read.names, read.splits) == (table.classes, table.names, table.splits)
        np.testing.assert_array_equal(read.groups, table.groups)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_not_known_stays_unknown(suffix: str, tmp_path: Path) -> None:
    table = FeatureTable(features=_table().features, labels=_table().labels)

    write_features(tmp_path / f"codes{suffix}", table)
    read = read_features(tmp_path / f"codes{suffix}")

    assert (read.classes, read.names, read.splits, read.groups) == (None, None, None, None)


def test_a_subset_keeps_everything_in_step() -> None:
    part = _table().subset(np.array([7, 2]))

    np.testing.assert_array_equal(part.features, _table().features[[7, 2]])
    assert part.labels.tolist() == [1, 2]
    assert part.names == ("a folder/7.jpg", "a folder/2.jpg")
    assert part.splits == (None, "test")
    assert part.groups is not None
    assert part.groups.tolist() == [3, 1]
    assert part.classes == _table().classes


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"codes{suffix}"
    file.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("headstart.files.os.fsync", fail)

    with pytest.raises(OSError, match="no"):
        write_features(file, _table())
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


# What other programs read


def test_a_keras_program_reads_the_pickle(tmp_path: Path) -> None:
    """The reading part of the program that trains on bottleneck features: pickle, dict, shapes."""
    table = _table(n=12, shape=(7,))
    write_features(tmp_path / "train.p", table)

    with (tmp_path / "train.p").open("rb") as file:
        data = pickle.load(file)
    x, y = data["features"], data["labels"]

    assert set(data) == {"features", "labels"}
    assert x.shape == (12, 1, 1, 7)
    assert x.dtype == np.float32
    assert y.shape == (12,)
    assert y.dtype == np.int64
    assert len(np.unique(y)) == 3
    np.testing.assert_array_equal(x.reshape(len(x), -1), table.features)  # its `Flatten`


def test_the_pickle_names_nothing_that_an_old_program_lacks(tmp_path: Path) -> None:
    write_features(tmp_path / "train.p", _table())

    instructions = list(pickletools.genops((tmp_path / "train.p").read_bytes()))

    assert instructions[0][1] == 2  # the newest protocol of Python 2
    assert {argument for code, argument, _ in instructions if code.name == "GLOBAL"} == {
        "numpy.core.multiarray _reconstruct",
        "numpy ndarray",
        "numpy dtype",
        "_codecs encode",
    }


def test_numpy_and_pyarrow_read_the_others(tmp_path: Path) -> None:
    table = _table(shape=(2, 3))
    for suffix in (".npz", ".parquet"):
        write_features(tmp_path / f"codes{suffix}", table)

    with np.load(tmp_path / "codes.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"features", "labels", "classes", "paths", "splits", "groups"}
        np.testing.assert_array_equal(arrays["features"], table.features)
        assert tuple(arrays["classes"]) == table.classes
    rows = pq.read_table(tmp_path / "codes.parquet")
    assert rows.column_names == ["path", "label", "class", "split", "group", "features"]
    assert rows.schema.field("features").type == pa.list_(pa.float32(), 6)
    assert rows.schema.metadata[b"headstart.shape"] == b"[2, 3]"
    assert rows["class"].to_pylist()[:3] == ["brick", "grün", "sky"]
    np.testing.assert_array_equal(rows["features"].to_pylist(), table.features.reshape(12, 6))


# What other programs write


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_all_protocols_and_both_shapes_of_labels(protocol: int, tmp_path: Path) -> None:
    table = _table(shape=(1, 1, 5))
    for labels in (table.labels, table.labels[:, None], table.labels.astype(np.uint8)[:, None]):
        file = _write_pickle(tmp_path / "x.p", {"features": table.features, "labels": labels}, protocol)

        read = read_features(file)

        np.testing.assert_array_equal(read.features, table.features)
        assert read.labels.tolist() == table.labels.tolist()
        assert read.labels.dtype == np.int64


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """Its text is bytes: written out by hand, as Python 2 writes {'labels': array([1], int64), ...}."""
    text = lambda value: b"U" + struct.pack("<B", len(value)) + value  # noqa: E731 - SHORT_BINSTRING

    def array(values: np.ndarray) -> bytes:
        code = values.dtype.str[1:].encode()
        dtype = (
            b"cnumpy\ndtype\n("
            + text(code)
            + b"K\x00K\x01tR(K\x03"
            + text(b"<")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        shape = b"(" + b"".join(b"K" + bytes([n]) for n in values.shape) + b"t"
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        return made + b"(K\x01" + shape + dtype + b"I00\n" + text(values.tobytes()) + b"tb"

    features = np.array([[[[1, -2.5, 3]]], [[[0, 9, 1e-3]]]], np.float32)
    data = b"\x80\x02}(" + text(b"features") + array(features)
    data += text(b"labels") + array(np.array([[1], [0]])) + b"u."
    assert pickle.loads(data, encoding="latin1")["labels"].tolist() == [
        [1],
        [0],
    ]  # it is what it claims to be

    (tmp_path / "x.p").write_bytes(data)

    read = read_features(tmp_path / "x.p")

    np.testing.assert_array_equal(read.features, features)
    assert read.labels.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, ">f4"])
def test_other_numbers_become_float32(dtype: str, tmp_path: Path) -> None:
    values = np.arange(12).reshape(4, 3).astype(dtype)
    np.savez(tmp_path / "x.npz", features=np.asfortranarray(values), labels=np.arange(4, dtype=np.int16))

    read = read_features(tmp_path / "x.npz")

    assert read.features.dtype == np.float32
    assert read.features.flags.c_contiguous
    np.testing.assert_array_equal(read.features, values.astype(np.float32))


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)]
)
def test_a_table_of_somebody_else(kind: pa.DataType, tmp_path: Path) -> None:
    rows = pa.table({"label": pa.array([1, 0], pa.int8()), "features": pa.array([[1, 2], [3, 4]], kind)})
    pq.write_table(rows, tmp_path / "x.parquet")

    read = read_features(tmp_path / "x.parquet")

    assert read.features.tolist() == [[1, 2], [3, 4]]
    assert read.labels.tolist() == [1, 0]
    assert (read.classes, read.names, read.splits, read.groups) == (None, None, None, None)


@pytest.mark.parametrize("groups", [["b", "a", "b"], [7, -2, 7]])
def test_groups_of_somebody_else_become_numbers(groups: list[object], tmp_path: Path) -> None:
    rows = pa.table({"label": [1, 0, 1], "group": groups, "features": [[1.0], [2.0], [3.0]]})
    pq.write_table(rows, tmp_path / "x.parquet")

    assert read_features(tmp_path / "x.parquet").groups.tolist() == [1, 0, 1]


def test_splits_of_somebody_else_are_called_as_in_tables_of_images(tmp_path: Path) -> None:
    arrays = {"features": FEATURES, "labels": LABELS}
    np.savez(tmp_path / "x.npz", **arrays, splits=np.array(["training", "validation", "Test"]))
    np.savez(tmp_path / "y.npz", **arrays, splits=np.array(["train", "", "holdout"]))

    assert read_features(tmp_path / "x.npz").splits == ("train", "val", "test")
    with pytest.raises(DataError, match=r"y\.npz has the split 'holdout'.\nExpected train, val or test"):
        read_features(tmp_path / "y.npz")


def test_a_row_without_a_group_beside_others_is_refused(tmp_path: Path) -> None:
    rows = pa.table({"label": [1, 0, 1], "group": ["a", None, "a"], "features": [[1.0], [2.0], [3.0]]})
    pq.write_table(rows, tmp_path / "x.parquet")

    with pytest.raises(DataError, match=r"x\.parquet has no group in 1 rows"):
        read_features(tmp_path / "x.parquet")


@pytest.mark.parametrize("key", ["headstart.shape", "headstart.classes"])
@pytest.mark.parametrize("text", ["{", "3", "\xff"])
def test_damaged_metadata_is_told(key: str, text: str, tmp_path: Path) -> None:
    rows = pa.table({"label": [1, 0], "features": [[1.0], [2.0]]})
    damaged = rows.replace_schema_metadata({key: text.encode("latin1")})
    pq.write_table(damaged, tmp_path / "x.parquet")

    with pytest.raises(DataError, match=r"x\.parquet has damaged metadata"):
        read_features(tmp_path / "x.parquet")


def test_an_npz_of_an_unknown_version_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=FEATURES, labels=LABELS)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 200
    (tmp_path / "x.npz").write_bytes(data)

    with pytest.raises(DataError, match=r"x\.npz is damaged, or no \.npz file"):
        read_features(tmp_path / "x.npz")


# Zips


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A zip as they come: a folder with a train and a validation file, and what macOS adds."""
    for part, n in (("train", 6), ("validation", 4)):
        write_features(tmp_path / f"vgg_traffic_bottleneck_features_{part}.p", _table(n))
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("train", "validation"):
            name = f"vgg_traffic_bottleneck_features_{part}.p"
            archive.write(tmp_path / name, f"vgg-100/{name}")
            archive.writestr(f"__MACOSX/vgg-100/._{name}", b"\x00")
        archive.writestr("vgg-100/README.md", "read me")
    return tmp_path / "pack.zip"


def test_the_part_of_a_zip_is_found_by_its_name(pack: Path) -> None:
    assert len(read_features(pack, part="train")) == 6
    assert len(read_features(str(pack), part="validation")) == 4


@pytest.mark.parametrize(
    "member",
    ["vgg-100/vgg_traffic_bottleneck_features_validation.p", "vgg_traffic_bottleneck_features_validation.p"],
)
def test_a_member_can_be_named(pack: Path, member: str) -> None:
    assert len(read_features(f"{pack}!/{member}", part="train")) == 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_single_member_needs_no_name(suffix: str, tmp_path: Path) -> None:
    write_features(tmp_path / f"codes{suffix}", _table())
    with zipfile.ZipFile(tmp_path / "pack.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / f"codes{suffix}", f"deep/er/codes{suffix.upper()}")

    for part in (None, "train", "validation"):
        read = read_features(tmp_path / "pack.ZIP", part=part)
        np.testing.assert_array_equal(read.features.reshape(12, 5), _table().features)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("", "holds 2 files that could be features: it has vgg-100/.*\nName one: .*pack.zip!/vgg-100/"),
        ("!/nothing.p", "holds 0 files that could be nothing.p"),
        ("!/vgg-100/README.md", "holds 0 files that could be"),
    ],
)
def test_an_open_choice_is_named(pack: Path, ending: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_features(f"{pack}{ending}")


def test_a_zip_without_features(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("cat.jpg", "meow")

    with pytest.raises(DataError, match=r"holds no file that ends in \.p, \.npz, \.parquet"):
        read_features(tmp_path / "pack.zip")


def test_a_zip_that_is_too_big_is_not_unpacked(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "MOST_BYTES", 100)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was opened"))

    with pytest.raises(DataError, match=r"unpacks to .* at most 100 B can be read"):
        read_features(pack, part="train")


@pytest.mark.parametrize("inner", ["zeros.p", "zeros.npz"])
def test_a_bomb_is_refused(inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "_RATIO_FREE_BYTES", 10**6)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inner, bytes(2 * 10**6))
    (tmp_path / "bomb.npz").write_bytes((tmp_path / "bomb.zip").read_bytes())

    with pytest.raises(DataError, match="which features do not: it is refused"):
        read_features(tmp_path / "bomb.zip")
    with pytest.raises(DataError, match="which features do not: it is refused"):
        read_features(tmp_path / "bomb.npz")


def test_a_zip_that_lies_about_a_size_unpacks_no_more_than_it_says(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "liar.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.p", bytes(10**6))
    data = (tmp_path / "liar.zip").read_bytes()
    (tmp_path / "liar.zip").write_bytes(data.replace(struct.pack("<I", 10**6), struct.pack("<I", 1000)))

    with pytest.raises(DataError, match="is damaged, or no zip"):
        read_features(tmp_path / "liar.zip")


def test_an_encrypted_member(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := data.find(sign, start + 1)) >= 0:
            data[start + offset] |= 1
    pack.write_bytes(data)

    with pytest.raises(DataError, match=r"cannot be unpacked: .*encrypted"):
        read_features(pack, part="train")


# What cannot be used


class _Hostile:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return print, ("this must not run",)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pickle_that_would_run_code(
    packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _write_pickle(tmp_path / "x.p", {"features": _Hostile(), "labels": _Hostile()})
    if packed:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.write(file, "x.p")

    with pytest.raises(PickleRefusedError, match=r"x\.p: it asks for .*print"):
        read_features(tmp_path / "x.zip" if packed else file)
    assert capsys.readouterr().out == ""


FEATURES = np.zeros((3, 4), np.float32)
LABELS = np.arange(3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"features": FEATURES}, "lacks 'labels'; it holds 'features'"),
        ({"labels": LABELS}, "lacks 'features'"),
        ({}, "it holds nothing"),
        ({"features": FEATURES, "labels": None}, "lacks 'labels'"),
        ({"features": FEATURES, "labels": LABELS[:2]}, "holds 3 features, but 2 labels"),
        ({"features": FEATURES, "labels": LABELS / 2}, r"labels of .* are \(3,\) float64"),
        ({"features": FEATURES, "labels": np.eye(3, dtype=int)}, r"labels of .* are \(3, 3\) int64"),
        ({"features": FEATURES, "labels": ["cat", "dog", "emu"]}, r"labels of .* are \(3,\) <U3"),
        ({"features": FEATURES, "labels": LABELS - 1}, "run from -1 to 1"),
        (
            {"features": FEATURES, "labels": np.array([0, 1, 2**63], np.uint64)},
            "run from 0 to 9223372036854775808",
        ),
        ({"features": FEATURES[0], "labels": LABELS}, r"features of .* are \(4,\) float32"),
        ({"features": FEATURES[:0], "labels": LABELS[:0]}, r"features of .* are \(0, 4\)"),
        ({"features": FEATURES.astype(complex), "labels": LABELS}, "complex128"),
        ({"features": [[1.0], [2.0, 3.0]], "labels": LABELS[:2]}, "features of .* are no array"),
        (
            {"features": FEATURES + np.array([[np.nan], [0], [np.inf]]), "labels": LABELS},
            "NaN or infinite .* of 2 images",
        ),
        ({"features": FEATURES.astype(float) + 1e39, "labels": LABELS}, "NaN or infinite .* of 3 images"),
        ([FEATURES, LABELS], "holds a list.\nExpected a dict"),
    ],
)
def test_content_that_cannot_be_used(content: object, words: str, tmp_path: Path) -> None:
    file = _write_pickle(tmp_path / "x.p", content)

    with pytest.raises(DataError, match=words) as caught:
        read_features(file)
    assert "x.p" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"classes": np.array(["a", "b"])}, "holds the label 2, but only 2 class names"),
        ({"paths": np.array(["a", "b"])}, "holds 3 features, but 2 paths"),
        ({"splits": np.array(["train"])}, "holds 3 features, but 1 splits"),
        ({"groups": np.array([1, 2])}, "holds 3 features, but 2 groups"),
    ],
)
def test_names_that_do_not_fit(arrays: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=FEATURES, labels=LABELS, **arrays)

    with pytest.raises(DataError, match=words):
        read_features(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"features": [[1.0], [2.0]]}, "lacks 'label'; it holds 'features'"),
        ({"label": [0, 1]}, "lacks 'features'; it holds 'label'"),
        ({"label": [0, 1], "features": [1.0, 2.0]}, "is double.\nExpected lists"),
        ({"label": [0, 1], "features": [[1.0], [2.0, 3.0]]}, "lists that are not of one length"),
        ({"label": [0, 1], "features": [[1.0], None]}, "missing values"),
        ({"label": [0, 1], "features": [[1.0], [None]]}, "missing values"),
        ({"label": [0, None], "features": [[1.0], [2.0]]}, r"labels of .* are \(2,\) float64"),
        ({"label": ["a", "b"], "features": [[1.0], [2.0]]}, r"labels of .* are \(2,\) object"),
    ],
)
def test_tables_that_cannot_be_used(columns: dict[str, list[object]], words: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")

    with pytest.raises(DataError, match=words):
        read_features(tmp_path / "x.parquet")


def test_a_small_table_that_stands_for_a_great_many_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_features(
        tmp_path / "x.parquet",
        FeatureTable(features=np.zeros((500, 100), np.float32), labels=np.zeros(500, np.int64)),
    )
    monkeypatch.setattr("headstart.features.formats.MOST_BYTES", 100_000)

    with pytest.raises(DataError, match=r"unpacks to .* at most 100 kB"):
        read_features(tmp_path / "x.parquet")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".zip"])
@pytest.mark.parametrize("damage", ["empty", "noise", "cut"])
def test_a_damaged_file(suffix: str, damage: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{suffix}"
    whole = tmp_path / "whole.npz"
    write_features(whole if suffix == ".zip" else file, _table())
    data = (whole if suffix == ".zip" else file).read_bytes()
    file.write_bytes({"empty": b"", "noise": np.random.default_rng(0).bytes(999), "cut": data[:-90]}[damage])

    with pytest.raises(HeadstartError, match="x"):
        read_features(file)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.p", "There is no file"),
        ("none.zip!/x.p", "There is no file .*none.zip"),
        ("x.csv", r"ends in '\.csv'\.\nFiles of features end in \.p, \.npz, \.parquet, or are in a \.zip"),
        ("x", "has no suffix"),
        ("folder.p", "cannot be read"),
    ],
)
def test_files_that_are_none(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder.p").mkdir()

    with pytest.raises(DataError, match=words):
        read_features(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [("x.csv", r"ends in \.p, \.npz, \.parquet"), ("none/x.p", "There is no folder .*none")],
)
def test_files_that_cannot_be_written(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        write_features(tmp_path / name, _table())
