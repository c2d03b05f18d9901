"""Training speed at equal settings: EfficientNet-Lite0, 224 pixels, batches of 32, all layers; seconds for all photos.

Random crops and mirroring, AdamW (fastai: its Adam), batch norms that follow the data. The first epoch, in which
headstart decodes each photo and keeps its pixels, is a side of its own; the others' first epoch is like their rest.
"""

import statistics
from collections.abc import Callable
from typing import Any

from comparing.bench import Bench, Done, Sides
from comparing.extraction import preprocess_of, save_weights
from comparing.photos import divide, some_of
from comparing.rows import Row

_EPOCHS, _FEWEST = 3, 2  # the second for a look with --per-class
_CASES = {"headstart": "lite0-bf16", "headstart, float32": "lite0"}


def compare_speed(bench: Bench) -> None:
    """An epoch by headstart, fastai (all layers, and the head alone) and torchvision's reference step."""
    photos = some_of(bench.options.photos / "flowers", bench.options.per_class, bench.work / "photos")
    division = divide(photos, 0)
    rows = [*division.train, *division.valid]
    job = {
        "weights": str(save_weights(bench)),
        "preprocess": preprocess_of("tf_efficientnet_lite0"),
        "classes": division.classes,
        "train": rows,
        "valid": rows[:1],  # fastai wants something to judge; what that takes is not counted
        "epochs": _EPOCHS if bench.options.per_class is None else _FEWEST,
        "all": True,
        "flip": True,
        "seed": 0,
        "settings": "equal",
    }
    case = f"{photos.name}, {len(rows)} photos an epoch"
    sides: dict[tuple[str, ...], Callable[[int], list[Row]]] = {
        (name, f"{name}, first epoch"): _headstart(bench, job | {"task": "epochs", "case": which}, case, name)
        for name, which in _CASES.items()
    }
    sides |= {
        ("fastai", "fastai, head alone"): _fastai(bench, job | {"task": "epochs"}, case),
        ("torchvision's reference step",): _torchvision(bench, job, case),
    }
    final: Sides = sides
    bench.alternate("finetune", case, final)


def _headstart(bench: Bench, job: dict[str, Any], case: str, name: str) -> Callable[[int], list[Row]]:
    def side(repeat: int) -> list[Row]:
        done = bench.headstart(job)
        first, *rest = done.answer["rates"]
        return [
            _row(job, done, case, name, repeat, rest),
            _row(job, done, case, f"{name}, first epoch", repeat, [first]),
        ]

    return side


def _fastai(bench: Bench, job: dict[str, Any], case: str) -> Callable[[int], list[Row]]:
    def side(repeat: int) -> list[Row]:
        done = bench.peer("fastai_side", job)
        return [
            _row(job, done, case, "fastai", repeat, done.answer["rates"][1:]),
            _row(job, done, case, "fastai, head alone", repeat, done.answer["frozen"][1:]),
        ]

    return side


def _torchvision(bench: Bench, job: dict[str, Any], case: str) -> Callable[[int], list[Row]]:
    def side(repeat: int) -> list[Row]:
        done = bench.peer("torchvision_train", job)
        return [_row(job, done, case, "torchvision's reference step", repeat, done.answer["rates"][1:])]

    return side


def _row(job: dict[str, Any], done: Done, case: str, name: str, repeat: int, rates: list[float]) -> Row:
    rate = statistics.median(rates)
    return Row(
        comparison="finetune",
        case=case,
        side=name,
        repeat=repeat,
        seconds=len(job["train"]) / rate,
        load=done.load,
        details={"images_per_second": rate},
        versions=done.answer["versions"],
    )
