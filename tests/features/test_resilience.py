"""What can go wrong around a store: kills, company, damage, full and read-only disks."""

import errno
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.errors import DiskFullError, StoreError
from headstart.features import Extraction, FeatureStore, extract_features
from headstart.features.key import StoreKey
from headstart.features.shards import read_shard
from headstart.features.store import sound_rows


def photos_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.jpg"))


def shards_of(root: Path) -> list[Path]:
    return sorted(root.glob("v1/*/*.safetensors"))


def rows_on_disk(root: Path) -> list[bytes]:
    return [sha for path in shards_of(root) for sha in sound_rows(read_shard(path))]


def extract(paths: list[Path], backbone: Backbone, root: Path) -> Extraction:
    store = FeatureStore(root)
    try:
        return extract_features(paths, backbone, store=store, workers=2)
    finally:
        store.close()


def values(paths: list[Path], backbone: Backbone, root: Path) -> np.ndarray:
    store = FeatureStore(root)
    return extract_features(paths, backbone, store=store, workers=2).features.load()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "own-store"


def test_a_second_extraction_makes_no_forward_pass(
    photo_folder: Path, tiny_backbone: Backbone, root: Path
) -> None:
    paths = photos_of(photo_folder)
    assert extract(paths, tiny_backbone, root).extracted == len(paths)
    again = extract(paths, tiny_backbone, root)
    assert (again.extracted, again.from_store) == (0, len(paths))


def test_ten_more_photos_cost_ten_passes(
    tmp_path: Path, draw_photos, tiny_backbone: Backbone, root: Path
) -> None:
    first = photos_of(draw_photos(tmp_path / "a", per_class=5))
    more = photos_of(draw_photos(tmp_path / "b", classes=("x", "y"), per_class=5, seed=9))
    extract(first, tiny_backbone, root)
    assert extract(first + more, tiny_backbone, root).extracted == len(more) == 10


def test_features_do_not_depend_on_company_order_or_workers(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    paths = photos_of(photo_folder)
    together = values(paths, tiny_backbone, tmp_path / "a")
    backwards = values(paths[::-1], tiny_backbone, tmp_path / "b")[::-1]
    alone = np.concatenate([values([path], tiny_backbone, tmp_path / "c") for path in paths])
    assert np.array_equal(together, backwards)
    assert np.array_equal(together, alone)


def test_the_features_are_the_networks(photo_folder: Path, tiny_backbone: Backbone, root: Path) -> None:
    import torch

    from headstart.images import decode_image, normalise, prepare_image

    paths = photos_of(photo_folder)
    stored = values(paths, tiny_backbone, root)
    batch = torch.stack(
        [prepare_image(decode_image(path.read_bytes()), tiny_backbone.preprocess) for path in paths]
    )
    prefix = tiny_backbone.split(tiny_backbone.cut("pooled"))[0].eval()
    with torch.no_grad():
        plain = prefix(normalise(batch, tiny_backbone.preprocess)).numpy()
    assert np.linalg.norm(stored - plain) / np.linalg.norm(plain) < 1e-5


def test_one_image_under_two_names_is_one_row(
    photo_folder: Path, tiny_backbone: Backbone, root: Path
) -> None:
    path = photos_of(photo_folder)[0]
    twin = photo_folder / "twin.jpg"
    twin.write_bytes(path.read_bytes())
    got = extract([path, twin], tiny_backbone, root)
    assert (got.extracted, len(got.features), len(rows_on_disk(root))) == (1, 2, 1)


def test_changed_content_is_noticed_whatever_its_time_says(
    photo_folder: Path, tiny_backbone: Backbone, root: Path
) -> None:
    import os

    first, other = photos_of(photo_folder)[:2]
    extract([first], tiny_backbone, root)
    before = first.stat()
    data = other.read_bytes()
    first.write_bytes(data)
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    got = extract([first, other], tiny_backbone, root)
    assert got.features.sha256s[0] == got.features.sha256s[1]


def test_unreadable_files_are_reported_and_the_rest_goes_on(
    photo_folder: Path, tiny_backbone: Backbone, root: Path
) -> None:
    paths = photos_of(photo_folder)
    paths[0].write_text("no image")
    paths[3].write_bytes(b"")
    paths[5].unlink()
    got = extract(paths, tiny_backbone, root)
    assert [problem.path for problem in got.problems] == [str(paths[i]) for i in (0, 3, 5)]
    assert all(problem.reason for problem in got.problems)
    assert got.readable.sum() == len(paths) - 3 == len(got.features)


@pytest.mark.parametrize("part", ["length", "header", "first", "middle", "late", "last"])
def test_a_flipped_byte_is_found_and_healed(
    part: str, photo_folder: Path, tiny_backbone: Backbone, root: Path
) -> None:
    paths = photos_of(photo_folder)
    right = values(paths, tiny_backbone, root)
    [shard] = shards_of(root)
    data = bytearray(shard.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    place = {
        "length": 1,
        "header": header // 2,
        "first": header,
        "middle": (header + len(data)) // 2,
        "late": len(data) - 40,
        "last": len(data) - 1,
    }[part]
    data[place] ^= 0x10
    shard.write_bytes(data)
    healed = extract(paths, tiny_backbone, root)
    assert healed.extracted >= 1
    assert np.array_equal(values(paths, tiny_backbone, root), right)
    assert extract(paths, tiny_backbone, root).extracted == 0


@pytest.mark.parametrize("damage", ["gone", "garbage", "truncated"])
def test_the_index_is_rebuilt_from_the_shards(
    damage: str, photo_folder: Path, tiny_backbone: Backbone, root: Path
) -> None:
    paths = photos_of(photo_folder)
    extract(paths, tiny_backbone, root)
    index = root / "v1" / "index.sqlite"
    for leftover in root.glob("v1/index.sqlite-*"):
        leftover.unlink()
    if damage == "gone":
        index.unlink()
    else:
        index.write_bytes(b"garbage" * 500 if damage == "garbage" else index.read_bytes()[:5000])
    assert extract(paths, tiny_backbone, root).extracted == 0


def test_a_finished_shard_that_is_not_in_the_index_is_taken_in(
    photo_folder: Path, tiny_backbone: Backbone, root: Path
) -> None:
    paths = photos_of(photo_folder)
    extract(paths, tiny_backbone, root)
    with sqlite3.connect(root / "v1" / "index.sqlite") as db:  # as if killed between rename and commit
        db.execute("DELETE FROM rows")
        db.execute("DELETE FROM shards")
    assert extract(paths, tiny_backbone, root).extracted == 0
    assert len(rows_on_disk(root)) == len(paths)


def test_a_deleted_shard_is_computed_again(photo_folder: Path, tiny_backbone: Backbone, root: Path) -> None:
    paths = photos_of(photo_folder)
    extract(paths, tiny_backbone, root)
    shards_of(root)[0].unlink()
    assert extract(paths, tiny_backbone, root).extracted == len(paths)


def test_a_full_disk_is_one_error_and_a_sound_store(
    photo_folder: Path, tiny_backbone: Backbone, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = photos_of(photo_folder)
    extract(paths[:4], tiny_backbone, root)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DiskFullError):
            extract(paths, tiny_backbone, root)
    store = FeatureStore(root)
    assert store.verify().sound
    assert not [
        path
        for path in root.rglob("*")
        if path.suffix not in {".safetensors", ".json", ".sqlite", ".lock", ""}
        and not path.name.startswith("index.sqlite")
    ]
    assert extract(paths, tiny_backbone, root).extracted == len(paths) - 4


def test_a_read_only_store_is_read_and_asked_for_no_more(
    photo_folder: Path, tiny_backbone: Backbone, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = photos_of(photo_folder)
    extract(paths[:6], tiny_backbone, root)
    monkeypatch.setattr("headstart.features.store.os.access", lambda *_: False)
    assert extract(paths[:6], tiny_backbone, root).extracted == 0
    with pytest.raises(StoreError, match="read-only"):
        extract(paths, tiny_backbone, root)


def test_prune_and_repair(photo_folder: Path, tiny_backbone: Backbone, root: Path) -> None:
    paths = photos_of(photo_folder)
    extract(paths[:8], tiny_backbone, root)
    extract(paths, tiny_backbone, root)
    store = FeatureStore(root)
    oldest = store.records()[0]
    removed, size = store.prune(sum(record.bytes for record in store.records()) - 1)
    assert (removed, size) == (1, oldest.bytes)
    (digest,) = store.keys()
    converted = store.place_of_converted(StoreKey(**json.loads(store.keys()[digest])))
    converted.parent.mkdir()
    converted.write_bytes(bytes(100))
    left = sum(record.bytes for record in store.records())
    assert store.prune(left) == (0, 100)
    assert not converted.exists()
    assert store.prune(left) == (0, 0)
    assert store.verify().sound
    (shards_of(root)[0]).write_bytes(b"no shard")
    assert not store.verify().sound
    store.repair()
    assert store.verify().sound
    assert extract(paths, tiny_backbone, root).extracted == len(paths)


def test_ctrl_c_keeps_what_is_finished(photo_folder: Path, tiny_backbone: Backbone, root: Path) -> None:
    paths = photos_of(photo_folder)

    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    store = FeatureStore(root)
    with pytest.raises(KeyboardInterrupt):
        extract_features(paths, tiny_backbone, store=store, workers=2, progress=interrupt)
    kept = len(rows_on_disk(root))
    assert 0 < kept < len(paths)
    assert extract(paths, tiny_backbone, root).extracted == len(paths) - kept


_EXTRACT = """
import sys
from pathlib import Path
from headstart import FeatureStore, extract_features, load_backbone
backbone = load_backbone("tf_efficientnet_lite0")
print("ready", flush=True)
paths = sorted(Path(sys.argv[1]).glob("*/*.jpg"))
got = extract_features(paths, backbone, store=FeatureStore(sys.argv[2]))
print(got.extracted, flush=True)
"""


def start(photos: Path, root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _EXTRACT, str(photos), str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_two_at_once_are_both_right_and_no_row_stands_twice(tmp_path: Path, draw_photos, root: Path) -> None:
    photos = draw_photos(tmp_path / "many", per_class=100)
    both = [start(photos, root) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    rows = rows_on_disk(root)
    assert len(rows) == len(set(rows)) == 300
    assert FeatureStore(root).verify().sound


@pytest.mark.slow
def test_kill_9_loses_no_finished_shard(tmp_path: Path, draw_photos, root: Path) -> None:
    photos = draw_photos(tmp_path / "many", per_class=100)
    for delay in (0.3, 1.5, 3.0, 4.5):
        process = start(photos, root)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = len(set(rows_on_disk(root)))
    last = start(photos, root)
    assert last.stdout is not None
    assert int(last.stdout.readline()) == 300 - kept
    assert last.wait() == 0
    rows = rows_on_disk(root)
    assert len(rows) == len(set(rows)) == 300
