"""Tools that hold the event loop: named in the log, with how long they held it."""

import logging
import threading
import time
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

# A step of a tool's own code that takes longer is told; the health check of a hub waits as long.
BLOCKED_SECONDS = 0.5
# How often one tool of one hub or worker is told.
REPEAT_SECONDS = 60.0
# Tools whose last warning is remembered, of one hub or worker.
_MAX_TOOLS = 1_000

_log = logging.getLogger(__name__)
# Of the steps that were told last: their thread, when they ended, and how long they took. A step of a tool that is
# called by another one is part of that one's step, which is not told for it.
_recent: deque[tuple[int, float, float]] = deque(maxlen=64)
# By what runs the tools: for each, when it was told and the steps that were not told since.
_told: WeakKeyDictionary[Any, dict[str, list[float]]] = WeakKeyDictionary()


def held_loop(name: str, runner: Any, began: float) -> None:
    """Called where a step of a tool that began at ``began`` has just taken longer than ``BLOCKED_SECONDS``.

    Args:
        name: The tool's.
        runner: What runs it, for how often it is told.
        began: Of the monotonic clock.
    """
    now, thread = time.monotonic(), threading.get_ident()
    inner = sum(seconds for where, ended, seconds in _recent if where == thread and ended >= began)
    seconds = now - began - inner
    if seconds < BLOCKED_SECONDS:
        return
    _recent.append((thread, now, seconds))
    tools = _told.setdefault(runner, {})
    before = tools.get(name)
    if before is not None and now - before[0] < REPEAT_SECONDS:
        before[1] += 1
        before[2] += seconds
        return
    if before is None and len(tools) >= _MAX_TOOLS:
        del tools[next(iter(tools))]
    tools[name] = [now, 0, 0.0]
    more = f" (and {before[1]:,.0f} times more before, {before[2]:.1f} s in all)" if before and before[1] else ""
    _log.warning(
        "%s held the event loop for %.1f s%s, and every other call waited: await what takes time, or write the tool as "
        "a plain function (def), which runs in a thread",
        name,
        seconds,
        more,
    )
