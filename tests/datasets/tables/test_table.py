import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.datasets import ImageDataset, load_dataset, read_image
from headstart.errors import DataError

ROWS = "path,label\na.jpg,cat\nb.jpg,ant\nc.jpg,cat\n"


def write(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    """A table, and beside it the files a.jpg to c.jpg."""
    for letter in "abc":
        (folder / f"{letter}.jpg").write_bytes(letter.encode())
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def labels(dataset: ImageDataset) -> list[str]:
    return [dataset.classes[label] for label in dataset.labels()]


def complaint(path: Path, group: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path, group=group)
    message = str(caught.value)
    assert message.count("\n") <= 1
    assert str(path) in message
    return message


class TestColumns:
    def test_rows_keep_their_order_and_classes_are_sorted(self, tmp_path: Path) -> None:
        dataset = load_dataset(write(tmp_path, "path,label\nc.jpg,cat\na.jpg,ant\nb.jpg,cat\n"))
        assert (dataset.name, dataset.classes, dataset.splits) == ("table", ("ant", "cat"), ())
        assert (dataset.names(), labels(dataset)) == (["c.jpg", "a.jpg", "b.jpg"], ["cat", "ant", "cat"])
        assert dataset.paths() == [str(tmp_path / name) for name in dataset.names()]
        assert read_image(dataset.files, "b.jpg") == b"b"
        assert dataset.groups() is None

    @pytest.mark.parametrize("image", ["path", "FILE", "FileName", "file_name", "image", "File Path", "img"])
    @pytest.mark.parametrize("label", ["label", "Class", "TARGET", "ClassId", "class_name"])
    def test_names_of_columns(self, tmp_path: Path, image: str, label: str) -> None:
        text = ROWS.replace("path", f'"{image}"').replace("label", label)
        assert labels(load_dataset(write(tmp_path, text))) == ["cat", "ant", "cat"]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("name", ["x.csv", "x.TSV"])
    @pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_delimiters_and_line_ends(
        self, tmp_path: Path, delimiter: str, name: str, bom: bytes, end: bytes
    ) -> None:
        text = ROWS.replace(",", delimiter).encode().replace(b"\n", end)
        assert labels(load_dataset(write(tmp_path, bom + text, name))) == ["cat", "ant", "cat"]

    def test_other_columns_do_not_matter(self, tmp_path: Path) -> None:
        text = "x,width,path,x2,label,\n1,2,a.jpg,,cat,\n3,4,b.jpg,5,ant,\n"
        assert labels(load_dataset(write(tmp_path, text))) == ["cat", "ant"]

    @pytest.mark.parametrize(
        ("header", "words"),
        [
            ("path,tag", "no column for its label (label, class, target); its columns: 'path', 'tag'."),
            ("tag,label", "no column for the image (path, file, filename, image); its columns"),
            ("x,y", "no column for the image (path, file, filename, image) and none for its label"),
            ("path,file,label", "several columns that could be meant: path, file"),
            ("path,label,Class", "several columns that could be meant: label, Class"),
            ("path,label,label", "several columns called 'label'"),
        ],
    )
    def test_missing_and_ambiguous_columns(self, tmp_path: Path, header: str, words: str) -> None:
        rest = ",".join("x" for _ in header.split(","))
        assert words in complaint(write(tmp_path, f"{header}\n{rest}\n"))

    def test_groups(self, tmp_path: Path) -> None:
        text = "path,label,track,Group\na.jpg,1,t1,g\nb.jpg,2,t2,g\nc.jpg,2,t1,h\n"
        path = write(tmp_path, text)
        assert load_dataset(path).table["group"].to_pylist() == ["g", "g", "h"]
        assert load_dataset(path, group="TRACK").table["group"].to_pylist() == ["t1", "t2", "t1"]
        assert "no column 'dog' for the groups; its columns: 'path'" in complaint(path, group="dog")
        path = write(tmp_path, text.replace("t2", " "))
        assert "row 2 has no group" in complaint(path, group="track")


class TestLabels:
    def test_text_stays_as_it_is(self, tmp_path: Path) -> None:
        text = "path,label\na.jpg,007\nb.jpg,7\nc.jpg,1e3\na.jpg,NA\nb.jpg,null\nc.jpg,True\n"
        dataset = load_dataset(write(tmp_path, text))
        assert labels(dataset) == ["007", "7", "1e3", "NA", "null", "True"]
        assert dataset.classes == tuple(sorted(set(labels(dataset))))

    @settings(max_examples=30, deadline=None)
    @given(numbers=st.lists(st.integers(-30, 300), min_size=2, max_size=30, unique=True))
    def test_whole_numbers_sort_as_numbers(
        self, tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
    ) -> None:
        rows = "".join(f"a.jpg,{number}\n" for number in numbers)
        dataset = load_dataset(write(tmp_path_factory.mktemp("x"), f"path,label\n{rows}"))
        classes, codes = np.unique(numbers, return_inverse=True)
        assert dataset.classes == tuple(map(str, classes))
        assert dataset.labels().tolist() == codes.tolist()

    def test_blanks_and_accents_make_no_other_class(self, tmp_path: Path) -> None:
        text = "path,label\na.jpg, K\u00e4fer\nb.jpg,Ka\u0308fer\nc.jpg,x \n"
        assert load_dataset(write(tmp_path, text)).classes == ("K\u00e4fer", "x")

    def test_missing_labels(self, tmp_path: Path) -> None:
        path = write(tmp_path, "path,label\na.jpg,\nb.jpg,x\n" + "c.jpg, \n" * 4)
        assert "rows 1, 3, 4 and 2 more have no label" in complaint(path)

    def test_fewer_than_two_classes(self, tmp_path: Path) -> None:
        assert "images of one class only, 'cat'" in complaint(write(tmp_path, "path,label\na.jpg,cat\n"))
        assert "no image" in complaint(write(tmp_path, "path,label\n"))


class TestSplits:
    def test_their_names(self, tmp_path: Path) -> None:
        names = ["train", "Training", "VAL", "valid", "validation", "test", " testing"]
        rows = "".join(f"a.jpg,{label},{name}\n" for name in names for label in "ab")
        dataset = load_dataset(write(tmp_path, f"path,label,Split\n{rows}"))
        expected = ["train"] * 4 + ["val"] * 6 + ["test"] * 4
        assert dataset.split_names().tolist() == expected

    def test_train_alone_and_nothing_at_all_are_no_split(self, tmp_path: Path) -> None:
        for split in ("train", ""):
            text = ROWS.replace("\n", f",{split}\n").replace(f"label,{split}", "label,split")
            assert load_dataset(write(tmp_path, text)).splits == ()
        mixed = "path,label,split\na.jpg,x,train\nb.jpg,y,Training\n"
        assert load_dataset(write(tmp_path, mixed)).splits == ()

    def test_unknown_names(self, tmp_path: Path) -> None:
        path = write(tmp_path, "path,label,split\na.jpg,x,train\nb.jpg,y,dev\nc.jpg,y,dev\n")
        assert "rows 2, 3 have the split 'dev'; expected train, val or test" in complaint(path)

    def test_classes_unknown_to_train(self, tmp_path: Path) -> None:
        path = write(tmp_path, "path,label,split\na.jpg,x,train\nb.jpg,y,train\nc.jpg,z,test\n")
        with pytest.raises(DataError, match=r"without an image in train: z\. Expected only .* x, y"):
            load_dataset(path)


class TestPaths:
    def test_absolute_above_and_from_windows(self, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        write(tmp_path, "")
        text = f"path,label\n{tmp_path / 'a.jpg'},1\n../b.jpg,2\nsub\\x.jpg,2\n.\\..\\c.jpg,1\n"
        (inner / "t.csv").write_text(text)
        dataset = load_dataset(inner / "t.csv")
        assert dataset.names()[2:] == ["sub/x.jpg", "./../c.jpg"]
        assert [read_image(dataset.files, dataset.names()[i]) for i in (0, 1, 3)] == [b"a", b"b", b"c"]

    def test_blanks_in_names_are_kept(self, tmp_path: Path) -> None:
        (tmp_path / " a b .jpg").write_bytes(b"x")
        dataset = load_dataset(write(tmp_path, "label,path\n1, a b .jpg\n2,a.jpg\n"))
        assert read_image(dataset.files, " a b .jpg") == b"x"

    def test_empty_ones(self, tmp_path: Path) -> None:
        assert "row 2 has no path" in complaint(write(tmp_path, "path,label\na.jpg,1\n,2\n"))

    def test_one_that_exists_is_enough(self, tmp_path: Path) -> None:
        rows = "".join(f"none{i}.jpg,{i % 2}\n" for i in range(40))
        path = write(tmp_path, f"path,label\n{rows}")
        message = complaint(path)
        assert "Not one of the first 20 files" in message
        assert str(tmp_path / "none0.jpg") in message
        assert len(load_dataset(write(tmp_path, f"path,label\na.jpg,1\n{rows}"))) == 41


class TestDamage:
    def test_no_such_file_and_none_that_is_a_table(self, tmp_path: Path) -> None:
        assert "no such file" in complaint(tmp_path / "none.csv")
        assert "is empty" in complaint(write(tmp_path, ""))
        assert "is empty" in complaint(write(tmp_path, "\n \n"))
        assert "UTF-16" in complaint(write(tmp_path, ROWS.encode("utf-16")))
        assert "no column" in complaint(write(tmp_path, b"\x89PNG\r\n"[1:] + bytes(200)))

    @pytest.mark.parametrize("line", [1, 2, 3, 4])
    def test_not_utf8(self, tmp_path: Path, line: int) -> None:
        lines = ROWS.encode().splitlines()
        lines[line - 1] += b"\xe4"
        assert f"not valid UTF-8 in line {line}" in complaint(write(tmp_path, b"\n".join(lines)))

    def test_not_utf8_far_down(self, tmp_path: Path) -> None:
        text = b"path,label\n" + b"a.jpg,\xc3\xa4\n" * 200_000 + b"a.jpg,\xff\n"
        assert "in line 200,002" in complaint(write(tmp_path, text))

    def test_wrong_number_of_fields(self, tmp_path: Path) -> None:
        assert "row 2 has 1 fields, the header 2: 'b.jpg'" in complaint(
            write(tmp_path, "path,label\na.jpg,x\nb.jpg\n")
        )
        assert "row 1 has 3 fields" in complaint(write(tmp_path, "path,label\na,b.jpg,x\nb.jpg,y\n"))

    def test_a_quote_that_is_never_closed(self, tmp_path: Path) -> None:
        complaint(write(tmp_path, 'path,label\n"a.jpg,x\nb.jpg,y\n'))


FIELD = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\"), min_size=1).map(
    str.strip
)
LABELS = FIELD.filter(bool)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(FIELD.filter(bool), LABELS), min_size=1, max_size=10),
    dialect=st.sampled_from(",;\t"),
)
def test_what_pythons_own_csv_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], dialect: str
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    rows = [("a.jpg", 'first, "class"'), ("b\nc.jpg", "other;one"), *rows]
    text = io.StringIO()
    csv.writer(text, delimiter=dialect).writerows([("path", "label"), *rows])
    dataset = load_dataset(write(folder, text.getvalue()))
    assert dataset.names() == [path for path, _ in rows]
