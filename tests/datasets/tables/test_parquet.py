import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.datasets import ImageDataset, group_by_pattern, load_dataset, read_image
from headstart.errors import DataError, UnreadableImageError

N = 50
BYTES = [b"image %d" % i * (1 + i % 7) for i in range(N)]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def hugging_face(path: Path, names: list[str], columns: dict[str, Any]) -> Path:
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def contents(dataset: ImageDataset) -> list[bytes]:
    return [reader() for reader in dataset.files.readers(dataset.names())]


def complaint(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path, **options)
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


class TestBytes:
    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
    @pytest.mark.parametrize("rows", [7, 1000])
    def test_plain_bytes(self, tmp_path: Path, kind: pa.DataType, rows: int) -> None:
        columns = {"image": pa.array(BYTES, kind), "label": [i % 3 for i in range(N)]}
        path = write(tmp_path / "x.parquet", columns, row_group_size=rows)
        dataset = load_dataset(path)
        assert (dataset.name, dataset.classes) == ("x", ("0", "1", "2"))
        assert dataset.names()[:2] == ["x.parquet/0", "x.parquet/1"]
        assert dataset.paths()[1] == f"{path}!/1"
        assert contents(dataset) == BYTES
        assert dataset.files.stamp(dataset.paths()[3]).size == path.stat().st_size
        assert read_image(dataset.files, "x.parquet/33") == BYTES[33]

    def test_structs_keep_the_names(self, tmp_path: Path) -> None:
        images = [{"bytes": data, "path": f"/me/0{i % 4}_{i}.png"} for i, data in enumerate(BYTES)]
        images[0]["path"] = None
        path = write(tmp_path / "x.parquet", {"label": ["a", "b"] * (N // 2), "image": images})
        dataset = load_dataset(path)
        assert dataset.names()[:2] == ["x.parquet/0", "x.parquet/1/me/01_1.png"]
        assert contents(dataset) == BYTES
        grouped = group_by_pattern(dataset.subset(np.arange(1, N)), r"^(\d+)_")
        assert set(grouped.table["group"].to_pylist()) == {"00", "01", "02", "03"}

    @settings(max_examples=60, deadline=None)
    @given(
        rows=st.lists(st.integers(0, N - 1), max_size=30),
        group=st.integers(1, N),
        batch=st.sampled_from([1, 40, 10**6]),
    )
    def test_any_rows_in_any_order(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[int], group: int, batch: int
    ) -> None:
        path = tmp_path_factory.mktemp("p") / "x.parquet"
        dataset = load_dataset(
            write(path, {"image": BYTES, "label": ["a", "b"] * (N // 2)}, row_group_size=group)
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("headstart.datasets.tables.parquet._BATCH_BYTES", batch)
            readers = dataset.files.readers([f"x.parquet/{row}" for row in rows])
            assert [reader() for reader in readers] == [BYTES[row] for row in rows]

    def test_only_the_row_groups_that_are_needed_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(tmp_path / "x.parquet", {"image": BYTES, "label": ["a", "b"] * 25}, row_group_size=10)
        dataset = load_dataset(path)
        read: list[int] = []
        whole = pq.ParquetFile.iter_batches

        def note(self: Any, *args: Any, row_groups: list[int], **options: Any) -> Any:
            read.extend(row_groups)
            assert options["columns"] == ["image"]
            return whole(self, *args, row_groups=row_groups, **options)

        monkeypatch.setattr(pq.ParquetFile, "iter_batches", note)
        names = [dataset.names()[row] for row in (3, 5, 6, 41, 49)]
        assert [reader() for reader in dataset.files.readers(names)] == [BYTES[i] for i in (3, 5, 6, 41, 49)]
        assert read == [0, 4]

    def test_listing_reads_no_image(self, tmp_path: Path) -> None:
        big = [bytes([i]) * 400_000 for i in range(100)]
        columns = {"image": big, "label": ["a", "b"] * 50}
        # A page is read whole; by default it holds up to 1,024 images, however large.
        options = {"write_batch_size": 1, "use_dictionary": False, "compression": "none"}
        path = write(tmp_path / "x.parquet", columns, row_group_size=100, **options)
        before = pa.total_allocated_bytes()
        pool = pa.default_memory_pool()
        dataset = load_dataset(path)
        assert pa.total_allocated_bytes() - before < 1_000_000
        peak = max(pool.bytes_allocated() - before for _ in dataset.files.readers(dataset.names()))
        assert (
            0 < peak < 20_000_000
        )  # a batch of eight megabytes in a buffer that doubles, of forty in the table

    def test_readers_may_run_in_threads(self, tmp_path: Path) -> None:
        dataset = load_dataset(write(tmp_path / "x.parquet", {"image": BYTES, "label": ["a", "b"] * 25}))
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda reader: reader(), dataset.files.readers(dataset.names()))) == BYTES

    def test_a_row_without_bytes_is_that_images_fault(self, tmp_path: Path) -> None:
        held = [*BYTES[:4], None, *BYTES[5:]]
        dataset = load_dataset(write(tmp_path / "x.parquet", {"image": held, "label": ["a", "b"] * 25}))
        readers = list(dataset.files.readers(dataset.names()))
        assert readers[3]() == BYTES[3]
        with pytest.raises(UnreadableImageError, match="no bytes in this row"):
            readers[4]()

    def test_damage_is_the_fault_of_the_images_it_hits(self, tmp_path: Path) -> None:
        images = [np.random.default_rng(i).bytes(1000) for i in range(N)]
        columns = {"image": images, "label": ["a", "b"] * 25}
        path = write(
            tmp_path / "x.parquet", columns, row_group_size=10, write_page_checksum=True, use_dictionary=False
        )
        data = bytearray(path.read_bytes())
        data[data.index(images[25]) + 5] ^= 1
        path.write_bytes(data)
        dataset = load_dataset(path)
        readers = list(dataset.files.readers(dataset.names()))
        assert [reader() for reader in readers[:20] + readers[30:]] == images[:20] + images[30:]
        for reader in readers[20:30]:
            with pytest.raises(UnreadableImageError, match="damaged"):
                reader()

    def test_a_change_after_the_listing(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.parquet", {"image": BYTES, "label": ["a", "b"] * 25})
        dataset = load_dataset(path)
        readers = dataset.files.readers(dataset.names())
        reader = next(readers)
        write(path, {"image": BYTES[:10], "label": ["a", "b"] * 5})
        with pytest.raises(UnreadableImageError, match="has changed"):
            reader()
        with pytest.raises(UnreadableImageError, match="fewer rows"):
            read_image(dataset.files, "x.parquet/40")
        path.unlink()
        with pytest.raises(UnreadableImageError, match="no such file"):
            read_image(dataset.files, "x.parquet/4")


class TestPaths:
    def test_paths_as_text_and_in_structs(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"a")
        texts = ["a.jpg", "b.jpg", "a.jpg"]
        structs = [{"bytes": None, "path": text} for text in texts]
        for name, images in (
            ("image", texts),
            ("path", pa.array(texts, pa.large_string())),
            ("image", structs),
        ):
            path = write(tmp_path / "x.parquet", {name: images, "label": ["x", "y", "y"]})
            dataset = load_dataset(path)
            assert (dataset.names(), dataset.labels().tolist()) == (texts, [0, 1, 1])
            assert read_image(dataset.files, "a.jpg") == b"a"

    def test_not_one_exists(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.parquet", {"path": ["a", "b"], "label": [1, 2]})
        assert "Not one of the first 2 files" in complaint(path)

    @pytest.mark.parametrize("images", [[1, 2], [[b"a"], [b"b"]], [{"x": 1}, {"x": 2}]])
    def test_other_types(self, tmp_path: Path, images: list[Any]) -> None:
        path = write(tmp_path / "x.parquet", {"image": images, "label": [1, 2]})
        assert "expected paths (text), bytes (binary)" in complaint(path)


class TestColumns:
    def test_labels_sort_by_their_kind(self, tmp_path: Path) -> None:
        for labels in (
            [10, 9, -1],
            ["b", "a", "c"],
            [True, False, True],
            pa.array(["b", "a", "c"]).dictionary_encode(),
        ):
            dataset = load_dataset(write(tmp_path / "x.parquet", {"image": BYTES[:3], "label": labels}))
            values = labels if isinstance(labels, list) else labels.to_pylist()
            classes, codes = np.unique(values, return_inverse=True)
            assert dataset.classes == tuple(map(str, classes))
            assert dataset.labels().tolist() == codes.tolist()

    @pytest.mark.parametrize("labels", [[1.5, 2.5], [[1], [2]]])
    def test_labels_of_other_types(self, tmp_path: Path, labels: list[Any]) -> None:
        path = write(tmp_path / "x.parquet", {"image": BYTES[:2], "label": labels})
        assert "label" in complaint(path)

    def test_splits_groups_and_missing_values(self, tmp_path: Path) -> None:
        columns = {
            "image": BYTES[:4],
            "label": [1, 2, 1, 2],
            "split": ["train", "train", "test", "test"],
            "animal": [7, 8, 9, 9],
        }
        dataset = load_dataset(write(tmp_path / "x.parquet", columns), group="Animal")
        assert dataset.split_names().tolist() == columns["split"]
        assert dataset.table["group"].to_pylist() == ["7", "8", "9", "9"]
        path = write(tmp_path / "x.parquet", columns | {"label": [1, None, 2, None]})
        assert "rows 2, 4 have no label" in complaint(path)
        path = write(tmp_path / "x.parquet", columns | {"animal": [1, None, 2, 2]})
        assert "row 2 has no group" in complaint(path, group="animal")

    @pytest.mark.parametrize("name", ["label", "split", "group", "image"])
    def test_text_that_is_not_utf8(self, tmp_path: Path, name: str) -> None:
        columns = {key: ["test" * 3] * 4 for key in ("label", "split", "group", "image")}
        (tmp_path / columns["image"][0]).touch()
        columns[name] = ["goodgood"] * 4
        path = write(tmp_path / "x.parquet", columns, use_dictionary=False, compression="none")
        path.write_bytes(path.read_bytes().replace(b"goodgood", b"\xffoodgood"))
        assert f"the column of each {name.replace('image', 'path')} is no text" in complaint(path)

    def test_not_a_table(self, tmp_path: Path) -> None:
        path = tmp_path / "x.parquet"
        assert "no such file" in complaint(path)
        path.write_bytes(b"PAR1 not really")
        assert "Parquet" in complaint(path)
        path.write_bytes(b"")
        assert "Parquet" in complaint(path)
        whole = write(path, {"image": BYTES, "label": [1] * N}).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert "Parquet" in complaint(path)


class TestHuggingFace:
    def test_the_names_of_the_classes(self, tmp_path: Path) -> None:
        images = [{"bytes": data, "path": None} for data in BYTES[:4]]
        names = ["zebra", "unused", "ant"]
        path = hugging_face(tmp_path / "x.parquet", names, {"image": images, "label": [2, 0, 2, 0]})
        dataset = load_dataset(path)
        assert dataset.classes == ("zebra", "ant")
        assert dataset.labels().tolist() == [1, 0, 1, 0]
        path = hugging_face(tmp_path / "x.parquet", names, {"image": images, "label": [2, 0, -1, 0]})
        assert "row 3 has the label -1, but there are names for 0 to 2 only" in complaint(path)

    @pytest.mark.parametrize("folder", ["set", "set/data"])
    @pytest.mark.parametrize("ends", ["-00000-of-00002{}.parquet", "-00000-of-00002-0a1b2c{}.parquet"])
    def test_folders_of_shards(self, tmp_path: Path, folder: str, ends: str) -> None:
        def rows(start: int) -> dict[str, Any]:
            images = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(BYTES)][start : start + 10]
            return {"image": images, "label": [0, 1] * 5}

        for number, split in enumerate(["test", "train", "train", "validation"]):
            name = split + ends.replace("00000", f"0000{number // 2}").format("")
            hugging_face(tmp_path / folder / name, ["no", "yes"], rows(10 * number))
        (tmp_path / "set/README.md").write_text("---")
        (tmp_path / "set/.cache").mkdir()
        dataset = load_dataset(tmp_path / "set")
        assert (dataset.name, dataset.classes) == ("set", ("no", "yes"))
        assert dataset.split_names().tolist() == ["test"] * 10 + ["train"] * 20 + ["val"] * 10
        assert contents(dataset) == BYTES[:40]
        assert dataset.files.stamp(dataset.paths()[25]).size > 0
        assert len(set(dataset.names())) == 40

    def test_shards_that_differ(self, tmp_path: Path) -> None:
        write(tmp_path / "train.parquet", {"image": BYTES[:2], "label": [1, 2]})
        write(tmp_path / "test.parquet", {"image": BYTES[:2], "label": ["1", "2"]})
        assert "has other columns than" in complaint(tmp_path)

    def test_class_folders_beside_a_table_stay_class_folders(self, tmp_path: Path) -> None:
        write(tmp_path / "train.parquet", {"image": BYTES[:2], "label": [1, 2]})
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / "1.jpg").write_bytes(b"")
        assert load_dataset(tmp_path).classes == ("a", "b")
