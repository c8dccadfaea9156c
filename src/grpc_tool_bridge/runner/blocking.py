"""Logs tools that block the event loop, and for how long."""

import logging
import threading
import time
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

# A longer step of a tool's own code is logged; a hub's health check waits as long.
BLOCKED_SECONDS = 0.5
# Minimum interval between warnings about one tool of one hub or worker.
REPEAT_SECONDS = 60.0
# Tools of one hub or worker whose last warning is remembered.
_MAX_TOOLS = 1_000

_log = logging.getLogger(__name__)
# The last long steps: thread, end, and seconds. A nested tool's step is part of its caller's step, and is not counted
# twice.
_recent: deque[tuple[int, float, float]] = deque(maxlen=64)
# By runner and tool: when the last warning was logged, and the steps and seconds since.
_warned: WeakKeyDictionary[Any, dict[str, list[float]]] = WeakKeyDictionary()


def held_loop(name: str, runner: Any, began: float) -> None:
    """Logs that a step of a tool took longer than ``BLOCKED_SECONDS``; called right after the step.

    Args:
        name: The tool's name.
        runner: What runs the tool; warnings are limited for each runner.
        began: When the step began, on the monotonic clock.
    """
    now, thread = time.monotonic(), threading.get_ident()
    inner = sum(seconds for where, ended, seconds in _recent if where == thread and ended >= began)
    seconds = now - began - inner
    if seconds < BLOCKED_SECONDS:
        return
    _recent.append((thread, now, seconds))
    tools = _warned.setdefault(runner, {})
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
        "%s blocked the event loop for %.1f s%s, and all other calls waited: await what takes time, or write the tool "
        "as a plain function (def), which runs in a thread",
        name,
        seconds,
        more,
    )
