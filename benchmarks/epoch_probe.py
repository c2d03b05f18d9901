"""Fifty epochs of a softmax layer on stored features, against an ordinary loop, in alternation.

    python benchmarks/epoch_probe.py [--repeats 5] [--epochs 50] [--threads 1]

The ordinary loop is `nn.Linear`, autograd, `torch.optim.Adam` and a shuffling `DataLoader` of a `TensorDataset`, which
fetches one image after the other. Both judge the validation features after every epoch. Wall and processor time
are given: on a machine that does other work too only the second can be compared between days.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headstart.training import train_epochs

CLASSES = 43
Arrays = tuple[np.ndarray, np.ndarray]
Figures = tuple[float, float]
"""Loss and accuracy on validation after the last epoch."""


def features(n: int, width: int, seed: int) -> Arrays:
    """Features (n, width) of overlapping clusters after a ReLU, with labels (n,)."""
    rng, labels = np.random.default_rng(seed), np.arange(n) % CLASSES
    centres = np.random.default_rng(99).normal(size=(CLASSES, width))
    values = 0.1 * centres[labels] + 0.5 * rng.normal(size=(n, width))
    return np.maximum(values, 0).astype(np.float32), labels.astype(np.int64)


def ours(train: Arrays, held_out: Arrays, epochs: int) -> Figures:
    *_, last = train_epochs(*train, validation=held_out, n_classes=CLASSES, epochs=epochs)
    return last.validation_loss, last.validation_accuracy


def ordinary(train: Arrays, held_out: Arrays, epochs: int) -> Figures:
    layer = nn.Linear(train[0].shape[1], CLASSES)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    adam = torch.optim.Adam(layer.parameters(), lr=1e-3, eps=1e-7)
    batches = DataLoader(TensorDataset(*map(torch.from_numpy, train)), batch_size=256, shuffle=True)
    x_val, y_val = map(torch.from_numpy, held_out)
    loss, accuracy = float("nan"), float("nan")
    for _ in range(epochs):
        running, right = 0.0, 0
        for x, y in batches:
            logits = layer(x)
            batch_loss = nn.functional.cross_entropy(logits, y)
            adam.zero_grad()
            batch_loss.backward()
            adam.step()
            running += batch_loss.item() * len(y)
            right += int((logits.argmax(1) == y).sum())
        with torch.inference_mode():
            logits = layer(x_val)
            loss = float(nn.functional.cross_entropy(logits, y_val))
            accuracy = float((logits.argmax(1) == y_val).float().mean())
    return loss, accuracy


def timed(function: Callable[[], Figures]) -> tuple[Figures, float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    figures = function()
    return figures, time.perf_counter() - wall, time.process_time() - processor


def summary(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--threads", type=int, help="of both; by default torch's own number")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    train, held_out = features(4300, 2048, 0), features(1000, 2048, 1)
    print(
        f"4,300 x 2,048 features, {CLASSES} classes, {options.epochs} epochs, batches of 256, 1,000 to validate on, "
        f"{torch.get_num_threads()} threads",
        flush=True,
    )
    ways = {"ours": ours, "ordinary": ordinary}
    walls: dict[str, list[float]] = {name: [] for name in ways}
    processors: dict[str, list[float]] = {name: [] for name in ways}
    figures: dict[str, Figures] = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            figures[name], wall, processor = timed(lambda way=way: way(train, held_out, options.epochs))
            walls[name].append(wall)
            processors[name].append(processor)
            print(f"  {name} {wall:.2f} s", flush=True)
    for name in ways:
        loss, accuracy = figures[name]
        print(
            f"{name:9} wall {summary(walls[name])}, processor {summary(processors[name])}; "
            f"val_loss {loss:.4f}, val_acc {100 * accuracy:.1f} %"
        )
    ratios = [theirs / own for own, theirs in zip(walls["ours"], walls["ordinary"], strict=True)]
    print(f"ratio     median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
