"""What a source of data sets may need besides the location."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from headstart.download import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a source may need besides the location.

    Attributes:
        cache: folder for what is downloaded.
        group: the column of a table that says what belongs together.
        progress: told how far a download is, in bytes.
    """

    cache: Path
    group: str | None = None
    progress: Progress | None = None
