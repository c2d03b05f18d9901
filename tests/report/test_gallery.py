import numpy as np

from headstart.report.gallery import MOST_THUMBNAILS, SIDE, collect_images


def test_rows_are_the_images(make_record, thumbnails) -> None:
    record = make_record(k=4, per_class=5)
    gallery = collect_images(record, thumbnails)
    assert [row[0] for row in gallery.rows] == record.paths
    assert [row[1] for row in gallery.rows] == record.labels.tolist()
    assert [row[2] for row in gallery.rows] == record.probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose(
        [row[3] for row in gallery.rows], 1000 * record.probabilities.max(axis=1), atol=0.5
    )
    assert all(row[4].startswith("data:image/jpeg;base64,") for row in gallery.rows)
    assert gallery.with_thumbnail == 20
    assert gallery.note() == ""


def test_the_mistakes_come_first_into_a_small_page(make_record, thumbnails) -> None:
    record = make_record(k=4, per_class=25)
    wrong = record.probabilities.argmax(axis=1) != record.labels
    size = max(map(len, thumbnails(record.paths, SIDE).values()))
    gallery = collect_images(record, thumbnails, most_bytes=int(wrong.sum()) * size)
    shown = np.array([row[4] != "" for row in gallery.rows])
    assert shown[wrong].all()
    assert not shown[~wrong].all()
    assert gallery.note().startswith(f"To keep it small, {shown.sum()} of 100 test images have a thumbnail")


def test_no_more_photos_are_opened_than_fit(make_record) -> None:
    asked: list[str] = []

    def ask(paths, side):
        asked.extend(paths)
        return {}

    gallery = collect_images(make_record(k=2, per_class=MOST_THUMBNAILS), ask)
    assert len(asked) == MOST_THUMBNAILS
    assert gallery.with_thumbnail == 0
    assert gallery.cut_short


def test_photos_that_are_gone_are_said(make_record) -> None:
    gallery = collect_images(make_record(), lambda paths, side: {})
    assert gallery.note() == (
        "0 of 24 test images have a thumbnail in this page; the others could not be opened when it was made, "
        "and are named."
    )
