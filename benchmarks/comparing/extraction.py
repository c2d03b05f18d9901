"""Features of photos, from the list of files to the array: headstart, and those who compute the same ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from comparing.bench import Bench, Done, Sides
from comparing.photos import some_of
from comparing.rows import Row

_BACKBONE = "tf_efficientnet_lite0"
FIRST, AGAIN = "headstart, empty store", "headstart, again"
EXACT_FIRST, EXACT_AGAIN = "headstart exact, empty store", "headstart exact, again"
_PLAIN = {
    "ordinary script": ("ordinary", False),
    "tuned script": ("tuned", True),
    "tuned script, bfloat16": ("tuned-bf16", True),
}


def save_weights(bench: Bench) -> Path:
    """EfficientNet-Lite0's weights as headstart has them, under timm's names, for all sides to load."""
    file: Path = bench.work / "lite0.safetensors"
    if not file.exists():
        from safetensors.torch import save_file

        from headstart import load_backbone

        network = load_backbone(_BACKBONE).network
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file)
    return file.resolve()


def preprocess_of(name: str) -> dict[str, object]:
    """What the weights want of a photo."""
    from headstart import load_backbone

    return load_backbone(name).preprocess.to_dict()


def compare_extraction(bench: Bench) -> None:
    """EfficientNet-Lite0's pooled features; beside the time what a probe on them gets right of the test photos."""
    photos = some_of(bench.options.photos / "flowers", bench.options.per_class, bench.work / "photos")
    job = {
        "weights": str(save_weights(bench)),
        "preprocess": preprocess_of(_BACKBONE),
        "folder": str((photos / "train").resolve()),
        "judged_on": str((photos / "test").resolve()),
        "features": str(bench.work / "features.npz"),
        "judged_features": str(bench.work / "judged.npz"),
    }
    ours = job | {"task": "extract", "backbone": _BACKBONE, "weights_name": "pretrained"}
    sides: dict[tuple[str, ...], Callable[[int], list[Row]]] = {
        (FIRST, AGAIN): _ours(bench, ours | {"precision": "fast"}, (FIRST, AGAIN)),
        (EXACT_FIRST, EXACT_AGAIN): _ours(bench, ours | {"precision": "exact"}, (EXACT_FIRST, EXACT_AGAIN)),
    }
    for side, (variant, kept) in _PLAIN.items():
        sides[(side,)] = _theirs(bench, "extract_plain", job | {"variant": variant}, side, kept)
    sides[("timm",)] = _theirs(bench, "extract_timm", job, "timm")
    if bench.python("thingsvision"):
        sides[("thingsvision",)] = _theirs(bench, "extract_thingsvision", job, "thingsvision")
    else:
        print("extract: no thingsvision, its environment has not been made (peers/setup.sh)", flush=True)
    bench.alternate("extract", f"{photos.name}, lite0", sides)


def compare_keras(bench: Bench) -> None:
    """MobileNetV2's pooled features, random weights: Keras on its torch backend, headstart with torchvision's."""
    photos = some_of(bench.options.photos / "flowers", bench.options.per_class, bench.work / "photos")
    case = f"{photos.name}, mobilenet_v2, random weights"
    job = {
        "folder": str((photos / "train").resolve()),
        "judged_on": None,
        "features": str(bench.work / "features.npz"),
    }
    ours = job | {"task": "extract", "backbone": "torchvision/mobilenet_v2", "weights_name": "none"}
    sides: Sides = {
        (FIRST, AGAIN): _ours(bench, ours | {"precision": "fast"}, (FIRST, AGAIN), "keras", case),
        (EXACT_FIRST, EXACT_AGAIN): _ours(
            bench, ours | {"precision": "exact"}, (EXACT_FIRST, EXACT_AGAIN), "keras", case
        ),
        ("Keras",): _theirs(bench, "extract_keras", job | {"layout": None}, "Keras", False, "keras", case),
        ("Keras, channels first",): _theirs(
            bench,
            "extract_keras",
            job | {"layout": "channels_first"},
            "Keras, channels first",
            False,
            "keras",
            case,
        ),
    }
    bench.alternate("keras", case, sides)


def _ours(
    bench: Bench, job: dict[str, Any], names: tuple[str, str], comparison: str = "extract", case: str = ""
) -> Callable[[int], list[Row]]:
    def side(repeat: int) -> list[Row]:
        done = bench.headstart(job)
        seconds = (done.answer["seconds"], done.answer["again"])
        return [
            _row(job, done, comparison, case, name, repeat, each)
            for name, each in zip(names, seconds, strict=True)
        ]

    return side


def _theirs(
    bench: Bench,
    script: str,
    job: dict[str, Any],
    name: str,
    kept: bool = False,
    comparison: str = "extract",
    case: str = "",
) -> Callable[[int], list[Row]]:
    def side(repeat: int) -> list[Row]:
        done = bench.peer(script, job, keep_memory=kept)
        return [_row(job, done, comparison, case, name, repeat, done.answer["seconds"])]

    return side


def _row(
    job: dict[str, Any], done: Done, comparison: str, case: str, name: str, repeat: int, seconds: float
) -> Row:
    import numpy as np

    with np.load(job["features"]) as data:
        images, width = data["rows"].shape[:2]
    return Row(
        comparison=comparison,
        case=case or f"{Path(job['folder']).parent.name}, lite0",
        side=name,
        repeat=repeat,
        seconds=seconds,
        accuracy=_probe_accuracy(job) if job["judged_on"] else None,
        load=done.load,
        details={"images": images, "width": width, "runtime": done.answer.get("runtime")},
        versions=done.answer["versions"],
    )


def _probe_accuracy(job: dict[str, Any]) -> float:
    """Of one and the same probe, fitted by scikit-learn on the features and judged on those of the test photos."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with np.load(job["features"]) as train, np.load(job["judged_features"]) as test:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        probe.fit(train["rows"].reshape(len(train["rows"]), -1), train["labels"])
        return float(probe.score(test["rows"].reshape(len(test["rows"]), -1), test["labels"]))
