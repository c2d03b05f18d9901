"""Several processes take the same steps as one: tried here with two on a CPU, as `accelerate launch` starts them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

_TRAINING = """
import sys

import torch
from torch import nn

from headstart.recipes import load_recipe
from headstart.training import Examples, StoredSource, train_network
from dataclasses import replace

generator = torch.Generator().manual_seed(0)
inputs, labels = torch.randn(37, 3, 8, 8, generator=generator), torch.arange(37) % 3
torch.manual_seed(0)
body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
head = nn.Linear(4, 3)
recipe = replace(load_recipe("finetune"), epochs=3, batch_size=8, lr=1e-2)
source = StoredSource(inputs.numpy())
with source.session():
    examples = Examples(source=source, labels=labels)
    trained = train_network(body, head, examples, recipe, validation=examples)
losses = torch.tensor([epoch.train_loss for epoch in trained.history])
torch.save([losses, *nn.Sequential(body, head).state_dict().values()], sys.argv[1])
"""


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    (alone,) = _trained(tmp_path, processes=1)

    both = _trained(tmp_path, processes=2)

    for one in both:
        for theirs, ours in zip(one, alone, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(first, second) for first, second in zip(*both, strict=True))


def _trained(folder: Path, *, processes: int) -> list[list[torch.Tensor]]:
    """The losses of the epochs and the weights that each process ends with."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        place = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": processes,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "ACCELERATE_USE_CPU": "true",
        }
        env = os.environ | ({} if processes == 1 else {name: str(value) for name, value in place.items()})
        out = folder / f"{processes}-{rank}.pt"
        started.append((subprocess.Popen([sys.executable, "-c", _TRAINING, str(out)], env=env), out))
    assert [process.wait(timeout=120) for process, _ in started] == [0] * processes
    return [torch.load(out) for _, out in started]
