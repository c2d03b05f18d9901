"""What is known of a backbone without building it."""

from collections.abc import Mapping
from dataclasses import dataclass

from headstart.images import Preprocess


@dataclass(frozen=True, kw_only=True)
class BackboneCard:
    """A pretrained network's name, architecture, preprocessing, licence and where its weights come from.

    Attributes:
        name: what `--backbone` takes.
        source: which source it belongs to, a key of `SOURCES`.
        architecture: the library's name of the architecture.
        arguments: the arguments of the architecture that change a value.
        preprocess: how the weights want their images.
        licence: SPDX name of the weights' licence.
        parameters: number of parameters of the whole network.
        weights_sha256: sha256 of the weights file, as hex.
        weights_here: whether the weights are on this machine.
        get_weights: the command that brings them.
        aliases: the family's own names of layers, to canonical cut names.
        summary: one line for people.
    """

    name: str
    source: str
    architecture: str
    arguments: Mapping[str, object]
    preprocess: Preprocess
    licence: str
    parameters: int
    weights_sha256: str
    weights_here: bool
    get_weights: str
    aliases: Mapping[str, str]
    summary: str
