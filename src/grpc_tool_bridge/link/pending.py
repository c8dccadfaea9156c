"""Calls that wait for a link to take them."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.rpc.buffers import Payload


class _Entry(NamedTuple):
    payload: Payload
    timer: asyncio.TimerHandle
    # On the monotonic clock; None if the wait does not count towards the call's timeout.
    deadline: float | None


class PendingCalls:
    """Pending calls in order, each with a timeout.

    Args:
        error: Returns the error of a call that has waited for so many seconds.
    """

    enforces_timeouts = False

    def __init__(self, error: Callable[[float], ToolBridgeError]) -> None:
        self._error = error
        self._entries: dict[LinkCall, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, call: LinkCall, payload: Payload, seconds: float, *, counts: bool) -> None:
        """Adds a call.

        Args:
            call: The call.
            payload: Its request.
            seconds: How long it may wait.
            counts: Whether the wait counts towards the call's timeout.
        """
        call.carrier = self
        timer = asyncio.get_running_loop().call_later(seconds, self._expire, call, seconds)
        self._entries[call] = _Entry(payload, timer, time.monotonic() + seconds if counts else None)

    def put_back(self, calls: Iterable[tuple[LinkCall, Payload]], seconds: float) -> None:
        """Adds calls that a lost link had not sent, before all others."""
        others, self._entries = self._entries, {}
        for call, payload in calls:
            if not call.is_over:
                left = call.time_remaining()
                self.add(call, payload, left or seconds, counts=left is not None)
        self._entries |= others

    def take(self) -> tuple[LinkCall, Payload]:
        """Removes and returns the first call; there must be one."""
        call = next(iter(self._entries))
        payload, timer, deadline = self._entries.pop(call)
        timer.cancel()
        if deadline is not None:
            call.shorten(max(1, math.ceil((deadline - time.monotonic()) * 1000)))
        return call, payload

    def cancel(self, call: LinkCall) -> None:
        """Removes a call."""
        entry = self._entries.pop(call, None)
        if entry is not None:
            entry.timer.cancel()

    def grant(self, call: LinkCall, size: int) -> None:
        """Does nothing: no message of it was read yet."""

    def fail(self, error: Callable[[], ToolBridgeError], *, fail_fast_only: bool = False) -> None:
        """Fails all calls, or only those that do not wait for another dial, each with its own error."""
        for call in [call for call in self._entries if not (fail_fast_only and call.waits)]:
            self.cancel(call)
            call.fail(error())

    def _expire(self, call: LinkCall, seconds: float) -> None:
        if self._entries.pop(call, None) is not None:
            call.fail(self._error(seconds))
