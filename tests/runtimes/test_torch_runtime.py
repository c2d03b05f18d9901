"""The torch runtime: fixed batches, the allocator's settings, and the device."""

import numpy as np
import pytest
import torch

from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.runtimes import choose_device, load_runtime, memory


def images(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8) for _ in range(count)]


def test_rows_do_not_depend_on_their_batch(tiny_backbone: Backbone) -> None:
    prefix = tiny_backbone.split(tiny_backbone.cut("pooled"))[0]
    runtime = load_runtime(prefix, tiny_backbone.preprocess)
    batch = images(runtime.batch_size)
    together = runtime.run(batch)
    assert together.dtype == np.float32
    assert together.shape == (runtime.batch_size, *tiny_backbone.cut("pooled").shape)
    for i, image in enumerate(batch):
        assert np.array_equal(runtime.run([image])[0], together[i])


def test_a_session_gives_torchs_threads_back(tiny_backbone: Backbone) -> None:
    prefix = tiny_backbone.split(tiny_backbone.cut("pooled"))[0]
    runtime = load_runtime(prefix, tiny_backbone.preprocess)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with runtime.session():
            runtime.start_worker()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_glibc_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda *_: pytest.fail("no C library is asked for"))
    with memory.freed_memory_kept():
        pass


def test_a_device_that_is_not_there_is_an_error() -> None:
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="auto"):
        choose_device("warp")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="cuda"):
            choose_device("cuda")
