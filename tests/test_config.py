"""The configuration: there and back through TOML, and every fault in words."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.config import DEFAULT_BACKBONE, ProbeConfig, TrainConfig, read_config
from headstart.errors import ConfigError

_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)


@given(
    data=_TEXT,
    weights=st.sampled_from(["pretrained", "none"]) | _TEXT,
    layer=_TEXT,
    per_class=st.none() | st.integers(1, 10**6),
    class_weights=st.sampled_from(["none", "balanced"]),
    seed=st.integers(0, 2**32),
)
def test_toml_and_back_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, data, weights, layer, per_class, class_weights, seed
) -> None:
    config = TrainConfig(
        data, weights=weights, layer=layer, per_class=per_class, class_weights=class_weights, seed=seed
    )
    path = tmp_path_factory.getbasetemp() / "roundtrip.toml"
    path.write_bytes(config.to_toml().encode())

    assert read_config(path) == config


def test_every_option_that_is_set_is_written() -> None:
    text = TrainConfig("photos", size=96, per_class=5, group="animal", group_pattern="_", lr=1e-3).to_toml()

    unset = {f.name for f in fields(TrainConfig) if f.default is None} - {
        "size",
        "per_class",
        "group",
        "group_pattern",
        "lr",
    }
    assert [line.split(" = ")[0] for line in text.splitlines()] == [
        field.name for field in fields(TrainConfig) if field.name not in unset
    ]
    assert "per_class" not in TrainConfig("photos").to_toml()  # TOML has no null


def test_a_folder_is_all_that_must_be_written(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('data = "photos"\n')

    assert read_config(path) == TrainConfig("photos")
    assert read_config(path).backbone == DEFAULT_BACKBONE


def test_all_faults_stand_in_one_error() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(3, weights=7, class_weights="heavy", per_class="ten", seed=1.5)  # type: ignore[arg-type]

    message = str(caught.value)
    assert message == (
        "data is 3; expected str; weights is 7; expected str; "
        "per_class is 'ten'; expected int; seed is 1.5; expected int; "
        "class_weights is 'heavy'; expected one of none, balanced."
    )


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"per_class": 0}, "per_class is 0; expected at least 1"),
        ({"per_class": True}, "per_class is True; expected int"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"seed": False}, "seed is False; expected int.$"),
    ],
)
def test_numbers_out_of_range(option: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig("photos", **option)  # type: ignore[arg-type]


def test_two_numbers_out_of_range_stand_in_one_error() -> None:
    with pytest.raises(ConfigError, match=r"per_class is 0.*; seed is -1"):
        TrainConfig("photos", per_class=0, seed=-1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": float("nan")}, "lr is nan; expected a finite number"),
        ({"weight_decay": float("inf")}, "weight_decay is inf; expected a finite number"),
        ({"momentum": 1.0}, "momentum is 1.0; expected less than 1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; expected less than 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1; expected 0 or more"),
        ({"layer_decay": 0}, "layer_decay is 0; expected more than 0 and at most 1"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5; expected more than 0 and at most 1"),
        ({"time": "soon"}, "time: 'soon' is no duration"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig("photos", **options)

    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_faults_of_a_training_stand_in_one_error_with_the_others() -> None:
    with pytest.raises(ConfigError, match=r"^seed is -1.*; time: 'soon'.*; label_smoothing is 2; .*\.$"):
        TrainConfig("photos", seed=-1, time="soon", label_smoothing=2)


def test_options_at_the_ends_of_their_ranges() -> None:
    TrainConfig("photos", label_smoothing=0, layer_decay=1, time="1.5h", head="linear", epochs=3, lr=1e-2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('data = "photos"\nbackbon = "x"', "unknown key 'backbon'; did you mean 'backbone'?"),
        ('data = "photos"\nperclass = 3', "unknown key 'perclass'; did you mean 'per_class'?"),
        ('data = "photos"\nzzz = 3', "unknown key 'zzz'; known keys: data, backbone, weights, layer"),
        ("seed = 3", "lacks the key 'data'"),
        ("data = ", "is no TOML"),
        ('data = "photos"\nseed = "three"', "seed is 'three'; expected int"),
        ('data = "photos"\nclass_weights = "other"', "expected one of none, balanced"),
        ('data = "photos"\nmax_store = "much"', "max_store: 'much' is no size"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    assert words in str(caught.value)


def test_a_file_that_is_no_text_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xd8\xff\xe0")

    with pytest.raises(ConfigError, match="is no TOML"):
        read_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        read_config(tmp_path / "none.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)


def test_a_probe_is_of_photos_or_of_two_files() -> None:
    assert ProbeConfig("photos").batch_size == 256
    assert ProbeConfig(training_file="a.p", validation_file="b.p").data == ""
    for wrong in (
        {},
        {"training_file": "a.p"},
        {"validation_file": "b.p"},
        {"data": "photos", "training_file": "a.p"},
        {"data": "photos", "training_file": "a.p", "validation_file": "b.p"},
    ):
        with pytest.raises(ConfigError, match="Expected either DATA"):
            ProbeConfig(**wrong)


def test_numbers_of_a_probe_that_are_too_small() -> None:
    with pytest.raises(
        ConfigError, match=r"epochs is 0; expected at least 1; batch_size is -1; expected at least 1"
    ):
        ProbeConfig("photos", epochs=0, batch_size=-1)
