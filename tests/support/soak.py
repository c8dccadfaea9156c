"""How long, and how often, the tests run that ``make soak`` makes long."""

import os
import time
from collections.abc import Iterator

# Seconds that each test of duration runs.
SECONDS = float(os.environ.get("TEST_SOAK_SECONDS", "60"))


def rounds() -> Iterator[int]:
    """Counts from 0 until the time is over; once at least."""
    end = time.monotonic() + SECONDS
    number = 0
    while not number or time.monotonic() < end:
        yield number
        number += 1


def seeds(usual: int, soak: int) -> range:
    """Gives the seeds of a test: few in every run, and many for ``make soak``."""
    return range(soak if os.environ.get("TEST_PROFILE") == "soak" else usual)
