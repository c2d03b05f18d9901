import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.datasets import ImageDataset, load_dataset, read_image
from headstart.errors import DataError, UnreadableImageError

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)  # enough for a listing, which decodes nothing
SUFFIXES = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
_MODES = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}

Files = dict[str, bytes]


def pack(path: Path, files: Files) -> Path:
    """An archive of the files in that order; names with a slash at the end are folders."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, _MODES.get(path.suffix, "w")) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.size = len(data)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(data))
    return path


def unpack(root: Path, files: Files) -> Path:
    root.mkdir(parents=True)
    for name, data in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root


def seen(dataset: ImageDataset) -> dict[str, tuple[str, str | None]]:
    labels = [dataset.classes[label] for label in dataset.labels()]
    return dict(zip(dataset.names(), zip(labels, dataset.split_names(), strict=True), strict=True))


def outcome(read: Callable[[], ImageDataset]) -> object:
    """What a listing gives, as far as a folder and an archive can agree; an error by its first words."""
    try:
        dataset = read()
    except DataError:
        return "refused"
    return seen(dataset), dataset.passed_over, len(dataset.notes), {p.path for p in dataset.problems}


def complaint(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


def contents(dataset: ImageDataset) -> list[bytes]:
    return [reader() for reader in dataset.files.readers(dataset.names())]


@pytest.fixture(params=SUFFIXES)
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestLayouts:
    @pytest.mark.parametrize("top", ["", "photos/", "other/", "./", "other/other/", ".//photos/"])
    @pytest.mark.parametrize("split", ["", "train/", "seg_train/seg_train/"])
    def test_class_folders(self, tmp_path: Path, suffix: str, top: str, split: str) -> None:
        clean = top.replace("./", "").lstrip("/")
        names = [f"{split}cat/2.jpg", f"{split}ant/1.png", f"{split}cat/deep/er"]
        path = pack(tmp_path / f"photos{suffix}", {top + name: JPEG for name in names} | {"readme": b"x"})
        dataset = load_dataset(path)
        expected = {f"{clean}{name}": (name[len(split) :].partition("/")[0], None) for name in names}
        assert seen(dataset) == expected
        assert (dataset.name, dataset.classes, dataset.passed_over) == ("photos", ("ant", "cat"), 1)
        order = list(expected) if suffix != ".zip" else sorted(expected)
        assert dataset.names() == order
        assert dataset.paths() == [f"{path}!/{name}" for name in order]

    def test_splits(self, tmp_path: Path, suffix: str) -> None:
        names = ["seg_train/a/1.jpg", "seg_train/b/1.jpg", "seg_test/a/2.jpg", "seg_pred/9.jpg"]
        dataset = load_dataset(pack(tmp_path / f"x{suffix}", dict.fromkeys(names, JPEG)))
        assert [split for _, split in seen(dataset).values()] == (
            ["train", "train", "test"] if suffix != ".zip" else ["test", "train", "train"]
        )
        assert len(dataset.notes) == 1

    def test_bytes_come_in_order_from_threads_and_one_by_one(self, tmp_path: Path, suffix: str) -> None:
        files = {f"{c}/{i}.jpg": hashlib.sha256(b"%d" % i).digest() * 2000 for i in range(60) for c in "ab"}
        dataset = load_dataset(pack(tmp_path / f"x{suffix}", files))
        assert contents(dataset) == [files[name] for name in dataset.names()]
        with ThreadPoolExecutor(8) as pool:
            got = pool.map(lambda reader: reader(), dataset.files.readers(dataset.names()))
            assert list(got) == [files[name] for name in dataset.names()]
        for name in ("b/59.jpg", "a/0.jpg", "a/30.jpg"):
            assert read_image(dataset.files, name) == files[name]

    def test_a_zip_of_another_name(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.zip", {"a/1.jpg": JPEG, "b/1.jpg": JPEG}).rename(tmp_path / "x.tar")
        assert len(load_dataset(path)) == 2

    def test_the_scheme(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.zip", {"a/1.jpg": JPEG, "b/1.jpg": JPEG})
        assert len(load_dataset(f"archive:{path}")) == 2
        with pytest.raises(DataError, match="--group-pattern"):
            load_dataset(path, group="track")


NAMES = st.sampled_from(
    [
        "a",
        "b",
        "train",
        "test",
        "valid",
        "seg_train",
        "photos",
        ".git",
        "__MACOSX",
        "1.jpg",
        "2.PNG",
        "x",
        "t.txt",
    ]
)
PLANTS = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=4), st.booleans()), max_size=8)
SOUND = st.sampled_from([[""], ["photos"], ["train", "test"], ["seg_train/seg_train", "seg_test"], ["a/b"]])


@settings(max_examples=150, deadline=None)
@given(sound=SOUND, plants=PLANTS, end=st.sampled_from([".zip", ".tar"]))
def test_an_archive_is_listed_as_the_folder_it_was_made_of(
    tmp_path_factory: pytest.TempPathFactory, sound: list[str], plants: list[tuple[list[str], bool]], end: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("equal")
    root = tmp_path / "photos"
    names = [f"{top}/{label}/1.jpg".lstrip("/") for top in sound for label in ("one", "two")]
    names += ["/".join(parts) + "/" * is_folder for parts, is_folder in plants]
    root.mkdir()
    kept: Files = {}
    for name in names:
        try:
            unpack_one(root, name)
        except OSError:
            continue  # the place is taken
        kept[name] = b"" if name.endswith("/") else JPEG
    assert outcome(lambda: load_dataset(pack(tmp_path / f"photos{end}", kept))) == expected_of(root)


def unpack_one(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        path.mkdir(exist_ok=True)
    else:
        path.write_bytes(JPEG)


def expected_of(root: Path) -> object:
    """What the folder gives; an archive also looks through a single folder of another name."""
    inner = [path for path in root.iterdir() if path.is_dir() and path.name not in (".git", "__MACOSX")]
    if len(inner) == 1 and inner[0].name in ("a", "b", "one", "two", "seg_train"):
        renamed = root.rename(root.parent / inner[0].name)
        return outcome(lambda: load_dataset(renamed))
    return outcome(lambda: load_dataset(root))


class TestHostileNames:
    @pytest.mark.parametrize(
        "name",
        ["../../a/evil.jpg", "/a/evil.jpg", "a/../../evil.jpg", "C:/evil.jpg", "x/" * 200 + "evil.jpg"],
    )
    def test_names_that_lead_out_are_passed_over(self, tmp_path: Path, suffix: str, name: str) -> None:
        path = pack(tmp_path / f"x{suffix}", {"a/1.jpg": JPEG, name: JPEG, "b/1.jpg": JPEG})
        dataset = load_dataset(path)
        assert sorted(dataset.names()) == ["a/1.jpg", "b/1.jpg"]
        assert dataset.passed_over == 1
        assert "1 entries of the archive were passed over" in dataset.notes[0]
        assert contents(dataset) == [JPEG, JPEG]
        assert list(tmp_path.iterdir()) == [path]

    def test_links_and_devices_in_tar(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.tar", {"a/1.jpg": JPEG, "b/1.jpg": JPEG})
        with tarfile.open(path, "a") as tar:
            for kind in (
                tarfile.SYMTYPE,
                tarfile.LNKTYPE,
                tarfile.CHRTYPE,
                tarfile.BLKTYPE,
                tarfile.FIFOTYPE,
            ):
                info = tarfile.TarInfo("a/2.jpg")
                info.type, info.linkname = kind, "/etc/passwd"
                tar.addfile(info)
        dataset = load_dataset(path)
        assert (len(dataset), dataset.passed_over) == (2, 5)

    def test_links_in_zip(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.zip", {"a/1.jpg": JPEG, "b/1.jpg": JPEG})
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo("a/2.jpg")
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
        dataset = load_dataset(path)
        assert (len(dataset), dataset.passed_over) == (2, 1)

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_of_several_members_of_one_name_the_last_counts(self, tmp_path: Path, suffix: str) -> None:
        if suffix not in (".zip", ".tar"):
            pytest.skip("cannot be appended to")
        path = pack(tmp_path / f"x{suffix}", {"a/1.jpg": JPEG, "b/1.jpg": JPEG})
        if suffix == ".zip":
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("a/1.jpg", JPEG + b"new")
        else:
            with tarfile.open(path, "a") as tar:
                info = tarfile.TarInfo("./a/1.jpg")
                info.size = len(JPEG) + 3
                tar.addfile(info, io.BytesIO(JPEG + b"new"))
        dataset = load_dataset(path)
        assert sorted(dataset.names()) == ["a/1.jpg", "b/1.jpg"]
        assert dataset.passed_over == 1
        assert read_image(dataset.files, "a/1.jpg") == JPEG + b"new"

    def test_hidden_files_and_droppings(self, tmp_path: Path, suffix: str) -> None:
        files = {
            "p/a/1.jpg": JPEG,
            "p/b/1.jpg": JPEG,
            "__MACOSX/p/a/._1.jpg": JPEG,
            "__MACOSX/p/b/._1.jpg": JPEG,
            "p/a/._1.jpg": JPEG,
            "p/.DS_Store": b"x",
        }
        dataset = load_dataset(pack(tmp_path / f"x{suffix}", files))
        assert (len(dataset), dataset.passed_over, dataset.notes) == (2, 3, ())

    def test_names_in_other_encodings(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "x.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
            for name in ("a/1.jpg", "b/1.jpg", "b/\xe4.jpg"):
                tar.addfile(tarfile.TarInfo(name))
        dataset = load_dataset(tmp_path / "x.tar")
        assert [(p.path, "UTF-8" in p.reason) for p in dataset.problems] == [("b/\\xe4.jpg", True)]

    def test_utf8_names_in_zip_without_the_flag(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.zip", {"K1fer/1.jpg": JPEG, "b\\1.jpg": JPEG})
        path.write_bytes(path.read_bytes().replace(b"K1fer", "Käer".encode()))
        dataset = load_dataset(path)
        assert dataset.classes == ("Käer", "b")

    def test_a_class_name_that_is_no_text(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "x.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
            for name in ("a/1.jpg", "\xe4/1.jpg"):
                tar.addfile(tarfile.TarInfo(name))
        assert "not valid UTF-8" in complaint(tmp_path / "x.tar")


class TestHostileMembers:
    def test_a_member_that_says_it_is_huge(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.zip", {"a/1.jpg": JPEG, "b/1.jpg": JPEG, "b/2.jpg": JPEG})
        _patch_sizes(path, b"b/2.jpg", 2_000_000_000)
        dataset = load_dataset(path)
        assert [p.path for p in dataset.problems] == ["b/2.jpg"]
        assert "2,000,000,000 bytes, over the limit" in dataset.problems[0].reason

    def test_a_member_that_expands_too_much(self, tmp_path: Path) -> None:
        files = {"a/1.jpg": JPEG, "b/1.jpg": JPEG, "b/2.jpg": bytes(100_000_000)}
        dataset = load_dataset(pack(tmp_path / "x.zip", files))
        assert [p.path for p in dataset.problems] == ["b/2.jpg"]
        assert "as no photo does" in dataset.problems[0].reason

    def test_a_bomb_that_lies_about_its_size(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.zip", {"a/1.jpg": bytes(100_000_000), "b/1.jpg": JPEG})
        _patch_sizes(path, b"a/1.jpg", 1000)
        dataset = load_dataset(path)
        with pytest.raises(UnreadableImageError, match="damaged in the archive"):
            read_image(dataset.files, "a/1.jpg")
        assert read_image(dataset.files, "b/1.jpg") == JPEG

    def test_encrypted_and_strangely_packed_members(self, tmp_path: Path) -> None:
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/1.jpg", JPEG)
            archive.writestr("b/1.jpg", JPEG)
            archive.writestr("b/2.jpg", JPEG, zipfile.ZIP_BZIP2)
            archive.writestr("b/3.jpg", JPEG, zipfile.ZIP_LZMA)
            archive.writestr("b/4.jpg", JPEG)
        _patch(path, b"b/4.jpg", 8, struct.pack("<H", 1))
        dataset = load_dataset(path)
        assert [(p.path, p.reason.split()[0]) for p in dataset.problems] == [
            ("b/2.jpg", "compressed"),
            ("b/3.jpg", "compressed"),
            ("b/4.jpg", "encrypted"),
        ]

    def test_a_flipped_byte_in_zip(self, tmp_path: Path) -> None:
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/1.jpg", JPEG)
            archive.writestr("b/1.jpg", JPEG)
        data = bytearray(path.read_bytes())
        data[data.index(b"a/1.jpg") + 20] ^= 1
        path.write_bytes(data)
        dataset = load_dataset(path)
        with pytest.raises(UnreadableImageError, match="damaged in the archive"):
            read_image(dataset.files, "a/1.jpg")
        assert read_image(dataset.files, "b/1.jpg") == JPEG

    @pytest.mark.slow
    def test_a_compressed_tar_that_is_a_bomb(self, tmp_path: Path) -> None:
        head = tarfile.TarInfo("a/1.jpg")
        head.size = 3 << 30
        with gzip.open(tmp_path / "x.tar.gz", "wb", 1) as file:
            file.write(head.tobuf())
            for _ in range(24):
                file.write(bytes(64 << 20))
        assert "expand to more than" in complaint(tmp_path / "x.tar.gz")

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
    @pytest.mark.parametrize("size", [2 << 30, -512])
    def test_headers_that_ask_for_memory_or_lead_back(self, tmp_path: Path, kind: bytes, size: int) -> None:
        (tmp_path / "x.tar").write_bytes(
            _header("a/1.jpg", tarfile.REGTYPE, 0) + _header("x", kind, size) * 2
        )
        assert "damaged" in complaint(tmp_path / "x.tar")

    def test_a_file_of_negative_size(self, tmp_path: Path) -> None:
        header = _header("a/1.jpg", tarfile.REGTYPE, -1024)
        (tmp_path / "x.tar").write_bytes(header * 4 + bytes(1024))
        assert "damaged" in complaint(tmp_path / "x.tar")

    def test_headers_that_nest_for_ever(self, tmp_path: Path) -> None:
        (tmp_path / "x.tar").write_bytes(_header("x", tarfile.XHDTYPE, 0) * 20_000)
        assert "damaged" in complaint(tmp_path / "x.tar")


class TestDamage:
    def test_missing_and_empty(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"x{suffix}"
        assert "Cannot read the archive" in complaint(path)
        path.write_bytes(b"")
        assert "damaged" in complaint(path)
        path.write_bytes(b"<html>not found</html>" * 40)
        assert "damaged" in complaint(path)

    @pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
    def test_cut_short(self, tmp_path: Path, suffix: str, keep: float) -> None:
        rng = hashlib.shake_256(b"x")
        files = {f"{c}/{i}.jpg": JPEG + rng.digest(3000 + i) for i in range(20) for c in "ab"}
        path = pack(tmp_path / f"x{suffix}", files)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        assert "damaged" in complaint(path)

    def test_a_flipped_byte_in_a_compressed_tar(self, tmp_path: Path, suffix: str) -> None:
        if suffix in (".zip", ".tar"):
            pytest.skip("has checksums of its own, or none")
        rng = hashlib.shake_256(b"x")
        path = pack(tmp_path / f"x{suffix}", {f"{c}/1.jpg": JPEG + rng.digest(9000) for c in "abcd"})
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)
        assert "damaged" in complaint(path)

    def test_a_damaged_header_is_not_the_end(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.tar", {f"{c}/1.jpg": JPEG for c in "abcd"})
        data = bytearray(path.read_bytes())
        data[2 * 1024] ^= 1
        path.write_bytes(data)
        assert "after 2 members: no header" in complaint(path)

    def test_a_change_after_the_listing(self, tmp_path: Path, suffix: str) -> None:
        files = {"a/1.jpg": JPEG, "b/1.jpg": JPEG}
        path = pack(tmp_path / f"x{suffix}", files)
        dataset = load_dataset(path)
        pack(tmp_path / f"y{suffix}", files | {"a/2.jpg": JPEG}).replace(path)
        with pytest.raises(UnreadableImageError, match="has changed"):
            read_image(dataset.files, "a/1.jpg")
        path.unlink()
        with pytest.raises(UnreadableImageError, match="no such file"):
            contents(dataset)


class TestOtherContents:
    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (["a", "b", "c", "cifar/data_batch_1", "cifar/test_batch"], "the Python batches of CIFAR"),
            (["train.p"], "pickled arrays"),
            (["x/features.npz"], "arrays"),
            (["labels.csv", "readme.txt"], "a table"),
            (["photos.zip"], "another archive"),
            (["readme.txt"], "other files"),
            ([], "nothing at all"),
        ],
    )
    def test_it_says_what_is_there(self, tmp_path: Path, suffix: str, names: list[str], words: str) -> None:
        path = pack(tmp_path / f"x{suffix}", dict.fromkeys(names, b"abc"))
        assert f"holds no image, but {words}" in complaint(f"archive:{path}")

    def test_images_without_class_folders(self, tmp_path: Path, suffix: str) -> None:
        path = pack(tmp_path / f"x{suffix}", {"p/1.jpg": JPEG, "p/2.jpg": JPEG})
        assert f"Images lie directly in {path}!/p, beside no class folder (2 of them)" in complaint(path)

    def test_an_empty_class(self, tmp_path: Path, suffix: str) -> None:
        path = pack(tmp_path / f"x{suffix}", {"a/1.jpg": JPEG, "b/1.jpg": JPEG, "c/": b""})
        assert "without any image that can be read: c in" in complaint(path)


@pytest.mark.slow
def test_large_zip64(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/1.jpg", "b/1.jpg"):
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(JPEG)
        for i in range(70_000):  # more than the old format can count
            archive.writestr(zipfile.ZipInfo(f"a/{i}.txt"), b"")
    dataset = load_dataset(path)
    assert contents(dataset) == [JPEG, JPEG]
    assert dataset.passed_over == 70_000


def _header(name: str, kind: bytes, size: int) -> bytes:
    """A tar header that says anything, with a sound checksum."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[124:136] = b"\xff" * 4 + struct.pack(">q", size) if size < 0 else b"%011o\0" % size
    block[156:157] = kind
    block[257:265] = b"ustar\00000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _patch(path: Path, name: bytes, offset: int, value: bytes) -> None:
    """Overwrite a field of a member's entry in the directory."""
    data = bytearray(path.read_bytes())
    at = data.rindex(name) - 46 + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)


def _patch_sizes(path: Path, name: bytes, size: int) -> None:
    _patch(path, name, 24, struct.pack("<I", size))
