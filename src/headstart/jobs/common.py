"""What the jobs share."""

from collections.abc import Sequence

from headstart.errors import name_some


def listing(names: Sequence[str], most: int = 8) -> str:
    """Names for an error's text."""
    return name_some([repr(name) for name in names], most)
