"""The store key: everything that changes a feature's value, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class StoreKey:
    """What a stored feature is a function of, beside the image itself.

    Never part of it: batch size, workers, threads, device index, paths.

    Attributes:
        architecture: the library's name of the architecture.
        arguments: its arguments.
        weights: sha256 of the weights, hex.
        cut: canonical name of the cut.
        preprocess: `Preprocess.to_dict()`.
        decoder: names and versions of what decodes and resizes.
        view: which fixed variant of the image; see `View.identity`.
        runtime: class of the runtime and device type.
        precision: of the forward pass.
        dtype: of the stored values.
        schema: version of this record and of the shards' layout.
    """

    architecture: str
    arguments: Mapping[str, object]
    weights: str
    cut: str
    preprocess: Mapping[str, object]
    decoder: Mapping[str, str]
    view: str
    runtime: str
    precision: str
    dtype: str = "float32"
    schema: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """32 hex digits that name the key's folder."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]
