"""headstart's sides that are no command of their own: features, the path of heads, epochs of training.

Run by headstart's Python; commands (`train`, `predict`) are run as commands.
"""

import tempfile
import time

from common import labels_of, run


def measure(job):
    return {"extract": extract, "path": path, "epochs": epochs}[job["task"]](job)


def extract(job):
    """From the list of files to the features: with an empty store, then again with the store that this made."""
    import numpy as np

    from headstart import FeatureStore, extract_features, load_backbone

    backbone = load_backbone(job["backbone"], weights=job["weights_name"])
    _ = backbone.cuts  # traced once, as the network is built
    seconds = []

    def rows_of(folder):
        got = extract_features(
            listed(folder), backbone, store=FeatureStore(store), precision=job["precision"]
        )
        return got.features.load(), str(got.runtime)

    with tempfile.TemporaryDirectory() as store:
        for _ in range(2):
            start = time.perf_counter()
            rows, runtime = rows_of(job["folder"])
            seconds.append(time.perf_counter() - start)
        np.savez(job["features"], rows=rows, labels=labels_of(job["folder"]))
        if job["judged_on"]:
            rows, _ = rows_of(job["judged_on"])
            np.savez(job["judged_features"], rows=rows, labels=labels_of(job["judged_on"]))
    return {"seconds": seconds[0], "again": seconds[1], "runtime": runtime}


def listed(folder):
    """The files in ImageFolder's order."""
    from pathlib import Path

    classes = sorted(each for each in Path(folder).iterdir() if each.is_dir())
    return [str(file) for each in classes for file in sorted(each.iterdir())]


def path(job):
    """The whole path of strengths, each judged on validation."""
    import numpy as np
    import torch

    from headstart.heads import fit_linear_path

    with np.load(job["data"]) as data:
        values, held_out = (torch.from_numpy(data[name]).float() for name in ("values", "held_out"))
        labels, true = (torch.from_numpy(data[name]) for name in ("labels", "true"))
    strengths = torch.tensor([step["strength"] for step in job["steps"]], dtype=torch.float64)
    start = time.perf_counter()
    fitted = fit_linear_path(values, labels, n_classes=int(labels.max()) + 1, strengths=strengths)
    right = (fitted.logits(held_out).argmax(2) == true).float().mean(1)
    seconds = time.perf_counter() - start
    np.savez(job["heads"], weights=fitted.weights.double().numpy(), biases=fitted.biases.double().numpy())
    return {"seconds": seconds, "accuracy": float(right.max())}


def epochs(job):
    """Images a second of each epoch; the first decodes each photo and keeps its pixels."""
    import sys
    from argparse import Namespace
    from pathlib import Path

    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from finetune_speed import CASES, Photo, train_by_headstart

    photos = [Photo(path=file, label=job["classes"].index(name)) for file, name in job["train"]]
    options = Namespace(epochs=job["epochs"], batch_norm="train")
    seconds, loss = train_by_headstart(CASES[job["case"]], photos, options)
    return {"rates": [len(photos) / each for each in seconds], "loss": loss}


if __name__ == "__main__":
    run(measure, ["headstart", "torch", "torchvision", "timm", "numpy"])
