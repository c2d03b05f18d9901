"""Named data sets against a server of our own, which serves tiny archives in the real layouts."""

import dataclasses
import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.backbones import Backbone
from headstart.cli import main
from headstart.datasets import NAMED, ImageDataset, full_location, load_dataset, read_image
from headstart.datasets.named import registry as named
from headstart.datasets.named.fetching import Archive
from headstart.datasets.named.torchvision_sets import SETS
from headstart.errors import DataError, DownloadError
from headstart.files import human_bytes
from headstart.images import decode_image

Server = Any  # the class is in conftest.py, which cannot be imported
Contents = Mapping[str, bytes]
Publish = Callable[..., None]


def photo(seed: int, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def tar_of(contents: Contents) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def zip_of(contents: Contents) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def publish(file_server: Server, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Put a record's archives onto the server: their names stay, their content and checksums are ours."""

    def put(name: str, *contents: bytes, classes: int, images: int) -> None:
        record = NAMED[name]
        archives = []
        for archive, content in zip(record.archives, contents, strict=True):
            file_server.files[archive.file] = content
            changed = dataclasses.replace(
                archive,
                url=f"{file_server.url.rpartition('/')[0]}/{archive.file}",
                sha256=archive.sha256 and hashlib.sha256(content).hexdigest(),
                md5=archive.md5 and hashlib.md5(content).hexdigest(),
                size=len(content),
            )
            archives.append(changed)
        tiny = dataclasses.replace(record, archives=tuple(archives), classes=classes, images=images)
        for module in (named, headstart.datasets.sources):
            monkeypatch.setattr(module, "NAMED", {**NAMED, name: tiny})

    return put


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "store"


def rows(dataset: ImageDataset) -> list[tuple[str, str, str | None, str | None]]:
    """Name, class, split and group of each image, as words."""
    table = dataset.table.to_pydict()
    words = [dataset.classes[label] for label in table["label"]]
    return list(zip(table["path"], words, table["split"], table["group"], strict=True))


FLOWERS = {
    f"flower_photos/{name}/{k}.jpg": photo(k) for k, name in enumerate(("daisy", "roses", "tulips") * 2)
}


def publish_flowers(publish: Publish) -> None:
    content = tar_of({"flower_photos/LICENSE.txt": b"CC BY", **FLOWERS})
    publish("tf_flowers", content, classes=3, images=6)


# The records


def test_the_records_are_whole() -> None:
    for name, record in NAMED.items():
        assert name.isidentifier()
        assert record.title
        assert record.terms
        assert record.classes > 1
        for archive in record.archives:
            assert archive.url.startswith("https://")
            assert archive.size > 0
            assert archive.stem + archive.file.removeprefix(archive.stem) == archive.file
            assert (archive.sha256 is None) != (archive.md5 is None)
            assert len(archive.sha256 or archive.md5 or "") in (64, 32)
    with pytest.raises(TypeError):
        NAMED["x"] = NAMED["digits"]  # type: ignore[index]


def test_the_page_on_data_sets_has_them_all() -> None:
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
    for name, record in NAMED.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        cells = [cell.strip() for cell in row.split("|")]
        assert sum(int(part.replace(",", "")) for part in cells[3].split("+")) == record.images
        assert int(cells[4]) == record.classes
        if record.archives:
            assert cells[6] == human_bytes(sum(archive.size for archive in record.archives))
    for name in SETS:
        assert name in page


def test_where_only_an_md5_is_published_it_is_the_only_one() -> None:
    unproved = [
        archive.file for record in NAMED.values() for archive in record.archives if not archive.sha256
    ]
    assert unproved == ["GTSRB_Final_Training_Images.zip"]


# Names and folders


def test_a_folder_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in FLOWERS:
        place = tmp_path / "digits" / path.partition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"\xff\xd8\xff")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("digits").classes == ("daisy", "roses", "tulips")
    assert len(load_dataset("name:digits")) == 1797
    monkeypatch.chdir(tmp_path.parent)
    assert len(load_dataset("digits")) == 1797
    with pytest.raises(DataError, match="There is no folder digits"):
        load_dataset(Path("digits"))  # a Path is never a name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("tf_flower", "tf_flowers"), ("CIFAR-10", "cifar10"), ("oxford-iiit-pets", "oxford_iiit_pet")],
)
def test_a_name_that_is_close_is_offered(typed: str, meant: str) -> None:
    with pytest.raises(
        DataError, match=rf"There is no folder {typed}\. Expected .*\nDid you mean the data set '{meant}'\?"
    ):
        load_dataset(typed)


@pytest.mark.parametrize("typed", ["photos", "./holiday/2024", "C:\\photos"])
def test_other_words_are_folders(typed: str) -> None:
    with pytest.raises(DataError, match="There is no folder") as raised:
        load_dataset(typed)
    assert "mean" not in str(raised.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        DataError, match=r"no data set called 'flowers'; known: tf_flowers, .*\nDid you mean 'tf_fl"
    ):
        load_dataset("name:flowers")


# Each layout


def test_flowers(publish: Publish, cache: Path, file_server: Server) -> None:
    publish_flowers(publish)
    told: list[tuple[int, int | None]] = []
    dataset = load_dataset("tf_flowers", cache=cache, progress=lambda *now: told.append(now))
    assert dataset.name == "tf_flowers"
    assert dataset.classes == ("daisy", "roses", "tulips")
    assert dataset.counts().tolist() == [2, 2, 2]
    assert dataset.splits == ()
    assert dataset.notes == ()
    assert [read_image(dataset.files, name) for name in dataset.names()] == [
        FLOWERS[f"flower_photos/{name}"] for name in dataset.names()
    ]
    size = len(file_server.files["flower_photos.tgz"])
    assert told[0] == (0, size)
    assert told[-1] == (size, size)


def test_traffic_signs(publish: Publish, cache: Path) -> None:
    train = {
        f"GTSRB/Final_Training/Images/{label:05}/{track:05}_{frame:05}.ppm": photo(label, "PPM")
        for label in range(2)
        for track in range(2)
        for frame in range(3)
    }
    tables = {
        f"GTSRB/Final_Training/Images/{label:05}/GT-{label:05}.csv": b"Filename;Width\n" for label in range(2)
    }
    test = {f"GTSRB/Final_Test/Images/{k:05}.ppm": photo(k, "PPM") for k in range(3)}
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"
    truth = header + "".join(f"{k:05}.ppm;16;12;1;1;9;9;{label}\r\n" for k, label in enumerate((1, 0, 1)))
    publish(
        "gtsrb",
        zip_of({"GTSRB/Readme-Images.txt": b"", **train, **tables}),
        zip_of({**test, "GTSRB/Final_Test/Images/GT-final_test.test.csv": b"no labels"}),
        zip_of({"GT-final_test.csv": truth.encode()}),
        classes=2,
        images=15,
    )
    dataset = load_dataset("gtsrb", cache=cache)
    assert dataset.classes == ("00000", "00001")
    assert dataset.notes == ()
    top = "GTSRB_Final_Training_Images/GTSRB/Final_Training/Images"
    got = rows(dataset)
    assert got[0] == (f"{top}/00000/00000_00000.ppm", "00000", "train", "0/00000")
    assert got[11] == (f"{top}/00001/00001_00002.ppm", "00001", "train", "1/00001")
    assert [(name, label, split) for name, label, split, _ in got[12:]] == [
        (f"GTSRB_Final_Test_Images/GTSRB/Final_Test/Images/{k:05}.ppm", label, "test")
        for k, label in enumerate(("00001", "00000", "00001"))
    ]
    groups = dataset.groups()
    assert groups is not None
    assert np.bincount(np.bincount(groups)).tolist() == [
        0,
        3,
        0,
        4,
    ]  # 3 test images alone, 4 tracks of 3 frames
    assert all(decode_image(read_image(dataset.files, name)).shape == (12, 16, 3) for name in dataset.names())

    (cache / "datasets" / "gtsrb" / "signnames.csv").write_text("ClassId,SignName\n1,Stop\n0,Yield\n")
    assert load_dataset("gtsrb", cache=cache).classes == ("Yield", "Stop")
    (cache / "datasets" / "gtsrb" / "signnames.csv").write_text("ClassId,SignName\n1,Stop\n")
    with pytest.raises(DataError, match="expected the columns ClassId, 0 to the last"):
        load_dataset("gtsrb", cache=cache)


def test_pets(publish: Publish, cache: Path) -> None:
    trainval = "Abyssinian_100 1 1 1\nyorkshire_terrier_1 3 2 2\namerican_bulldog_7 2 2 1\n"
    test = "#Image CLASS-ID SPECIES BREED ID\namerican_bulldog_8 2 2 1\nAbyssinian_2 1 1 1\n"
    names = [line.split()[0] for line in (trainval + test).splitlines() if not line.startswith("#")]
    publish(
        "oxford_iiit_pet",
        tar_of({f"images/{name}.jpg": photo(k) for k, name in enumerate(names)} | {"images/a.mat": b"x"}),
        tar_of({"annotations/trainval.txt": trainval.encode(), "annotations/test.txt": test.encode()}),
        classes=3,
        images=5,
    )
    dataset = load_dataset("oxford_iiit_pet", cache=cache)
    assert dataset.classes == ("Abyssinian", "american_bulldog", "yorkshire_terrier")
    assert rows(dataset) == [
        ("images/images/Abyssinian_100.jpg", "Abyssinian", "train", None),
        ("images/images/yorkshire_terrier_1.jpg", "yorkshire_terrier", "train", None),
        ("images/images/american_bulldog_7.jpg", "american_bulldog", "train", None),
        ("images/images/american_bulldog_8.jpg", "american_bulldog", "test", None),
        ("images/images/Abyssinian_2.jpg", "Abyssinian", "test", None),
    ]
    assert [read_image(dataset.files, name) for name in dataset.names()] == [photo(k) for k in range(5)]


def cifar_batch(seed: int, n: int) -> tuple[np.ndarray, list[int], bytes]:
    """(n, 32, 32, 3) pixels, labels, and the pickle in CIFAR's layout: planes of red, green and blue, row by row."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, n).tolist()
    data = np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in pixels])
    content = {"batch_label": f"batch {seed}", "labels": labels, "data": data, "filenames": ["x.png"] * n}
    return pixels, labels, pickle.dumps(content, protocol=2)


def test_cifar(publish: Publish, cache: Path) -> None:
    batches = {f"data_batch_{k}": cifar_batch(k, 2 + k) for k in range(1, 6)} | {
        "test_batch": cifar_batch(6, 4)
    }
    meta = {"num_cases_per_batch": 10000, "label_names": ["airplane", "cat", "ship"], "num_vis": 3072}
    files = {f"cifar-10-batches-py/{name}": content for name, (_, _, content) in batches.items()}
    archive = tar_of(files | {"cifar-10-batches-py/batches.meta": pickle.dumps(meta, protocol=2)})
    publish("cifar10", archive, classes=3, images=29)
    dataset = load_dataset("cifar10", cache=cache)
    assert dataset.classes == ("airplane", "cat", "ship")
    assert dataset.labels().tolist() == [label for _, labels, _ in batches.values() for label in labels]
    assert dataset.split_names().tolist() == ["train"] * 25 + ["test"] * 4
    got = [decode_image(read_image(dataset.files, name)) for name in dataset.names()]
    assert np.array_equal(np.stack(got), np.concatenate([pixels for pixels, _, _ in batches.values()]))


def test_cifar_with_a_hundred_classes(publish: Publish, cache: Path) -> None:
    parts = {}
    for seed, name in enumerate(("train", "test")):
        pixels, labels, _ = cifar_batch(seed, 3)
        planes = pixels.transpose(0, 3, 1, 2).reshape(3, -1)
        parts[name] = (pixels, labels, {"fine_labels": labels, "coarse_labels": [0] * 3, "data": planes})
    files = {
        f"cifar-100-python/{name}": pickle.dumps(part, protocol=2) for name, (_, _, part) in parts.items()
    }
    meta = {"fine_label_names": ["apple", "baby", "bear"], "coarse_label_names": ["things"]}
    archive = tar_of(files | {"cifar-100-python/meta": pickle.dumps(meta, protocol=2)})
    publish("cifar100", archive, classes=3, images=6)
    for location in ("cifar100", "torchvision:CIFAR100"):
        dataset = load_dataset(location, cache=cache)
        assert dataset.classes == ("apple", "baby", "bear")
        assert dataset.labels().tolist() == parts["train"][1] + parts["test"][1]
        assert dataset.split_names().tolist() == ["train"] * 3 + ["test"] * 3
        got = [decode_image(read_image(dataset.files, name)) for name in dataset.names()]
        assert np.array_equal(np.stack(got), np.concatenate([parts["train"][0], parts["test"][0]]))


def test_a_column_of_groups_is_refused() -> None:
    for location in ("digits", "torchvision:FakeData"):
        with pytest.raises(DataError, match=r"no table and so has no column 'track'\.\n.*--group-pattern"):
            load_dataset(location, group="track")


def test_digits_need_no_network(file_server: Server) -> None:
    from sklearn.datasets import load_digits

    dataset, digits = load_dataset("digits"), load_digits()
    assert dataset.classes == tuple("0123456789")
    assert dataset.labels().tolist() == digits.target.tolist()
    assert dataset.splits == ()
    assert dataset.notes == ()
    pixels = np.stack(
        [decode_image(read) for read in (read() for read in dataset.files.readers(dataset.names()))]
    )
    assert pixels.shape == (1797, 8, 8, 3)
    assert np.abs(pixels / 255 * 16 - digits.images[..., None]).max() <= 0.5 * 16 / 255
    assert file_server.asked == []


SCENES = {f"seg_train/seg_train/{name}/{k}.jpg": photo(k) for k, name in enumerate(("forest", "sea") * 2)}
SCENES |= {f"seg_test/seg_test/{name}/{k}.jpg": photo(9 + k) for k, name in enumerate(("forest", "sea"))}
SCENES |= {"seg_pred/seg_pred/1.jpg": photo(20)}


@pytest.mark.parametrize("top", ["", "intel/"])
@pytest.mark.parametrize("zipped", [True, False])
def test_scenes_are_read_from_where_they_were_put(
    cache: Path, publish: Publish, zipped: bool, top: str
) -> None:
    publish("intel_scenes", classes=2, images=6)
    with pytest.raises(DataError) as raised:
        load_dataset("intel_scenes", cache=cache)
    folder = cache / "datasets" / "intel_scenes"
    for needed in (
        "login",
        "Intel Image Classification",
        "Kaggle",
        "puneet6060/intel-image-classification",
        str(folder),
    ):
        assert needed in str(raised.value)
    assert str(raised.value).count("\n") == 1
    folder.mkdir(parents=True)
    if zipped:
        (folder / "archive.zip").write_bytes(
            zip_of({top + name: content for name, content in SCENES.items()})
        )
    else:
        for name, content in SCENES.items():
            (folder / top / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / top / name).write_bytes(content)
    for _ in range(2):
        dataset = load_dataset("intel_scenes", cache=cache)
        assert dataset.name == "intel_scenes"
        assert dataset.classes == ("forest", "sea")
        assert dataset.counts("train").tolist() == [2, 2]
        assert dataset.counts("test").tolist() == [1, 1]


def test_a_zip_that_holds_no_scenes_is_named(cache: Path) -> None:
    folder = cache / "datasets" / "intel_scenes"
    folder.mkdir(parents=True)
    (folder / "other.zip").write_bytes(zip_of({"cats/1.jpg": photo(0)}))
    with pytest.raises(DataError, match="other does not hold seg_train"):
        load_dataset("intel_scenes", cache=cache)


# Ways in which a download can go


def test_a_set_is_fetched_and_unpacked_once(publish: Publish, cache: Path, file_server: Server) -> None:
    publish_flowers(publish)
    load_dataset("tf_flowers", cache=cache)
    (cache / "datasets" / "tf_flowers" / "flower_photos.tgz").unlink()
    load_dataset("tf_flowers", cache=cache)
    assert file_server.asked == ["flower_photos.tgz"]


def test_a_slow_server_that_cuts_off_is_resumed(publish: Publish, cache: Path, file_server: Server) -> None:
    publish_flowers(publish)
    file_server.seconds_between_pieces, file_server.cuts = 0.02, [1000]
    assert len(load_dataset("tf_flowers", cache=cache)) == 6
    assert file_server.ranges == [None, "bytes=1000-"]


def test_wrong_bytes_are_refused_and_nothing_is_unpacked(
    publish: Publish, cache: Path, file_server: Server
) -> None:
    publish_flowers(publish)
    content = file_server.files["flower_photos.tgz"]
    file_server.files["flower_photos.tgz"] = bytes(len(content))
    with pytest.raises(DownloadError, match=r"wrong bytes for flower_photos\.tgz"):
        load_dataset("tf_flowers", cache=cache)
    folder = cache / "datasets" / "tf_flowers"
    assert not (folder / "flower_photos").exists()
    assert not (folder / "flower_photos.tgz").exists()
    file_server.files["flower_photos.tgz"] = content
    assert len(load_dataset("tf_flowers", cache=cache)) == 6


def test_without_a_network_a_file_put_there_by_hand_is_used(
    publish: Publish, cache: Path, file_server: Server
) -> None:
    publish_flowers(publish)
    content, file_server.statuses = file_server.files["flower_photos.tgz"], [404] * 9
    with pytest.raises(DownloadError) as raised:
        load_dataset("tf_flowers", cache=cache)
    folder = cache / "datasets" / "tf_flowers"
    assert f"fetch flower_photos.tgz by other means and put it into the folder {folder}." in str(raised.value)
    (folder / "flower_photos.tgz").write_bytes(content[:-1] + b"!")
    with pytest.raises(DownloadError, match="has not the right bytes"):
        load_dataset("tf_flowers", cache=cache)
    (folder / "flower_photos.tgz").write_bytes(content)
    asked = len(file_server.asked)
    assert len(load_dataset("tf_flowers", cache=cache)) == 6
    assert len(file_server.asked) == asked


def test_without_a_network_all_missing_files_are_named(
    publish: Publish, cache: Path, file_server: Server
) -> None:
    publish("gtsrb", b"train", b"test", b"truth", classes=2, images=2)
    file_server.statuses = [404] * 9
    with pytest.raises(DownloadError) as raised:
        load_dataset("gtsrb", cache=cache)
    text = str(raised.value)
    assert text.endswith("also needs GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip there.")
    assert text.count("\n") == 1
    (cache / "datasets" / "gtsrb" / "GTSRB_Final_Test_GT.zip").write_bytes(b"truth")
    with pytest.raises(DownloadError, match=r"also needs GTSRB_Final_Test_Images\.zip there\.$"):
        load_dataset("gtsrb", cache=cache)


def test_another_number_of_images_is_noted_and_of_classes_refused(publish: Publish, cache: Path) -> None:
    content = tar_of(FLOWERS)
    publish("tf_flowers", content, classes=3, images=3670)
    assert load_dataset("tf_flowers", cache=cache).notes == ("tf_flowers has 3,670 images; 6 were found.",)
    publish("tf_flowers", content, classes=5, images=6)
    with pytest.raises(DataError, match=r"has 5 classes, and 3 were found.*\nDelete that folder"):
        load_dataset("tf_flowers", cache=cache)


def test_an_archive_knows_its_names() -> None:
    archive = Archive(url="https://example.org/a/photos.tar.gz", sha256="", size=1)
    assert (archive.file, archive.stem) == ("photos.tar.gz", "photos")


# From the name to the run


@pytest.mark.slow
def test_training_on_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: tiny_backbone)
    config = headstart.TrainConfig("digits", recipe="probe", per_class=20)
    run = headstart.train(config, out=tmp_path / "run", store=tmp_path / "store")
    assert run.config.data == "digits"
    assert run.result["classes"] == list("0123456789")
    assert run.result["test"]["n"] == pytest.approx(180, abs=5)
    assert run.result["test"]["accuracy"] > 0.4  # features of random weights; 0.1 is chance
    again = headstart.train(config, out=tmp_path / "again", store=tmp_path / "store")
    assert again.result["images"]["extracted"] == 0
    assert again.result["test"] == run.result["test"]


def test_training_by_name_on_the_command_line(
    publish: Publish, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone
) -> None:
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: tiny_backbone)
    photos = {
        f"flower_photos/{name}/{k}.jpg": photo(k) for k, name in enumerate(("daisy", "roses", "tulips") * 8)
    }
    publish("tf_flowers", tar_of(photos), classes=3, images=24)
    assert (
        main(
            [
                "train",
                "tf_flowers",
                "--recipe",
                "probe",
                "--out",
                str(tmp_path / "run"),
                "--store",
                str(cache),
            ]
        )
        == 0
    )
    run = headstart.load_run(tmp_path / "run")
    assert run.config.data == "tf_flowers"
    assert (cache / "datasets" / "tf_flowers" / "flower_photos.tgz").is_file()


def test_the_command_line_says_what_to_put_where(
    publish: Publish, cache: Path, file_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_flowers(publish)
    file_server.statuses = [404]
    assert main(["train", "tf_flowers", "--store", str(cache)]) == 2
    assert f"put it into the folder {cache / 'datasets' / 'tf_flowers'}." in capsys.readouterr().err


def test_the_command_line_offers_a_name_that_is_close(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "oxford_pets"]) == 2
    assert capsys.readouterr().err.endswith("Did you mean the data set 'oxford_iiit_pet'?\n")


def test_a_run_keeps_names_and_makes_paths_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "DTD").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("tf_flowers", "name:digits", "torchvision:DTD", "hf:owner/name", "hf:owner/name:config"):
        assert full_location(name) == name
    for path in ("photos", "missing"):
        assert full_location(path) == str(tmp_path / path)
    assert full_location("hf:photos") == f"hf:{tmp_path / 'photos'}"
    assert full_location("folder:photos") == f"folder:{tmp_path / 'photos'}"
    # As every source understands it, whatever folder a run is looked at from.
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert full_location("~/photos") == str(tmp_path / "photos")
    assert full_location("folder:~/photos") == f"folder:{tmp_path / 'photos'}"


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        (
            "gtsrb/GTSRB_Final_Test_GT/GT-final_test.csv",
            b"Name;Class\n0.ppm;1\n",
            "with Filename and ClassId",
        ),
        (
            "oxford_iiit_pet/annotations/annotations/test.txt",
            b"Abyssinian_1 cat\n",
            "the number of its class",
        ),
        (
            "cifar100/cifar-100-python/cifar-100-python/train",
            pickle.dumps({"data": 1}, 2),
            "no batch of CIFAR",
        ),
        ("cifar100/cifar-100-python/cifar-100-python/meta", pickle.dumps([], 2), "with fine_label_names"),
    ],
)
def test_what_was_put_there_by_hand_and_is_not_as_published_is_told(
    name: str, damage: bytes, words: str, cache: Path
) -> None:
    folder = cache / "datasets"
    batch = {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [0]}
    files = {
        "gtsrb/GTSRB_Final_Training_Images/GTSRB/Final_Training/Images/00000/00000_00000.ppm": b"",
        "gtsrb/GTSRB_Final_Test_Images/GTSRB/Final_Test/Images/00000.ppm": b"",
        "oxford_iiit_pet/images/images/Abyssinian_1.jpg": b"",
        "oxford_iiit_pet/annotations/annotations/trainval.txt": b"Abyssinian_1 1 1 1\n",
        "cifar100/cifar-100-python/cifar-100-python/train": pickle.dumps(batch, 2),
        "cifar100/cifar-100-python/cifar-100-python/test": pickle.dumps(batch, 2),
        name: damage,
    }
    for place, content in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_dataset(name.partition("/")[0], cache=cache)
