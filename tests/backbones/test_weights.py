"""Weights of one's own: which file for which backbone, how it is read, and that it fits."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from headstart.backbones import full_weights, load_backbone, parse_weights
from headstart.backbones.weights import fit_state, read_folder, read_state
from headstart.errors import BackboneError

NETWORK = "timm/test_resnet"


def test_the_words_for_weights_win_over_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pretrained", "none", "mine.pth"):
        Path(name).touch()
    texts = ("pretrained", "none", "vgg=none", "mine.pth", "vgg=mine.pth", "other.pth")
    mine = str(tmp_path / "mine.pth")
    assert [full_weights(text) for text in texts] == [*texts[:3], mine, f"vgg={mine}", "other.pth"]


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: torch.randn_like(v) if v.ndim else v for name, v in network.state_dict().items()}


def assert_same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {"vgg": "pretrained", "resnet": "pretrained"}),
        (["none"], {"vgg": "none", "resnet": "none"}),
        (["vgg=a.pth"], {"vgg": "a.pth", "resnet": "pretrained"}),
        (["vgg=a.pth", "resnet=none"], {"vgg": "a.pth", "resnet": "none"}),
        (["none", "vgg=dir/a=b.pth"], {"vgg": "dir/a=b.pth", "resnet": "none"}),
    ],
)
def test_each_backbone_gets_its_own_weights(texts: list[str], expected: dict[str, str]) -> None:
    assert parse_weights(texts, ["vgg", "resnet"]) == expected


def test_a_file_with_an_equals_sign_in_its_name_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vgg=a.pth").write_bytes(b"")
    assert parse_weights(["vgg=a.pth"], ["vgg"]) == {"vgg": "vgg=a.pth"}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["vg=a.pth"], r"'vg' is none of the backbones here \(vgg, resnet\)"),
        (["vgg=a.pth", "vgg=b.pth"], "given twice for vgg"),
        (["a.pth", "b.pth"], "given twice for every backbone"),
    ],
)
def test_weights_for_nobody_are_refused(texts: list[str], words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        parse_weights(texts, ["vgg", "resnet"])


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pth.tar", ".safetensors"])
def test_files_are_read_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    state = state_of(small())
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert_same(read_state(path), state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    ],
)
def test_wrappings_are_taken_off(tmp_path: Path, wrap: Any) -> None:
    state = state_of(small())
    torch.save(wrap(state), tmp_path / "weights.pth")
    assert_same(read_state(tmp_path / "weights.pth"), state)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_becomes_float32(tmp_path: Path, kind: torch.dtype) -> None:
    state = {"weight": torch.randn(3, 4).to(kind), "num_batches_tracked": torch.tensor(5)}
    torch.save(state, tmp_path / "weights.pth")
    found = read_state(tmp_path / "weights.pth")
    assert found["weight"].dtype == torch.float32
    assert torch.equal(found["weight"], state["weight"].float())
    assert found["num_batches_tracked"].dtype == torch.int64


class Hostile:
    """Would leave a mark if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_file_that_would_run_something_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    torch.save({"weight": torch.zeros(1), "x": Hostile(mark)}, path)
    with pytest.raises(BackboneError, match=r"holds more than tensors \(\w+\.mkdir\), and is not run"):
        read_state(path)
    assert not mark.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "weights.pth")
    with pytest.raises(
        BackboneError, match=r"holds more than tensors \(torch\.nn\.\S+\)(.|\n)*state_dict\(\)"
    ):
        read_state(tmp_path / "weights.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04" + b"\x00" * 50, b"\x80\x04]"])
def test_damaged_files_are_an_error_in_words(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match=rf"weights{suffix}"):
        read_state(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_short_is_an_error_in_words(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = state_of(small())
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    content = path.read_bytes()
    for part in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(BackboneError, match="damaged"):
            read_state(path)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"state_dict": 3}, {"weight": "text"}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(BackboneError, match="holds no state dict"):
        read_state(tmp_path / "weights.pth")


def test_unknown_kinds_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"ends in \.h5(.|\n)*\.safetensors"):
        read_state(tmp_path / "weights.h5")
    with pytest.raises(BackboneError, match=r"weights\.pth cannot be read: No such file"):
        read_state(tmp_path / "weights.pth")
    with pytest.raises(BackboneError, match=r"There are no weights .*none\.pth"):
        load_backbone(NETWORK, weights=str(tmp_path / "none.pth"))


def test_fitting_takes_every_tensor() -> None:
    network, state = small(), state_of(small())
    fit_state(network, state, origin="a file", name="small")
    assert_same(network.state_dict(), state)


def test_only_batch_norms_counters_may_be_missing() -> None:
    network, state = small(), state_of(small())
    del state["1.num_batches_tracked"]
    fit_state(network, state, origin="a file", name="small")
    assert torch.equal(network.state_dict()["1.running_mean"], state["1.running_mean"])
    del state["1.running_mean"]
    with pytest.raises(BackboneError, match=r"1 missing \(1\.running_mean\)\.\n"):
        fit_state(network, state, origin="a file", name="small")


def test_all_that_does_not_fit_stands_in_one_error_and_nothing_is_loaded() -> None:
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = state_of(network) | {f"extra.{i}": torch.zeros(1) for i in range(5)}
    state["2.weight"] = torch.zeros(10, 4)
    del state["0.bias"]
    with pytest.raises(BackboneError) as caught:
        fit_state(network, state, origin="weights.pth", name="small")
    message = str(caught.value)
    assert "weights.pth does not fit small" in message
    assert "1 missing (0.bias)" in message
    assert "5 unexpected (extra.0, extra.1, extra.2, ...)" in message
    assert "1 of another shape (2.weight (10, 4) instead of (2, 4))" in message
    assert len(message.splitlines()) == 2
    assert_same(network.state_dict(), before)


def test_a_files_sha256_is_the_identity_of_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(load_backbone(NETWORK, weights="none", seed=5).network.state_dict(), path)
    for text in (str(path), f"{NETWORK}={path}"):
        backbone = load_backbone(NETWORK, weights=text)
        assert backbone.weights == "mine.pth"
        assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # The card no longer tells of the published weights.
    assert backbone.name == NETWORK
    assert backbone.card.licence == "not stated (weights of mine.pth)"
    assert_same(
        backbone.network.state_dict(),
        load_backbone(NETWORK, weights="none", seed=5).network.state_dict(),
    )


def test_a_name_before_the_file_must_be_the_backbones(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="'resnet' is none of the backbones here"):
        load_backbone(NETWORK, weights=f"resnet={tmp_path / 'a.pth'}")


def test_a_folder_is_for_timms_networks(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match="is a folder of timm's, and torchvision/resnet18 is none"):
        load_backbone("torchvision/resnet18", weights=str(tmp_path))


@pytest.mark.parametrize(
    "config", ["", "[]", "{}", '{"architecture": "resnet18", "pretrained_cfg": 3}', '{"pretrained_cfg": {}}']
)
def test_a_folder_that_describes_nothing_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match=r"config\.json describes no network"):
        read_folder(tmp_path)


def test_a_folder_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"holds no config\.json"):
        read_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    with pytest.raises(
        BackboneError, match=r"holds no weights(.|\n)*model\.safetensors or pytorch_model\.bin"
    ):
        read_folder(tmp_path)


def test_an_older_config_in_one_level_is_understood(tmp_path: Path) -> None:
    config = {"architecture": "resnet18.tag", "num_classes": 3, "mean": [0.5, 0.5, 0.5]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    folder = read_folder(tmp_path)
    assert (folder.architecture, folder.file.name) == ("resnet18", "pytorch_model.bin")
    assert folder.pretrained_cfg["mean"] == [0.5, 0.5, 0.5]
    assert folder.model_args == {}
