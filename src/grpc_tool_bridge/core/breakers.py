"""Circuit breakers: a tool that fails again and again is held back, until a call that tries it succeeds."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Collection
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.registered_tool import NoWorkerError
from grpc_tool_bridge.errors import DeadlineExceededError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.errors.class_facts import class_name
from grpc_tool_bridge.errors.clipped_repr import clipped
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import Payload, joined
from grpc_tool_bridge.runner.error_formatter import FormattedError, ToolRaised
from grpc_tool_bridge.runner.process import MEMORY_DETAIL

# Of the class of a tool's last error, in the text for its callers.
MAX_ERROR_CHARS = 100

# While a call tries the tool, others are told to come back after this many seconds.
_TRYING_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Breaker:
    """Counts the failures of one tool, and holds it back.

    Args:
        name: The tool's name.
        failures: Failures in a row after which it is held back.
        seconds: How long it is held back before one call may try it.

    Attributes:
        name: As given.
        failed: Failures in a row.
        refused: Calls that were refused.
    """

    def __init__(self, name: str, failures: int, seconds: float) -> None:
        self.name = name
        self.failed = 0
        self.refused = 0
        self._most = failures
        self._seconds = seconds
        self._until = 0.0
        self._trying = False
        self._last_error = ""

    @property
    def state(self) -> str:
        """Its state: "closed" (calls run), "open" (calls are refused), or "half-open" (one call may try the tool)."""
        if self.failed < self._most:
            return "closed"
        return "open" if time.monotonic() < self._until else "half-open"

    @property
    def until(self) -> datetime:
        """When the next call may try the tool."""
        return datetime.now(UTC) + timedelta(seconds=max(0.0, self._until - time.monotonic()))

    def enter(self) -> bool:
        """Admits a call; returns whether it is the one that tries a tool that was held back.

        Raises:
            UnavailableError: The tool is held back.
        """
        if self.failed < self._most:
            return False
        left = self._until - time.monotonic()
        if left <= 0 and not self._trying:
            self._trying = True
            return True
        self.refused += 1
        raise self._error(left)

    def succeeded(self) -> None:
        """Notes that a call has succeeded."""
        if self.failed >= self._most:
            _log.info("tool %s works again", self.name)
        self.failed = 0
        self._trying = False

    def fail(self, error_type: str, *, tried: bool) -> None:
        """Notes that a call has failed; ``tried`` as returned by ``enter``."""
        was_open = self.failed >= self._most
        if was_open and not tried:
            # It began before the tool was held back.
            return
        self.failed += 1
        self._last_error = clipped(error_type, MAX_ERROR_CHARS)
        if tried:
            self._trying = False
        if self.failed >= self._most:
            self._until = time.monotonic() + self._seconds
            _log.warning(
                "tool %s has failed %d times in a row, last with %s; it is held back for %g s",
                self.name, self.failed, self._last_error, self._seconds,
            )  # fmt: skip

    def leave(self, *, tried: bool) -> None:
        """Notes that a call has ended without telling whether the tool works."""
        if tried:
            self._trying = False

    def _error(self, left: float) -> UnavailableError:
        failed = f"{self.name} has failed {self.failed:,} times in a row, last with {self._last_error}"
        if left <= 0:
            text, seconds = "a call tries it now; call again when that has ended", _TRYING_SECONDS
        else:
            text, seconds = f"is held back until {self.until:%H:%M:%S} UTC; call again in {left:.1f} s", left
        details = {"retry_after": f"{seconds:.3f}", "breaker": self.state, "until": self.until.isoformat()}
        return UnavailableError(f"{failed}, and {text}", details=details)


class BreakerBackend:
    """Counts the failures of a tool's calls, and refuses calls while the tool is held back.

    Args:
        inner: Runs the calls.
        breaker: Counts them.
        ignored: Classes of tools' exceptions that are the caller's fault.
        timeouts: Default timeouts of a call and of a stream, in seconds.
    """

    def __init__(
        self, inner: Backend[HubCall], breaker: Breaker, ignored: Collection[str], timeouts: tuple[float, float]
    ) -> None:
        self.inner = inner
        self.breaker = breaker
        self._ignored = frozenset(ignored)
        self._call_timeout, self._stream_timeout = timeouts

    def prepare(self, call: HubCall, request: Any, payload: Payload, size: int) -> Awaitable[None] | None:
        """Prepares the call; what is refused here is the caller's fault, and is not counted."""
        return self.inner.prepare(call, request, payload, size)

    async def call(
        self, call: HubCall, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Payload | None:
        """Runs the call, unless the tool is held back."""
        tried = self.breaker.enter()
        try:
            data = await self.inner.call(call, request, answer, as_bytes=as_bytes)
        except BaseException as failure:
            self._note(call, call.cause or failure, self._call_timeout, tried=tried)
            raise
        if answer.success:
            self.breaker.succeeded()
        else:
            # A worker's answer.
            info = answer.error if data is None else ToolCallResponse.FromString(joined(data)).error
            self._note_info(call, info, self._call_timeout, tried=tried)
        return data

    async def stream(
        self, call: HubCall, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | Payload, None]:
        """Runs the stream, unless the tool is held back."""
        tried = self.breaker.enter()
        try:
            async with aclosing(self.inner.stream(call, request, as_bytes=as_bytes)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BaseException as failure:
            self._note(call, call.cause or failure, self._stream_timeout, tried=tried)
            raise
        if call.error is None:
            self.breaker.succeeded()
        else:
            self._note_info(call, call.error, self._stream_timeout, tried=tried)

    def try_call(self, call: HubCall, request: Any, payload: Payload, done: Any) -> None:
        """Leaves it to ``call``."""

    def _note(self, call: HubCall, failure: BaseException, default: float, *, tried: bool) -> None:
        if isinstance(failure, asyncio.CancelledError | GeneratorExit | NoWorkerError):
            self.breaker.leave(tried=tried)
        elif type(failure) is ToolRaised:
            error = failure.error
            of_tool = error.info.type if isinstance(error, FormattedError) else class_name(type(error))
            self._count(call, of_tool, default, {"origin": "tool"}, tried=tried)
        elif isinstance(failure, ToolBridgeError):
            self._count(call, failure.error_type, default, failure.details, tried=tried)
        else:
            # A fault of the bridge.
            self.breaker.leave(tried=tried)

    def _note_info(self, call: HubCall, info: ErrorInfo, default: float, *, tried: bool) -> None:
        self._count(call, info.type, default, info.details, tried=tried)

    def _count(self, call: HubCall, error_type: str, default: float, details: Any, *, tried: bool) -> None:
        if self._is_failure(call, error_type, default, details):
            self.breaker.fail(error_type, tried=tried)
        else:
            self.breaker.leave(tried=tried)

    def _is_failure(self, call: HubCall, error_type: str, default: float, details: Any) -> bool:
        """Returns whether an error is the tool's fault, and not its caller's."""
        if details.get("origin", "bridge") == "tool":
            return error_type not in self._ignored
        if error_type == DeadlineExceededError.default_type:
            # A tool that did not begin has not failed, nor one whose caller gave it less time than usual.
            usual = call.tool.timeout or call.session.call_timeout or default
            return details.get("started") != "false" and call.deadline - call.opened_at >= usual - 0.001
        if error_type == "ResourceExhausted":
            return MEMORY_DETAIL in details
        return error_type in ("WorkerUnavailable", "ProtocolError")


def rename_breaker(backend: Backend[HubCall] | None, name: str) -> None:
    """Names the breaker of a tool anew, if it has one: an older version of a tool has another name."""
    if isinstance(backend, BreakerBackend):
        backend.breaker.name = name
