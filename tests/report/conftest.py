"""A small finished run, as the report gets it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from headstart.audit import Audit, Finding, Leaks
from headstart.metrics import Extrapolation, score_predictions
from headstart.report import (
    Column,
    ComparisonRecord,
    Learning,
    ReferencePanel,
    RunRecord,
    draw_thumbnail,
)

MakeRecord = Callable[..., RunRecord]
MakeEpochs = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """A function that makes a record of so many classes and images; keywords replace its fields."""

    def make(k: int = 3, per_class: int = 8, **changes: Any) -> RunRecord:
        rng = np.random.default_rng(k)
        labels = np.repeat(np.arange(k), per_class)
        logits = rng.normal(size=(len(labels), k))
        logits[np.arange(len(labels)), labels] += 2
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        scores = score_predictions(p, labels).to_dict()
        record = RunRecord(
            name="Flowers",
            result={
                "test": scores,
                "validation": {**scores, "n": 11},
                "train": {"accuracy": 0.99, "loss": 0.05},
                "seconds": {"read": 12.3, "fit": 0.5, "evaluate": 0.1, "total": 13.0},
                "images": {
                    **{"train": 100, "val": 11, "test": len(labels)},
                    **{"unreadable": 0, "extracted": 135, "from_store": 0},
                },
                "environment": {"python": "3.11", "torch": "2.4"},
                "choice": {"rule": "The strength with the lowest validation loss.", "strength": 1e-3},
                "backbone": {"name": "some_net", "licence": "Apache-2.0"},
                "warnings": [],
            },
            classes=[f"class {i}" for i in range(k)],
            paths=[f"test/{label}/{i}.jpg" for i, label in enumerate(labels)],
            labels=labels,
            probabilities=p,
            path=[
                {
                    "strength": 10.0**-i,
                    "train_loss": 1 / (i + 1),
                    "train_accuracy": 1 - 0.5 / (i + 1),
                    "validation_loss": 0.5 + 0.1 * abs(i - 3),
                    "validation_accuracy": 0.9 - 0.1 * abs(i - 3),
                }
                for i in range(6)
            ],
            history=[],
            best_epoch={},
            problems=[],
            config={"data": "photos", "backbone": "some_net", "seed": 0},
            command="headstart train --config run/config.toml",
        )
        return dataclasses.replace(record, **changes)

    return make


@pytest.fixture(scope="session")
def make_epochs() -> MakeEpochs:
    """A function that makes the history of so many epochs of a phase, as a training writes it."""

    def make(n: int, phase: str = "finetune", *, validated: bool = True) -> list[dict[str, Any]]:
        rng = np.random.default_rng(n)
        rows = []
        for i in range(n):
            noise = rng.normal(size=4) / 50
            row = {
                **{
                    "phase": phase,
                    "epoch": i + 1,
                    "lr": 1e-3 * (n - i) / n,
                    "images_per_second": 812.5,
                    "seconds": 8.3,
                },
                **{
                    "train_loss": 1.6 / (i + 2) ** 0.7 + noise[0],
                    "train_accuracy": 0.95 - 0.45 / (i + 1) + noise[1],
                },
                **{"validation_loss": None, "validation_accuracy": None},
            }
            if validated:
                row["validation_loss"] = 0.55 + 0.4 / (i + 1) + 0.002 * i + noise[2]
                row["validation_accuracy"] = 0.85 - 0.2 / (i + 1) + noise[3]
            rows.append(row)
        return rows

    return make


@pytest.fixture(scope="session")
def thumbnails() -> Callable[[Sequence[str], int], dict[str, bytes]]:
    """A soft little picture for every path."""

    def draw(path: str, side: int) -> bytes:
        rng = np.random.default_rng(len(path))
        coarse = rng.integers(0, 256, size=(14, 14, 3), dtype=np.uint8)
        return draw_thumbnail(np.kron(coarse, np.ones((16, 16, 1), dtype=np.uint8)), side=side)

    return lambda paths, side: {path: draw(path, side) for path in paths}


@pytest.fixture(scope="session")
def learning() -> Learning:
    """A learning curve of two repeats, with where it goes."""
    targets = np.geomspace(30, 1600, 20)
    expected = 1 - 1.5 * targets**-0.3
    return Learning(
        sizes=np.array([30.0, 50, 80, 130]),
        accuracies=np.array([[0.5, 0.6, 0.68, 0.71], [0.54, 0.61, 0.66, 0.73]]),
        band=Extrapolation(targets=targets, expected=expected, low=expected - 0.05, high=expected + 0.02),
        targets=(160, 320, 1600),
        words=["With all 160 images expect 71.2 %.", "More would bring more."],
    )


@pytest.fixture(scope="session")
def audit() -> Audit:
    """Two copies of one photo, three doubtful labels and a photo unlike all others."""
    copies = [
        Finding(
            kind="duplicate-across", rank=rank, path=f"t/{rank}", other="r/1", class_name="a", split="test",
            other_split="train", group=1, score=0.9,
        )
        for rank in (1, 2)
    ]  # fmt: skip
    labels = [
        Finding(kind="label", rank=rank, path=f"p{rank}", class_name="a", suggested="b", split="train")
        for rank in (1, 2, 3)
    ]
    outlier = Finding(kind="outlier", rank=1, path="o", class_name="b", score=7.5, split="val")
    return Audit(
        name="photos",
        classes=("a", "b"),
        counts={"train": 8, "val": 2, "test": 2},
        rule="as given",
        findings=(*copies, *labels, outlier),
        leaks=Leaks(test=20, copies=2, grouped=None, leaking=2),
        labels_judged=12,
        out_of_fold=0.75,
        wrong_labels=1,
        pattern=None,
        command="headstart audit photos",
    )


@pytest.fixture(scope="session")
def make_comparison(make_epochs: MakeEpochs) -> Callable[..., ComparisonRecord]:
    """A function that makes the record of a comparison of so many rows; keywords replace its fields."""

    def column(key: str, kind: Any, better: Any = None) -> Column:
        return Column(key=key, title=key.title(), kind=kind, better=better)

    def make(n: int = 6, **changes: Any) -> ComparisonRecord:
        rows = [
            {
                **{"dataset": ("pets", "scenes")[i % 2], "backbone": f"net {i // 2}", "recipe": "probe"},
                **{
                    "accuracy": 0.9 - 0.01 * i,
                    "accuracy_low": 0.8 - 0.01 * i,
                    "accuracy_high": 0.95 - 0.01 * i,
                },
                **{
                    "seconds": 200.0 / (i + 1),
                    "loss": 0.5 + i,
                    "parameters": 1_000_000 * (i + 3) % 7_000_000,
                },
                "run": f"runs/{i}",
            }
            for i in range(n)
        ]
        record = ComparisonRecord(
            title="A comparison",
            verdict=["net 0 is the most accurate.", "It ties with net 1."],
            columns=[
                *(
                    column("dataset", "text"),
                    column("backbone", "text"),
                    column("accuracy", "percent", "higher"),
                ),
                *(column("seconds", "seconds", "lower"), column("loss", "number", "lower")),
                column("parameters", "integer", "lower"),
            ],
            rows=rows,
            failures=[("runs/9", "the disk is full")],
            references=[
                ReferencePanel(
                    title="A paper",
                    figures=[("accuracy", "88.2 %")],
                    protocol=[("backbone", "another")],
                    differences=["another backbone"],
                    difference=None,
                ),
                ReferencePanel(
                    title="A program",
                    figures=[],
                    protocol=[],
                    differences=[],
                    difference="Ours is 1.2 points higher.",
                ),
            ],
            histories={row["run"]: make_epochs(4) for row in rows},
            command="headstart compare pets scenes",
        )
        return dataclasses.replace(record, **changes)

    return make
