"""The threads that work on a batch's pieces: what happens to the model while they do."""

import pytest
import torch
from torch import Tensor, nn

from headstart.training.backward import worker_pool


def pointwise() -> nn.Sequential:
    """Convolutions of one position, and others; the inputs are (b, 8, 16, 16)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(8, 16, 1),
            nn.Conv2d(16, 16, 3, padding=2, dilation=2),
            nn.Conv2d(16, 16, 1, stride=2, groups=4),
            nn.Conv2d(16, 8, (1, 3)),
            nn.Flatten(),
            nn.Linear(8 * 8 * 6, 3),
        )


def step(model: nn.Module, images: Tensor) -> list[Tensor]:
    logits = model(images)
    return [logits.detach(), *torch.autograd.grad(logits.square().sum(), list(model.parameters()))]


def test_in_a_pool_a_model_computes_the_same_and_is_afterwards_as_before() -> None:
    model = pointwise()
    images = torch.randn(4, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    plain = step(model, images)

    with worker_pool(model) as pool:
        (pooled,) = pool.map(lambda each: step(model, each), [images])
        assert model[0].dilation == (2, 2)

    for ours, theirs in zip(pooled, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert [m.dilation for m in model if isinstance(m, nn.Conv2d)] == [(1, 1), (2, 2), (1, 1), (1, 1)]


def test_a_model_is_as_before_after_an_error_too() -> None:
    model = pointwise()
    with pytest.raises(ZeroDivisionError), worker_pool(model) as pool:
        pool.submit(lambda: 1 / 0).result()
    assert model[0].dilation == (1, 1)


def test_a_model_that_is_not_on_the_cpu_stays_as_it_is() -> None:
    model = pointwise().to("meta")
    with worker_pool(model):
        assert model[0].dilation == (1, 1)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_in_a_pool_no_convolution_is_left_to_the_slower_routine() -> None:
    model = pointwise().to(memory_format=torch.channels_last)
    images = torch.randn(4, 8, 16, 16).to(memory_format=torch.channels_last)

    def profiled(each: Tensor) -> set[str]:
        with torch.profiler.profile() as profile:
            step(model, each)
        return {event.key for event in profile.key_averages()}

    with worker_pool(model) as pool:
        (found,) = pool.map(profiled, [images])

    assert "aten::mkldnn_convolution" in found
    assert not [name for name in found if "_slow_conv2d" in name]
