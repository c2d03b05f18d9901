from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.images import normalise
from headstart.runtimes import Runtime, RuntimeName, choose_device, load_runtime, runtime_identity


def pixels(n: int, size: int = 32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator))


@pytest.fixture
def runtime(tiny_backbone: Backbone) -> Iterator[Runtime]:
    prefix, _ = tiny_backbone.split(tiny_backbone.cut("pooled"))
    loaded = load_runtime(prefix, tiny_backbone.preprocess)
    with loaded.session():
        loaded.start_worker()
        yield loaded


def test_features_are_the_plain_networks(runtime: Runtime, tiny_backbone: Backbone) -> None:
    images = pixels(runtime.batch_size)
    rows = runtime.run(images)
    network = tiny_backbone.network
    with torch.no_grad():
        x = normalise(torch.stack(images), tiny_backbone.preprocess)
        expected = network.forward_head(network.forward_features(x), pre_logits=True).numpy()
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert np.linalg.norm(rows - expected) <= 1e-5 * np.linalg.norm(expected)


def test_a_session_gives_torchs_threads_back(tiny_backbone: Backbone) -> None:
    runtime = load_runtime(tiny_backbone.network, tiny_backbone.preprocess)
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="inside"), runtime.session():
        runtime.start_worker()
        assert torch.get_num_threads() == 1
        raise RuntimeError("inside")
    assert torch.get_num_threads() == threads


def test_features_are_taken_in_eval_mode(tiny_backbone: Backbone) -> None:
    prefix, _ = tiny_backbone.split(tiny_backbone.cut("pooled"))
    expected = load_runtime(prefix, tiny_backbone.preprocess).run(pixels(2))
    trained, _ = tiny_backbone.split(tiny_backbone.cut("pooled"))
    again = load_runtime(trained.train(), tiny_backbone.preprocess).run(pixels(2))
    assert np.array_equal(expected, again)


def test_identity_names_class_and_precision_but_no_device_index() -> None:
    assert runtime_identity(RuntimeName.TORCH_BF16, "cuda:1") == {
        "runtime": "torch-cuda-folded",
        "precision": "bf16",
    }


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in ((True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert choose_device("auto") == expected


@pytest.mark.parametrize("device", ["gpu", "meta", ""])
def test_a_device_that_cannot_compute_is_refused(device: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"Device '{device}' cannot be used here: .+\nUse cpu, cuda, mps or auto"
    ):
        choose_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="Device 'cuda' cannot be used here"):
        choose_device("cuda")
