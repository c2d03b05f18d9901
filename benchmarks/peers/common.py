"""What the adapters share: a job comes as a JSON file, an answer goes as the last line of the output.

An adapter is a small script of one peer, run by the peer's own Python as `adapter.py JOB.json`. It imports nothing of
headstart. What a peer prints itself goes to stderr, so that the answer is all there is on stdout.
"""

import json
import sys
import time
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path


def run(measure, packages):
    """Do the job that the command line names, and print what `measure` says of it, with the packages' versions."""
    job = json.loads(Path(sys.argv[1]).read_text())
    with redirect_stdout(sys.stderr):
        answer = measure(job)
    answer["versions"] = {name: version(name) for name in packages}
    print(json.dumps(answer), flush=True)


def lite0(job, **arguments):
    """EfficientNet-Lite0 as timm builds it, with the job's weights instead of those of its hub."""
    import timm

    return timm.create_model(
        "tf_efficientnet_lite0",
        pretrained=True,
        pretrained_cfg_overlay={"file": job["weights"]},
        **arguments,
    )


def usual_transform(job):
    """What the weights want, by torchvision on Pillow images."""
    from torchvision import transforms

    prepare = job["preprocess"]
    mode = transforms.InterpolationMode(prepare["interpolation"])
    return transforms.Compose(
        [
            transforms.Resize(prepare["resize"], interpolation=mode, antialias=True),
            transforms.CenterCrop(prepare["size"]),
            transforms.ToTensor(),
            transforms.Normalize(prepare["mean"], prepare["std"]),
        ]
    )


def labels_of(folder):
    """Labels of FOLDER/CLASS/* in ImageFolder's order, where a peer gives features alone."""
    classes = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    return [label for label, path in enumerate(classes) for _ in path.iterdir()]


def measure_extraction(job, extract):
    """Time `extract(folder) -> (features, labels)` on the job's folder; on the other one it is only run.

    Features go to files beside the job, as `rows` and `labels`.
    """
    import numpy as np

    start = time.perf_counter()
    rows, labels = extract(job["folder"])
    seconds = time.perf_counter() - start
    np.savez(job["features"], rows=rows, labels=labels)
    if job["judged_on"]:
        rows, labels = extract(job["judged_on"])
        np.savez(job["judged_features"], rows=rows, labels=labels)
    return {"seconds": seconds}
