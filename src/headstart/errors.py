"""What can go wrong, in words for the person who has to mend it.

Every error that a user can cause is a `HeadstartError`: one or two lines that say what came, what was
expected and what to do. The command line prints the message and exits with code 2; anything else is a bug
and keeps its traceback.
"""

from collections.abc import Sequence


class HeadstartError(Exception):
    """Base of all errors that say what to do. The message is one or two lines of plain text."""


class ConfigError(HeadstartError):
    """An option or a config file holds something that cannot be used."""


class DataError(HeadstartError):
    """The images, their folders or their labels cannot be used as they are."""


class UnreadableImageError(DataError):
    """One image could not be decoded; the message is the reason alone, without the path."""


class BackboneError(HeadstartError):
    """A backbone, its weights or one of its layers cannot be had."""


class CompilationError(BackboneError):
    """A runtime does not know how to run a network."""


class TrainingError(HeadstartError):
    """A training cannot go on."""


class StoreError(HeadstartError):
    """The feature store cannot be read or written."""


class DiskFullError(HeadstartError):
    """A file does not fit onto its disk any more; what stood there before is untouched."""


class RunError(HeadstartError):
    """A run folder is missing, unfinished, taken or of another version."""


class DownloadError(HeadstartError):
    """A file could not be fetched or was not what its checksum promises."""


class PickleRefusedError(HeadstartError):
    """A pickle or .npy file asks for what is not admitted, or is damaged; nothing in it has been run.

    Args:
        message: what was refused, and what is admitted.
        forbidden: the global that the file asks for, `module.name`; None where something else was refused.
    """

    def __init__(self, message: str, *, forbidden: str | None = None) -> None:
        super().__init__(message)
        self.forbidden = forbidden


def name_some(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first few of many things for a message, and how many more there are: `a, b and 1,200 more`."""
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more
