"""Whether mirrored photos could have been taken: found out without the test images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart.config import TrainConfig
from headstart.datasets import DiskFiles, Reader, assign_splits, load_dataset
from headstart.jobs import Observers, train
from headstart.jobs.flips import judge_flips
from headstart.jobs.work import RunData

DrawPhotos = Callable[..., Path]


def _draw(folder: Path, *, handed: bool, per_class: int = 18) -> Path:
    """PHOTOS/{one,two}/NN.png: a bright bar in noise, always on the left if handed, else on either side."""
    rng = np.random.default_rng(0)
    for name, tint in (("one", (255, 160, 40)), ("two", (60, 160, 255))):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels: NDArray[np.float64] = rng.normal(90, 15, (48, 48, 3))
            pixels[8:40, 4:12] = np.array(tint)
            if not handed and rng.random() < 0.5:
                pixels = pixels[:, ::-1]
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(folder / name / f"{i:02}.png")
    return folder


def _divided(folder: Path, per_class: int | None = None) -> RunData:
    """The images as a run has them."""
    dataset, record = assign_splits(load_dataset(folder), seed=0, per_class=per_class)
    return RunData(
        dataset=dataset,
        record=record,
        sha256s=(b"",) * len(dataset),
        problems=(),
        extracted=0,
        from_store=0,
        seconds=0.0,
    )


def test_photos_that_know_left_from_right_are_not_mirrored(tmp_path: Path) -> None:
    found = judge_flips(_divided(_draw(tmp_path / "photos", handed=True)))

    assert found.told > 0.9
    assert not found.safe
    assert found.n == 2 * 5  # a third of 14 to 16 training and validation images of each class


def test_photos_that_do_not_may_be(tmp_path: Path) -> None:
    found = judge_flips(_divided(_draw(tmp_path / "photos", handed=False)))

    assert found.told < 0.9
    assert found.safe


def test_no_test_image_is_looked_at(tmp_path: Path) -> None:
    read: set[str] = set()

    class Watched(DiskFiles):
        def readers(self, names: Iterable[str]) -> Iterator[Reader]:
            names = list(names)
            read.update(names)
            return super().readers(names)

    folder = _draw(tmp_path / "photos", handed=True)
    data = _divided(folder)
    data = replace(data, dataset=replace(data.dataset, files=Watched(root=folder)))

    judge_flips(data)

    assert read == {name for split in ("train", "val") for name in data.dataset.names(split)}
    assert read.isdisjoint(data.dataset.names("test"))


def test_where_nothing_can_be_held_out_nothing_is_mirrored(tmp_path: Path) -> None:
    found = judge_flips(_divided(_draw(tmp_path / "photos", handed=False), per_class=1))

    assert found.n == 0
    assert not found.safe


@pytest.mark.usefixtures("tiny", "unillustrated")
@pytest.mark.parametrize(("handed", "flip"), [(True, "no"), (False, "yes")])
@pytest.mark.slow
def test_a_run_says_what_it_found_and_goes_by_it(tmp_path: Path, handed: bool, flip: str) -> None:
    photos = _draw(tmp_path / "photos", handed=handed)
    said: list[str] = []
    config = TrainConfig(str(photos), recipe="finetune", epochs=1, dtype="float32")

    run = train(config, out=tmp_path / "run", observers=Observers(say=said.append))
    told = train(replace(config, flip=flip), out=tmp_path / "told")  # type: ignore[arg-type]

    assert run.config.flip == flip
    (sentence,) = [s for s in said if s.startswith("Mirror images")]
    assert sentence.endswith("are mirrored at random." if flip == "yes" else "are not mirrored.")
    name = "classifier.safetensors"
    assert (run.folder / name).read_bytes() == (told.folder / name).read_bytes()


@pytest.mark.usefixtures("tiny", "unillustrated")
@pytest.mark.parametrize(
    "options", [{"augment": "none"}, {"augment": "six"}, {"from_layer": "blocks.4"}, {"flip": "yes"}]
)
def test_the_question_is_asked_only_where_it_is_open(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setattr(
        "headstart.jobs.techniques.judge_flips", lambda data: pytest.fail("it is no question")
    )
    config = TrainConfig(str(few), recipe="finetune", epochs=1, dtype="float32", **options)  # type: ignore[arg-type]

    run = train(config, out=tmp_path / "run")

    assert run.config.flip == options.get("flip")
