"""Extraction end to end: headstart against the ordinary PyTorch script, in alternation, on real photos.

    python benchmarks/extraction.py --photos ../shared/data/flowers [--backbone timm/resnet50 --weights none]

Each measurement runs in a fresh process; imports and building the network are not counted, everything from the list of
files to the features is, choosing and compiling included. headstart begins with an empty store and writes it:

- `exact`: `--precision exact`, what is fastest in float32;
- `fast`: `--precision fast`, in bfloat16 where that is near enough.

Each is done twice, with an empty store both times; the ratios are of the first.

Beside it

- `ordinary`: ImageFolder, the weights' own transform on Pillow images, DataLoader(num_workers=2, batch_size=32), the
  same network in eager contiguous float32;
- `tuned`: the same script, best as we know: channels_last, inference mode, and freed memory kept.

Then it says what the machine would allow: how many images a second the cores could read, decode, resize and run if each
did nothing else and never waited, from the time that each of these takes on one core; and how far features differ.
Exit code 1 when features differ by more than they may, when a probe on them is worse, or when a median ratio is below
its bar, where there is one for the backbone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from figures import describe_machine, median_and_range
from numpy.typing import NDArray

PIXELS_TOLERANCE, RESIZE_TOLERANCE = 1e-5, 1e-2
OURS, THEIRS = ("exact", "fast"), ("ordinary", "tuned")
SIDES = OURS + THEIRS
# What is to be reached: (ours, theirs) -> ratio, by backbone.
BARS: dict[str, dict[tuple[str, str], float]] = {
    "tf_efficientnet_lite0": {
        ("exact", "ordinary"): 6,
        ("fast", "ordinary"): 11,
        ("exact", "tuned"): 3,
        ("fast", "tuned"): 5,
    },
    "timm/resnet50": {("exact", "ordinary"): 2.2, ("fast", "ordinary"): 4.2},
}

Rows = NDArray[np.float32]


def main() -> int:
    options = _options()
    if options.side is not None:
        print(json.dumps(_measure(options)))
        return 0
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        figures = _in_alternation(options, Path(folder))
        for side in SIDES:
            _measure_apart(options, side, options.photos / "test", Path(folder) / f"{side}-test.npz")
        fast_enough = _report_rates(figures, options.backbone)
        alike = _report_features(options, Path(folder))
    return 0 if fast_enough and alike else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--photos", type=Path, required=True, help="folder with train/CLASS/* and test/CLASS/*"
    )
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="one of timm's")
    parser.add_argument("--weights", default="pretrained", help="none for random ones")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="one measurement, in this process")
    parser.add_argument("--folder", type=Path, help="the photos of that measurement")
    parser.add_argument("--out", type=Path, help="where it puts its features")
    return parser.parse_args()


def _in_alternation(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The figures of each side, one after the other, in each repeat in the other order."""
    figures: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for repeat in range(options.repeats):
        for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
            got = _measure_apart(options, side, options.photos / "train", folder / f"{side}-train.npz")
            figures[side].append(got)
            load = os.getloadavg()[0]
            print(
                f"{side:>9}: {got['images']} images in {got['seconds']:.2f} s {got.get('runtime', '')}, "
                f"load {load:.2f}",
                flush=True,
            )
    return figures


def _measure_apart(options: argparse.Namespace, side: str, photos: Path, out: Path) -> dict[str, Any]:
    arguments = [
        "--photos",
        str(options.photos),
        "--backbone",
        options.backbone,
        "--weights",
        options.weights,
    ]
    arguments += ["--side", side, "--folder", str(photos), "--out", str(out)]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """One extraction of all photos in FOLDER/CLASS/*, in this process; the features go to `out`."""
    from headstart.backbones import load_backbone

    backbone = load_backbone(options.backbone, weights=options.weights)
    run = _headstart if options.side in OURS else _script
    figures, rows, labels = run(options.folder, backbone, options.side)
    np.savez(options.out, rows=rows, labels=labels)
    return {**figures, "images": len(rows)}


def _listed(photos: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Paths and labels in ImageFolder's order."""
    classes = sorted(path.name for path in photos.iterdir() if path.is_dir())
    pairs = [(path, i) for i, name in enumerate(classes) for path in sorted((photos / name).iterdir())]
    return [str(path) for path, _ in pairs], np.array([label for _, label in pairs])


def _headstart(photos: Path, backbone: Any, side: str) -> tuple[dict[str, Any], Rows, NDArray[np.int64]]:
    from headstart.features import FeatureStore, extract_features

    _ = backbone.cuts  # traced once, as the network is built
    seconds = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as store:
            start = time.perf_counter()
            paths, labels = _listed(photos)
            got = extract_features(paths, backbone, store=FeatureStore(store), precision=side)
            rows = got.features.load()
            seconds.append(time.perf_counter() - start)
        if got.extracted != len(paths):
            raise SystemExit(
                f"{len(paths)} photos, but {got.extracted} forward passes: some are alike or unreadable"
            )
    figures = {
        "seconds": seconds[0],
        "again": seconds[1],
        "runtime": str(got.runtime),
        **_alone(paths[:64], backbone, got.runtime),
    }
    return figures, rows, labels


def _alone(paths: list[str], backbone: Any, name: Any) -> dict[str, float]:
    """Seconds an image takes on one core: to be read, decoded and resized, and to be run."""
    from headstart.features.stream import worker_threads
    from headstart.images import decode_image, prepare_image
    from headstart.runtimes import load_runtime

    runtime = load_runtime(backbone.prefix(backbone.cut("pooled")), backbone.preprocess, name=name)
    size = runtime.batch_size

    def prepare() -> list[Any]:
        return [prepare_image(decode_image(Path(path).read_bytes()), backbone.preprocess) for path in paths]

    def run(images: list[Any]) -> None:
        for i in range(0, len(images), size):
            runtime.run(images[i : i + size])

    with worker_threads(1, runtime) as pool:
        images = pool.submit(prepare).result()
        pool.submit(run, images).result()
        start = time.perf_counter()
        pool.submit(prepare).result()
        middle = time.perf_counter()
        pool.submit(run, images).result()
        end = time.perf_counter()
    return {"prepare": (middle - start) / len(paths), "forward": (end - middle) / len(paths)}


def _script(photos: Path, backbone: Any, side: str) -> tuple[dict[str, Any], Rows, NDArray[np.int64]]:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    from headstart.runtimes import freed_memory_kept

    tuned = side == "tuned"
    network = backbone.network
    network.reset_classifier(0)  # timm's way to pooled features
    layout = torch.channels_last if tuned else torch.contiguous_format
    network = network.to(memory_format=layout)
    start = time.perf_counter()
    images = ImageFolder(str(photos), transform=_ordinary_transform(backbone.preprocess))
    loader = DataLoader(images, batch_size=32, num_workers=2)
    rows, labels = [], []
    with (
        torch.inference_mode() if tuned else torch.no_grad(),
        freed_memory_kept() if tuned else nullcontext(),
    ):
        for batch, targets in loader:
            rows.append(network(batch.contiguous(memory_format=layout)).numpy())
            labels.append(targets.numpy())
    return {"seconds": time.perf_counter() - start}, np.concatenate(rows), np.concatenate(labels)


def _ordinary_transform(preprocess: Any) -> Any:
    from torchvision import transforms

    mode = transforms.InterpolationMode(preprocess.interpolation)
    return transforms.Compose(
        [
            transforms.Resize(preprocess.resize, interpolation=mode, antialias=True),
            transforms.CenterCrop(preprocess.size),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )


def _report_rates(figures: dict[str, list[dict[str, Any]]], backbone: str) -> bool:
    rates = {side: [got["images"] / got["seconds"] for got in each] for side, each in figures.items()}
    for side, values in rates.items():
        print(f"{side:>9}: images/s {median_and_range(values, '.1f')}")
    for side in OURS:
        again = [got["images"] / got["again"] for got in figures[side]]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        allowed = [cores / (got["prepare"] + got["forward"]) for got in figures[side]]
        print(
            f"{side:>9}: images/s in a process that has done it before {median_and_range(again, '.1f')}; the cores "
            f"would allow {median_and_range(allowed, '.1f')}, of which "
            f"{median_and_range([a / b for a, b in zip(again, allowed, strict=True)])} are reached"
        )
    reached = True
    for ours in OURS:
        for theirs in THEIRS:
            ratios = [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)]
            bar = BARS.get(backbone, {}).get((ours, theirs))
            print(
                f"{ours} / {theirs}: {median_and_range(ratios)}" + (f", bar {bar}" if bar is not None else "")
            )
            reached &= bar is None or statistics.median(ratios) >= bar
    return reached


def _report_features(options: argparse.Namespace, folder: Path) -> bool:
    """Print how far the features differ and what a probe makes of them; whether both are as they should be."""
    kept = {
        (side, split): np.load(folder / f"{side}-{split}.npz")
        for side in SIDES
        for split in ("train", "test")
    }
    same_pixels = _on_identical_pixels(options, _listed(options.photos / "test")[0][:64])
    through_resize = _distance(*(kept[side, "test"]["rows"] for side in ("exact", "ordinary")))
    accuracies = {side: _probe_accuracy(kept[side, "train"], kept[side, "test"]) for side in SIDES}
    n = len(kept["exact", "test"]["labels"])
    print(f"features on identical pixels differ by {same_pixels:.1e} (bar {PIXELS_TOLERANCE:.0e})")
    print(f"features through the faster resize differ by {through_resize:.1e} (bar {RESIZE_TOLERANCE:.0e})")
    print(f"probe accuracy on {n} test photos: " + ", ".join(f"{s} {a:.2%}" for s, a in accuracies.items()))
    return (
        same_pixels <= PIXELS_TOLERANCE
        and through_resize <= RESIZE_TOLERANCE
        and accuracies["exact"] >= accuracies["ordinary"] - 1 / n
    )


def _on_identical_pixels(options: argparse.Namespace, paths: list[str]) -> float:
    """Distance between the runtime's features and the plain network's, both from Pillow's pixels."""
    import torch
    from PIL import Image
    from torchvision import transforms

    from headstart.backbones import load_backbone
    from headstart.runtimes import load_runtime

    backbone = load_backbone(options.backbone, weights=options.weights)
    whole = _ordinary_transform(backbone.preprocess).transforms
    cropped = [transforms.Compose(whole[:2])(Image.open(path).convert("RGB")) for path in paths]
    plain = torch.stack([transforms.Compose(whole[2:])(image) for image in cropped])
    with torch.no_grad():
        expected = backbone.network.forward_head(backbone.network.forward_features(plain), pre_logits=True)
    runtime = load_runtime(backbone.prefix(backbone.cut("pooled")), backbone.preprocess)
    pixels = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in cropped]
    size = runtime.batch_size
    with runtime.session():
        rows = [runtime.run(pixels[i : i + size]) for i in range(0, len(pixels), size)]
    return _distance(np.concatenate(rows), expected.numpy())


def _distance(ours: Rows, theirs: Rows) -> float:
    """Norm of the difference over the norm."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def _probe_accuracy(train: Any, test: Any) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return float(probe.fit(train["rows"], train["labels"]).score(test["rows"], test["labels"]))


if __name__ == "__main__":
    raise SystemExit(main())
