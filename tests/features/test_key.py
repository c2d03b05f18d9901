import dataclasses
import json

from headstart.features import StoreKey

KEY = StoreKey(
    architecture="net",
    arguments={"width": 2},
    weights="ab" * 32,
    cut="pool",
    preprocess={"size": 32, "mean": [0.5, 0.5, 0.5]},
    decoder={"jpeg": "x 1"},
    view="original",
    runtime="torch-cpu",
    precision="float32",
)
CHANGES = {
    "architecture": "other",
    "arguments": {"width": 3},
    "weights": "cd" * 32,
    "cut": "layer4",
    "preprocess": {"size": 33, "mean": [0.5, 0.5, 0.5]},
    "decoder": {"jpeg": "x 2"},
    "view": "flipped",
    "runtime": "openvino-cpu",
    "precision": "bfloat16",
    "dtype": "float16",
    "schema": 2,
}


def test_every_field_is_part_of_the_digest() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(StoreKey)}
    digests = {
        KEY.digest,
        *(dataclasses.replace(KEY, **{name: value}).digest for name, value in CHANGES.items()),
    }
    assert len(digests) == 1 + len(CHANGES)


def test_the_order_of_a_mapping_is_not() -> None:
    turned = dataclasses.replace(KEY, preprocess={"mean": [0.5, 0.5, 0.5], "size": 32})
    assert turned.digest == KEY.digest


def test_the_digest_stays_what_it_was() -> None:
    # Another one would lose every stored feature: raise SCHEMA_VERSION instead where that is meant.
    assert KEY.digest == "131c96488d079a652cda2dd9300408c0"


def test_json_gives_all_fields_back() -> None:
    assert StoreKey(**json.loads(KEY.to_json())) == KEY


def test_the_digest_is_a_short_folder_name() -> None:
    assert len(KEY.digest) == 32
    assert set(KEY.digest) <= set("0123456789abcdef")
