"""Fifty epochs of a softmax layer on stored features, against two other loops, in alternation.

    python benchmarks/epoch_probe.py [--images 4300] [--width 2048] [--classes 43] [--batch_size 256]
                                     [--repeats 5] [--epochs 50] [--threads 1]

The ordinary loop is `nn.Linear`, autograd, `torch.optim.Adam` and a shuffling `DataLoader` of a `TensorDataset`, which
fetches one image after the other. The bare loop differs from it in indexing the tensors, and is what autograd costs at
least. All judge the validation features, a quarter as many, after every epoch. Wall and processor time
are given: on a machine that does other work too only the second can be compared between days.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from headstart.heads import new_linear_head
from headstart.recipes import load_recipe
from headstart.training import Examples, StoredSource, train_network

Figures = tuple[float, float]
"""Loss and accuracy on validation after the last epoch."""


@dataclass(frozen=True)
class Task:
    """Features with their labels, and how to train on them."""

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    classes: int
    batch_size: int
    epochs: int


def features(n: int, width: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features (n, width) of overlapping clusters after a ReLU, with labels (n,)."""
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(n) % classes
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    return (0.1 * centres[labels] + 0.5 * torch.randn(n, width, generator=generator)).relu(), labels


def ours(task: Task) -> Figures:
    train, held_out = (
        Examples(source=StoredSource(x.numpy()), labels=y) for x, y in (task.train, task.held_out)
    )
    recipe = replace(load_recipe("probe"), epochs=task.epochs, batch_size=task.batch_size, keep="last")
    head = new_linear_head(task.train[0].shape[1], task.classes, seed=0)
    *_, last = train_network(nn.Identity(), head, train, recipe, validation=held_out).history
    return last.validation_loss, last.validation_accuracy


def ordinary(task: Task) -> Figures:
    batches = DataLoader(TensorDataset(*task.train), batch_size=task.batch_size, shuffle=True)
    return loop(task, lambda: batches)


def bare(task: Task) -> Figures:
    x, y = task.train

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(len(y)).split(task.batch_size):
            yield x[rows], y[rows]

    return loop(task, batches)


def loop(task: Task, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> Figures:
    layer = nn.Linear(task.train[0].shape[1], task.classes)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    adam = torch.optim.Adam(layer.parameters(), lr=1e-3)
    x_val, y_val = task.held_out
    loss, accuracy = float("nan"), float("nan")
    for _ in range(task.epochs):
        running, right = 0.0, 0
        for x, y in batches():
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
    parser.add_argument("--images", type=int, default=4300)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=43)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--threads", type=int, help="of all; by default torch's own number")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = options.width, options.classes
    task = Task(
        train=features(options.images, *sizes, seed=0),
        held_out=features(options.images // 4, *sizes, seed=1),
        classes=options.classes,
        batch_size=options.batch_size,
        epochs=options.epochs,
    )
    print(
        f"{options.images:,} x {options.width:,} features, {options.classes} classes, {options.epochs} epochs, "
        f"batches of {options.batch_size}, {torch.get_num_threads()} threads",
        flush=True,
    )
    ways = {"ours": ours, "ordinary": ordinary, "bare": bare}
    walls: dict[str, list[float]] = {name: [] for name in ways}
    processors: dict[str, list[float]] = {name: [] for name in ways}
    figures: dict[str, Figures] = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            figures[name], wall, processor = timed(lambda way=way: way(task))
            walls[name].append(wall)
            processors[name].append(processor)
            print(f"  {name} {wall:.2f} s", flush=True)
    for name in ways:
        loss, accuracy = figures[name]
        print(
            f"{name:9} wall {summary(walls[name])}, processor {summary(processors[name])}; "
            f"val_loss {loss:.4f}, val_acc {100 * accuracy:.1f} %"
        )
    for name in ("ordinary", "bare"):
        ratios = [theirs / own for own, theirs in zip(processors["ours"], processors[name], strict=True)]
        print(
            f"{name:9} takes {statistics.median(ratios):.1f} times the processor time of ours "
            f"({min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
