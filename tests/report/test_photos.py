import io

import numpy as np
import pytest
from PIL import Image

from headstart.errors import DataError
from headstart.report import (
    MOST_PHOTOS,
    PredictedPhoto,
    draw_prediction,
    draw_predictions,
    draw_thumbnail,
)
from headstart.report.findings import Mistake
from headstart.report.photos import draw_mistakes
from headstart.report.style import drawing, to_png

PIXELS = np.full((60, 90, 3), (200, 30, 60), dtype=np.uint8)


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image))


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(600, 900, (224, 149)), (900, 600, (149, 224)), (60, 90, (90, 60)), (1, 5000, (224, 1))],
)
def test_thumbnails_keep_their_shape(height: int, width: int, size: tuple[int, int]) -> None:
    thumbnail = opened(draw_thumbnail(np.zeros((height, width, 3), dtype=np.uint8)))
    assert thumbnail.format == "JPEG"
    assert thumbnail.size == size


def test_thumbnails_keep_their_colour() -> None:
    colour = np.asarray(opened(draw_thumbnail(PIXELS))).mean(axis=(0, 1))
    np.testing.assert_allclose(colour, [200, 30, 60], atol=4)


def mistakes(n: int) -> list[Mistake]:
    return [Mistake(path=f"{i}.jpg", true="a", predicted="b" * 40, probability=0.9) for i in range(n)]


@pytest.mark.parametrize("n", [1, 6, 7, 24])
def test_mistakes_show_every_photo_that_is_there(n: int) -> None:
    with drawing():
        figure = draw_mistakes(mistakes(n), {f"{i}.jpg": draw_thumbnail(PIXELS) for i in range(1, n)})
        to_png(figure)
    assert sum(len(axes.images) for axes in figure.axes) == n - 1
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("photo not\navailable") == 1
    assert texts.count("is a") == n


def test_a_figure_grows_by_a_row_for_each_photo() -> None:
    photo = PredictedPhoto(title="a/b.jpg", pixels=PIXELS, classes=["x", "y"], probabilities=[0.3, 0.7])
    one, three = opened(draw_predictions([photo])), opened(draw_predictions([photo] * 3))
    assert three.width == pytest.approx(one.width, abs=4)
    assert 2.6 < three.height / one.height < 3.4


def test_the_photo_and_its_bar_are_in_the_figure() -> None:
    image = np.asarray(opened(draw_prediction(PIXELS, ["x", "y"], [0.25, 0.75])).convert("RGB")).astype(int)
    photo = (np.abs(image - [200, 30, 60]) < 3).all(axis=2)
    assert photo.mean() > 0.05
    # The most probable class's bar is the solid one, and its length is its probability.
    solid = (np.abs(image - [0x2F, 0x5F, 0xD0]) < 3).all(axis=2).sum(axis=1).max()
    track = image.shape[1] - np.flatnonzero(photo.any(axis=0)).max()
    assert 0.65 < solid / track < 0.8


def test_top_limits_the_bars() -> None:
    classes, p = [f"c{i}" for i in range(300)], np.full(300, 1 / 300)
    assert (
        opened(draw_prediction(PIXELS, classes, p, top=3)).size
        == opened(draw_prediction(PIXELS, classes[:3], p[:3])).size
    )


def test_what_cannot_be_drawn() -> None:
    photo = PredictedPhoto(title="x", pixels=PIXELS, classes=["x"], probabilities=[1.0])
    with pytest.raises(DataError, match="got 0"):
        draw_predictions([])
    with pytest.raises(DataError, match=f"1 to {MOST_PHOTOS} photos; got {MOST_PHOTOS + 1}"):
        draw_predictions([photo] * (MOST_PHOTOS + 1))
    with pytest.raises(DataError, match="expected one for each of 2 classes"):
        draw_prediction(PIXELS, ["x", "y"], [1.0])
