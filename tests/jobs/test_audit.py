"""An audit of drawn photos in which something is wrong, from the folder to the page."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from headstart.audit import KINDS
from headstart.backbones import Backbone
from headstart.config import AuditConfig
from headstart.errors import ConfigError, DataError
from headstart.jobs import audit_images

DrawPhotos = Callable[..., Path]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    """Audits use the tiny backbone, so that they take no time."""
    monkeypatch.setattr("headstart.jobs.audit.load_backbone_of", lambda config: tiny_backbone)


@pytest.fixture
def photos(tmp_path: Path, draw_photos: DrawPhotos) -> Path:
    """PHOTOS/{train,test}/CLASS/NN.jpg; two test images are copies of training images, of which one is mirrored."""
    draw_photos(tmp_path / "photos/train", per_class=20)
    draw_photos(tmp_path / "photos/test", per_class=10, seed=2)
    train, test = tmp_path / "photos/train", tmp_path / "photos/test"
    shutil.copy(train / "sky/03.jpg", test / "sky/same.jpg")
    ImageOps.mirror(Image.open(train / "brick/05.jpg")).save(test / "brick/turned.jpg", quality=60)
    return tmp_path / "photos"


@pytest.mark.usefixtures("tiny")
def test_copies_are_named_and_leak(photos: Path, tmp_path: Path) -> None:
    audit = audit_images(AuditConfig(str(photos)), out=tmp_path / "audit")

    first, second = audit.of_kind("duplicate-across")
    assert (first.path, first.other, first.note) == (
        "test/sky/same.jpg",
        "train/sky/03.jpg",
        "identical files",
    )
    assert {second.path, second.other} == {"test/brick/turned.jpg", "train/brick/05.jpg"}
    assert second.note == "mirrored"
    assert audit.of_kind("duplicate-within") == []
    assert audit.leaks is not None
    assert (audit.leaks.test, audit.leaks.copies, audit.leaks.grouped) == (32, 2, None)
    assert [judged.n for judged in audit.leaks.judged][:2] == [32, 30]


@pytest.mark.usefixtures("tiny")
def test_the_table_and_the_page_say_the_same(photos: Path, tmp_path: Path) -> None:
    audit = audit_images(AuditConfig(str(photos)), out=tmp_path / "audit")

    with (tmp_path / "audit/findings.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    figures = json.loads((tmp_path / "audit/audit.json").read_text())
    page = (tmp_path / "audit/audit.html").read_text()
    assert [(row["kind"], row["path"]) for row in rows] == [(each.kind, each.path) for each in audit.findings]
    assert figures["found"] == {kind: len(audit.of_kind(kind)) for kind in KINDS}
    assert page.count("identical files") == 1
    assert "None found at this threshold." in page  # of copies within a split
    assert "http" not in page.replace("http-equiv", "")
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == [
        "audit.html",
        "audit.json",
        "findings.csv",
    ]


@pytest.mark.usefixtures("tiny")
def test_the_same_twice_is_the_same(photos: Path, tmp_path: Path) -> None:
    found = [audit_images(AuditConfig(str(photos)), store=tmp_path / name) for name in "ab"]

    assert found[0].findings == found[1].findings
    assert found[0].leaks == found[1].leaks


@pytest.mark.usefixtures("tiny")
def test_a_wrong_label_is_doubted_even_with_a_twin_that_has_it_too(photos: Path) -> None:
    train = photos / "train"
    (train / "sky/07.jpg").rename(train / "grass/wrong.jpg")
    Image.open(train / "grass/wrong.jpg").save(train / "grass/wrong-too.jpg", quality=60)

    audit = audit_images(AuditConfig(str(photos)))

    doubtful = audit.of_kind("label")
    assert {each.path for each in doubtful[:2]} == {"train/grass/wrong.jpg", "train/grass/wrong-too.jpg"}
    assert {each.suggested for each in doubtful[:2]} == {"sky"}


@pytest.mark.usefixtures("tiny")
def test_without_labels_cleanlab_is_not_needed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cleanlab", None)

    assert audit_images(AuditConfig(str(photos), labels="no")).labels_judged is None
    with pytest.raises(ConfigError, match="pip install"):
        audit_images(AuditConfig(str(photos)))


@pytest.mark.usefixtures("tiny")
def test_given_groups_are_believed(photos: Path) -> None:
    audit = audit_images(AuditConfig(str(photos), group_pattern=r"^(\w)", labels="no"))

    assert audit.pattern is None
    assert audit.leaks is not None
    assert audit.leaks.grouped == 30  # numbers begin with 0 or 1 on both sides; "same" and "turned" do not


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("per_class", [1, 2])
def test_few_images(tmp_path: Path, draw_photos: DrawPhotos, per_class: int) -> None:
    folder = draw_photos(tmp_path / "few", per_class=per_class)

    audit = audit_images(AuditConfig(str(folder)), out=tmp_path / "audit")

    assert sum(audit.counts.values()) == 3 * per_class
    assert bool(audit.notes) == (per_class == 1)


@pytest.mark.usefixtures("tiny")
def test_an_unreadable_image_is_named(photos: Path, tmp_path: Path) -> None:
    (photos / "train/sky/broken.jpg").write_bytes(b"\xff\xd8\xff no photo")

    audit = audit_images(AuditConfig(str(photos), labels="no"), out=tmp_path / "audit")

    assert [path for path, _ in audit.problems] == ["train/sky/broken.jpg"]
    assert "broken.jpg" in (tmp_path / "audit/audit.html").read_text()


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_read(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match="cannot be made"):
        audit_images(AuditConfig(str(photos)), out=tmp_path / "file/audit")
