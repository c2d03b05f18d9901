"""What a network says of images as they are: nothing is trained, nothing varied."""

import torch
from torch import Tensor, nn

from headstart.runtimes import freed_memory_kept
from headstart.training.machine import Machine
from headstart.training.sources import Source

_LEAST_BATCH = 32


def network_logits(
    body: nn.Module, head: nn.Module, source: Source, *, device: str = "cpu", precision: str = "float32"
) -> Tensor:
    """Logits (n, K) float32 of `head(body(inputs))`; the source's session is open."""
    machine = Machine(device, precision)
    model = placed(body, head, machine)
    with freed_memory_kept():
        logits = logits_of(model, source, machine)
    model.cpu()
    return logits


def placed(body: nn.Module, head: nn.Module, machine: Machine) -> nn.Module:
    """Both as one, on the device; convolutions are fastest with the channels innermost, as pixels come."""
    model: nn.Module = nn.Sequential(body, head).to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


@torch.inference_mode()
def logits_of(model: nn.Module, source: Source, machine: Machine, *, batch_size: int = 0) -> Tensor:
    """Logits (n, K) float32 by a model that is on the device, in batches of this size, but not below 32."""
    model.eval()
    found = []
    for rows in torch.split(torch.arange(len(source)), max(batch_size, _LEAST_BATCH)):
        with machine.autocast():
            found.append(model(source.inputs(rows, None).to(machine.device)).float().cpu())
    return torch.cat(found)
