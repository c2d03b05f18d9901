import subprocess
import sys
from pathlib import Path

import pytest

from headstart.datasets import SOURCES, load_dataset
from headstart.errors import DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "my:photos" / name).mkdir(parents=True)
        (tmp_path / "my:photos" / name / "1.jpg").write_bytes(b"")
    return tmp_path / "my:photos"


def test_a_folder_is_the_default_and_has_a_scheme(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(load_dataset(photos)) == len(load_dataset(str(photos))) == 2
    assert len(load_dataset(f"folder:{photos}")) == 2
    monkeypatch.chdir(photos.parent)
    assert len(load_dataset("my:photos")) == 2  # there is such a folder


@pytest.mark.parametrize(
    ("source", "kind"), [("gs://bucket/photos", "gs"), ("s3://bucket/photos", "s3"), ("mnist:10", "mnist")]
)
def test_unknown_kinds_are_named(source: str, kind: str) -> None:
    with pytest.raises(DataError, match=f"Unknown kind of data set '{kind}'.*known: folder"):
        load_dataset(source)


def test_a_folder_without_photos_names_the_files_in_it_that_are_data_sets(tmp_path: Path) -> None:
    (tmp_path / "train.p").touch()
    (tmp_path / "signnames.csv").touch()
    (tmp_path / "readme.txt").touch()
    with pytest.raises(
        DataError, match=r"no class folder and no image.*\nTo read train\.p in it, give that file\."
    ):
        load_dataset(tmp_path)


@pytest.mark.parametrize("source", ["C:\\photos\\none", "no/such/place", "~/no such place of mine"])
def test_paths_are_no_schemes(source: str) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        load_dataset(source)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(DataError, match="No folder of photos was named"):
        load_dataset("")


def test_sources_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        SOURCES["x"] = SOURCES["folder"]  # type: ignore[index]


def test_listing_needs_no_torch() -> None:
    code = "import sys, headstart.datasets; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
