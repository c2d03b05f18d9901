"""What every runtime promises: an image's features depend on nothing but the image."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor

from headstart.backbones import Backbone
from headstart.config import ExtractConfig
from headstart.runtimes import Runtime, RuntimeName, load_runtime

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name.compiled and find_spec("openvino") is None, reason="needs the openvino extra"
        ),
    )
    for name in (RuntimeName.TORCH_FLOAT32, RuntimeName.OPENVINO_FLOAT32)
]


def _pixels(n: int, size: int = 32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator))


def _load(backbone: Backbone, layer: str, name: RuntimeName) -> Runtime:
    return load_runtime(backbone.prefix(backbone.cut(layer)), backbone.preprocess, name=name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", ["conv_stem", "blocks.2", "conv_head", "pooled", "classifier"])
def test_an_images_features_do_not_depend_on_its_company(
    tiny_backbone: Backbone, layer: str, name: RuntimeName
) -> None:
    runtime = _load(tiny_backbone, layer, name)
    images = _pixels(runtime.batch_size)
    with runtime.session():
        runtime.start_worker()
        together = runtime.run(images)
        backwards = runtime.run(images[::-1])[::-1]
        alone = np.concatenate([runtime.run([image]) for image in images])
    assert np.array_equal(together, backwards)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("name", NAMES)
def test_several_threads_give_the_same_bits(tiny_backbone: Backbone, name: RuntimeName) -> None:
    runtime = _load(tiny_backbone, "pooled", name)
    images = _pixels(8 * runtime.batch_size)
    batches = [images[i : i + runtime.batch_size] for i in range(0, len(images), runtime.batch_size)]
    with runtime.session():
        runtime.start_worker()
        one_by_one = [runtime.run(batch) for batch in batches]
        with ThreadPoolExecutor(4, initializer=runtime.start_worker) as pool:
            at_once = list(pool.map(runtime.run, batches))
    assert np.array_equal(np.concatenate(one_by_one), np.concatenate(at_once))


def test_the_option_names_every_runtime() -> None:
    assert set(get_args(get_type_hints(ExtractConfig)["runtime"])) == {"auto", *RuntimeName}
