"""Extraction end to end: headstart against the ordinary PyTorch script, in alternation, on real photos.

    python benchmarks/extraction.py --photos ../shared/data/flowers --repeats 3

Each measurement runs in a fresh process; imports and building the network are not counted, everything from the
list of files to the features is. headstart begins with an empty store and writes it. The ordinary script is
ImageFolder, the weights' own transform on Pillow images, DataLoader(num_workers=2, batch_size=32), and the
same network in eager contiguous float32. Exit code 1 when the median ratio is below the bar of 2.5, when the
features differ by more than they may, or when a probe on them is worse.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BACKBONE = "tf_efficientnet_lite0"
BAR = 2.5
PIXELS_TOLERANCE, RESIZE_TOLERANCE = 1e-5, 1e-2
SIDES = ("headstart", "ordinary")

Rows = NDArray[np.float32]


def main() -> int:
    options = _options()
    if options.side is not None:
        print(json.dumps(_measure(options.side, options.photos, options.out)))
        return 0
    print(_machine())
    with tempfile.TemporaryDirectory() as folder:
        rates = _in_alternation(options.photos / "train", Path(folder), options.repeats)
        for side in SIDES:
            _measure_apart(side, options.photos / "test", Path(folder) / f"{side}-test.npz")
        faster = _report_rates(rates)
        alike = _report_features(options.photos, Path(folder))
    return 0 if faster and alike else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--photos", type=Path, required=True, help="folder with train/CLASS/* and test/CLASS/*"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="one measurement, in this process")
    parser.add_argument("--out", type=Path, help="where that measurement puts its features")
    return parser.parse_args()


def _machine() -> str:
    packages = ("torch", "torchvision", "timm", "simplejpeg", "pillow", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load}\n"
        f"{versions}"
    )


def _in_alternation(photos: Path, folder: Path, repeats: int) -> dict[str, list[float]]:
    """Images a second of each side, one after the other, in each repeat in the other order."""
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
            got = _measure_apart(side, photos, folder / f"{side}-train.npz")
            rates[side].append(got["images"] / got["seconds"])
            load = os.getloadavg()[0]
            print(f"{side:>9}: {got['images']} images in {got['seconds']:.1f} s, load {load:.2f}", flush=True)
    return rates


def _measure_apart(side: str, photos: Path, out: Path) -> dict[str, Any]:
    arguments = ["--photos", str(photos), "--side", side, "--out", str(out)]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(side: str, photos: Path, out: Path) -> dict[str, float]:
    """One extraction of all photos in PHOTOS/CLASS/*, in this process; the features go to `out`."""
    run = _headstart if side == "headstart" else _ordinary
    seconds, rows, labels = run(photos)
    np.savez(out, rows=rows, labels=labels)
    return {"seconds": seconds, "images": len(rows)}


def _listed(photos: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Paths and labels in ImageFolder's order."""
    classes = sorted(path.name for path in photos.iterdir() if path.is_dir())
    pairs = [(path, i) for i, name in enumerate(classes) for path in sorted((photos / name).iterdir())]
    return [str(path) for path, _ in pairs], np.array([label for _, label in pairs])


def _headstart(photos: Path) -> tuple[float, Rows, NDArray[np.int64]]:
    from headstart.backbones import load_backbone
    from headstart.features import FeatureStore, extract_features

    backbone = load_backbone(BACKBONE)
    _ = backbone.cuts  # traced once, as the network is built
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        paths, labels = _listed(photos)
        got = extract_features(paths, backbone, store=FeatureStore(store))
        rows = got.features.load()
        seconds = time.perf_counter() - start
    if got.extracted != len(paths):
        raise SystemExit(
            f"{len(paths)} photos, but {got.extracted} forward passes: some are alike or unreadable"
        )
    return seconds, rows, labels


def _ordinary(photos: Path) -> tuple[float, Rows, NDArray[np.int64]]:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    from headstart.backbones import load_backbone

    backbone = load_backbone(BACKBONE)
    network = backbone.network
    network.reset_classifier(0)  # timm's way to pooled features
    start = time.perf_counter()
    images = ImageFolder(str(photos), transform=_ordinary_transform(backbone.preprocess))
    loader = DataLoader(images, batch_size=32, num_workers=2)
    rows, labels = [], []
    with torch.no_grad():
        for batch, targets in loader:
            rows.append(network(batch).numpy())
            labels.append(targets.numpy())
    return time.perf_counter() - start, np.concatenate(rows), np.concatenate(labels)


def _ordinary_transform(preprocess: Any) -> Any:
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize(
                preprocess.resize, interpolation=transforms.InterpolationMode.BICUBIC, antialias=True
            ),
            transforms.CenterCrop(preprocess.size),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )


def _report_rates(rates: dict[str, list[float]]) -> bool:
    for side, values in rates.items():
        median, low, high = statistics.median(values), min(values), max(values)
        print(f"{side:>9}: median {median:.1f} images/s ({low:.1f} to {high:.1f})")
    ratios = [ours / theirs for ours, theirs in zip(*(rates[side] for side in SIDES), strict=True)]
    median = statistics.median(ratios)
    print(
        f"ratio of each pair: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; median {median:.2f}, bar {BAR}"
    )
    return median >= BAR


def _report_features(photos: Path, folder: Path) -> bool:
    """Print how far the features differ and what a probe makes of them; whether both are as they should be."""
    kept = {
        (side, split): np.load(folder / f"{side}-{split}.npz")
        for side in SIDES
        for split in ("train", "test")
    }
    same_pixels = _on_identical_pixels(_listed(photos / "test")[0][:64])
    through_resize = _distance(*(kept[side, "test"]["rows"] for side in SIDES))
    accuracies = {side: _probe_accuracy(kept[side, "train"], kept[side, "test"]) for side in SIDES}
    n = len(kept["headstart", "test"]["labels"])
    print(f"features on identical pixels differ by {same_pixels:.1e} (bar {PIXELS_TOLERANCE:.0e})")
    print(f"features through the faster resize differ by {through_resize:.1e} (bar {RESIZE_TOLERANCE:.0e})")
    print(f"probe accuracy on {n} test photos: " + ", ".join(f"{s} {a:.2%}" for s, a in accuracies.items()))
    return (
        same_pixels <= PIXELS_TOLERANCE
        and through_resize <= RESIZE_TOLERANCE
        and accuracies["headstart"] >= accuracies["ordinary"] - 1 / n
    )


def _on_identical_pixels(paths: list[str]) -> float:
    """Distance between the runtime's features and the plain network's, both from Pillow's pixels."""
    import torch
    from PIL import Image
    from torchvision import transforms

    from headstart.backbones import load_backbone
    from headstart.runtimes import load_runtime

    backbone = load_backbone(BACKBONE)
    whole = _ordinary_transform(backbone.preprocess).transforms
    cropped = [transforms.Compose(whole[:2])(Image.open(path).convert("RGB")) for path in paths]
    plain = torch.stack([transforms.Compose(whole[2:])(image) for image in cropped])
    with torch.no_grad():
        expected = backbone.network.forward_head(backbone.network.forward_features(plain), pre_logits=True)
    runtime = load_runtime(backbone.split(backbone.cut("pooled"))[0], backbone.preprocess)
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
