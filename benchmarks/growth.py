"""Growth: extractions of 1,000 to 64,000 photos; time an image, peak memory, and how long a second run looks up.

    python benchmarks/growth.py --photos ../shared/data/flowers [--sizes 1000 4000 16000 64000] --out OUT

The photos are FOLDER's own again and again, each time with other noise and encoded anew, 300 pixels at the short side:
JPEGs of some 20 to 40 kB, made in OUT/photos and kept, since making 64,000 takes longer than extracting them. Making
them is not counted. An extraction is `headstart extract` to an .npz file in a process of its own, from its start to its
end: once with an empty store, and once more. Peak memory is VmHWM of that process, when the last image is done, which
is to be flat, and at the end, when the array that goes into the file has been in memory: 5 kB an image for 1,280
values. `--layer` and `--backbone` are passed on. What is finished stands in OUT/growth.jsonl and is not run again.

Exit code 1 when the second run's look-up at the largest size takes 5 s or more, or an image there takes more than 1.3
times as long as at the smallest.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from figures import describe_machine
from PIL import Image

_CLASSES = 10
_SHORT_SIDE, _QUALITY, _NOISE = 300, 85, 4.0
_LOOK_UP, _SLOWER = 5.0, 1.3


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One size.

    Attributes:
        images: how many.
        first: seconds of the extraction, of the process's own count, without start-up.
        again: the same of the second run, which looks everything up.
        first_process: seconds from the start of the process to its end.
        again_process: the same of the second run.
        extracting_peak: MB that the process held at most until the last image was extracted.
        first_peak: MB that it held at most, loading and writing the array included.
        again_peak: the same of the second run.
        load: before it.
    """

    images: int
    first: float
    again: float
    first_process: float
    again_process: float
    extracting_peak: float
    first_peak: float
    again_peak: float
    load: float


def main() -> int:
    options = _options()
    if options.measure:
        return _extract(options.measure)
    print(describe_machine(), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    found = [_size(size, options) for size in sorted(options.sizes)]
    print("\n" + _table(found))
    return 0 if _good(found) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder of photos that are repeated, all below it")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 16000, 64000])
    parser.add_argument("--out", type=Path, help="folder for photos and figures")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--layer", default="pooled")
    parser.add_argument("--measure", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.measure and (options.photos is None or options.out is None):
        parser.error("--photos and --out are needed")
    return options


def _size(size: int, options: argparse.Namespace) -> Grown:
    """The figures of one size, measured unless they are known."""
    file = options.out / "growth.jsonl"
    key = {"images": size, "backbone": options.backbone, "layer": options.layer}
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for record in known:
        if record["key"] == key:
            return Grown(**record["figures"])
    folder = _photos(size, options)
    grown = _measure(size, folder, options)
    with file.open("a") as lines:
        lines.write(json.dumps({"key": key, "figures": asdict(grown)}) + "\n")
    print(
        f"{size:>7} images: {grown.first:.1f} s, {1000 * grown.first / size:.2f} ms an image, peak "
        f"{grown.extracting_peak:.0f} MB, {grown.first_peak:.0f} MB with the array; again {grown.again:.2f} s, peak "
        f"{grown.again_peak:.0f} MB, load {grown.load:.2f}",
        flush=True,
    )
    return grown


def _measure(size: int, folder: Path, options: argparse.Namespace) -> Grown:
    """Both runs, with a store of their own that is removed after."""
    place = options.out / f"store-{size}"
    shutil.rmtree(place, ignore_errors=True)
    arguments = ["extract", str(folder), "--out", str(place / "features.npz"), "--store", str(place)]
    arguments += ["--backbone", options.backbone, "--layer", options.layer]
    place.mkdir(parents=True)
    load, runs = os.getloadavg()[0], []
    for _ in range(2):
        start = time.perf_counter()
        command = [sys.executable, __file__, "--measure", *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append({**json.loads(done.stdout.splitlines()[-1]), "process": time.perf_counter() - start})
    shutil.rmtree(place)
    first, again = runs
    if first["extracted"] != size or again["extracted"] != 0:
        raise SystemExit(
            f"{size} images: {first['extracted']} forward passes, then {again['extracted']} in the second run"
        )
    return Grown(
        images=size,
        first=first["seconds"],
        again=again["seconds"],
        first_process=first["process"],
        again_process=again["process"],
        extracting_peak=first["extracting_peak"],
        first_peak=first["peak"],
        again_peak=again["peak"],
        load=load,
    )


def _extract(arguments: list[str]) -> int:
    """`headstart extract` in this process, which then says what it did and how much it held."""
    from headstart import ExtractConfig
    from headstart.jobs import extract

    named = dict(zip(arguments[2::2], arguments[3::2], strict=True))
    config = ExtractConfig(arguments[1], backbone=named["--backbone"], layer=named["--layer"])
    progress = _Progress()
    made = extract(config, named["--out"], store=named["--store"], progress=progress)
    figures = {"extracted": made.extracted, "seconds": made.seconds, "peak": _resident("VmHWM")}
    print(json.dumps({**figures, "extracting_peak": progress.peak}))
    return 0


class _Progress:
    """A line on stderr every 10 seconds, and the peak of memory when the last image is done."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.peak = 0.0

    def __call__(self, done: int, total: int) -> None:
        if done == total:
            self.peak = _resident("VmHWM")
        if time.perf_counter() - self._last >= 10:
            self._last = time.perf_counter()
            print(f"    {done} of {total}", file=sys.stderr, flush=True)


def _photos(size: int, options: argparse.Namespace) -> Path:
    """A folder of so many photos, in ten classes; those of a smaller size are its first."""
    sources = sorted(
        file for file in options.photos.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    if not sources:
        raise SystemExit(f"--photos: {options.photos} holds no .jpg or .png")
    whole, folder = options.out / "photos", options.out / f"photos-{size}"
    jobs = [(i, str(sources[i % len(sources)]), str(_place(whole, i))) for i in range(size)]
    missing = [job for job in jobs if not Path(job[2]).exists()]
    start = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(_draw, missing, chunksize=64), 1):
            if done % 2000 == 0:
                print(
                    f"  {done} of {len(missing)} photos made, {time.perf_counter() - start:.0f} s", flush=True
                )
    shutil.rmtree(folder, ignore_errors=True)
    for i in range(size):
        place = _place(folder, i)
        place.parent.mkdir(parents=True, exist_ok=True)
        _link(_place(whole, i), place)
    total = sum(Path(job[2]).stat().st_size for job in jobs[:1000]) / min(1000, size)
    print(f"{size} photos of {total / 1000:.0f} kB each in {folder}", flush=True)
    return folder


def _place(folder: Path, i: int) -> Path:
    return folder / f"class-{i % _CLASSES}" / f"{i:06}.jpg"


def _link(source: Path, place: Path) -> None:
    """A hard link, or a copy where there are none."""
    link: Callable[[Path], None] = place.hardlink_to
    try:
        link(source)
    except OSError:
        shutil.copy(source, place)


def _draw(job: tuple[int, str, str]) -> None:
    """One photo with noise of its own; a killed run leaves none half-written."""
    i, source, place = job
    image = Image.open(source).convert("RGB")
    scale = _SHORT_SIDE / min(image.size)
    image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BILINEAR)
    rng = np.random.default_rng(i)
    coarse = rng.normal(0, _NOISE, (image.height // 8 + 1, image.width // 8 + 1, 3))
    noise = coarse.repeat(8, axis=0).repeat(8, axis=1)[: image.height, : image.width]
    pixels = np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=_QUALITY)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    half = Path(f"{place}.half")
    half.write_bytes(data.getvalue())
    half.replace(place)


def _resident(kind: str) -> float:
    """MB of this process at most so far (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{kind}:"))


def _table(found: list[Grown]) -> str:
    lines = [
        "| images | first run | ms an image | peak, extracting | peak, in all | again | whole process | peak |"
    ]
    lines += ["|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for each in found:
        cells = [f"{each.images:,}", f"{each.first:.1f} s", f"{1000 * each.first / each.images:.2f}"]
        cells += [f"{each.extracting_peak:.0f} MB", f"{each.first_peak:.0f} MB", f"{each.again:.2f} s"]
        cells += [f"{each.again_process:.1f} s", f"{each.again_peak:.0f} MB"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _good(found: list[Grown]) -> bool:
    smallest, largest = found[0], found[-1]
    slower = (largest.first / largest.images) / (smallest.first / smallest.images)
    print(
        f"look-up of {largest.images:,}: {largest.again:.2f} s, bar below {_LOOK_UP:g} s; an image takes {slower:.2f} "
        f"times as long as at {smallest.images:,}, bar {_SLOWER}"
    )
    return largest.again < _LOOK_UP and slower <= _SLOWER


if __name__ == "__main__":
    raise SystemExit(main())
