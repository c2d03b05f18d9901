"""What is known of a backbone without building it."""

from collections.abc import Mapping
from dataclasses import dataclass

from headstart.images import Preprocess


@dataclass(frozen=True, kw_only=True)
class BackboneCard:
    """A pretrained network's name, architecture, preprocessing, licence and where its weights come from.

    `source`, `architecture` and `arguments` are enough to build the network again with no weights and no
    network connection, and all of the card is plain JSON (`dataclasses.asdict`).

    Attributes:
        name: what `--backbone` takes.
        source: which source it belongs to, a key of `SOURCES`.
        architecture: the source's name of the architecture, unlike that of any other source's architecture
            which computes something else.
        arguments: the arguments of the architecture that change a value.
        preprocess: how the weights want their images.
        licence: SPDX name of the weights' licence, or in a few words what is known of it.
        parameters: number of parameters of the whole network; None where only building it would tell.
        weights_sha256: sha256 of the weights file, as hex, where it is pinned; else None.
        weights_here: whether the weights are on this machine.
        get_weights: the command that brings them, or what happens at first use.
        aliases: the family's own names of layers, to canonical cut names.
        summary: one line for people.
    """

    name: str
    source: str
    architecture: str
    arguments: Mapping[str, object]
    preprocess: Preprocess
    licence: str
    parameters: int | None
    weights_sha256: str | None
    weights_here: bool
    get_weights: str
    aliases: Mapping[str, str]
    summary: str
