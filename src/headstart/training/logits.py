"""What a network says of images as they are: nothing is trained, nothing varied."""

import torch
from torch import Tensor, nn

from headstart.runtimes import freed_memory_kept
from headstart.training.backward import PIECE, suits_pieces, worker_pool
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


def logits_of(model: nn.Module, source: Source, machine: Machine, *, batch_size: int = 0) -> Tensor:
    """Logits (n, K) float32 by a model on the device, in batches of what it was trained in, or of 32 if less."""
    model.eval()

    def judge(inputs: Tensor) -> Tensor:
        with torch.inference_mode(), machine.autocast():
            logits: Tensor = model(inputs)
            return logits.float().cpu()

    found: list[Tensor] = []
    with worker_pool(model) as pool:
        for rows in torch.split(torch.arange(len(source)), max(batch_size, _LEAST_BATCH)):
            inputs = source.inputs(rows, None).to(machine.device)
            # Small batches side by side use a CPU's cores better than one spread over them.
            in_pieces = suits_pieces(model, machine, inputs)
            found += pool.map(judge, torch.split(inputs, PIECE)) if in_pieces else [judge(inputs)]
    return torch.cat(found)
