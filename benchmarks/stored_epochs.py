"""A training epoch on stored features against the same epoch with `--no-store`, and the extraction it rests on.

    python benchmarks/stored_epochs.py [--photos ../shared/data/flowers] [--images 200] [--repeats 3]

Plain is what `--no-store` does: every batch's photos are decoded and go through the frozen prefix again, on all
cores. Both are trainings by the same loop from the same weights, in alternation and in one process, in the precision
that fine-tuning chooses on this machine; what they give is compared bit for bit. The first epoch of each training is
a warm-up and not counted. An epoch lasts from the end of the one before to its own end; nothing is validated, and
unless `--checkpoints` asks for it nothing is saved, which costs both ways the same and so moves ratios towards 1.
Stored features are in memory, as in a run; the extraction, once for each case, writes an empty store.
Exit code 1 when a median ratio is below its bar or weights differ.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from figures import describe_machine, median_and_range
from torch import Tensor, nn

from headstart.backbones import Backbone, Cut, load_backbone
from headstart.datasets import ImageDataset, load_dataset
from headstart.features import FeatureStore, extract_features
from headstart.heads import new_linear_head
from headstart.jobs.trainee import Trainee, make_trainee
from headstart.recipes import Recipe, load_recipe
from headstart.runtimes import load_runtime
from headstart.training import (
    ComputedSource,
    Examples,
    Photos,
    Source,
    StoredSource,
    Watch,
    choose_precision,
    train_network,
)

_FLOWERS = Path(__file__).resolve().parents[2] / "shared" / "data" / "flowers"
WAYS = ("stored", "plain")
# Behind a frozen prefix images are not varied from epoch to epoch.
_FINETUNE = replace(load_recipe("finetune"), augment="none", flip="no")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One part of a network that is trained behind a frozen prefix.

    Attributes:
        what: in words.
        backbone: name of the network.
        weights: which weights; they do not matter for the time.
        layer: trained from here on; None where only a linear head on the pooled features is.
        recipe: how, but for the number of epochs.
        bar: what the ratio is to be at least.
    """

    what: str
    backbone: str
    weights: str
    layer: str | None
    recipe: Recipe
    bar: float


CASES = {
    "last-layer": Case(
        what="lite0, last layer only",
        backbone="tf_efficientnet_lite0",
        weights="pretrained",
        layer=None,
        recipe=replace(load_recipe("probe"), optimizer="adam", batch_size=64),
        bar=1000,
    ),
    "lite0": Case(
        what="lite0 from blocks.6",
        backbone="tf_efficientnet_lite0",
        weights="pretrained",
        layer="blocks.6",
        recipe=_FINETUNE,
        bar=1.9,
    ),
    "resnet18": Case(
        what="resnet18 from layer4",
        backbone="torchvision/resnet18",
        weights="none",
        layer="layer4",
        recipe=_FINETUNE,
        bar=1.9,
    ),
    "alexnet": Case(
        what="AlexNet from its classifier",
        backbone="torchvision/alexnet",
        weights="none",
        layer="classifier",
        recipe=replace(_FINETUNE, optimizer="sgd", batch_size=64),
        bar=3,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one case gave.

    Attributes:
        extraction: seconds.
        precision: of the trainings.
        epochs: seconds of each counted epoch, by way and repeat.
        alike: whether all trainings gave the same weights.
    """

    extraction: float
    precision: str
    epochs: dict[str, list[list[float]]]
    alike: bool

    @property
    def ratios(self) -> list[float]:
        """Of each repeat: how many times longer the plain epoch takes."""
        stored, plain = (map(statistics.median, self.epochs[way]) for way in WAYS)
        return [theirs / ours for ours, theirs in zip(stored, plain, strict=True)]


def main() -> int:
    options = _options()
    print(describe_machine(), flush=True)
    images = _evenly(load_dataset(str(options.photos)), options.images)
    print(f"{len(images)} photos, evenly from all classes of {options.photos.name}", flush=True)
    found = {}
    for name in options.cases:
        found[name] = _measure(CASES[name], images, options)
    print(_table(found))
    good = [case.alike and statistics.median(case.ratios) >= CASES[name].bar for name, case in found.items()]
    return 0 if all(good) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=_FLOWERS, help="folder with one folder a class")
    parser.add_argument("--images", type=int, default=200, help="how many of them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="of each training; the first is not counted")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="save the complete state after each epoch, as fine-tuning does",
    )
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs: at least 2, as the first is not counted")
    return options


def _evenly(dataset: ImageDataset, n: int) -> ImageDataset:
    """At most n images, spread over the listing, which is in order of class."""
    return dataset.subset(np.linspace(0, len(dataset) - 1, min(n, len(dataset))).astype(np.int64))


def _measure(case: Case, images: ImageDataset, options: argparse.Namespace) -> Measured:
    """All repeats of one case."""
    backbone = load_backbone(case.backbone, weights=case.weights)
    start = _start(case, backbone)
    with tempfile.TemporaryDirectory() as folder:
        extraction = extract_features(images, backbone, layer=start.name, store=FeatureStore(folder))
        if extraction.extracted != len(images):
            raise SystemExit(
                f"{len(images)} photos, but {extraction.extracted} forward passes: some are alike or unreadable"
            )
        features = extraction.features.load()
    assert extraction.runtime is not None
    runtime = load_runtime(backbone.prefix(start), backbone.preprocess, name=extraction.runtime)
    sources: dict[str, Source] = {
        "stored": StoredSource(features),
        "plain": ComputedSource(
            Photos(files=images.files, names=images.names()), runtime, backbone.preprocess
        ),
    }
    labels = torch.from_numpy(images.labels().astype(np.int64))
    precision = _precision(case, backbone, Examples(source=sources["stored"], labels=labels))
    epochs: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    weights: list[dict[str, Tensor]] = []
    for repeat in range(options.repeats):
        for way in WAYS if repeat % 2 == 0 else reversed(WAYS):
            train = Examples(source=sources[way], labels=labels)
            seconds, trained = _train(case, backbone, train, precision, options)
            epochs[way].append(seconds)
            weights.append(trained)
        now = ", ".join(f"{way} {statistics.median(epochs[way][-1]):.4f} s" for way in WAYS)
        print(f"  {case.what}: {now} an epoch", flush=True)
    alike = all(_same(weights[0], other) for other in weights[1:])
    return Measured(extraction=extraction.seconds, precision=precision, epochs=epochs, alike=alike)


def _start(case: Case, backbone: Backbone) -> Cut:
    """Where the frozen prefix ends."""
    if case.layer is None:
        return backbone.cut("pooled")
    start = backbone.cut_before(case.layer)
    if start is None:
        raise SystemExit(f"nothing of {case.backbone} comes before {case.layer}")
    return start


def _precision(case: Case, backbone: Backbone, train: Examples) -> str:
    """What fine-tuning finds to be faster here; a head alone is trained in float32."""
    if case.layer is None:
        return "float32"
    trainee = _trainee(case, backbone.copy(), int(train.labels.max()) + 1)
    with train.source.session():
        return choose_precision(trainee.body, trainee.head, train, case.recipe, device="cpu")[0]


def _train(
    case: Case, backbone: Backbone, train: Examples, precision: str, options: argparse.Namespace
) -> tuple[list[float], dict[str, Tensor]]:
    """Train a fresh copy; the seconds of each epoch but the first, and the weights that came out."""
    recipe = replace(case.recipe, epochs=options.epochs)
    trainee = _trainee(case, backbone.copy(), int(train.labels.max()) + 1)
    ends: list[float] = []
    with (
        tempfile.TemporaryDirectory() if options.checkpoints else nullcontext() as folder,
        train.source.session(),
    ):
        watch = Watch(
            checkpoint=None if folder is None else Path(folder) / "checkpoint.safetensors",
            epoch=lambda history, epochs: ends.append(time.perf_counter()),
        )
        train_network(trainee.body, trainee.head, train, recipe, precision=precision, watch=watch)
    model = nn.Sequential(trainee.body, trainee.head)
    return [late - early for early, late in pairwise(ends)], model.state_dict()


def _trainee(case: Case, backbone: Backbone, classes: int) -> Trainee:
    """What is trained: a head alone, or the network from the layer on with its own classifier made anew."""
    start = _start(case, backbone)
    if case.layer is None:
        head: nn.Module = new_linear_head(start.shape[0], classes, seed=0)
        return make_trainee(backbone, start=start, end=start, head=head)
    end = backbone.cut("last")
    head = backbone.native_head(classes, seed=0)
    return make_trainee(backbone, start=start, end=end, head=head)


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether all weights are the same bits."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _table(found: dict[str, Measured]) -> str:
    """In Markdown: medians with ranges over all counted epochs, and ratios over the repeats."""
    lines = [
        "| trained | precision | extraction | stored, s an epoch | plain, s an epoch | ratio | bar | same weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in found.items():
        stored, plain = ([second for one in case.epochs[way] for second in one] for way in WAYS)
        cells = (
            CASES[name].what,
            case.precision,
            f"{case.extraction:.1f} s",
            median_and_range(stored, _digits(stored)),
            median_and_range(plain),
            median_and_range(case.ratios, ",.0f" if CASES[name].bar > 100 else ".2f"),
            f"{CASES[name].bar:,g}",
            "yes" if case.alike else "NO",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _digits(values: Sequence[float]) -> str:
    """Fewer than a hundredth of a second need more places."""
    return ".4f" if statistics.median(values) < 0.1 else ".2f"


if __name__ == "__main__":
    raise SystemExit(main())
