"""The linear head's path of L2 strengths against scikit-learn's lbfgs, one strength after the other.

    python benchmarks/linear_path.py [--repeats 3] [--shape 5000x2048] [--classes 37] [--strengths 45]
    python benchmarks/linear_path.py --large     # 1,000,000 x 1,280 in float16: seconds and memory, without a peer

Both fit the same strengths on the same features, in alternation. Scikit-learn gets its best case: each strength starts
from the last one's solution, in float32 where that suffices, with the loosest tolerance of a ladder that brings
the objective to within 1e-4 (relative) of the optimum; looking for it is not timed. Gaps are measured in float64
against a lower bound on the optimum, the dual objective, so they can only be overestimated.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from headstart.heads import LinearPath, default_strengths, fit_linear_path

GAP = 1e-4
Head = tuple[Tensor, Tensor]  # weights (K, D) and bias (K,), float64, on the scaled values
T = TypeVar("T")


def pooled_features(n: int, width: int, classes: int, rank: int = 64) -> tuple[Tensor, Tensor]:
    """Features (n, width) like a network's pooled ones: correlated, after a ReLU, of uneven scale."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    latent = torch.randn(classes, rank, generator=generator)[labels]
    latent += 1.2 * torch.randn(n, rank, generator=generator)
    values = latent @ torch.randn(rank, width, generator=generator) / rank**0.5
    values += 0.5 * torch.randn(n, width, generator=generator) - 0.7
    return values.relu_() * torch.randn(width, generator=generator).mul(0.5).exp(), labels


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Objectives in float64, on the scaled features."""

    values: Tensor
    labels: Tensor

    def lower_bound(self, weights: Tensor, bias: Tensor, strength: float) -> float:
        """A lower bound on the optimum: the dual objective of the residuals, with the best intercepts for the weights.

        With the gradient's intercept part at 0, the residuals are a feasible point of the dual, and its objective
        lies |gradient|^2 / (2 strength) below the primal one.
        """
        logits, shift = self.values @ weights.T, bias.clone()
        target = torch.nn.functional.one_hot(self.labels, len(bias)).double()
        for _ in range(20):
            p = (logits + shift).softmax(1)
            hessian = torch.diag(p.mean(0)) - p.T @ p / len(p)
            shift -= torch.linalg.pinv(hessian, hermitian=True) @ (p - target).mean(0)
        residuals = ((logits + shift).softmax(1) - target) / len(target)
        gradient = residuals.T @ self.values + strength * weights
        return self.objective(weights, shift, strength) - float(gradient.square().sum()) / (2 * strength)

    def objective(self, weights: Tensor, bias: Tensor, strength: float) -> float:
        """The mean cross-entropy with its penalty."""
        loss = torch.nn.functional.cross_entropy(self.values @ weights.T + bias, self.labels)
        return float(loss + strength / 2 * weights.square().sum())


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Scikit-learn's way to one strength: the precision of its values and its tolerance."""

    dtype: str
    tolerance: float


# float32 first, as it is faster; where it stalls above the gap, float64.
LADDER = tuple(
    Peer(dtype=dtype, tolerance=tolerance)
    for dtype in ("float32", "float64")
    for tolerance in (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 1e-8, 1e-9, 1e-10)
)


def fit_sklearn(
    values: dict[str, np.ndarray], labels: np.ndarray, strength: float, peer: Peer, start: Head | None
) -> Head:
    """One strength, from the last one's solution."""
    model = LogisticRegression(
        C=1 / (len(labels) * strength), tol=peer.tolerance, max_iter=20_000, warm_start=True
    )
    if start is not None:
        model.coef_, model.intercept_ = (part.numpy().astype(peer.dtype) for part in start)
    model.fit(values[peer.dtype], labels)
    return torch.from_numpy(model.coef_).double(), torch.from_numpy(model.intercept_).double()


def find_peers(
    values: dict[str, np.ndarray], judge: Judge, strengths: list[float], optima: list[float]
) -> list[Peer]:
    """For each strength the first rung that reaches the gap; weaker strengths never go back to a looser one."""
    peers, rung, head = [], 0, None
    for strength, optimum in zip(strengths, optima, strict=True):
        for index in range(rung, len(LADDER)):
            tried = fit_sklearn(values, judge.labels.numpy(), strength, LADDER[index], head)
            rung = index
            if judge.objective(*tried, strength) <= optimum * (1 + GAP):
                break
        head = tried
        peers.append(LADDER[rung])
    return peers


def fit_peers(
    values: dict[str, np.ndarray], labels: np.ndarray, strengths: list[float], peers: list[Peer]
) -> list[Head]:
    """Scikit-learn's heads of all strengths, one after the other."""
    heads: list[Head] = []
    for strength, peer in zip(strengths, peers, strict=True):
        heads.append(fit_sklearn(values, labels, strength, peer, heads[-1] if heads else None))
    return heads


def ours_on_scaled(path: LinearPath, mean: float, scale: float) -> list[Head]:
    """Our heads as they act on the scaled values."""
    weights, biases = path.weights.double(), path.biases.double()
    return list(zip(weights * scale, biases + mean * weights.sum(2), strict=True))


def memory_growth(features: Tensor, labels: Tensor) -> float:
    """Megabytes by which the peak of a fresh process grows while it fits the path, imports and features not counted."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", features=features.numpy(), labels=labels.numpy())
        command = [sys.executable, __file__, "--measure-memory", str(Path(folder) / "data.npz")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def measure_memory(file: Path) -> None:
    with np.load(file) as data:
        features, labels = torch.from_numpy(data["features"]), torch.from_numpy(data["labels"])
    before = resident("VmRSS")
    fit_linear_path(features, labels, n_classes=int(labels.max()) + 1)
    print(resident("VmHWM") - before)


def fit_large(n: int, width: int, classes: int, strengths: Tensor) -> None:
    """The path on features that fill half the memory of a laptop, made in place: what the process takes at most."""
    generator = torch.Generator().manual_seed(0)
    labels, mixing = torch.arange(n) % classes, torch.randn(64, width, generator=generator) / 8
    centres = torch.randn(classes, 64, generator=generator)
    features = torch.empty(n, width, dtype=torch.float16)
    for start in range(0, n, 10_000):
        rows = slice(start, start + 10_000)
        latent = centres[labels[rows]] + 1.2 * torch.randn(len(labels[rows]), 64, generator=generator)
        features[rows] = (
            (latent @ mixing + 0.5 * torch.randn(len(latent), width, generator=generator)).relu_().half()
        )
    begun = resident("VmRSS")
    path, seconds = timed(lambda: fit_linear_path(features, labels, n_classes=classes, strengths=strengths))
    print(
        f"{seconds:.0f} s, {int(path.iterations.sum())} iterations, largest gap {float(path.gaps.max()):.1e}"
    )
    print(f"{begun / 1024:.2f} GB before the fit, {resident('VmHWM') / 1024:.2f} GB at most")


def resident(kind: str) -> float:
    """Megabytes of this process now (VmRSS) or at most so far (VmHWM); `ru_maxrss` would hold the parent's peak too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{kind}:"))


def summary(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def timed(function: Callable[[], T]) -> tuple[T, float]:
    begin = time.perf_counter()
    result = function()
    return result, time.perf_counter() - begin


def worst_gap(judge: Judge, heads: list[Head], strengths: list[float], optima: list[float]) -> float:
    """The largest (objective - optimum) / optimum over the strengths."""
    objectives = [judge.objective(*head, strength) for head, strength in zip(heads, strengths, strict=True)]
    return max(objective / optimum - 1 for objective, optimum in zip(objectives, optima, strict=True))


def compare(features: Tensor, labels: Tensor, grid: Tensor, repeats: int) -> None:
    classes, strengths = int(labels.max()) + 1, grid.tolist()
    mean, scale = float(features.double().mean()), float(features.double().std(unbiased=False))
    scaled = (features.double() - mean) / scale
    judge = Judge(values=scaled, labels=labels)
    values = {"float32": scaled.float().numpy(), "float64": scaled.numpy()}

    exact = ours_on_scaled(
        fit_linear_path(features, labels, n_classes=classes, strengths=grid, tolerance=1e-6), mean, scale
    )
    optima = [judge.lower_bound(*head, strength) for head, strength in zip(exact, strengths, strict=True)]
    peers = find_peers(values, judge, strengths, optima)
    print(f"scikit-learn needs float64 for {sum(p.dtype == 'float64' for p in peers)} strengths", flush=True)
    ours, theirs = [], []
    for _ in range(repeats):
        path, seconds = timed(lambda: fit_linear_path(features, labels, n_classes=classes, strengths=grid))
        ours.append(seconds)
        heads, seconds = timed(lambda: fit_peers(values, labels.numpy(), strengths, peers))
        theirs.append(seconds)
        print(f"  ours {ours[-1]:.2f} s, scikit-learn {theirs[-1]:.2f} s", flush=True)

    our_gap = worst_gap(judge, ours_on_scaled(path, mean, scale), strengths, optima)
    their_gap = worst_gap(judge, heads, strengths, optima)
    print(
        f"ours          {summary(ours)}; largest gap {our_gap:.1e}; {int(path.iterations.sum())} iterations"
    )
    print(f"scikit-learn  {summary(theirs)}; largest gap {their_gap:.1e}")
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    print(f"ratio         median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shape", default="5000x2048", help="images x features")
    parser.add_argument("--classes", type=int, default=37)
    parser.add_argument("--strengths", type=int, default=45)
    parser.add_argument("--large", action="store_true", help="1,000,000 x 1,280 in float16, ours alone")
    parser.add_argument("--measure-memory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_memory:
        measure_memory(options.measure_memory)
        return
    grid = default_strengths(options.strengths)
    if options.large:
        fit_large(1_000_000, 1280, options.classes, grid)
        return
    warnings.simplefilter("ignore", ConvergenceWarning)
    n, width = map(int, options.shape.split("x"))
    features, labels = pooled_features(n, width, options.classes)
    print(
        f"{n} x {width} features, {options.classes} classes, {len(grid)} strengths, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    growth, size = memory_growth(features, labels), features.nbytes / 2**20
    print(f"memory        peak grows by {growth:.0f} MB over features of {size:.0f} MB", flush=True)
    compare(features, labels, grid, options.repeats)


if __name__ == "__main__":
    main()
