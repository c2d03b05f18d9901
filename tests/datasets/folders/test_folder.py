import os
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.datasets import DiskFiles, load_dataset
from headstart.errors import DataError

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)  # enough for a listing, which decodes nothing


def plant(root: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def listed(root: Path) -> dict[str, tuple[str, str | None]]:
    dataset = load_dataset(root)
    labels = [dataset.classes[label] for label in dataset.labels()]
    return dict(zip(dataset.names(), zip(labels, dataset.split_names(), strict=True), strict=True))


def complaint(root: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(root)
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


class TestLayouts:
    def test_class_folders(self, tmp_path: Path) -> None:
        plant(tmp_path, "dog/2.jpg", "dog/1.jpg", "Cat/1.jpg", "ant/deep/er/1.png")
        assert listed(tmp_path) == {
            "Cat/1.jpg": ("Cat", None),
            "ant/deep/er/1.png": ("ant", None),
            "dog/1.jpg": ("dog", None),
            "dog/2.jpg": ("dog", None),
        }
        dataset = load_dataset(tmp_path)
        assert dataset.classes == ("Cat", "ant", "dog")
        assert dataset.names() == sorted(dataset.names())
        assert (dataset.name, dataset.files, dataset.splits) == (tmp_path.name, DiskFiles(root=tmp_path), ())

    @pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "VALIDATION"])
    def test_split_folders(self, tmp_path: Path, val: str) -> None:
        plant(tmp_path, "Train/a/1.jpg", "Train/b/1.jpg", f"{val}/a/1.jpg", "TEST/b/1.jpg")
        assert listed(tmp_path) == {
            "Train/a/1.jpg": ("a", "train"),
            "Train/b/1.jpg": ("b", "train"),
            f"{val}/a/1.jpg": ("a", "val"),
            "TEST/b/1.jpg": ("b", "test"),
        }

    @pytest.mark.parametrize("doubled", [False, True])
    def test_intel_scenes(self, tmp_path: Path, doubled: bool) -> None:
        train, test, pred = (
            f"{name}/{name}" if doubled else name for name in ("seg_train", "seg_test", "seg_pred")
        )
        plant(tmp_path, f"{train}/sea/1.jpg", f"{train}/ice/1.jpg", f"{test}/sea/2.jpg")
        plant(tmp_path, f"{pred}/1.jpg", f"{pred}/2.jpg")
        assert listed(tmp_path) == {
            f"{train}/sea/1.jpg": ("sea", "train"),
            f"{train}/ice/1.jpg": ("ice", "train"),
            f"{test}/sea/2.jpg": ("sea", "test"),
        }
        dataset = load_dataset(tmp_path)
        assert dataset.passed_over == 2
        assert len(dataset.notes) == 1
        assert "2 images in" in dataset.notes[0]
        assert "seg_pred" in dataset.notes[0]

    def test_seg_train_alone_with_its_unlabelled_images(self, tmp_path: Path) -> None:
        plant(tmp_path, "seg_train/sea/1.jpg", "seg_train/ice/1.jpg", "seg_pred/1.jpg")
        assert set(listed(tmp_path).values()) == {("sea", None), ("ice", None)}

    @pytest.mark.parametrize("inner", ["", "train/", "seg_train/"])
    def test_doubled_folders(self, tmp_path: Path, inner: str) -> None:
        root = tmp_path / "Photos"
        plant(root, f"photos/{inner}a/1.jpg", f"photos/{inner}b/1.jpg", "readme.txt", content=b"x" * 64)
        assert listed(root) == {f"photos/{inner}a/1.jpg": ("a", None), f"photos/{inner}b/1.jpg": ("b", None)}
        assert load_dataset(root).passed_over == 1

    @pytest.mark.parametrize(
        "names", [("test", "demo"), ("bus", "train"), ("valid", "invalid"), ("train", "car", "bus")]
    )
    def test_classes_may_be_called_like_splits(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        plant(tmp_path, *(f"{name}/1.jpg" for name in names))
        assert {label for label, _ in listed(tmp_path).values()} == set(names)

    def test_a_train_folder_alone_gives_no_split(self, tmp_path: Path) -> None:
        plant(tmp_path, "train/a/1.jpg", "train/b/1.jpg")
        assert load_dataset(tmp_path).splits == ()

    def test_folders_beside_the_splits_are_passed_over_and_noted(self, tmp_path: Path) -> None:
        plant(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "extra/x/1.jpg", "docs/")
        dataset = load_dataset(tmp_path)
        assert (len(dataset), dataset.passed_over, len(dataset.notes)) == (3, 1, 1)
        assert "extra" in dataset.notes[0]

    def test_loose_images_beside_class_folders_are_noted(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg", "stray.jpg")
        dataset = load_dataset(tmp_path)
        assert (len(dataset), dataset.passed_over) == (2, 1)
        assert "1 image in" in dataset.notes[0]

    def test_a_class_may_be_missing_in_val_and_test(self, tmp_path: Path) -> None:
        plant(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "test/b/1.jpg", "test/a/")
        dataset = load_dataset(tmp_path)
        assert dataset.classes == ("a", "b")
        assert dataset.counts("test").tolist() == [0, 1]

    def test_one_class_in_two_unicode_forms_is_one(self, tmp_path: Path) -> None:
        composed, decomposed = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
        plant(tmp_path, f"train/{composed}/1.jpg", "train/b/1.jpg", f"test/{decomposed}/1.jpg")
        assert load_dataset(tmp_path).classes == ("Käfer", "b") or load_dataset(tmp_path).classes == (
            "b",
            "Käfer",
        )

    def test_a_relative_folder_and_the_current_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg")
        monkeypatch.chdir(tmp_path)
        dataset = load_dataset(".")
        assert dataset.name == tmp_path.name
        assert all(Path(path).is_file() for path in dataset.paths())


class TestFiles:
    def test_content_decides_where_the_name_does_not(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/photo", "a/photo.dat", "a/upper.JPEG", "b/1.jpg")
        plant(tmp_path, "a/text.jpg", "b/note.txt", content=b"words")
        assert set(listed(tmp_path)) == {"a/photo", "a/photo.dat", "a/upper.JPEG", "a/text.jpg", "b/1.jpg"}
        assert load_dataset(tmp_path).passed_over == 1

    def test_droppings_are_passed_over_and_counted(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg")
        plant(
            tmp_path,
            "a/.hidden.jpg",
            "a/._1.jpg",
            "a/.DS_Store",
            "b/Thumbs.db",
            "b/__MACOSX/1.jpg",
            ".git/x.jpg",
        )
        plant(tmp_path, "__MACOSX/a/._1.jpg", "labels.csv", "a/read.txt", content=b"x,y")
        dataset = load_dataset(tmp_path)
        assert dataset.names() == ["a/1.jpg", "b/1.jpg"]
        assert dataset.passed_over == 9
        assert dataset.notes == ()

    def test_unsupported_image_formats_are_listed(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.heic", "b/2.avif")
        assert len(load_dataset(tmp_path)) == 3

    def test_links_are_followed(self, tmp_path: Path) -> None:
        plant(tmp_path, "elsewhere/x/1.jpg", "elsewhere/y.jpg")
        plant(tmp_path / "photos", "b/1.jpg", "a/")
        (tmp_path / "photos/a/folder").symlink_to(tmp_path / "elsewhere/x")
        (tmp_path / "photos/a/file.jpg").symlink_to(tmp_path / "elsewhere/y.jpg")
        (tmp_path / "photos/c").symlink_to("b")
        assert set(listed(tmp_path / "photos")) == {"a/folder/1.jpg", "a/file.jpg", "b/1.jpg", "c/1.jpg"}
        (tmp_path / "door").symlink_to("photos")
        assert len(load_dataset(tmp_path / "door")) == 4

    def test_broken_links_and_odd_files_are_problems(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg")
        (tmp_path / "a/dangling.jpg").symlink_to("gone.jpg")
        (tmp_path / "a/dangling").symlink_to("gone")
        (tmp_path / "b/circle.jpg").symlink_to("circle.jpg")
        dataset = load_dataset(tmp_path)
        assert [(problem.path, problem.reason) for problem in dataset.problems] == [
            ("a/dangling.jpg", "no such file, or a link to nothing"),
            ("b/circle.jpg", "a link that leads in a circle"),
        ]
        assert dataset.passed_over == 1

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_a_pipe_is_a_problem_and_not_waited_for(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg")
        os.mkfifo(tmp_path / "a/pipe.jpg")
        os.mkfifo(tmp_path / "a/pipe")
        dataset = load_dataset(tmp_path)
        assert [problem.reason for problem in dataset.problems] == ["not a regular file"]
        assert dataset.passed_over == 1

    def test_unicode_names_are_kept(self, tmp_path: Path) -> None:
        plant(tmp_path, "日本/写真 1.jpg", "b/ü\U0001f41c.jpg")
        assert set(listed(tmp_path)) == {"日本/写真 1.jpg", "b/ü\U0001f41c.jpg"}

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
    def test_undecodable_names_are_problems(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg", os.fsdecode(b"a/caf\xe9.jpg"), os.fsdecode(b"a/\xff/1.jpg"))
        dataset = load_dataset(tmp_path)
        assert len(dataset) == 2
        assert [problem.path for problem in dataset.problems] == ["a/\\xff/1.jpg", "a/caf\\xe9.jpg"]
        assert all("not valid UTF-8" in problem.reason for problem in dataset.problems)
        plant(tmp_path, os.fsdecode(b"\xfe/1.jpg"))
        assert "\\xfe is not valid UTF-8. Rename it." in complaint(tmp_path)


class TestComplaints:
    def test_no_such_folder(self, tmp_path: Path) -> None:
        assert "There is no folder" in complaint(tmp_path / "none")
        assert "Expected PHOTOS/CLASS/*.jpg" in complaint(str(tmp_path / "none"))

    def test_a_file(self, tmp_path: Path) -> None:
        plant(tmp_path, "photo.jpg")
        assert "is a file, not a folder" in complaint(tmp_path / "photo.jpg")

    def test_nothing_in_it(self, tmp_path: Path) -> None:
        assert "holds no class folder and no image" in complaint(tmp_path)
        plant(tmp_path, ".hidden/1.jpg", "readme.txt", content=b"")
        assert "holds no class folder and no image" in complaint(tmp_path)

    def test_images_without_class_folders(self, tmp_path: Path) -> None:
        plant(tmp_path, "1.jpg", "2.jpg")
        assert "beside no class folder (2 of them). Expected PHOTOS/CLASS" in complaint(tmp_path)
        assert "give that file" not in complaint(tmp_path)
        plant(tmp_path, "labels.csv", content=b"1.jpg,cat dog")
        assert "If labels.csv says what each of them shows, give that file" in complaint(tmp_path)

    def test_images_loose_in_a_split(self, tmp_path: Path) -> None:
        plant(tmp_path, "seg_train/1.jpg", "seg_test/a/1.jpg")
        message = complaint(tmp_path)
        assert "Images lie directly in" in message
        assert "seg_train" in message

    def test_one_class(self, tmp_path: Path) -> None:
        plant(tmp_path, "photos/1.jpg", "photos/2.jpg")
        assert "Only one class folder, 'photos'" in complaint(tmp_path)
        plant(tmp_path / "split", "train/a/1.jpg", "test/a/1.jpg")
        assert "Only one class folder, 'a'" in complaint(tmp_path / "split")

    def test_class_folders_without_images(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg", "empty/", "texts/1.txt", content=b"")
        assert "without any image that can be read: empty, texts in" in complaint(tmp_path)

    def test_long_lists_are_cut(self, tmp_path: Path) -> None:
        plant(tmp_path, "a/1.jpg", *(f"empty{i}/" for i in range(9)))
        assert "empty0, empty1, empty2, empty3, empty4 and 4 more" in complaint(tmp_path)

    def test_classes_unknown_to_train(self, tmp_path: Path) -> None:
        plant(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/A/1.jpg", "test/b/1.jpg")
        message = complaint(tmp_path)
        assert "without an image in train: A." in message
        assert "a, b" in message

    @pytest.mark.parametrize("names", [("test",), ("val", "test")])
    def test_no_train(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        plant(tmp_path, *(f"{name}/{label}/1.jpg" for name in names for label in "ab"))
        assert "but no train folder" in complaint(tmp_path)

    def test_two_folders_for_one_split(self, tmp_path: Path) -> None:
        plant(tmp_path, "train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")
        assert "several folders for val: val, valid" in complaint(tmp_path)

    @pytest.mark.parametrize("target", [".", "..", "../..", "../b", "../../.."])
    def test_link_loops(self, tmp_path: Path, target: str) -> None:
        root = tmp_path / "photos"
        plant(root, "a/1.jpg", "b/1.jpg")
        (root / "a/loop").symlink_to(target)
        if target == "../b":  # no loop until b leads back
            assert len(load_dataset(root)) == 3
            (root / "b/back").symlink_to("../a")
        assert "is a link to" in complaint(root)
        assert "Remove the link" in complaint(root)

    def test_a_folder_that_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        plant(tmp_path, "a/1.jpg", "b/1.jpg")
        scan = os.scandir

        def refuse(path: str) -> object:
            if path.endswith("b"):
                raise PermissionError(13, "Permission denied")
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)  # root may read everything, so a mode would not do
        assert "Cannot look into the folder" in complaint(tmp_path)
        assert "no permission" in complaint(tmp_path)


NAMES = st.sampled_from(
    [
        "a",
        "b",
        "train",
        "test",
        "valid",
        "seg_train",
        "seg_pred",
        "photos",
        ".git",
        "__MACOSX",
        "1.jpg",
        "2.PNG",
        "x",
        "t.txt",
    ]
)
PLANTS = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from("ffffdl")), max_size=8)
SOUND = st.sampled_from([[""], ["photos"], ["train", "test"], ["seg_train/seg_train", "seg_test"], ["a/b"]])


def grow(root: Path, plants: Iterable[tuple[list[str], str]]) -> None:
    for parts, kind in plants:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "f":
                path.write_bytes(JPEG)
            elif kind == "d":
                path.mkdir(exist_ok=True)
            else:
                path.symlink_to(root.joinpath(*parts[:-2]))
        except OSError:
            continue  # the place is taken


@settings(max_examples=200, deadline=None)
@given(sound=SOUND, plants=PLANTS)
def test_any_tree_is_listed_or_refused(
    sound: list[str], plants: list[tuple[list[str], str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree") / "photos"
    plant(root, *(f"{folder}/{label}/0.jpg" for folder in sound for label in "ab"))
    grow(root, plants)
    try:
        dataset = load_dataset(root)
    except DataError:
        return
    names = dataset.names()
    assert len(set(names)) == len(names)
    assert all(Path(path).is_file() for path in dataset.paths())
    assert not any(part.startswith((".", "__")) for name in names for part in Path(name).parts)
    assert len(dataset.classes) >= 2
    assert dataset.counts().min() > 0
    assert dataset.splits == () or dataset.counts("train").min() > 0
    if not any(kind == "l" for _, kind in plants):
        files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        visible = [path for path in files if not any(part.startswith((".", "__")) for part in path.parts)]
        assert {path.as_posix() for path in visible} >= set(names)
        assert len(visible) - len(names) <= dataset.passed_over


@pytest.mark.shared
def test_real_folders(shared: Path) -> None:
    dataset = load_dataset(shared / "data/pets")
    assert len(dataset.classes) == 37
    assert dataset.counts("train").tolist() == [3] * 37
    assert dataset.counts("test").tolist() == [2] * 37
    assert dataset.problems == ()
