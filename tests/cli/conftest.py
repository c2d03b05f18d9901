"""What the tests of the command line share."""

import logging
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What `main` sets for a whole process is given back."""
    handler = signal.getsignal(signal.SIGTERM)
    logger = logging.getLogger("headstart")
    handlers, propagate = logger.handlers, logger.propagate
    yield
    signal.signal(signal.SIGTERM, handler)
    logger.handlers, logger.propagate = handlers, propagate
