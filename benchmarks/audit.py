"""Does `headstart audit` name what was planted? And how long does the search for copies take?

    python benchmarks/audit.py plant FOLDER... [--seeds 0,1,2]   PHOTOS/{train,test}/CLASS, changed in a copy
    python benchmarks/audit.py frames FOLDER                    gtsrb split by track, TRACK_FRAME.png: so, and by frame
    python benchmarks/audit.py search [--images 100000]         random features with planted twins

Planted are 20 copies in the other split (quality 60: re-encoded; borders or a corner cut by 5 %; mirrored; cut and
mirrored) and 20 images in a wrong class. Counted is how many are among the first 30 named of each kind.
"""

import argparse
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from headstart.audit import find_neighbours
from headstart.config import AuditConfig
from headstart.jobs import audit_images

KINDS = ("re-encode", "crop", "flip", "crop flip")
PLANTED, FIRST = 20, 30


def draw_copy(photo: Path, kind: str, rng: random.Random) -> Image.Image:
    image = Image.open(photo).convert("RGB")
    if "flip" in kind:
        image = ImageOps.mirror(image)
    if "crop" in kind:
        w, h = image.size
        borders = (round(0.05 * w), round(0.05 * h), w - round(0.05 * w), h - round(0.05 * h))
        image = image.crop(borders if rng.random() < 0.5 else (0, 0, round(0.95 * w), round(0.95 * h)))
    return image


def plant(source: Path, folder: Path, seed: int) -> tuple[set[frozenset[str]], set[str]]:
    """Copy a data set and spoil it: the pairs of copies, and the images in a wrong class."""
    shutil.copytree(source, folder)
    rng = random.Random(seed)
    photos = sorted(path for path in folder.rglob("*") if path.is_file())
    classes = sorted({photo.parent.name for photo in photos})
    chosen = rng.sample(photos, 2 * PLANTED)
    pairs: set[frozenset[str]] = set()
    for i, photo in enumerate(chosen[:PLANTED]):
        other = "test" if photo.relative_to(folder).parts[0] == "train" else "train"
        copy = folder / other / photo.parent.name / f"x{rng.randrange(10**8):08d}.jpg"
        draw_copy(photo, KINDS[i % len(KINDS)], rng).save(copy, quality=60)
        pairs.add(frozenset(str(path.relative_to(folder)) for path in (photo, copy)))
    wrong: set[str] = set()
    for photo in chosen[PLANTED:]:
        another = rng.choice([name for name in classes if name != photo.parent.name])
        moved = photo.parent.parent / another / f"y{rng.randrange(10**8):08d}{photo.suffix}"
        photo.rename(moved)
        wrong.add(str(moved.relative_to(folder)))
    return pairs, wrong


def measure_planted(sources: list[Path], seeds: list[int]) -> None:
    print(
        "| data | seed | copies named | other copies named | wrong labels named | seconds |\n|---|---|---|---|---|---|"
    )
    for source in sources:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as scratch:
                pairs, wrong = plant(source, Path(scratch) / "photos", seed)
                start = time.perf_counter()
                audit = audit_images(AuditConfig(str(Path(scratch) / "photos"), seed=seed))
            across = [
                frozenset((each.path, each.other)) for each in audit.of_kind("duplicate-across")[:FIRST]
            ]
            labels = {each.path for each in audit.of_kind("label")[:FIRST]}
            print(
                f"| {source.name} | {seed} | {len(pairs & set(across))} of {len(pairs)} | "
                f"{len(set(across) - pairs)} | {len(labels & wrong)} of {len(wrong)} | "
                f"{time.perf_counter() - start:.0f} |",
                flush=True,
            )


def measure_frames(source: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        pooled = Path(scratch) / "pooled"
        for photo in source.rglob("*.png"):
            (pooled / photo.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, pooled / photo.parent.name / photo.name)
        for words, config in (
            ("by track", AuditConfig(str(source), labels="no")),
            ("by frame", AuditConfig(str(pooled), split="80/20", labels="no")),
        ):
            audit = audit_images(config)
            leaks = audit.leaks
            print(
                f"{words}: {leaks.copies} copies, {leaks.grouped} by group, of {leaks.test}; many: {leaks.many}"
            )
            for judged in leaks.judged:
                scores = judged.scores
                print(
                    f"  {judged.words}: {scores.accuracy if scores else None} {scores and scores.accuracy_ci95}"
                )


def measure_search(images: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((images, 1280), np.float32)
    twins = rng.permutation(images)[:2000].reshape(-1, 2)
    features[twins[:, 1]] = features[twins[:, 0]] + 0.5 * rng.standard_normal((1000, 1280), np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = find_neighbours(features)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    named = (found.rows[twins[:, 0], 0] == twins[:, 1]).mean()
    more = (after - before) / 1024
    print(f"{images:,} images x 1,280: {seconds:.0f} s, {more:.0f} MB more; twins named first: {named:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("plant", "frames", "search"))
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    if options.what == "search":
        measure_search(options.images)
    elif options.what == "frames":
        measure_frames(*options.folders)
    else:
        measure_planted(options.folders, [int(seed) for seed in options.seeds.split(",")])


if __name__ == "__main__":
    main()
