"""What this machine can do at most, and what share of it a network's forward pass and an extraction reach.

    python benchmarks/limits.py [--photos ../shared/data/flowers] [--backbones tf_efficientnet_lite0]

Measured on the spot, with all cores:

- multiplications: products of square matrices by torch.mm in float32, and in bfloat16 where the processor has it;
- memory: a copy and STREAM's triad (McCalpin 1995) of arrays far larger than the caches, bytes read and written.

A network's work is counted by torch's FlopCounterMode (a multiply-add is two operations), its least traffic as every
layer's input read once and its output written once in float32, activations that stay in a cache not taken out. So what
is reached is a share of the multiplications' peak, and a share of the memory's rate that is above 1 where the caches
help. Forward passes run on prepared pixels, extractions on photos with an empty store, in this process. Whatever else
the machine does meanwhile counts against it: the load is printed. --seconds is how long each figure is measured.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from figures import describe_machine, median_and_range

_MATRIX, _ELEMENTS = 2048, 2**25
_IMAGES = 32  # given to each core at a time


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The most that was measured, in operations or bytes a second."""

    gemm: dict[str, float]
    copy: float
    triad: float

    @property
    def memory(self) -> float:
        """Bytes a second."""
        return max(self.copy, self.triad)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one image costs a network."""

    flops: float
    bytes: float


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A path's rate, and its shares of what the machine can do at most."""

    backbone: str
    path: str
    images_per_second: float
    of_gemm: float
    of_memory: float


def main() -> None:
    options = _options()
    print(describe_machine(), flush=True)
    peak = measure_peak(options.seconds)
    reached: list[Reached] = []
    for name in options.backbones:
        reached += _measure_network(name, peak, options)
    print("\n" + _table(reached))
    if options.out is not None:
        record = {"peak": asdict(peak), "reached": [asdict(each) for each in reached]}
        options.out.write_text(json.dumps(record, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["tf_efficientnet_lite0", "torchvision/resnet50"])
    parser.add_argument("--photos", type=Path, help="folder with train/CLASS/*, for extractions end to end")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    options = parser.parse_args()
    if options.photos is not None and not (options.photos / "train").is_dir():
        parser.error(f"--photos: {options.photos} holds no folder train")
    return options


def measure_peak(seconds: float) -> Peak:
    """The machine's rates, printed as they come."""
    from headstart.runtimes import has_bf16

    kinds = {"float32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16("cpu") else {})
    gemm = {}
    for name, dtype in kinds.items():
        rates = _rates(_multiplication(dtype), 2 * _MATRIX**3, seconds)
        gemm[name] = max(rates)
        print(
            f"{name} products of {_MATRIX} x {_MATRIX}: {median_and_range([r / 1e9 for r in rates], '.0f')} GFLOP/s, "
            f"load {os.getloadavg()[0]:.2f}",
            flush=True,
        )
    a, b, c = (torch.ones(_ELEMENTS) for _ in range(3))
    moved = 4 * _ELEMENTS
    traffic = {
        "copy": _rates(lambda: c.copy_(a), 2 * moved, seconds),
        "triad": _rates(lambda: torch.add(a, b, alpha=3.0, out=c), 3 * moved, seconds),
    }
    for name, rates in traffic.items():
        print(f"{name}: {median_and_range([rate / 1e9 for rate in rates], '.1f')} GB/s", flush=True)
    return Peak(gemm=gemm, copy=max(traffic["copy"]), triad=max(traffic["triad"]))


def _multiplication(dtype: torch.dtype) -> Callable[[], object]:
    a, b = (torch.randn(_MATRIX, _MATRIX).to(dtype) for _ in range(2))
    out = torch.empty(_MATRIX, _MATRIX, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


def _rates(function: Callable[[], object], amount: float, seconds: float) -> list[float]:
    """`amount` a call over its time, of all calls within the time but the first; at least three."""
    function()
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while len(rates) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        rates.append(amount / (time.perf_counter() - start))
    return rates


def count_work(network: torch.nn.Module, size: int) -> Work:
    """Operations, and bytes of the layers' inputs and outputs, of one image."""
    from torch.utils.flop_counter import FlopCounterMode

    traffic = 0

    def count(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal traffic
        traffic += sum(4 * x.numel() for x in (*inputs, output) if isinstance(x, torch.Tensor))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return Work(flops=counter.get_total_flops(), bytes=traffic)


def _measure_network(name: str, peak: Peak, options: argparse.Namespace) -> list[Reached]:
    """All paths of one network, printed as they come."""
    from headstart import load_backbone

    weights = "pretrained" if name == "tf_efficientnet_lite0" else "none"
    backbone = load_backbone(name, weights=weights)
    work = count_work(backbone.network, backbone.preprocess.size)
    print(
        f"{name}: {work.flops / 1e9:.2f} GFLOP an image, {work.bytes / 1e6:.0f} MB of layers' inputs and outputs",
        flush=True,
    )
    paths = _plain_paths(backbone, options.seconds) | _runtime_paths(backbone, options.seconds)
    if options.photos is not None:
        paths |= _extractions(backbone, options.photos / "train")
    reached = []
    for path, (rate, dtype) in paths.items():
        gemm = peak.gemm.get(dtype, peak.gemm["float32"])
        one = Reached(
            backbone=name,
            path=path,
            images_per_second=rate,
            of_gemm=rate * work.flops / gemm,
            of_memory=rate * work.bytes / peak.memory,
        )
        reached.append(one)
    return reached


Paths = dict[str, tuple[float, str]]
"""Images a second and the precision, by what a path is called."""


def _plain_paths(backbone: Any, seconds: float) -> Paths:
    """The network itself in eager mode, in batches of 32 on all cores."""
    size, paths = backbone.preprocess.size, {}
    for name, layout in (("eager", torch.contiguous_format), ("eager, channels_last", torch.channels_last)):
        network = backbone.network.eval().to(memory_format=layout)
        batch = torch.randn(_IMAGES, 3, size, size).contiguous(memory_format=layout)
        with torch.inference_mode():
            rate = _report(name, _rates(lambda: network(batch), _IMAGES, seconds))  # noqa: B023 - called at once
        paths[name] = (rate, "float32")
    backbone.network.to(memory_format=torch.contiguous_format)
    return paths


def _runtime_paths(backbone: Any, seconds: float) -> Paths:
    """The runtimes of headstart, a batch on each core at a time."""
    from headstart.features.stream import in_batches, worker_threads
    from headstart.runtimes import load_runtime, runtimes_for
    from headstart.threads import usable_cores

    size, paths = backbone.preprocess.size, {}
    prefix = backbone.prefix(backbone.cut("pooled"))
    images = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(_IMAGES)]
    for name in runtimes_for("cpu", "fast"):
        runtime = load_runtime(prefix, backbone.preprocess, name=name)
        cores = usable_cores()
        with worker_threads(cores, runtime) as pool:

            def forward() -> None:
                batches = [batch for _ in range(cores) for batch in in_batches(images, runtime.batch_size)]  # noqa: B023
                list(pool.map(runtime.run, batches))  # noqa: B023 - called at once

            rate = _report(str(name), _rates(forward, cores * _IMAGES, seconds))
        paths[f"headstart's {name}"] = (rate, name.dtype)
    return paths


def _extractions(backbone: Any, folder: Path) -> Paths:
    """From the list of files to stored features; what chooses a runtime is counted."""
    from headstart import FeatureStore, extract_features

    files = sorted(str(file) for file in folder.glob("*/*"))
    paths: Paths = {}
    for precision in ("exact", "fast"):
        with tempfile.TemporaryDirectory() as store:
            start = time.perf_counter()
            got = extract_features(files, backbone, store=FeatureStore(store), precision=precision)
            rate = got.extracted / (time.perf_counter() - start)
        dtype = got.runtime.dtype if got.runtime is not None else "float32"
        name = f"extraction, --precision {precision} ({got.runtime})"
        paths[name] = (_report(name, [rate]), dtype)
    return paths


def _report(name: str, rates: list[float]) -> float:
    """The median, printed with its range."""
    print(f"  {name}: {median_and_range(rates, '.1f')} images/s, load {os.getloadavg()[0]:.2f}", flush=True)
    return sorted(rates)[len(rates) // 2]


def _table(reached: list[Reached]) -> str:
    lines = ["| network | path | images/s | share of the products' peak | share of the memory's rate |"]
    lines += ["|---|---|---:|---:|---:|"]
    for each in reached:
        lines.append(
            f"| {each.backbone} | {each.path} | {each.images_per_second:.1f} | {each.of_gemm:.0%} "
            f"| {each.of_memory:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
