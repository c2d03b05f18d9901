"""The embedded data set `materials`: grey patches of sixteen real photographs that scikit-image carries."""

import dataclasses
import io
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.errors import DataError
from headstart.files import atomic_write

PHOTOS: Final = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
)
"""The photographs, each of which gives a class of its name."""

_LARGEST_SIDE = 512  # pixels; a patch of a much larger photograph would show next to nothing
_SIDES = (32, 128)  # pixels, smallest and largest patch
_CONTRASTS = (10.0, 60.0)  # grey levels, standard deviation within a patch
_BRIGHTNESSES = (70.0, 185.0)  # grey levels, mean of a patch
_FLATTEST = 4.0  # grey levels: a patch of less contrast is sky or margin, and another is drawn
_MOST_DRAWS = 1000

Grey = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Materials:
    """What `write_materials` has written.

    Attributes:
        folder: holds train/CLASS/NNN.png and test/CLASS/NNN.png.
        classes: the sixteen names, sorted.
        broken: the planted file that is no image, None where none was asked for.
    """

    folder: Path
    classes: tuple[str, ...]
    broken: Path | None


def write_materials(
    folder: Path, *, per_class: int = 20, test_per_class: int = 20, seed: int = 0, plant_broken: bool = False
) -> Materials:
    """Write the data set `materials` as class folders of PNG files.

    A patch is a square of random side and place, turned by a random quarter, its brightness and contrast
    replaced by random ones, so that neither says what it shows. Training patches come from the left half of
    their photograph, test patches from the right half: no pixel is in both. The n-th patch of a class
    depends on the seed alone, not on how many are asked for.

    Args:
        folder: where to write; made if need be. Files of the same names are replaced.
        per_class: training patches of each class.
        test_per_class: test patches of each class.
        seed: not negative; the same seed gives the same files.
        plant_broken: also leave one PNG cut off in the middle among the training patches.

    Returns:
        The folder, the classes, and the broken file.

    Raises:
        DataError: scikit-image, or one of its photographs, is not installed.
        DiskFullError: there is no room.
        OSError: the folder cannot be written.
    """
    photos = {name.partition(".")[0]: _read_photo(name) for name in PHOTOS}
    for number, (label, photo) in enumerate(photos.items()):
        middle = photo.shape[1] // 2
        _write_patches(folder / "train" / label, photo[:, :middle], per_class, [seed, 0, number])
        _write_patches(folder / "test" / label, photo[:, middle:], test_per_class, [seed, 1, number])
    broken = None
    if plant_broken:
        broken = folder / "train" / "brick" / "broken.png"
        patch = draw_patch(photos["brick"], np.random.default_rng([seed, 2]))
        atomic_write(broken, _png(patch)[:1000])
    return Materials(folder=folder, classes=tuple(photos), broken=broken)


def _read_photo(name: str) -> Grey:
    """Read a photograph as (height, width) uint8 grey levels, its longer side at most 512 pixels."""
    try:
        data = (files("skimage") / "data" / name).read_bytes()
    except ModuleNotFoundError as error:
        raise DataError(
            "The data set `materials` is cut from photographs of scikit-image, which is not installed.\n"
            "Run: pip install scikit-image"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"The installed scikit-image lacks the photograph {name}, which `materials` needs.\n"
            "Run: pip install --force-reinstall scikit-image"
        ) from error
    with Image.open(io.BytesIO(data)) as image:
        grey = image.convert("L")
        grey.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.BOX)
        return np.asarray(grey)


def _write_patches(folder: Path, photo: Grey, count: int, seed: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        patch = draw_patch(photo, np.random.default_rng([*seed, number]))
        atomic_write(folder / f"{number:03d}.png", _png(patch))


def draw_patch(photo: Grey, rng: np.random.Generator) -> Grey:
    """Cut a random square out of a photograph and hide its turn, brightness and contrast.

    Args:
        photo: (height, width) uint8, no side under 32 pixels.
        rng: where everything random comes from.

    Returns:
        (side, side) uint8, of 32 to 128 pixels.

    Raises:
        ValueError: a thousand draws have met nothing but flat areas.
    """
    height, width = photo.shape
    for _ in range(_MOST_DRAWS):
        side = int(rng.integers(_SIDES[0], min(_SIDES[1], height, width), endpoint=True))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        square = photo[top : top + side, left : left + side].astype(np.float64)
        if square.std() >= _FLATTEST:
            break
    else:
        raise ValueError(f"no square of the photograph has a contrast of {_FLATTEST} grey levels")
    turned = np.rot90(square, int(rng.integers(4)))
    contrast, brightness = rng.uniform(*_CONTRASTS), rng.uniform(*_BRIGHTNESSES)
    relit = (turned - turned.mean()) / turned.std() * contrast + brightness
    patch: Grey = np.clip(np.rint(relit), 0, 255).astype(np.uint8)
    return patch


def _png(patch: Grey) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(patch).save(buffer, format="PNG")
    return buffer.getvalue()
