"""Calls that wait for their answers: what a link's user awaits, at either end.

What ends a call is decided here for each kind, and in this order: its answer or the peer's status, whichever comes
first; ``cancel``, by whoever made it; the time-out of whoever awaits it (``set_timeout``), which the connection looks
after for all its calls together; its own deadline (``limit``); the end of its link. What comes later changes nothing.
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
from grpc_tool_bridge.link.envelopes import call_prefix, shortened
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.status import Code, error_of_status, link_error
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, LinkEvent, LinkStatus
from grpc_tool_bridge.rpc.asks import ASKS_KEY
from grpc_tool_bridge.rpc.methods import DEPTH_KEY

CREATE_AGENT = call_prefix("CreateReActAgent")
EXECUTE_AGENT = call_prefix("ExecuteAgent")
_MAX_MILLISECONDS = 2**32 - 1


class Carrier(Protocol):
    """What a call was given to.

    Attributes:
        enforces_timeouts: Whether it ends by itself those calls that take longer than ``set_timeout`` says.
    """

    enforces_timeouts: bool

    def cancel(self, call: Any, /) -> None:
        """Tells the peer that a call is wanted no more."""

    def grant(self, call: Any, size: int, /) -> None:
        """Tells the peer that so many bytes of a stream were used."""


class LinkCall(OutgoingCall):
    """A call on its way to the peer and back, as bytes.

    Args:
        prefix: What ``call_prefix`` made of its method and its options.

    Attributes:
        carrier: What it was given to; None before that.
        waits: Whether it waits for a link where there is none.
        expires_at: When whoever awaits it gives up, on the monotonic clock.
        has_arrived: Whether anything of a stream came.
    """

    # As in ``OutgoingCall``: what a call rarely sets.
    carrier: Carrier | None = None
    waits = True
    expires_at = math.inf
    has_arrived = False
    _over = False
    _cancelled = False
    _expired = False
    _error: BaseException | None = None
    _payload = b""
    _messages: deque[bytes]
    _waiter: "asyncio.Future[None] | None" = None
    _deadline: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _callbacks: tuple[Callable[[Any], None], ...] = ()

    def open_window(self, window: int) -> None:
        """As of ``OutgoingCall``."""
        super().open_window(window)
        self._messages = deque()

    # ------------------------------------------------------------------------------------ what becomes of it

    def on_reply(self, payload: bytes) -> None:
        """Takes the answer."""
        if not self._over:
            self._payload = payload
            self._finish()

    def on_message(self, payload: bytes) -> None:
        """Takes one message of a stream."""
        if not self._over:
            self.has_arrived = True
            self._messages.append(payload)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def on_event(self, event: LinkEvent) -> None:
        """Takes what the peer tells on the way: nothing, unless a kind of call does."""

    def on_ask(self, ask: Ask, give: GiveAnswer) -> None:
        """Takes a question of the peer's tool; nobody answers it, unless a kind of call does."""
        give(cancelled(ask))

    def on_end(self, status: LinkStatus) -> None:
        """Takes the end that the peer gave it: of a stream, or with an error."""
        if status.code:
            self.fail(error_of_status(status))
        else:
            self.succeed()

    def succeed(self) -> None:
        """Ends a stream well."""
        if not self._over:
            self._finish()

    def fail(self, error: Exception) -> None:
        """Ends it with an error."""
        if not self._over:
            self._error = error
            self._finish()

    def cancel(self) -> bool:
        """Cancels it, and forgets what was not read; tells whether that changed anything."""
        if self._over:
            return False
        self._cancelled = True
        if self.streaming:
            self._messages.clear()
        self._leave()
        self.fail(link_error(Code.CANCELLED, "Locally cancelled by application!"))
        return True

    def set_timeout(self, seconds: float) -> None:
        """Raises ExpiredError in whoever awaits it when it takes longer, to the second or so.

        A link looks after all its calls together, now and then: a timer for each would cost a tenth of the call.
        """
        self.expires_at = time.monotonic() + seconds
        if self.carrier is not None and not self.carrier.enforces_timeouts:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.expire)

    def expire(self) -> None:
        """Ends it because it took longer than ``set_timeout`` allows."""
        if not self._over:
            self._expired = True
            self._end_late()

    def limit(self, seconds: float) -> None:
        """Ends it with DEADLINE_EXCEEDED when its time is over."""
        self._deadline = time.monotonic() + seconds
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._end_late)

    def time_remaining(self) -> float | None:
        """Returns the seconds until its deadline; None where it was given none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def shorten(self, timeout_ms: int) -> None:
        """Sets what is left of its time, after it has waited to be sent."""
        self.prefix = shortened(self.prefix, timeout_ms)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
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

    # --------------------------------------------------------------------------------------- who waits for it

    def steps(self) -> Generator[Any, None, Any]:
        """Waits for the answer, for a class that is awaited itself."""
        while not self._over:
            yield from self._wait()
        self._raise_error()
        return self.parsed(self._payload)

    @types.coroutine
    def answer(self) -> Generator[Any, None, bytes]:
        """Waits for the answer; whoever is cancelled here cancels the call.

        Raises:
            ToolBridgeError: The peer's error, or why there is no answer.
            ExpiredError: It took longer than ``set_timeout`` allows.
        """
        payload: bytes = yield from self.steps()
        return payload

    def parsed(self, payload: bytes) -> Any:
        """Makes of an answer or a message what its caller gets: its bytes, unless a kind of call reads them."""
        return payload

    async def read(self) -> Any:
        """Waits for the next message of a stream; None at its end. Raises as ``answer`` does."""
        while not self._messages:
            if self._over:
                self._raise_error()
                return None
            await self._wait()
        return self._messages.popleft()

    @types.coroutine
    def _wait(self) -> Generator[Any, None, None]:
        """Waits for the end, or for something to read."""
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        try:
            yield from self._waiter
        except BaseException:
            # Nobody is left to be woken, and its event loop may have ended.
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


class WorkerLostError(UnavailableError):
    """The worker that a call was given to does not answer it.

    Args:
        message: Why.
        began: Whether the tool may have begun.
    """

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began


class Owner(AskedFor, Protocol):
    """The call of a hub that one of a worker is made for.

    Attributes:
        deadline: When it ends, on the monotonic clock.
        depth: Calls above it.
        tool: What it calls.
    """

    deadline: float
    depth: int
    tool: Any


class WorkerCall(LinkCall):
    """A call that the hub makes of a worker.

    Args:
        owner: The call as the hub has it.
        streaming: Whether the answer is a stream.
        prefix: Of the method, where it is no tool that is called.

    Attributes:
        owner: As given.
    """

    def __init__(self, owner: Owner, *, streaming: bool, prefix: bytes = b"") -> None:
        left = math.ceil((owner.deadline - time.monotonic()) * 1000)
        if not prefix:
            method = "StreamTool" if streaming else "ExecuteTool"
            if owner.asker is None or not owner.asker.can_ask:
                prefix = _prefix(method, owner.depth)
            else:
                self.can_answer = True
                prefix = _asking_prefix(method, owner.depth)
        super().__init__(shortened(prefix, min(max(1, left), _MAX_MILLISECONDS)))
        self.owner = owner
        if streaming:
            self.open_window(0)

    def on_ask(self, ask: Ask, give: GiveAnswer) -> None:
        """Passes a question on to whoever made the call."""
        PassedOn(self.owner, ask, give)

    def lost(self, error: WorkerLostError) -> None:
        """Gives it up because its worker does not answer."""
        self.fail(error)


@functools.cache
def _prefix(method: str, depth: int) -> bytes:
    """Writes what the calls of one method and one depth have in common; the hub bounds how deep they are."""
    return call_prefix(method, metadata={DEPTH_KEY: str(depth)} if depth else None)


@functools.cache
def _asking_prefix(method: str, depth: int) -> bytes:
    """Writes it for calls whose tools may ask."""
    metadata = {DEPTH_KEY: str(depth)} if depth else {}
    return call_prefix(method, metadata=metadata | {ASKS_KEY: "true"})
