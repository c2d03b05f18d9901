"""`headstart train` with its defaults against fastai's `vision_learner` and `fine_tune(5)`; and a prediction."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comparing.bench import Bench, Done, Sides
from comparing.photos import Division, divide, some_of
from comparing.rows import Row

SETS = ("hymenoptera", "pets", "flowers", "scenes", "gtsrb", "cifar10")
# A mirrored sign is another sign; whoever trains on signs by fastai turns its flips off.
_NOT_FLIPPED = ("gtsrb",)
FIRST, AGAIN = "headstart, first run", "headstart, further run"


def compare_training(bench: Bench) -> None:
    """All sets: headstart with an empty store and again, fastai with its defaults and with the chosen settings."""
    for name in bench.options.sets:
        bench.alternate("train", _photos(bench, name).name, _sides(bench, name))


def compare_settings(bench: Bench) -> None:
    """The settings of fastai on validation: what is best there is the setting to compare with."""
    for name in bench.options.sets:
        sides: Sides = {
            (f"fastai, {each}",): _settings_side(bench, name, each)
            for each in ("default", "bs32", "bs16", "bs16-crop")
        }
        bench.alternate("settings", _photos(bench, name).name, sides)


def _settings_side(bench: Bench, name: str, settings: str) -> Callable[[int], list[Row]]:
    def side(repeat: int) -> list[Row]:
        words = f"fastai, {settings}"
        return [_fastai(bench, name, repeat, settings=settings, comparison="settings", side=words)]

    return side


def compare_prediction(bench: Bench) -> None:
    """One photo, from the start of the process to the answer, by headstart's run and by fastai's exported learner."""
    folder, run = _photos(bench, "hymenoptera"), bench.work / "predict-run"
    division, learner = divide(folder, 0), bench.work / "predict.pkl"
    photo = division.test[0][0]

    def headstart(repeat: int) -> list[Row]:
        if not (run / "result.json").exists():
            bench.command(
                "train", str(folder), "--out", str(run), "--store", str(bench.work / "predict-store")
            )
        return [_predicted("headstart predict", repeat, bench.command("predict", str(run), photo, "--json"))]

    def fastai(repeat: int) -> list[Row]:
        job = _job(bench, division, 0) | {"settings": "bs16", "all": False, "flip": True}
        job |= {"export": str(learner.resolve()), "photo": photo}
        if not learner.exists():
            bench.peer("fastai_side", job | {"task": "fine-tune"})
        done = bench.peer("fastai_side", job | {"task": "predict"})
        return [_predicted("fastai load_learner, predict", repeat, done)]

    sides: Sides = {("headstart predict",): headstart, ("fastai load_learner, predict",): fastai}
    bench.alternate("predict", "one photo, cold", sides)


def _predicted(side: str, repeat: int, done: Done) -> Row:
    return Row(
        comparison="predict",
        case="one photo, cold",
        side=side,
        repeat=repeat,
        seconds=done.wall,
        processor=done.processor,
        load=done.load,
    )


def _photos(bench: Bench, name: str) -> Path:
    return some_of(bench.options.photos / name, bench.options.per_class, bench.work / "photos")


def _sides(bench: Bench, name: str) -> Sides:
    settings = bench.options.fastai_settings
    usual, chosen = "fastai, defaults", f"fastai, {settings}, all photos"

    def defaults(repeat: int) -> list[Row]:
        return [_fastai(bench, name, repeat, settings="default", comparison="train", side=usual)]

    def best(repeat: int) -> list[Row]:
        return [
            _fastai(bench, name, repeat, settings=settings, everything=True, comparison="train", side=chosen)
        ]

    return {
        (FIRST, AGAIN): lambda repeat: _headstart(bench, name, repeat),
        (usual,): defaults,
        (chosen,): best,
    }


def _headstart(bench: Bench, name: str, repeat: int) -> list[Row]:
    """Two runs with one store, which is empty before the first."""
    folder, rows = _photos(bench, name), []
    with tempfile.TemporaryDirectory() as place:
        for side in (FIRST, AGAIN):
            run = Path(place) / side.replace(" ", "-")
            arguments = ["--out", str(run), "--store", str(Path(place) / "store"), "--seed", str(repeat)]
            done = bench.command("train", str(folder), *arguments)
            rows.append(_row_of_run(run, done, folder.name, side, repeat, divide(folder, repeat)))
    return rows


def _row_of_run(run: Path, done: Done, name: str, side: str, repeat: int, division: Division) -> Row:
    import pyarrow.parquet as pq

    result = json.loads((run / "result.json").read_text())
    images = pq.read_table(run / "images.parquet").to_pylist()
    for part, rows in (("train", division.train), ("val", division.valid), ("test", division.test)):
        if len(rows) != sum(image["split"] == part for image in images):
            raise SystemExit(f"{name}: the run's {part} photos are not those that fastai gets")
    said = pq.read_table(run / "predictions.parquet").select(["path", "true", "predicted"]).to_pylist()
    environment = result["environment"]
    return Row(
        comparison="train",
        case=name,
        side=side,
        repeat=repeat,
        seconds=done.wall,
        processor=done.processor,
        accuracy=result["test"]["accuracy"],
        load=done.load,
        details={"kept": result["technique"], "seconds": result["seconds"]},
        right={each["path"]: int(each["true"] == each["predicted"]) for each in said},
        versions={part: environment[part] for part in ("headstart", "torch", "torchvision", "timm")},
    )


def _job(bench: Bench, division: Division, seed: int) -> dict[str, Any]:
    from comparing.extraction import save_weights

    return {
        "weights": str(save_weights(bench)),
        "classes": division.classes,
        "train": division.train,
        "valid": division.valid,
        "test": division.test,
        "seed": seed,
        "export": None,
        "validate": False,
    }


def _fastai(
    bench: Bench,
    name: str,
    repeat: int,
    *,
    settings: str,
    everything: bool = False,
    comparison: str,
    side: str,
) -> Row:
    """One fine-tuning, with what headstart trains on, or with its validation photos too.

    Where headstart holds nothing out because there are too few photos, fastai trains on all there are.
    """
    photos = _photos(bench, name)
    division = divide(photos, repeat)
    job = _job(bench, division, repeat) | {"task": "fine-tune", "settings": settings, "all": everything}
    job |= {"flip": name not in _NOT_FLIPPED, "validate": comparison == "settings"}
    done = bench.peer("fastai_side", job)
    predicted: list[str] = done.answer["predicted"]
    right = {
        path: int(mine == true)
        for path, mine, (_, true) in zip(division.names, predicted, division.test, strict=True)
    }
    return Row(
        comparison=comparison,
        case=photos.name,
        side=side,
        repeat=repeat,
        seconds=done.wall,
        processor=done.processor,
        accuracy=done.answer["validation"] if comparison == "settings" else sum(right.values()) / len(right),
        load=done.load,
        details={key: done.answer[key] for key in ("training", "testing", "validation")},
        right=right,
        versions=done.answer["versions"],
    )
