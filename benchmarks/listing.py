"""Time and memory of listing 100,000 images, in each kind of data set.

    python benchmarks/listing.py                       # a few minutes, 2 GB of temporary disk
    python benchmarks/listing.py --images 10000 --runs 3 --kinds folder zip

The images are synthetic: 600 bytes that begin as a JPEG, in ten classes. Each listing runs in a fresh process, and
its memory is how far the peak of the resident set rises above its size once `headstart.datasets` is imported. Printed
are the median and range of the runs. Exit code 1 where a median is over 10 s or 300 MB at 100,000 images.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_CLASSES = 10
_BYTES = 600
_ALLOWED_SECONDS, _ALLOWED_MB = 10.0, 300.0


def main() -> int:
    options = _options()
    if options.measure is not None:
        print(json.dumps(_measure(options.measure)))
        return 0
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}"
    )
    print(f"{options.images:,} images, {options.runs} runs each; load {os.getloadavg()[0]:.2f}\n")
    print(f"{'kind':<15} {'seconds':>22} {'MB above baseline':>26}")
    sound = True
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            place = _KINDS[kind](Path(folder), options.images)
            runs = [_measure_apart(place, options.images) for _ in range(options.runs)]
        seconds, megabytes = zip(*runs, strict=True)
        print(f"{kind:<15} {_spread(seconds, 2):>22} {_spread(megabytes, 0):>26}", flush=True)
        sound &= (
            statistics.median(seconds) <= _ALLOWED_SECONDS and statistics.median(megabytes) <= _ALLOWED_MB
        )
    return 0 if sound or options.images > 100_000 else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=list(_KINDS), default=list(_KINDS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _spread(values: tuple[float, ...], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _images(count: int) -> Iterator[tuple[str, bytes]]:
    """Names CLASS/NNNNNN.jpg and contents, in the order of the names."""
    rng = np.random.default_rng(0)
    per_class = -(-count // _CLASSES)
    for i in range(count):
        yield f"class{i // per_class}/{i:06}.jpg", b"\xff\xd8\xff\xe0" + rng.bytes(_BYTES - 4)


def _make_folder(root: Path, count: int) -> Path:
    for label in range(_CLASSES):
        (root / f"class{label}").mkdir()
    for name, data in _images(count):
        (root / name).write_bytes(data)
    return root


def _make_csv(root: Path, count: int) -> Path:
    names = [name for name, _ in _images(count)]
    (root / "class0").mkdir()
    (root / names[0]).write_bytes(b"")  # a table of which no file exists is refused
    lines = "".join(f"{name},{name.partition('/')[0]}\n" for name in names)
    (root / "table.csv").write_text(f"path,label\n{lines}")
    return root / "table.csv"


def _make_parquet_paths(root: Path, count: int) -> Path:
    names = [name for name, _ in _images(count)]
    (root / "class0").mkdir()
    (root / names[0]).write_bytes(b"")
    labels = [name.partition("/")[0] for name in names]
    pq.write_table(pa.table({"path": names, "label": labels}), root / "table.parquet")
    return root / "table.parquet"


def _make_parquet_bytes(root: Path, count: int) -> Path:
    names, contents = zip(*_images(count), strict=True)
    images = [{"bytes": data, "path": name} for name, data in zip(names, contents, strict=True)]
    labels = [name.partition("/")[0] for name in names]
    pq.write_table(pa.table({"image": images, "label": labels}), root / "table.parquet", row_group_size=1000)
    return root / "table.parquet"


def _make_zip(root: Path, count: int) -> Path:
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        for name, data in _images(count):
            archive.writestr(name, data)
    return root / "photos.zip"


def _make_tar(root: Path, count: int) -> Path:
    with tarfile.open(root / "photos.tar", "w") as archive:
        for name, data in _images(count):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, BytesIO(data))
    return root / "photos.tar"


_KINDS: dict[str, Callable[[Path, int], Path]] = {
    "parquet-bytes": _make_parquet_bytes,
    "parquet-paths": _make_parquet_paths,
    "csv": _make_csv,
    "folder": _make_folder,
    "zip": _make_zip,
    "tar": _make_tar,
}


def _measure_apart(place: Path, count: int) -> tuple[float, float]:
    arguments = [sys.executable, __file__, "--measure", str(place)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    if result["images"] != count:
        raise SystemExit(f"{result['images']} images listed instead of {count}")
    return result["seconds"], result["megabytes"]


def _measure(place: str) -> dict[str, float]:
    from headstart.datasets import load_dataset

    before = _resident_now()
    start = time.perf_counter()
    dataset = load_dataset(place)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": _resident_peak() - before, "images": len(dataset)}


def _resident_now() -> float:
    """Resident set size of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _resident_peak() -> float:
    """Its highest value so far, in MB. Not `getrusage`'s, which begins with that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    raise SystemExit(main())
