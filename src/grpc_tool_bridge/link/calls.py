"""Outgoing calls: what the user of a link awaits, at either end.

A call ends with whichever comes first: its answer or the peer's status; ``cancel``; the caller's timeout
(``set_timeout``), which the connection enforces for all its calls; its own deadline (``limit``); the end of its link.
Whatever comes later is ignored.
"""

import asyncio
import functools
import math
import time
import types
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

from grpc_tool_bridge.aio.timeouts import ExpiredError
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.link.asks import AskedFor, GiveAnswer, PassedOn, cancelled
from grpc_tool_bridge.link.envelopes import call_prefix, shortened, with_metadata
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.status import Code, error_of_status, link_error
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, LinkEvent, LinkStatus, LogRecord
from grpc_tool_bridge.rpc.asks import ASKS_KEY
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY
from grpc_tool_bridge.rpc.methods import ABOVE_KEY, DEPTH_KEY, MODEL_LOGGER, MODEL_REPORTS_KEY
from grpc_tool_bridge.rpc.tracing import CallSpan

CREATE_AGENT = call_prefix("CreateReActAgent")
# Of prefixes with a caller that are kept.
_MAX_CALLERS = 1_000
_MAX_MILLISECONDS = 2**32 - 1


class Carrier(Protocol):
    """What sends a call.

    Attributes:
        enforces_timeouts: Whether it expires calls that exceed their ``set_timeout``.
    """

    enforces_timeouts: bool

    def cancel(self, call: Any, /) -> None:
        """Tells the peer to cancel a call."""

    def grant(self, call: Any, size: int, /) -> None:
        """Tells the peer that ``size`` bytes of a stream were consumed."""


class LinkCall(OutgoingCall):
    """An outgoing call whose request and answer are bytes.

    Args:
        prefix: Its method and options, written by ``call_prefix``.

    Attributes:
        carrier: What sends it; None before it is sent.
        waits: Whether it waits for a link if there is none.
        expires_at: When the caller gives up, on the monotonic clock.
        has_arrived: Whether any message of a stream was received.
    """

    # Class attributes, as in ``OutgoingCall``: few calls set them.
    carrier: Carrier | None = None
    waits = True
    expires_at = math.inf
    has_arrived = False
    _over = False
    _cancelled = False
    _expired = False
    _error: BaseException | None = None
    _payload: Payload = b""
    _messages: deque[Payload]
    _waiter: "asyncio.Future[None] | None" = None
    _deadline: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _callbacks: tuple[Callable[[Any], None], ...] = ()

    def open_window(self, window: int) -> None:
        """See ``OutgoingCall``."""
        super().open_window(window)
        self._messages = deque()

    # ------------------------------------------------------------------------------------ its outcome

    def on_reply(self, payload: Payload) -> None:
        """Called with the answer."""
        if not self._over:
            self._payload = payload
            self._finish()

    def on_message(self, payload: Payload) -> None:
        """Called with each message of a stream."""
        if not self._over:
            self.has_arrived = True
            self._messages.append(payload)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def on_event(self, event: LinkEvent) -> None:
        """Called with each event of the peer; ignores it unless overridden."""

    def on_ask(self, ask: Ask, give: GiveAnswer) -> None:
        """Called with each question of the peer's tool; answers "cancel" unless overridden."""
        give(cancelled(ask))

    def on_end(self, status: LinkStatus) -> None:
        """Called when the peer ends the call: the end of a stream, or an error."""
        if status.code:
            self.fail(error_of_status(status))
        else:
            self.succeed()

    def succeed(self) -> None:
        """Ends a stream successfully."""
        if not self._over:
            self._finish()

    def fail(self, error: Exception) -> None:
        """Ends the call with an error."""
        if not self._over:
            self._error = error
            self._finish()

    def cancel(self) -> bool:
        """Cancels the call and drops its unread messages; returns whether it was still open."""
        if self._over:
            return False
        self._cancelled = True
        if self.streaming:
            self._messages.clear()
        self._leave()
        self.fail(link_error(Code.CANCELLED, "Locally cancelled by application!"))
        return True

    def set_timeout(self, seconds: float) -> None:
        """Raises ExpiredError in the caller if the call takes longer than ``seconds``.

        A link checks all its calls every SWEEP_INTERVAL: a timer for each would cost a tenth of the call.
        """
        self.expires_at = time.monotonic() + seconds
        if self.carrier is not None and not self.carrier.enforces_timeouts:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.expire)

    def expire(self) -> None:
        """Ends the call because it took longer than ``set_timeout`` allows."""
        if not self._over:
            self._expired = True
            self._end_late()

    def limit(self, seconds: float) -> None:
        """Ends the call with DEADLINE_EXCEEDED after ``seconds``."""
        self._deadline = time.monotonic() + seconds
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._end_late)

    def time_remaining(self) -> float | None:
        """Returns the seconds until its deadline; None if it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def shorten(self, timeout_ms: int) -> None:
        """Sets the remaining time of a call that has waited to be sent."""
        self.prefix = shortened(self.prefix, timeout_ms)

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._over

    def _finish(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        for callback in self._callbacks:
            asyncio.get_running_loop().call_soon(callback, self)

    def _end_late(self) -> None:
        if not self._over:
            self._leave()
            self.fail(link_error(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _leave(self) -> None:
        if self.carrier is not None:
            self.carrier.cancel(self)

    # --------------------------------------------------------------------------------------- its caller

    def steps(self) -> Generator[Any, None, Any]:
        """Waits for the answer; the ``__await__`` of calls that can be awaited."""
        while not self._over:
            yield from self._wait()
        self._raise_error()
        return self.parsed(self._payload)

    @types.coroutine
    def answer(self) -> Generator[Any, None, Payload]:
        """Waits for the answer; cancelling the wait cancels the call.

        Raises:
            ToolBridgeError: The peer's error, or why there is no answer.
            ExpiredError: The call took longer than ``set_timeout`` allows.
        """
        payload: Payload = yield from self.steps()
        return payload

    def parsed(self, payload: Payload) -> Any:
        """Returns what the caller gets for an answer or a message: its bytes, unless overridden."""
        return payload

    async def read(self) -> Any:
        """Waits for the next message of a stream; returns None at its end. Raises as ``answer`` does."""
        while not self._messages:
            if self._over:
                self._raise_error()
                return None
            await self._wait()
        return self._messages.popleft()

    @types.coroutine
    def _wait(self) -> Generator[Any, None, None]:
        """Waits for the end, or for a message."""
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        try:
            yield from self._waiter
        except BaseException:
            # Nobody waits any more, and the event loop of the future may have ended.
            self._waiter = None
            self.cancel()
            raise

    def _raise_error(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError
        if self._expired:
            raise ExpiredError
        if self._error is not None:
            raise self._error


# A detail of the error with which a hub ends a call of another hub that it cannot run: whether its tool may have begun.
LOST_DETAIL = "worker_lost"
MAY_HAVE_BEGUN, NOT_BEGUN = "may have begun", "not begun"


class WorkerLostError(UnavailableError):
    """The worker of a call was lost, or does not answer.

    Args:
        message: Why.
        began: Whether the tool may have started.
    """

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began


class Owner(AskedFor, Protocol):
    """The hub's call that is sent to a worker.

    Attributes:
        deadline: When it ends, on the monotonic clock.
        depth: How many calls are above it.
        tool: What it calls.
        trace: Its span; None: it is not traced.
    """

    deadline: float
    depth: int
    tool: Any
    trace: CallSpan | None


# Takes a hub's call, and an event of it.
Told = Callable[[Any, LinkEvent], None]


class WorkerCall(LinkCall):
    """A call from the hub to a worker.

    Args:
        owner: The hub's call.
        streaming: Whether the answer is a stream.
        prefix: Of the method, if it does not call a tool.
        told: Called with the hub's call and each progress and log record of its tool; None: they are ignored.
        above: The number of the nearest call above it that was sent over the same link; 0: there is none. Only other
            hubs are told of it.
        at_peer: Whether it is sent to another hub, which may say that it lost the worker of the call.
        caller: On whose behalf it is made, as ``caller_text`` has written it; empty: the worker is not told.

    Attributes:
        owner: As given.
    """

    at_peer = False

    def __init__(
        self,
        owner: Owner,
        *,
        streaming: bool,
        prefix: bytes = b"",
        told: Told | None = None,
        above: int = 0,
        at_peer: bool = False,
        caller: str = "",
    ) -> None:
        left = math.ceil((owner.deadline - time.monotonic()) * 1000)
        if not prefix:
            method = "StreamTool" if streaming else "ExecuteTool"
            if owner.asker is not None and owner.asker.can_ask:
                self.can_answer = True
            if caller:
                prefix = _caller_prefix(method, owner.depth, caller, asks=self.can_answer)
            elif self.can_answer:
                prefix = _asking_prefix(method, owner.depth)
            else:
                prefix = _prefix(method, owner.depth)
            if at_peer:
                self.at_peer = True
                if above:
                    prefix = _nested_prefix(method, owner.depth, above, caller, asks=self.can_answer)
        if owner.trace is not None:
            prefix = with_metadata(prefix, owner.trace.headers)
        super().__init__(shortened(prefix, min(max(1, left), _MAX_MILLISECONDS)))
        self.owner = owner
        self._told = told
        if streaming:
            self.open_window(0)

    def on_event(self, event: LinkEvent) -> None:
        """Hands on what the tool reports."""
        if self._told is not None and not self._over:
            self._told(self.owner, event)

    def on_ask(self, ask: Ask, give: GiveAnswer) -> None:
        """Forwards a question to the caller."""
        PassedOn(self.owner, ask, give)

    def on_end(self, status: LinkStatus) -> None:
        """Ends the call; what another hub says of a worker that it lost is as if the worker had been this hub's."""
        lost = status.error.details.get(LOST_DETAIL) if status.code and self.at_peer else None
        if lost is None:
            super().on_end(status)
        else:
            self.lost(WorkerLostError(status.error.message, began=lost != NOT_BEGUN))

    def lost(self, error: WorkerLostError) -> None:
        """Ends the call because its worker was lost or does not answer."""
        self.fail(error)


class AgentCall(WorkerCall):
    """A run of an agent.

    Args:
        owner: The hub's call.
        report: Called with the call and each report of a request to the model; None: the runtime does not tell of them.
        caller: As for ``WorkerCall``.
    """

    def __init__(self, owner: Owner, report: Callable[[Any, LogRecord], None] | None = None, caller: str = "") -> None:
        super().__init__(owner, streaming=True, prefix=_agent_prefix(caller, reports=report is not None))
        self._report = report

    def on_event(self, event: LinkEvent) -> None:
        """Hands a report on."""
        if self._report is not None and event.log.logger == MODEL_LOGGER:
            self._report(self.owner, event.log)


@functools.cache
def _prefix(method: str, depth: int) -> bytes:
    """Returns the prefix of all calls of one method and depth; the hub bounds the depth, and so the cache."""
    return call_prefix(method, metadata={DEPTH_KEY: str(depth)} if depth else None)


def _nested_prefix(method: str, depth: int, above: int, caller: str, *, asks: bool) -> bytes:
    metadata = {DEPTH_KEY: str(depth), ABOVE_KEY: str(above)}
    if caller:
        metadata[PRINCIPAL_KEY] = caller
    return call_prefix(method, metadata=metadata | {ASKS_KEY: "true"} if asks else metadata)


@functools.cache
def _asking_prefix(method: str, depth: int) -> bytes:
    """Returns the prefix of calls whose tools may ask."""
    metadata = {DEPTH_KEY: str(depth)} if depth else {}
    return call_prefix(method, metadata=metadata | {ASKS_KEY: "true"})


@functools.lru_cache(_MAX_CALLERS)
def _caller_prefix(method: str, depth: int, caller: str, *, asks: bool) -> bytes:
    """Returns the prefix of calls whose tools are told who called them."""
    metadata = {PRINCIPAL_KEY: caller}
    if depth:
        metadata[DEPTH_KEY] = str(depth)
    if asks:
        metadata[ASKS_KEY] = "true"
    return call_prefix(method, metadata=metadata)


@functools.lru_cache(_MAX_CALLERS)
def _agent_prefix(caller: str, *, reports: bool) -> bytes:
    """Returns the prefix of runs of agents."""
    metadata = {PRINCIPAL_KEY: caller} if caller else {}
    if reports:
        metadata[MODEL_REPORTS_KEY] = "true"
    return call_prefix("ExecuteAgent", metadata=metadata)
