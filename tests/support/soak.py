"""How long, and how often, the tests run that ``make soak`` makes long."""

import os
import time
from collections.abc import Iterator

IS_SOAK = os.environ.get("TEST_PROFILE") == "soak"

# Seconds that each test of duration runs.
SECONDS = float(os.environ.get("TEST_SOAK_SECONDS", "60"))


def rounds() -> Iterator[int]:
    """Counts from 0 until the time is over; a hundred rounds at least."""
    end = time.monotonic() + SECONDS
    number = 0
    while number < 100 or time.monotonic() < end:
        yield number
        number += 1


def examples(usual: int) -> int:
    """Says how many examples or seeds a test tries: ``usual``, and twenty times as many for ``make soak``."""
    return 20 * usual if IS_SOAK else usual
