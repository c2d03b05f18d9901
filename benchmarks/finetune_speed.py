"""Fine-tuning throughput: headstart against a plain eager float32 PyTorch loop, in alternation, on real photos.

    python benchmarks/finetune_speed.py [--photos ../shared/data/flowers/train] [--images 320] [--repeats 3]

All layers are trained at 224 pixels in batches of 32, with random crops and mirroring, label smoothing and AdamW.
headstart is its own loop with the recipe `finetune`. The plain loop is ImageFolder, torchvision's transforms on Pillow
images, DataLoader(num_workers=2) and the same network in contiguous memory format, with batch norms in train mode,
which `--batch-norm train` gives headstart's side too, and without the clipping of headstart's recipe. Every
measurement runs in a fresh process, since settings of glibc's allocator stay with a process; neither gets any from
the environment. Imports, building the network and validation are not counted.

The first epoch is given apart: headstart decodes each photo in it and keeps the pixels, the plain loop decodes in
every epoch. The bar, 2 for lite0, is set for the epochs after it. Each case says in which precision headstart
computes; the plain loop always has float32. Exit code 1 when a median ratio is below its bar.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from figures import describe_machine, median_and_range

_FLOWERS = Path(__file__).resolve().parents[2] / "shared" / "data" / "flowers" / "train"
SIDES = ("headstart", "plain")
_BATCH, _RATE, _DECAY, _SMOOTHING, _SMALLEST_CROP = 32, 5e-4, 0.05, 0.1, 0.35


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, the precision of headstart's side, and what the ratio is to be at least; 0 where there is no bar."""

    backbone: str
    weights: str
    precision: str
    bar: float


CASES = {
    "lite0": Case(backbone="tf_efficientnet_lite0", weights="pretrained", precision="float32", bar=2),
    "lite0-bf16": Case(backbone="tf_efficientnet_lite0", weights="pretrained", precision="bf16", bar=0),
    "resnet18": Case(backbone="torchvision/resnet18", weights="none", precision="float32", bar=0),
    "resnet18-bf16": Case(backbone="torchvision/resnet18", weights="none", precision="bf16", bar=0),
}
_USUAL = ("lite0", "resnet18", "resnet18-bf16")


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo's path and the number of its class."""

    path: str
    label: int


def main() -> int:
    options = _options()
    if options.side is not None:
        print(json.dumps(_measure(options)))
        return 0
    print(describe_machine())
    print(f"{len(_some(options))} photos, batches of {_BATCH}, {options.epochs} epochs", flush=True)
    reached = [_compare(name, options) for name in options.cases]
    return 0 if all(reached) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=_FLOWERS, help="folder with one folder a class")
    parser.add_argument("--images", type=int, default=320, help="how many of them, evenly from all classes")
    parser.add_argument("--epochs", type=int, default=3, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(_USUAL))
    parser.add_argument("--batch-norm", choices=("eval", "train"), default="eval", help="of headstart's side")
    parser.add_argument("--side", choices=SIDES, help="one measurement of the one case, in this process")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs: at least 2, as the first is given apart")
    return options


def _some(options: argparse.Namespace) -> list[Photo]:
    """The photos, in ImageFolder's order."""
    classes = sorted(path for path in options.photos.iterdir() if path.is_dir())
    photos = [
        Photo(path=str(path), label=label)
        for label, folder in enumerate(classes)
        for path in sorted(folder.iterdir())
    ]
    chosen = np.linspace(0, len(photos) - 1, min(options.images, len(photos))).astype(int)
    return [photos[i] for i in chosen]


def _compare(name: str, options: argparse.Namespace) -> bool:
    """Both sides in turn, in each repeat in the other order; whether the bar is reached."""
    case, rates = CASES[name], {side: [] for side in SIDES}
    first: dict[str, list[float]] = {side: [] for side in SIDES}
    for repeat in range(options.repeats):
        for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
            got = _measure_apart(side, name, options)
            first[side].append(got["rates"][0])
            rates[side].append(statistics.median(got["rates"][1:]))
            print(
                f"  {name}, {side}: {rates[side][-1]:.1f} images/s, in the first epoch {first[side][-1]:.1f}, "
                f"last train loss {got['loss']:.2f}, load {os.getloadavg()[0]:.2f}",
                flush=True,
            )
    precisions = {"headstart": case.precision, "plain": "float32"}
    for side in SIDES:
        print(
            f"{name}, {side} in {precisions[side]}: {median_and_range(rates[side], '.1f')} images/s, "
            f"in the first epoch {median_and_range(first[side], '.1f')}"
        )
    ratios, beginnings = (
        [a / b for a, b in zip(each["headstart"], each["plain"], strict=True)] for each in (rates, first)
    )
    bar = f", bar {case.bar:g}" if case.bar else ""
    print(
        f"{name}, ratio: {median_and_range(ratios)}{bar}; in the first epoch {median_and_range(beginnings)}",
        flush=True,
    )
    return statistics.median(ratios) >= case.bar


def _measure_apart(side: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    arguments = ["--photos", str(options.photos), "--images", str(options.images)]
    arguments += ["--epochs", str(options.epochs), "--batch-norm", options.batch_norm]
    arguments += ["--cases", name, "--side", side]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    plain.pop("LD_PRELOAD", None)
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=plain
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """One training in this process: images a second of each epoch, and the last epoch's loss in training."""
    (name,) = options.cases
    photos = _some(options)
    if options.side == "plain":
        seconds, loss = _plain(CASES[name], photos, options)
    else:
        seconds, loss = train_by_headstart(CASES[name], photos, options)
    return {"rates": [len(photos) / each for each in seconds], "loss": loss}


def train_by_headstart(
    case: Case, photos: list[Photo], options: argparse.Namespace
) -> tuple[list[float], float]:
    import torch

    from headstart.backbones import load_backbone
    from headstart.datasets import DiskFiles
    from headstart.recipes import load_recipe
    from headstart.training import Augmentation, Examples, Photos, PixelSource, Watch, train_network

    recipe = replace(
        load_recipe("finetune"),
        epochs=options.epochs,
        batch_size=_BATCH,
        lr=_RATE,
        weight_decay=_DECAY,
        label_smoothing=_SMOOTHING,
        batch_norm=options.batch_norm,
    )
    backbone = load_backbone(case.backbone, weights=case.weights)
    end = backbone.cut("last")
    body = backbone.part(None, end)
    head = backbone.native_head(1 + max(photo.label for photo in photos), seed=0)
    source = PixelSource(
        Photos(files=DiskFiles(), names=[photo.path for photo in photos]),
        backbone.preprocess,
        Augmentation(kind="crop", flip=True, seed=0, scale_min=_SMALLEST_CROP),
    )
    train = Examples(source=source, labels=torch.tensor([photo.label for photo in photos]))
    ends = [time.perf_counter()]
    with source.session():
        trained = train_network(
            body,
            head,
            train,
            recipe,
            precision=case.precision,
            watch=Watch(epoch=lambda history, epochs: ends.append(time.perf_counter())),
        )
    seconds = [late - early for early, late in pairwise(ends)]
    return seconds, trained.history[-1].train_loss


def _plain(case: Case, photos: list[Photo], options: argparse.Namespace) -> tuple[list[float], float]:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Subset
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    from headstart.backbones import (
        load_backbone,
    )  # the same weights and normalisation, and nothing else of it

    backbone = load_backbone(case.backbone, weights=case.weights)
    network, classes = backbone.network, 1 + max(photo.label for photo in photos)
    if case.backbone.startswith("torchvision/"):
        network.fc = nn.Linear(network.fc.in_features, classes)
    else:
        network.reset_classifier(classes)
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(backbone.preprocess.size, scale=(_SMALLEST_CROP, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(backbone.preprocess.mean, backbone.preprocess.std),
        ]
    )
    images = ImageFolder(str(options.photos), transform=transform)
    wanted = {photo.path for photo in photos}
    some = Subset(images, [i for i, (path, _) in enumerate(images.samples) if path in wanted])
    if len(some) != len(photos):
        raise SystemExit(f"{len(photos)} photos, of which ImageFolder finds {len(some)}")
    loader = DataLoader(some, batch_size=_BATCH, shuffle=True, num_workers=2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    judge = nn.CrossEntropyLoss(label_smoothing=_SMOOTHING)
    network.train()
    seconds, loss = [], float("nan")
    for _ in range(options.epochs):
        start, summed = time.perf_counter(), 0.0
        for inputs, labels in loader:
            batch_loss = judge(network(inputs), labels)
            optimizer.zero_grad()
            batch_loss.backward()
            optimizer.step()
            summed += batch_loss.item() * len(labels)
        seconds.append(time.perf_counter() - start)
        loss = summed / len(some)
    return seconds, loss


if __name__ == "__main__":
    raise SystemExit(main())
