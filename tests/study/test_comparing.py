"""Why figures of others cannot be compared with ours; and that a difference is computed only where they can."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.config import TrainConfig
from headstart.study import (
    Case,
    Figures,
    Reference,
    ReferenceProtocol,
    Study,
    StudyData,
    StudyOptions,
    load_study,
    plan_study,
)
from headstart.study.comparing import (
    METRIC,
    READ_ONCE,
    difference_in_words,
    differences,
    differences_of_images,
)

ALWAYS = "here test is read once, after every choice"


def reasons(name: str, run: str, **options: object) -> list[str]:
    """Those of one run of a study."""
    plan = plan_study(load_study(name), StudyOptions(**options))  # type: ignore[arg-type]
    (found,) = [each for each in plan.runs if each.name == run]
    (beside,) = found.beside
    return list(beside.differences)


def test_even_what_is_run_as_written_has_reasons() -> None:
    looked, choices, weights, metric, not_stated = reasons("r5", "case-1")

    assert looked.startswith("the reference's held-out images were looked at during training")
    assert looked.endswith(ALWAYS)
    assert choices.startswith("choices are made within the training part")
    assert weights.startswith("the reference's weights are torchvision's (which set is not stated), here")
    assert metric.startswith("the reference's figures are accuracy and loss")
    assert not_stated == (
        "the reference does not state batch size (128 here), momentum (0.9 here), weight decay (0 here)"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": ("photos",)}, "the reference's data are Oxford-IIIT Pet, 37 breeds"),
        ({"split": "80/10/10"}, "here 80/10/10"),
        ({"backbones": ("resnet18",)}, 'AlexNet of "One weird trick" (torchvision), here resnet18'),
        ({"weights": "none"}, "here random"),
        ({"weights": "mine.pth"}, "here mine.pth"),
        ({"scale": 0.1}, "the epochs are 0.1 times the study's"),
        ({"settings": {"momentum": 0.5}}, "options take the place of the study's: momentum = 0.5"),
    ],
)
def test_whatever_is_changed_is_a_reason_more(options: dict[str, object], words: str) -> None:
    new = set(reasons("r5", "case-1", **options)) - set(reasons("r5", "case-1"))

    assert len(new) == 1
    assert words in new.pop()


def test_where_validation_has_its_own_share_nothing_is_taken_from_training() -> None:
    assert not [reason for reason in reasons("r1", "mlp") if "choices are made" in reason]


def test_the_references_own_file_of_weights_is_no_reason() -> None:
    others = [reason for reason in reasons("r1", "mlp") if not reason.startswith("the reference's weights")]

    assert reasons("r1", "mlp", weights="some/where/vgg16.npy") == others
    assert len(reasons("r1", "mlp", weights="vgg19.npy")) == len(others) + 1


def test_random_weights_are_no_reason_where_all_begins_with_them() -> None:
    assert reasons("r5", "scratch", weights="none") == reasons("r5", "scratch")


# Where all of it matches

PROTOCOL = ReferenceProtocol(
    data="Photos",
    split="80/10/10",
    n_train=900,
    n_held_out=100,
    backbone="ResNet-18",
    weights="pretrained",
    weights_file=None,
    held_out_use=READ_ONCE,
    metric=METRIC,
    not_stated=(),
)
CONFIG = TrainConfig("photos", split="80/10/10", backbone="resnet18", recipe="probe")
SAME: dict[str, Any] = {"protocol": {}, "config": {}, "scale": 1.0, "settings": {}, "images": (900, 100)}


def difference(
    protocol: dict, config: dict, scale: float, settings: dict, images: tuple[int, int]
) -> str | None:
    """In words, of a run with an accuracy of 80 % beside a reference with 75 %."""
    reference = Reference(
        case="all",
        data="photos",
        backbone="resnet18",
        figures=Figures(test_accuracy=0.75),
        protocol=replace(PROTOCOL, **protocol),
        remark="",
    )
    study = Study(
        name="small",
        title="Small",
        data=(StudyData(name="photos", split="80/10/10"),),
        backbones=("resnet18",),
        seeds=(0,),
        notes=(),
        cases=(Case(name="all", title="All", options={}),),
        protocols={},
        references=(reference,),
    )
    found = differences(study, reference, replace(CONFIG, **config), scale=scale, settings=settings)
    found += differences_of_images(reference.protocol, *images)
    return difference_in_words(reference, [0.79, 0.81], found)


def test_where_all_matches_there_is_a_difference() -> None:
    assert difference(**SAME) == "ours - reference: +5.0 points (80.0% - 75.0%)"


TEXT = st.text(min_size=1, max_size=8)
OTHERS = st.one_of(
    st.fixed_dictionaries({"protocol": st.fixed_dictionaries({"n_train": st.none() | st.integers(0, 899)})}),
    st.fixed_dictionaries({"protocol": st.fixed_dictionaries({"n_held_out": st.none() | st.integers(101)})}),
    st.fixed_dictionaries(
        {"protocol": st.fixed_dictionaries({"weights": TEXT.filter(lambda t: t != "pretrained")})}
    ),
    st.fixed_dictionaries({"protocol": st.fixed_dictionaries({"held_out_use": TEXT})}),
    st.fixed_dictionaries({"protocol": st.fixed_dictionaries({"metric": TEXT})}),
    st.fixed_dictionaries({"protocol": st.fixed_dictionaries({"not_stated": st.tuples(TEXT)})}),
    st.fixed_dictionaries({"config": st.fixed_dictionaries({"data": TEXT.filter(lambda t: t != "photos")})}),
    st.fixed_dictionaries(
        {"config": st.fixed_dictionaries({"split": st.sampled_from(["auto", "r3", "70/30"])})}
    ),
    st.fixed_dictionaries(
        {"config": st.fixed_dictionaries({"backbone": TEXT.filter(lambda t: t != "resnet18")})}
    ),
    st.fixed_dictionaries(
        {"config": st.fixed_dictionaries({"weights": TEXT.filter(lambda t: t != "pretrained")})}
    ),
    st.fixed_dictionaries({"scale": st.floats(0.01, 10).filter(lambda x: x != 1)}),
    st.fixed_dictionaries({"settings": st.dictionaries(TEXT, st.integers(), min_size=1)}),
    st.fixed_dictionaries(
        {"images": st.tuples(st.integers(0, 2000), st.integers(0, 2000)).filter(lambda n: n != (900, 100))}
    ),
)


@given(st.lists(OTHERS, min_size=1, max_size=3))
def test_whatever_differs_there_is_no_difference(others: list[dict[str, Any]]) -> None:
    arguments = dict(SAME)
    for other in others:
        arguments |= other

    assert difference(**arguments) is None


def test_a_reference_without_a_test_figure_is_no_match() -> None:
    reference = Reference(
        case="all",
        data="photos",
        backbone="x",
        figures=Figures(validation_accuracy=0.9),
        protocol=PROTOCOL,
        remark="",
    )
    assert difference_in_words(reference, [0.8], ()) is None
