"""The plan: which runs, in which order, and what the classifier is on each backbone."""

from dataclasses import asdict
from pathlib import Path

import pytest

from headstart.errors import BackboneError, ConfigError
from headstart.study import (
    Plan,
    Study,
    StudyOptions,
    load_study,
    parse_study,
    plan_study,
    rates_in_words,
    same_groups,
)


def parse(values: dict[str, object]) -> Study:
    return parse_study(values, name="small", where="The study small.toml")


def configs(plan: Plan) -> dict[str, dict[str, object]]:
    return {run.name: asdict(run.config) for run in plan.runs}


def test_a_small_study_has_a_run_for_each_case(values, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    plan = plan_study(parse(values()))

    assert [run.name for run in plan.runs] == ["probe", "all"]
    config = plan.runs[1].config
    assert config.data == str(tmp_path / "photos")  # the same from any folder
    assert (config.backbone, config.recipe, config.epochs, config.seed) == ("alexnet", "finetune", 4, 0)
    assert config.init is None


def test_names_hold_what_there_is_more_than_one_of(values) -> None:
    study = parse(values(data=[{"name": "photos"}, {"name": "more/photos"}], seeds=[0, 1]))

    names = [run.name for run in plan_study(study).runs]

    assert names == [
        "photos-probe-seed-0",
        "photos-all-seed-0",
        "photos-probe-seed-1",
        "photos-all-seed-1",
        "more-photos-probe-seed-0",
        "more-photos-all-seed-0",
        "more-photos-probe-seed-1",
        "more-photos-all-seed-1",
    ]
    assert [run.name for run in plan_study(study, StudyOptions(data=("photos",), seeds=(7,))).runs] == [
        "probe",
        "all",
    ]


def test_two_runs_of_one_name_are_refused(values) -> None:
    with pytest.raises(ConfigError, match="would be called 'a-b-alexnet-probe-seed-0'"):
        plan_study(parse(values(data=[{"name": "a b"}, {"name": "a-b"}])))


def test_folders_are_called_the_same_whatever_else_is_planned(values) -> None:
    few = {run.folder for run in plan_study(parse(values())).runs}
    study = parse(
        values(data=[{"name": "photos"}, {"name": "b"}], backbones=["alexnet", "vgg11"], seeds=[0, 1])
    )

    assert few == {"photos-alexnet-probe-seed-0", "photos-alexnet-all-seed-0"}
    many = [run.folder for run in plan_study(study).runs]
    assert few < set(many)
    assert len(many) == len(set(many)) == 16


def test_data_sets_are_called_by_the_last_part_of_their_path(values) -> None:
    runs = plan_study(
        parse(values(data=[{"name": "/far/away/pets/"}, {"name": "a/x"}, {"name": "b/x"}]))
    ).runs

    assert list(dict.fromkeys(run.data for run in runs)) == ["pets", "a/x", "b/x"]


def test_weights_come_with_the_name(values, tmp_path: Path) -> None:
    (tmp_path / "one.pth").touch()
    (tmp_path / "two.pth").touch()
    entries = ("alexnet", f"vgg11={tmp_path / 'one.pth'}", f"vgg11={tmp_path / 'two.pth'}")

    plan = plan_study(parse(values()), StudyOptions(backbones=entries, weights="none"))

    assert plan.backbones == ("alexnet", "vgg11 (one)", "vgg11 (two)")
    assert [run.config.weights for run in plan.runs[::2]] == [
        *("none", str(tmp_path / "one.pth"), str(tmp_path / "two.pth")),
    ]
    assert {run.config.backbone for run in plan.runs} == {"alexnet", "vgg11"}


def test_settings_take_the_place_of_every_cases(values) -> None:
    runs = plan_study(parse(values()), StudyOptions(settings={"epochs": 7, "per_class": 3})).runs

    assert [(run.config.epochs, run.config.per_class) for run in runs] == [(7, 3), (7, 3)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": {"epoch": 3}}, "set has an unknown key 'epoch'; did you mean 'epochs'"),
        ({"settings": {"seed": 3}}, "set has seed; give --seeds instead"),
        ({"settings": {"recipe": "probe"}}, "set has recipe; give --recipes, or a case"),
        ({"seeds": (1, 1)}, "seeds names 1 twice"),
        ({"data": ("a", "a")}, "data names 'a' twice"),
    ],
)
def test_options_that_make_no_sense_are_told(options, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        StudyOptions(**options)


def test_what_shares_features_stands_together(values) -> None:
    study = parse(values(data=[{"name": "a"}, {"name": "b"}], backbones=["alexnet", "vgg11"], seeds=[0, 1]))

    cells = [(run.data, run.backbone) for run in plan_study(study).runs]
    assert cells == sorted(cells)


def test_one_of_the_studys_own_data_sets_keeps_its_split(values) -> None:
    study = parse(values(data=[{"name": "a", "split": "80/20"}, {"name": "b", "split": "67/33"}]))

    assert plan_study(study, StudyOptions(data=("b",))).runs[0].config.split == "67/33"
    with pytest.raises(ConfigError, match=r"in different ways: 67/33, 80/20\.\nSay how c is .* --split"):
        plan_study(study, StudyOptions(data=("c",)))
    assert plan_study(study, StudyOptions(data=("c",), split="r1")).runs[0].config.split == "r1"
    assert {run.config.split for run in plan_study(study, StudyOptions(split="r1")).runs} == {"r1"}


def test_other_data_are_divided_as_the_studys_own(values) -> None:
    study = parse(values(data=[{"name": "a", "split": "80/20"}]))

    assert plan_study(study, StudyOptions(data=("c",))).runs[0].config.split == "80/20"


def test_weights_are_those_that_are_asked_for(values, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").touch()

    assert {run.config.weights for run in plan_study(parse(values())).runs} == {"pretrained"}
    plan = plan_study(parse(values()), StudyOptions(weights="net.pth"))
    assert {run.config.weights for run in plan.runs} == {str(tmp_path / "net.pth")}


def test_a_backbone_of_the_study_has_its_name_there(values) -> None:
    study = parse(values(backbones=["alexnet", "vgg"]))

    assert plan_study(study, StudyOptions(backbones=("torchvision/alexnet",))).backbones == ("alexnet",)
    assert plan_study(study, StudyOptions(backbones=("vgg",))).backbones == ("vgg",)


def test_a_backbone_that_is_none_is_met_with_the_nearest(values) -> None:
    with pytest.raises(BackboneError, match="no backbone 'alexnett'"):
        plan_study(parse(values()), StudyOptions(backbones=("alexnett",)))


def test_a_backbone_that_lacks_a_layer_gives_what_it_pools_and_says_so(values, loaded) -> None:
    study = parse(values(options={"recipe": "probe", "layer": "fc6"}))
    of_own = plan_study(study).runs[0]
    assert (of_own.config.layer, of_own.title) == ("fc6", "a probe")
    assert loaded == []  # its own are its own affair

    (run, _) = plan_study(study, StudyOptions(backbones=("tf_efficientnet_lite0",))).runs
    assert run.config.layer == "pooled"
    assert run.title == "a probe; pooled, as there is no fc6"

    settings = {"layer": "last"}
    (run, _) = plan_study(study, StudyOptions(backbones=("resnet18",), settings=settings)).runs
    assert (run.config.layer, run.title) == ("last", "a probe")


def test_networks_are_looked_at_only_where_a_case_trains_their_classifier(values, loaded) -> None:
    plan_study(parse(values()))
    assert loaded == []

    plan_study(load_study("r5"))
    assert loaded == ["alexnet"]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_is_above_nothing(scale: float) -> None:
    with pytest.raises(ConfigError, match="expected a number above 0"):
        StudyOptions(scale=scale)


def test_a_scaled_case_says_so(values) -> None:
    probe, everything = plan_study(parse(values()), StudyOptions(scale=0.5)).runs

    assert everything.title == "everything (epochs scaled by 0.5)"
    assert everything.config.epochs == 2
    assert probe.title == "a probe"  # it has none


# The classifier


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [("alexnet", "classifier"), ("vgg11", "classifier"), ("mobilenet_v3_small", "dense")],
)
def test_several_layers_are_trained_from_where_they_begin(backbone: str, layer: str) -> None:
    plan = plan_study(load_study("r5"), StudyOptions(backbones=(backbone,)))
    made = configs(plan)

    for name in ("case-5", "case-6"):
        assert (made[name]["recipe"], made[name]["from_layer"]) == ("finetune", layer)
    assert [made[name]["reinit"] for name in ("case-4", "case-5", "case-6")] == [False, False, True]
    assert same_groups(plan.runs) == []


@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0"])
def test_cases_4_to_6_come_to_the_same_where_the_classifier_is_one_layer(backbone: str) -> None:
    plan = plan_study(load_study("r5"), StudyOptions(backbones=(backbone,)))
    made = configs(plan)

    assert same_groups(plan.runs) == [("case-4", "case-5", "case-6")]
    for name in ("case-5", "case-6"):
        unlike = {key for key, value in made[name].items() if value != made["case-4"][key]}
        assert unlike == {"schedule"}
    rates = [rates_in_words(run.config).split(" x ")[0] for run in plan.runs[3:6]]
    assert rates == ["2.5e-4", "1.5e-4", "3e-4"]  # those of the study, not made the same


def test_what_a_recipe_would_have_set_stays_when_a_case_becomes_a_probe(values) -> None:
    cases = [{"name": "a", "title": "A", "options": {"recipe": "finetune", "from_layer": "classifier"}}]

    (run,) = plan_study(parse(values(backbones=["resnet18"], cases=cases))).runs

    config = run.config
    assert (config.recipe, config.head, config.layer, config.from_layer) == ("probe", "native", "last", None)
    assert (config.optimizer, config.lr, config.epochs, config.schedule) == ("adamw", 5e-4, 8, "cosine")
    assert (config.augment, config.flip) == ("none", "no")  # as behind any frozen prefix
    assert run.same_as == ()


def test_cases_that_differ_in_rates_only_do_so_on_purpose(values) -> None:
    cases = [
        {
            "name": f"lr-{i}",
            "title": "x",
            "options": {"recipe": "finetune", "from_layer": "classifier", "lr": lr},
        }
        for i, lr in enumerate((1e-3, 1e-4))
    ]
    study = parse(values(cases=cases))

    assert same_groups(plan_study(study).runs) == []
    # On one layer they are the same training too, and a study that has only these says it of them.
    assert same_groups(plan_study(study, StudyOptions(backbones=("resnet18",))).runs) == [("lr-0", "lr-1")]


def test_a_network_without_a_classifier_is_refused_with_the_cases_that_need_one() -> None:
    with pytest.raises(
        BackboneError, match=r"several, and case-5, case-6 of the study r5 train it\.\nChoose"
    ):
        plan_study(load_study("r5"), StudyOptions(backbones=("timm/deit_tiny_distilled_patch16_224",)))
