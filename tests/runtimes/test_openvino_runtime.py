"""The OpenVINO runtime against the network itself."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from headstart.backbones import Backbone
from headstart.errors import CompilationError, ConfigError
from headstart.images import Preprocess, normalise
from headstart.runtimes import Runtime, RuntimeName, has_bf16, load_runtime

pytest.importorskip("openvino", reason="needs the openvino extra")


def _pixels(n: int, size: int = 32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator))


def _load(backbone: Backbone, layer: str, name: RuntimeName = RuntimeName.OPENVINO_FLOAT32) -> Runtime:
    return load_runtime(backbone.prefix(backbone.cut(layer)), backbone.preprocess, name=name)


@pytest.mark.parametrize("layer", ["conv_stem", "blocks.2", "pooled"])
def test_features_are_the_plain_networks(tiny_backbone: Backbone, layer: str) -> None:
    runtime = _load(tiny_backbone, layer)
    images = _pixels(runtime.batch_size)

    rows = runtime.run(images)

    with torch.inference_mode():
        x = normalise(torch.stack(images), tiny_backbone.preprocess)
        expected = tiny_backbone.prefix(tiny_backbone.cut(layer)).eval()(x).numpy()
    assert (rows.dtype, rows.shape, rows.flags.c_contiguous) == (np.float32, expected.shape, True)
    assert np.linalg.norm(rows - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor does not multiply bfloat16")
def test_bf16_is_near(tiny_backbone: Backbone) -> None:
    images = _pixels(8)

    exact = _load(tiny_backbone, "pooled").run(images)
    near = _load(tiny_backbone, "pooled", RuntimeName.OPENVINO_BF16).run(images)

    assert not np.array_equal(near, exact)
    assert np.linalg.norm(near - exact) <= 0.05 * np.linalg.norm(exact)


def test_a_network_that_cannot_be_compiled_is_named(tiny_backbone: Backbone) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("this one never ran")

    runtime = load_runtime(Odd(), tiny_backbone.preprocess, name=RuntimeName.OPENVINO_FLOAT32)

    with pytest.raises(
        CompilationError, match="cannot compile this network: this one never ran\nTake --runtime torch"
    ):
        runtime.run(_pixels(1))


def test_it_is_for_the_cpu() -> None:
    preprocess = Preprocess(size=32, resize=36, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)

    with pytest.raises(ConfigError, match="openvino-float32 does not run networks on 'cuda' here"):
        load_runtime(nn.Identity(), preprocess, device="cuda", name=RuntimeName.OPENVINO_FLOAT32)
