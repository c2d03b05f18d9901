"""The studies that come along say what the reference programs say, and leave nothing to a recipe's defaults."""

from dataclasses import fields
from pathlib import Path

import pytest

from headstart.recipes import Recipe, parse_schedule
from headstart.study import Figures, StudyOptions, load_study, plan_study, rates_in_words, shipped_studies
from headstart.study.rates import recipe_of

# Case, accuracy on train and validation, loss on both, learning rates, epochs, normalisation, six-fold.
PETS = """
case-1 59.31 56.86 1.3158 1.4054 3e-4,3e-5,3e-6,3e-7 7,7,7,4 no no
case-2 64.55 64.67 1.1374 1.2099 2e-4,2e-5,2e-6,2e-7 7,7,7,4 yes no
case-3 66.96 66.85 1.0563 1.1078 1e-4,1e-5,1e-6 7,7,4 yes yes
case-4 63.48 61.31 1.2192 1.3295 2.5e-4,2.5e-5,2.5e-6 7,7,4 yes no
case-5 60.92 60.49 1.2972 1.3767 1.5e-4,1.5e-5,1.5e-6 7,7,4 yes no
case-6 56.59 61.22 1.5149 1.3916 3e-4,3e-5,3e-6 9,9,7 yes no
case-7 66.60 65.03 1.0715 1.1468 2e-4,2e-5,2e-6,2e-7 7,7,7,4 yes no
case-8 68.65 69.75 0.9903 1.0476 3e-4,3e-5,3e-6,3e-7 7,7,7,4 yes yes
"""


@pytest.mark.parametrize("name", shipped_studies())
def test_every_value_of_a_recipe_is_written_down(name: str) -> None:
    study = load_study(name)

    for case in study.cases:
        missing = {field.name for field in fields(Recipe)} - {"technique"} - set(case.options)
        listed = case.options["schedule"] not in ("constant", "cosine")
        assert missing == ({"lr", "epochs"} if listed else set()), case.name
        assert case.options["keep"] == "last"


@pytest.mark.parametrize("name", shipped_studies())
def test_every_study_has_a_protocol_and_can_be_planned(name: str) -> None:
    study = load_study(name)

    runs = plan_study(study).runs

    assert len(runs) == len(study.data) * len(study.backbones) * len(study.cases)
    assert study.protocols
    for protocol in study.protocols.values():
        assert protocol.held_out_use == "looked at during training, and may have been chosen on"


def test_flowers() -> None:
    study = load_study("r1")
    (run,) = plan_study(study).runs

    assert run.config.data == "tf_flowers"
    assert (run.config.backbone, run.config.layer, run.config.head) == ("caffe/vgg16", "fc6", "mlp")
    assert run.config.batch_size == -(-2936 // 10)
    (beside,) = run.beside
    assert beside.reference.figures == Figures(test_accuracy=0.9537)
    assert (beside.reference.protocol.n_train, beside.reference.protocol.n_held_out) == (2936, 367)


def test_flowers_by_a_network_without_fc6() -> None:
    options = StudyOptions(data=("photos",), backbones=("tf_efficientnet_lite0",))

    (run,) = plan_study(load_study("r1"), options).runs

    assert (run.config.layer, run.config.head) == ("pooled", "mlp")
    (beside,) = run.beside
    assert "the reference takes features of fc6, here of pooled" in beside.differences


def test_traffic_signs() -> None:
    (run,) = plan_study(load_study("r2")).runs

    recipe = recipe_of(run.config)
    assert (recipe.technique, recipe.optimizer, recipe.lr) == ("probe", "adam", 1e-3)
    assert (recipe.batch_size, recipe.epochs, run.config.split) == (128, 10, "67/33")
    assert not run.beside


def test_three_networks() -> None:
    runs = plan_study(load_study("r3")).runs

    figures = [beside.reference.figures for run in runs for beside in run.beside]
    held_out = [each.validation_accuracy for each in figures]
    assert held_out == [0.7235, 0.6556, 0.7347, 0.8666, 0.7519, 0.8108]
    losses = [each.validation_loss for each in figures]
    assert losses == [0.8759, 1.0428, 0.8005, 0.4368, 0.8378, 0.6146]
    assert {(run.config.epochs, run.config.batch_size, run.config.per_class) for run in runs} == {
        (50, 256, 100)
    }
    assert {run.config.split for run in runs} == {"r3", "67/33"}


def test_three_networks_figures_stand_beside_another_network_on_the_same_photos(tmp_path: Path) -> None:
    data = (str(tmp_path / "cifar10"), str(tmp_path / "gtsrb"), str(tmp_path / "others"))
    options = StudyOptions(data=data, split="auto", backbones=("tf_efficientnet_lite0",))

    cifar10, signs, others = plan_study(load_study("r3"), options).runs

    assert [each.reference.figures.validation_accuracy for each in cifar10.beside] == [0.7235, 0.6556, 0.7347]
    assert [each.reference.figures.validation_accuracy for each in signs.beside] == [0.8666, 0.7519, 0.8108]
    assert len(others.beside) == 6
    for beside in cifar10.beside:
        assert any(reason.startswith("the reference's data are") for reason in beside.differences)
        assert any(reason.startswith("the reference's backbone is") for reason in beside.differences)


def test_natural_scenes() -> None:
    runs = plan_study(load_study("r4")).runs

    assert [run.name for run in runs[:3]] == [
        "resnet-feature-extraction",
        "resnet-finetune",
        "alexnet-feature-extraction",
    ]
    assert {run.config.recipe for run in runs} == {"probe", "finetune"}
    assert not [run for run in runs if run.beside]


def test_pets_as_in_the_table() -> None:
    runs = {run.name: run for run in plan_study(load_study("r5")).runs}

    for line in PETS.strip().splitlines():
        name, train, val, train_loss, val_loss, rates, epochs, normalise, six = line.split()
        run = runs[name]
        (beside,) = run.beside
        assert beside.reference.figures == Figures(
            train_accuracy=pytest.approx(float(train) / 100),
            validation_accuracy=pytest.approx(float(val) / 100),
            train_loss=float(train_loss),
            validation_loss=float(val_loss),
        )
        steps = zip(rates.split(","), epochs.split(","), strict=True)
        assert rates_in_words(run.config) == ", ".join(f"{rate} x {n}" for rate, n in steps)
        assert run.config.normalise == ("dataset" if normalise == "yes" else "weights")
        assert run.config.augment == ("six" if six == "yes" else "none")
    assert [*runs] == [*(f"case-{k}" for k in range(1, 9)), "scratch"]


def test_pets_share_what_is_the_same_in_all_cases() -> None:
    for run in plan_study(load_study("r5")).runs:
        config, recipe = run.config, recipe_of(run.config)
        assert (config.data, config.split) == ("oxford_iiit_pet", "r5")
        assert (config.size, config.resize) == (128, "squash")
        assert (recipe.optimizer, recipe.momentum, recipe.weight_decay, recipe.batch_size) == (
            "sgd",
            0.9,
            0.0,
            128,
        )
        assert (recipe.flip, recipe.label_smoothing, recipe.clip, recipe.head) == ("no", 0.0, 0.0, "native")


def test_pets_are_trained_as_each_case_says() -> None:
    runs = {run.name: run for run in plan_study(load_study("r5")).runs}
    how = {
        name: (run.config.recipe, run.config.from_layer, run.config.reinit, run.starts_from)
        for name, run in runs.items()
    }

    everything = ("finetune", None, False, None)
    assert how == {
        "case-1": everything,
        "case-2": everything,
        "case-3": everything,
        "case-4": ("probe", None, False, None),
        "case-5": ("finetune", "classifier", False, None),
        "case-6": ("finetune", "classifier", True, None),
        "case-7": ("finetune", None, False, "case-6"),
        "case-8": ("finetune", None, False, "case-6"),
        "scratch": ("scratch", None, False, None),
    }
    assert runs["case-4"].config.layer == "last"


def test_the_baseline_says_what_is_not_stated() -> None:
    baseline, first = (next(c for c in load_study("r5").cases if c.name == n) for n in ("scratch", "case-1"))

    assert baseline.options["schedule"] == first.options["schedule"]
    assert baseline.options["batch_norm"] == "train"
    (reference,) = load_study("r5").references_of("scratch", {"oxford_iiit_pet"}, "alexnet")
    assert reference.figures == Figures(validation_accuracy=0.32)
    assert "about 32 %" in reference.remark
    assert parse_schedule(str(baseline.options["schedule"]), lr=0, epochs=0, warmup=0).epochs == 25
