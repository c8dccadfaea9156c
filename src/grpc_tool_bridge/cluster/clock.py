"""The one clock by which leases are judged: it is never set, and goes on while the machine sleeps."""

import time

# The ordinary monotonic clock of Linux stands still while a machine is suspended, and so would a lease in a hub there.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Returns seconds that only go forward."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
