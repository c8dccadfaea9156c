"""The one clock by which leases are judged: monotonic, so that no change of the date makes a lease longer."""

import time


def now() -> float:
    """Returns seconds of a clock that only goes forward and is never set."""
    return time.monotonic()
