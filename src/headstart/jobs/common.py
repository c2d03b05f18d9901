"""What the jobs share."""

from collections.abc import Sequence


def listing(names: Sequence[str], most: int = 8) -> str:
    """Names for an error's text."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
