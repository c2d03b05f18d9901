"""Why figures of others cannot be compared with ours."""

import pytest

from headstart.study import StudyOptions, load_study, plan_study

ALWAYS = "here test is read once, after every choice"


def reasons(name: str, run: str, **options: object) -> list[str]:
    """Those of one run of a study."""
    plan = plan_study(load_study(name), StudyOptions(**options))  # type: ignore[arg-type]
    (found,) = [each for each in plan.runs if each.name == run]
    return list(found.differences)


def test_even_what_is_run_as_written_has_reasons() -> None:
    looked, choices, not_stated = reasons("r5", "case-1")

    assert looked.startswith("the reference's held-out images were looked at during training")
    assert looked.endswith(ALWAYS)
    assert choices.startswith("choices are made within the training part")
    assert not_stated == (
        "the reference does not state batch size (128 here), momentum (0.9 here), weight decay (0 here)"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "photos"}, "the reference's data are Oxford-IIIT Pet, 37 breeds"),
        ({"split": "80/10/10"}, "here 80/10/10"),
        ({"backbone": "resnet18"}, 'AlexNet of "One weird trick" (torchvision), here resnet18'),
        ({"weights": "none"}, "here random"),
        ({"weights": "mine.pth"}, "here mine.pth"),
        ({"scale": 0.1}, "the epochs are 0.1 times the study's"),
    ],
)
def test_whatever_is_changed_is_a_reason_more(options: dict[str, object], words: str) -> None:
    new = set(reasons("r5", "case-1", **options)) - set(reasons("r5", "case-1"))

    assert len(new) == 1
    assert words in new.pop()


def test_where_validation_has_its_own_share_nothing_is_taken_from_training() -> None:
    assert not [reason for reason in reasons("r1", "mlp") if "choices are made" in reason]


def test_the_references_own_file_of_weights_is_no_reason() -> None:
    assert reasons("r1", "mlp", weights="some/where/vgg16.npy") == reasons("r1", "mlp")
    assert len(reasons("r1", "mlp", weights="vgg19.npy")) == len(reasons("r1", "mlp")) + 1


def test_random_weights_are_no_reason_where_all_begins_with_them() -> None:
    assert reasons("r5", "scratch", weights="none") == reasons("r5", "scratch")
