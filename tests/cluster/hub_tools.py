"""What the hubs of these tests offer, and what a test can do to one from outside; given to ``serve --tools``."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from cluster import planted
from durability.tools import Effects
from grpc_tool_bridge import tool
from grpc_tool_bridge.cluster import clock

# Seconds that a hub's clocks jump by at SIGUSR1: that of leases, and the date.
JUMP, DATE_JUMP = 7.0, 5_000.0

_effects = Effects(Path(os.environ["TEST_EFFECTS"]))
append: Any = tool(_effects.append)  # type: ignore[call-overload]
append_again: Any = _effects.append_again


@tool
async def whoami() -> int:
    """Returns the process that this ran in."""
    return os.getpid()


def _jump(*_: object) -> None:
    now, date = clock.now, time.time
    clock.now = lambda: now() + JUMP
    time.time = lambda: date() + DATE_JUMP


signal.signal(signal.SIGUSR1, _jump)
planted.plant(os.environ.get("TEST_PLANTED", ""))
