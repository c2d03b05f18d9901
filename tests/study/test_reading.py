"""Study files: what stands in them, and every mistake in words."""

import re
import tomllib
from pathlib import Path

import pytest

from headstart.errors import ConfigError
from headstart.study import Figures, Study, StudyData, load_study, parse_study, shipped_studies

ROOT = Path(__file__).resolve().parents[2]

PROTOCOL = {
    "data": "photos of theirs",
    "split": "a third",
    "backbone": "AlexNet",
    "weights": "not stated",
    "held_out_use": "looked at",
    "metric": "accuracy",
}


def parse(values: dict[str, object]) -> Study:
    return parse_study(values, name="small", where="The study small.toml")


def fault(values: dict[str, object]) -> str:
    """The message of a study that must be refused, in at most two lines."""
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_what_is_not_said_has_a_value(values) -> None:
    study = parse(values())

    assert (study.name, study.title) == ("small", "A small study")
    assert study.data == (StudyData(name="photos", split="auto"),)
    assert study.seeds == (0,)
    assert study.notes == ()
    assert study.references == ()


def test_cases_share_options_and_have_their_own_above_them(values) -> None:
    probe, everything = parse(values(options={"recipe": "probe", "size": 96})).cases

    assert probe.options == {"recipe": "probe", "size": 96}
    assert everything.options == {"recipe": "finetune", "size": 96, "epochs": 4}


def test_a_case_may_continue_an_earlier_one(values) -> None:
    cases = [{"name": "a", "title": "A"}, {"name": "b", "title": "B", "start_from": "a"}]

    assert [case.start_from for case in parse(values(cases=cases)).cases] == [None, "a"]


def test_a_reference_needs_no_names_where_there_is_one_of_each(values) -> None:
    study = parse(
        values(
            protocols={"theirs": PROTOCOL},
            references=[{"case": "all", "validation_accuracy": 0.7, "remark": "about"}],
        )
    )

    (reference,) = study.references
    assert (reference.case, reference.data, reference.backbone) == ("all", "photos", "alexnet")
    assert reference.figures == Figures(validation_accuracy=0.7)
    assert reference.protocol is study.protocols["theirs"]
    assert reference.protocol.n_train is None
    assert reference.remark == "about"


def test_figures_stand_beside_their_own_data_set_and_backbone(values) -> None:
    study = parse(
        values(
            backbones=["alexnet", "vgg11"],
            protocols={"theirs": PROTOCOL},
            references=[
                {"case": "all", "backbone": "alexnet", "validation_accuracy": 0.7},
                {"case": "all", "backbone": "vgg11", "validation_accuracy": 0.8},
                {"case": "probe", "backbone": "vgg11", "validation_accuracy": 0.5},
            ],
        )
    )

    def accuracies(case: str, data: str, backbone: str) -> list[float | None]:
        return [each.figures.validation_accuracy for each in study.references_of(case, {data}, backbone)]

    assert accuracies("all", "photos", "vgg11") == [0.8]
    assert accuracies("all", "photos", "resnet18") == [0.7, 0.8]
    assert accuracies("all", "flowers", "vgg11") == [0.8]
    assert accuracies("all", "flowers", "resnet18") == [0.7, 0.8]
    assert accuracies("probe", "photos", "resnet18") == [0.5]
    assert accuracies("probe", "flowers", "vgg11") == [0.5]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"titel": "x"}, "has an unknown key 'titel'; did you mean 'title'?"),
        ({"title": 3}, "title is 3; expected a text."),
        ({"seeds": [0, "one"]}, "seeds is [0, 'one']; expected a list of whole numbers."),
        ({"seeds": [True]}, "expected a list of whole numbers."),
        ({"seeds": [0, -1]}, "seeds holds -1; expected 0 or more."),
        ({"seeds": []}, "seeds is empty"),
        ({"backbones": ["a", "a"]}, "backbones names one twice"),
        ({"backbones": []}, "backbones is empty"),
        ({"cases": []}, "cases is empty"),
        ({"data": "photos"}, "data is 'photos'; expected a list of tables."),
        ({"data": [{"split": "auto"}]}, "data 1 lacks the key 'name'."),
        ({"data": [{"name": "x", "split": "half"}]}, "data 1: split is 'half'; expected auto, shares"),
        ({"protocols": {"theirs": 3}}, "protocol theirs is 3; expected a table."),
        ({"protocols": {"theirs": {**PROTOCOL, "n": 3}}}, "protocol theirs has an unknown key 'n'"),
        ({"protocols": {"theirs": {"data": "x"}}}, "protocol theirs lacks the key 'split'."),
    ],
)
def test_a_study_that_cannot_be_used_says_why(values, others: dict[str, object], words: str) -> None:
    message = fault(values(**others))

    assert message.startswith("The study small.toml")
    assert words in message


def test_every_key_that_is_needed_is_asked_for(values) -> None:
    for key in ("title", "data", "backbones", "cases"):
        assert f"lacks the key '{key}'" in fault({k: v for k, v in values().items() if k != key})


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"title": "x"}, "case 2 lacks the key 'name'"),
        ({"name": "a", "title": "x"}, "case 2 is called 'a', as an earlier one is."),
        (
            {"name": "../b", "title": "x"},
            "case 2 is called '../b'; expected small letters, digits and hyphens.",
        ),
        (
            {"name": "b", "title": "x", "start_from": "c"},
            "starts from 'c'; expected one of the earlier cases a.",
        ),
        ({"name": "b", "title": "x", "start_from": "b"}, "starts from 'b'"),
        ({"name": "b", "title": "x", "init": "c"}, "case 2 has an unknown key 'init'"),
        (
            {"name": "b", "title": "x", "options": {"epoch": 3}},
            "options has an unknown key 'epoch'; did you mean",
        ),
        ({"name": "b", "title": "x", "options": {"epochs": 0}}, "case 2: epochs is 0; expected at least 1"),
        ({"name": "b", "title": "x", "options": {"head": "huge"}}, "expected one of linear, mlp"),
        ({"name": "b", "title": "x", "options": {"schedule": "1e-3"}}, "case 2: schedule is '1e-3'"),
        ({"name": "b", "title": "x", "options": {"recipe": "tune"}}, "case 2: recipe is 'tune'"),
    ],
)
def test_a_case_that_cannot_be_used_says_why(values, second: dict[str, object], words: str) -> None:
    assert words in fault(values(cases=[{"name": "a", "title": "A"}, second]))


@pytest.mark.parametrize("option", ["data", "split", "backbone", "seed", "init"])
def test_what_the_study_sets_is_no_option_of_a_case(values, option: str) -> None:
    assert f"has the option {option!r}, which is the study's to set" in fault(values(options={option: "x"}))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"case": "none", "train_loss": 1.0}, "reference 1 is of the unknown case 'none'"),
        ({"train_loss": 1.0}, "reference 1 lacks the key 'case'"),
        ({"case": "all"}, "reference 1 has no figure; expected one of train_accuracy"),
        ({"case": "all", "accuracy": 0.3}, "unknown key 'accuracy'"),
        ({"case": "all", "train_accuracy": 59.31}, "train_accuracy is 59.31; expected 0 to 1."),
        ({"case": "all", "train_loss": -0.1}, "train_loss is -0.1; expected 0 or more."),
        ({"case": "all", "train_loss": "low"}, "train_loss is 'low'; expected a number."),
        ({"case": "all", "train_loss": 1, "backbone": "vgg"}, "of the unknown backbone 'vgg'"),
        ({"case": "all", "train_loss": 1, "protocol": "ours"}, "of the unknown protocol 'ours'"),
    ],
)
def test_a_reference_that_cannot_be_used_says_why(values, reference: dict[str, object], words: str) -> None:
    assert words in fault(values(protocols={"theirs": PROTOCOL}, references=[reference]))


def test_a_reference_must_say_which_where_there_are_several(values) -> None:
    message = fault(
        values(
            backbones=["alexnet", "vgg11"],
            protocols={"theirs": PROTOCOL},
            references=[{"case": "all", "train_loss": 1.0}],
        )
    )

    assert "reference 1 lacks its backbone; expected one of alexnet, vgg11." in message


def test_two_references_for_the_same_are_one_too_many(values) -> None:
    rows = [{"case": "all", "train_loss": 1.0}, {"case": "all", "train_loss": 2.0}]

    assert "two references for all, photos, alexnet" in fault(
        values(protocols={"theirs": PROTOCOL}, references=rows)
    )


def test_a_study_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "Mine"\nbackbones = ["alexnet"]\n[[data]]\nname = "photos"\n[[cases]]\nname = "a"\ntitle = "A"\n'
    )

    assert load_study(str(path)).name == "mine"


def test_the_study_of_the_docs_can_be_read() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "studies.md").read_text(), re.DOTALL)

    study = parse(tomllib.loads("\n".join(blocks)))

    assert len(blocks) == 2
    assert [case.start_from for case in study.cases] == [None, None, "classifier"]
    assert study.references[0].protocol.n_train == 800


def test_a_file_that_is_none_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The study .*none\.toml cannot be read: No such file"):
        load_study(str(tmp_path / "none.toml"))
    (tmp_path / "broken.toml").write_text("title = ")
    with pytest.raises(ConfigError, match="is no TOML"):
        load_study(str(tmp_path / "broken.toml"))


def test_an_unknown_name_is_answered_with_those_that_are_known() -> None:
    assert shipped_studies() == ("r1", "r2", "r3", "r4", "r5")
    with pytest.raises(ConfigError, match=r"study is 'r6'; expected r1, r2, r3, r4, r5 or a TOML file\."):
        load_study("r6")
