"""The path of a linear head: 45 strengths, each judged on validation, by headstart and by scikit-learn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from comparing.bench import Bench, Sides
from comparing.rows import Row

_STRENGTHS = 45
_DEFAULT_TOLERANCE, _MOST_ITERATIONS = (
    1e-4,
    1000,
)  # scikit-learn's own tolerance; its 100 iterations are too few
OURS = "headstart"
ORDINARY, TUNED = "scikit-learn, one after the other", "scikit-learn, at the same gap"


def compare_heads(bench: Bench) -> None:
    """5,000 x 2,048 features of 37 classes (1,000 x 512 with --per-class): as it is used, and at its best.

    As it is used: float64, each strength from zeros, to the default tolerance. At its best: each from the last one's
    solution, in float32 where that suffices, to the loosest tolerance that comes within 1e-4 of the optimum, which is
    looked for before and not timed.
    """
    n, width = (5000, 2048) if bench.options.per_class is None else (1000, 512)
    case = f"{n} x {width}, 37 classes, {_STRENGTHS} strengths"
    task = _Task(bench.work, n, width)
    job = {"data": str(task.data), "heads": str(bench.work / "heads.npz"), "steps": task.usual_steps()}
    tuned = job | {"steps": task.tuned_steps(), "warm": True}
    sides: Sides = {
        (OURS,): _side(bench, task, case, OURS, job | {"task": "path"}),
        (TUNED,): _side(bench, task, case, TUNED, tuned),
        (ORDINARY,): _side(bench, task, case, ORDINARY, job | {"warm": False}),
    }
    bench.alternate("heads", case, sides)


def _side(
    bench: Bench, task: "_Task", case: str, name: str, job: dict[str, Any]
) -> Callable[[int], list[Row]]:
    def side(repeat: int) -> list[Row]:
        done = bench.headstart(job) if "task" in job else bench.peer("sklearn_path", job)
        return [
            Row(
                comparison="heads",
                case=case,
                side=name,
                repeat=repeat,
                seconds=done.answer["seconds"],
                accuracy=done.answer["accuracy"],
                load=done.load,
                details={"worst_gap": task.worst_gap(Path(job["heads"]))},
                versions=done.answer["versions"],
            )
        ]

    return side


class _Task:
    """Features drawn like a network's pooled ones, with their optimum at each strength, kept between runs.

    Args:
        folder: where they are kept.
        n: training rows; a quarter as many validate.
        width: of the features.
    """

    def __init__(self, folder: Path, n: int, width: int) -> None:
        import torch
        from linear_path import Judge, pooled_features

        from headstart.heads import default_strengths

        self.data = folder / f"heads-{n}x{width}.npz"
        self._known = folder / f"heads-{n}x{width}.json"
        self._strengths: list[float] = default_strengths(_STRENGTHS).tolist()
        features, labels = pooled_features(n + n // 4, width, 37)
        train = features[:n].double()
        scaled = (features.double() - train.mean()) / train.std(unbiased=False)
        if not self.data.exists():
            parts = {"values": scaled[:n], "labels": labels[:n], "held_out": scaled[n:], "true": labels[n:]}
            np.savez(self.data, **{name: part.numpy() for name, part in parts.items()})
        self._judge = Judge(values=scaled[:n].contiguous(), labels=labels[:n])
        self._torch = torch
        self._optima, self._steps = self._best()

    def usual_steps(self) -> list[dict[str, Any]]:
        """Each strength as it is usually fitted."""
        usual = {
            "dtype": "float64",
            "tolerance": _DEFAULT_TOLERANCE,
            "most_iterations": _MOST_ITERATIONS,
        }
        return [{"strength": strength, **usual} for strength in self._strengths]

    def tuned_steps(self) -> list[dict[str, Any]]:
        """Each strength in the cheapest way that comes near enough to the optimum."""
        return self._steps

    def worst_gap(self, heads: Path) -> float:
        """The largest (objective - optimum) / optimum over the strengths."""
        from linear_path import worst_gap

        with np.load(heads) as file:
            weights, biases = (self._torch.from_numpy(file[name]) for name in ("weights", "biases"))
        return worst_gap(self._judge, list(zip(weights, biases, strict=True)), self._strengths, self._optima)

    def _best(self) -> tuple[list[float], list[dict[str, Any]]]:
        """Lower bounds on the optima, and scikit-learn's cheapest steps to within the gap."""
        if not self._known.exists():
            print("heads: looking for scikit-learn's best tolerances, once", flush=True)
            self._known.write_text(json.dumps(self._search()))
        known = json.loads(self._known.read_text())
        return known["optima"], known["steps"]

    def _search(self) -> dict[str, Any]:
        from linear_path import find_peers

        from headstart.heads import fit_linear_path

        values, labels = self._judge.values, self._judge.labels
        strengths = self._torch.tensor(self._strengths, dtype=self._torch.float64)
        fitted = fit_linear_path(values.float(), labels, n_classes=37, strengths=strengths, tolerance=1e-6)
        optima = [
            self._judge.lower_bound(weights.double(), bias.double(), strength)
            for weights, bias, strength in zip(fitted.weights, fitted.biases, self._strengths, strict=True)
        ]
        forms = {"float32": values.float().numpy(), "float64": values.numpy()}
        peers = find_peers(forms, self._judge, self._strengths, optima)
        steps = [
            {
                "strength": strength,
                "dtype": peer.dtype,
                "tolerance": peer.tolerance,
                "most_iterations": 20_000,
            }
            for strength, peer in zip(self._strengths, peers, strict=True)
        ]
        return {"optima": optima, "steps": steps}
