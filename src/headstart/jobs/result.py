"""The account of a run: its figures, its warnings, and what they rest on."""

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from headstart.config import TrainConfig
from headstart.datasets import (
    SPLITS,
    imbalance,
    overlapping_labels,
    shared_between_splits,
)
from headstart.errors import name_some
from headstart.jobs.work import Outcome, RunData, Work
from headstart.metrics import Scores, calibration_error
from headstart.runs import Predictions

_IMBALANCE_LIMIT = 10.0
_NAMED_OVERLAPS = 3


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The scores, the test images' probabilities, and the account of what is unlike anything in training."""

    test: Scores
    validation: Scores | None
    train: Scores
    predictions: Predictions
    unlike: Mapping[str, Any]


def make_result(
    config: TrainConfig, work: Work, outcome: Outcome, judged: Judged, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """The content of `result.json`."""
    classifier, data = outcome.classifier, work.data
    card = classifier.backbone.card
    return {
        "name": data.dataset.name,
        "technique": outcome.technique,
        "test": judged.test.to_dict(),
        "validation": judged.validation.to_dict() if judged.validation is not None else None,
        "train": {"accuracy": judged.train.accuracy, "loss": judged.train.log_loss, "n": judged.train.n},
        "choice": {
            "rule": str(data.record),
            "made_on": data.record.choice,
            "folds": data.record.folds,
            **outcome.choice,
        },
        "calibration": _calibration(data, outcome),
        "unlike": dict(judged.unlike),
        "kept_epochs": dict(outcome.kept),
        "backbone": {
            "name": card.name,
            "weights": classifier.backbone.weights,
            "weights_sha256": work.start.backbone.weights_sha256,
            "licence": card.licence,
            "layer": classifier.cut.name,
            "size": card.preprocess.size,
            "resize": card.preprocess.resize_mode,
        },
        "classes": list(data.dataset.classes),
        "seconds": dict(seconds),
        "images": {
            **{split: len(data.dataset.rows(split)) for split in SPLITS},
            "unreadable": len(data.problems),
            "passed_over": data.dataset.passed_over,
            "extracted": data.extracted,
            "from_store": data.from_store,
        },
        "warnings": _warnings(config, data),
        "environment": _environment(config.device),
        "data_fingerprint": _fingerprint(data),
    }


def _calibration(data: RunData, outcome: Outcome) -> dict[str, Any]:
    """How the probabilities were made to mean what they say, or why they were not."""
    held_out, temperature = outcome.held_out, outcome.choice["temperature"]
    if held_out is None:
        return {"temperature": temperature, "fitted_on": None, "because": _uncalibrated(data, outcome)}
    labels = data.labels[held_out.rows]
    return {
        "temperature": temperature,
        "fitted_on": "validation" if data.record.choice == "validation" else "out-of-fold outputs",
        "n": len(labels),
        "ece_before": calibration_error(held_out.uncalibrated, labels),
        "ece_after": calibration_error(held_out.probabilities, labels),
    }


def _uncalibrated(data: RunData, outcome: Outcome) -> str:
    """Why no temperature could be fitted."""
    if data.record.choice == "none":
        return "nothing could be held out: a class has a single training image, or a single group of them"
    return (
        "nothing was held out: there are too few images for a validation part, and "
        f"{outcome.technique} by epochs is not cross-validated"
    )


def _warnings(config: TrainConfig, data: RunData) -> list[str]:
    """What a careful person would want to know before believing the figures."""
    dataset = data.dataset
    found = list(dataset.notes)
    if data.problems:
        found.append(
            f"Could not be read and left out: {len(data.problems)}. problems.csv lists the files with the reasons."
        )
    if (ratio := imbalance(dataset.counts("train"))) > _IMBALANCE_LIMIT and config.class_weights == "none":
        found.append(
            f"The largest class has {ratio:.0f} times the training images of the smallest: look at the balanced "
            "accuracy, and consider --class-weights balanced."
        )
    overlaps = overlapping_labels(dataset, data.sha256s)
    if overlaps:
        named = name_some([" = ".join(overlap.paths) for overlap in overlaps], _NAMED_OVERLAPS, "; ")
        found.append(f"{len(overlaps)} images stand in more than one class, as identical files: {named}.")
    shared = shared_between_splits(dataset, data.sha256s)
    for (first, second), count in shared.items():
        if count:
            found.append(f"{count} {second} images also stand in {first}, as identical files.")
    return found


def _fingerprint(data: RunData) -> str:
    """sha256 over content, class and split of every image, whatever the files are called."""
    lines = sorted(
        f"{split}\t{data.dataset.classes[label]}\t{sha.hex()}"
        for split, label, sha in zip(
            data.dataset.split_names(), data.dataset.labels(), data.sha256s, strict=True
        )
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _environment(device: str) -> dict[str, str]:
    """Versions and machine."""
    packages = ("headstart", "torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow", "simplejpeg")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "device": device,
    }
