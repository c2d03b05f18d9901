"""Keeping: what is given back as it was after a network has been looked at."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def attributes_kept(network: nn.Module) -> Iterator[None]:
    """Give every module its attributes back: its mode, and what a forward remembers for the next one.

    Each by itself: parts of a network may be frozen in another mode. What is new stays, as torch.fx leaves constants.
    """
    kept = [
        (module, {name: (value, _copy(value)) for name, value in vars(module).items()})
        for module in network.modules()
    ]
    try:
        yield
    finally:
        for module, attributes in kept:
            for name, (value, content) in attributes.items():
                _restore(value, content)
                vars(module)[name] = value


def _copy(value: object) -> object:
    """The content of what can be written into."""
    if isinstance(value, dict):
        return dict(value)
    return list(value) if isinstance(value, list) else None


def _restore(value: object, content: object) -> None:
    if isinstance(value, dict) and isinstance(content, dict):
        value.clear()
        value.update(content)
    elif isinstance(value, list) and isinstance(content, list):
        value[:] = content
