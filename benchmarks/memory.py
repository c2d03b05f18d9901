"""Peak memory of an extraction at 2,000 and at 20,000 images: it does not grow with their number.

    python benchmarks/memory.py                        # small JPEGs, a tiny network: a few minutes
    python benchmarks/memory.py --backbone tf_efficientnet_lite0 --counts 500 2000

Each count is measured in a fresh process, on JPEGs drawn into a temporary folder. What is printed is how far
the peak of the resident set rises above its size just before the extraction. Exit code 1 when the last growth
exceeds the first by more than 32 MB: bookkeeping is some hundred bytes an image, one image's pixels and
features are some hundred thousand.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from headstart.backbones import Backbone

_ALLOWED_MB = 32.0
_TINY = "tiny"


def main() -> int:
    options = _options()
    if options.measure is not None:
        print(json.dumps(_measure(options.measure, options.backbone)))
        return 0
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.backbone}")
    growths = []
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            _draw(Path(folder), count)
            growths.append(_measure_apart(Path(folder), options.backbone))
        print(f"{count:>7} images: peak {growths[-1]:.1f} MB above the start", flush=True)
    return 0 if growths[-1] - growths[0] <= _ALLOWED_MB else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--backbone", default=_TINY, help=f"a backbone's name, or {_TINY!r}")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _draw(folder: Path, count: int) -> None:
    """`count` different JPEGs of 64 x 48 pixels."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 48)).save(folder / f"{i:06}.jpg")


def _measure_apart(folder: Path, backbone: str) -> float:
    arguments = ["--measure", str(folder), "--backbone", backbone]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _measure(folder: Path, name: str) -> float:
    """Growth of the peak resident set over the extraction of a folder, in MB."""
    from headstart.backbones import load_backbone
    from headstart.features import FeatureStore, extract_features

    backbone = _tiny() if name == _TINY else load_backbone(name)
    paths = sorted(folder.iterdir())
    with tempfile.TemporaryDirectory() as store:
        # Warm: what the first forward pass sets up once is no growth.
        extract_features(paths[:64], backbone, store=FeatureStore(Path(store) / "warm"))
        before = _resident("VmRSS")
        got = extract_features(paths, backbone, store=FeatureStore(Path(store) / "own"))
    if got.extracted != len(paths):
        raise SystemExit(f"{got.extracted} forward passes for {len(paths)} images")
    return _resident("VmHWM") - before


def _tiny() -> "Backbone":
    """A network of 0.1 M weights at 32 pixels, so that 20,000 images take a minute."""
    from headstart.backbones import Backbone, BackboneCard, build_network
    from headstart.images import Preprocess

    card = BackboneCard(
        name=_TINY,
        source="bundled",
        architecture="test_efficientnet",
        arguments={"num_classes": 10},
        preprocess=Preprocess(size=32, resize=36, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3),
        licence="Apache-2.0",
        parameters=101_766,
        weights_sha256="",
        weights_here=True,
        get_weights="",
        aliases={"pooled": "global_pool.flatten"},
        summary="random weights",
    )
    return Backbone(card=card, network=build_network(card), weights="none", weights_sha256=_TINY)


def _resident(kind: str) -> float:
    """MB of this process now (VmRSS) or at most so far (VmHWM); `ru_maxrss` would hold the parent's peak too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{kind}:"))


if __name__ == "__main__":
    raise SystemExit(main())
