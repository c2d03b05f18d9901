"""fastai: `vision_learner` on EfficientNet-Lite0 with the job's weights, trained, timed or asked.

`task` is

- `fine-tune`: `fine_tune(5)` with fastai's defaults but for the job's settings; then all test images;
- `epochs`: epochs of the head alone, then of all layers, for images a second;
- `predict`: the learner that an earlier `fine-tune` exported, on one photo.
"""

import time
from pathlib import Path

from common import run

# fastai's own recipe for photos of any size is a large resize on the CPU, then one augmentation of the batch.
# `equal` is what the other sides of the comparison of training speed do.
SETTINGS = {
    "default": {"batch": 64, "augment": "presize"},
    "bs32": {"batch": 32, "augment": "presize"},
    "bs16": {"batch": 16, "augment": "presize"},
    "bs16-crop": {"batch": 16, "augment": "crop"},
    "equal": {"batch": 32, "augment": "equal"},
}


def measure(job):
    return {"fine-tune": fine_tune, "epochs": epochs, "predict": predict}[job["task"]](job)


def fine_tune(job):
    start = time.perf_counter()
    from fastai.vision.all import set_seed

    set_seed(job["seed"])
    learner = learner_of(job)
    built = time.perf_counter()
    learner.fine_tune(5)
    trained = time.perf_counter()
    held_out = accuracy(learner, job["valid"]) if job["validate"] else None
    judging = time.perf_counter()
    predicted = classes_of(learner, [path for path, _ in job["test"]])
    judged = time.perf_counter()
    if job["export"]:
        learner.export(Path(job["export"]).resolve())
    return {
        "seconds": judged - start,
        "training": trained - built,
        "testing": judged - judging,
        "validation": held_out,
        "predicted": predicted,
    }


def epochs(job):
    from fastai.vision.all import Callback

    rates = []

    class Clock(Callback):
        def before_fit(self):
            rates.append([])

        def before_train(self):
            self.begun = time.perf_counter()

        def after_train(self):
            images = len(self.dls.train) * self.dls.train.bs  # the last, smaller batch is dropped
            rates[-1].append(images / (time.perf_counter() - self.begun))

    learner = learner_of(job, [Clock()])
    learner.freeze()
    learner.fit(job["epochs"])
    learner.unfreeze()
    learner.fit(job["epochs"])
    frozen, whole = rates
    return {"frozen": frozen, "rates": whole}


def predict(job):
    from fastai.vision.all import load_learner

    learner = load_learner(job["export"])
    word, _, probabilities = learner.predict(job["photo"])
    return {"predicted": [str(word)], "probability": float(probabilities.max())}


def learner_of(job, callbacks=None):
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, error_rate, vision_learner

    settings = SETTINGS[job["settings"]]
    item, batch = augmentation(settings, flip=job["flip"])
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=job["classes"])),
        get_x=path_of,
        get_y=class_of,
        splitter=lambda rows: division(job, rows),
        item_tfms=item,
        batch_tfms=batch,
    )
    rows = [*job["train"], *job["valid"]]
    loaders = block.dataloaders(rows, bs=min(settings["batch"], len(job["train"])))
    return vision_learner(
        loaders,
        "tf_efficientnet_lite0",
        metrics=error_rate,
        cbs=callbacks,
        pretrained_cfg_overlay={"file": job["weights"]},
    )


def path_of(row):
    return row[0]


def class_of(row):
    return row[1]


def division(job, rows):
    """Which rows train and which judge; with `all`, validation images train too, and still are what is watched."""
    first = len(job["train"])
    held_out = list(range(first, len(rows)))
    return (list(range(len(rows))) if job["all"] else list(range(first)), held_out)


def augmentation(settings, *, flip):
    from fastai.vision.all import FlipItem, RandomResizedCrop, Resize, aug_transforms

    if settings["augment"] == "presize":
        return Resize(460), aug_transforms(size=224, do_flip=flip)
    if settings["augment"] == "equal":
        return [RandomResizedCrop(224, min_scale=0.35), FlipItem()], None
    return RandomResizedCrop(224, min_scale=0.35), aug_transforms(do_flip=flip)


def classes_of(learner, paths):
    """The class of each photo, as fastai predicts many of them."""
    loader = learner.dls.test_dl(paths)
    probabilities, _ = learner.get_preds(dl=loader)
    return [str(learner.dls.vocab[i]) for i in probabilities.argmax(1).tolist()]


def accuracy(learner, rows):
    """Share of the rows that are classified right; nothing where there are none."""
    if not rows:
        return None
    predicted = classes_of(learner, [path for path, _ in rows])
    return sum(mine == true for mine, (_, true) in zip(predicted, rows, strict=True)) / len(rows)


if __name__ == "__main__":
    run(measure, ["torch", "torchvision", "timm", "fastai"])
