"""Calls over a link, in the shape of gRPC's own."""

import asyncio
import math
import time
import types
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from typing import Any, Protocol

import grpc.aio
from grpc.aio import AioRpcError, Metadata

from grpc_tool_bridge.aio.timeouts import ExpiredError
from grpc_tool_bridge.link.envelopes import shortened
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT, OutgoingCall
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LinkStatus
from grpc_tool_bridge.rpc.methods import Method
from grpc_tool_bridge.rpc.nodes import read_message
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER
from grpc_tool_bridge.transport.status import from_link_status, rpc_error

# A hub's own lists, such as a page of tools, may have many small fields; what values hold does not count here.
_MAX_ANSWER_NODES = 1_000_000


class Carrier(Protocol):
    """What a call was sent over.

    Attributes:
        looks_after_calls: Whether it ends by itself those calls that take longer than they were guarded for.
    """

    looks_after_calls: bool

    def cancel(self, call: "LinkCall", /) -> None:
        """Tells the peer that a call is wanted no more."""

    def grant(self, call: "LinkCall", size: int, /) -> None:
        """Tells the peer that so many bytes of a stream were used."""


class LinkCall(OutgoingCall, grpc.aio.Call):
    """What unary calls and streams have in common.

    Args:
        method: Its name.
        prefix: What ``call_prefix`` made of its method and its options.

    Attributes:
        carrier: What it was sent over; None while it waits for that.
        waits: Whether it waits for a link where there is none.
        metadata: As it was given.
    """

    # As in ``OutgoingCall``: what a call rarely sets.
    expires_at = math.inf
    carrier: Carrier | None = None
    waits = True
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    _over = False
    _cancelled = False
    _expired = False
    _error: AioRpcError | None = None
    _waiter: "asyncio.Future[None] | None" = None
    _deadline: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _trailing: tuple[tuple[str, Any], ...] = ()
    _callbacks: tuple[Callable[[Any], None], ...] = ()

    def __init__(self, method: Method, prefix: bytes) -> None:
        # As ``OutgoingCall`` does; a call of its own for that is a twentieth of what the stub takes.
        self.prefix = prefix
        self.method = method

    # ------------------------------------------------------------------------------------ what becomes of it

    def guard(self, seconds: float) -> None:
        """Raises ExpiredError in whoever awaits it when it takes longer, to the second or so; for ``within``.

        A link looks after all its calls together, now and then: a timer for each would cost a tenth of the call.
        """
        self.expires_at = time.monotonic() + seconds
        if self.carrier is not None and not self.carrier.looks_after_calls:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.expire)

    def expire(self) -> None:
        """Ends it because it took longer than it was guarded for."""
        if not self._over:
            self._leave()
            self._expired = True
            self.fail(rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def limit(self, seconds: float) -> None:
        """Ends it with DEADLINE_EXCEEDED when its time is over."""
        self._deadline = time.monotonic() + seconds
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._expire)

    def fail(self, error: AioRpcError) -> None:
        """Ends it with an error."""
        if not self._over:
            self._error = error
            self._finish()

    def end(self, status: LinkStatus) -> None:
        """Ends it as the status says."""
        if status.code:
            self.fail(from_link_status(status))
        else:
            self.succeed()

    def succeed(self) -> None:
        """Ends a stream well."""
        if not self._over:
            self._finish()

    def shorten(self, timeout_ms: int) -> None:
        """Sets what is left of its time, after it has waited to be sent."""
        self.prefix = shortened(self.prefix, timeout_ms)

    def told(self, event: LinkEvent) -> None:
        """Takes what the hub tells on the way."""
        if event.log.logger == METADATA_LOGGER:
            self.take_trailing(event.log.fields.items())

    def take_trailing(self, metadata: Iterable[tuple[str, Any]]) -> None:
        """Takes the trailing metadata of an answer."""
        self._trailing = tuple(metadata)

    def _finish(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        for callback in self._callbacks:
            asyncio.get_running_loop().call_soon(callback, self)

    def _expire(self) -> None:
        if not self._over:
            self._leave()
            self.fail(rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _leave(self) -> None:
        if self.carrier is not None:
            self.carrier.cancel(self)

    @types.coroutine
    def _wait(self) -> Generator[Any, Any, None]:
        """Waits for the end, or for something to read; whoever is cancelled here cancels the call."""
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        try:
            yield from self._waiter
        except BaseException:
            self.cancel()
            raise

    def _raise_error(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError
        if self._expired:
            raise ExpiredError
        if self._error is not None:
            raise self._error

    async def _ended(self) -> None:
        """Waits for the end; whoever is cancelled here leaves the call alone."""
        if not self._over:
            ended = asyncio.Event()
            self.add_done_callback(lambda _: ended.set())
            await ended.wait()

    # ------------------------------------------------------------------------------------------ as gRPC has it

    def cancel(self) -> bool:
        """Cancels it; tells whether that changed anything."""
        if self._over:
            return False
        self._cancelled = True
        self._leave()
        self.fail(rpc_error(grpc.StatusCode.CANCELLED, "Locally cancelled by application!"))
        return True

    def cancelled(self) -> bool:
        """Tells whether it was cancelled here."""
        return self._cancelled

    def done(self) -> bool:
        """Tells whether it has ended."""
        return self._over

    def time_remaining(self) -> float | None:
        """Returns the seconds until its deadline; None where it was given none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls ``callback`` with the call once it has ended."""
        if self._over:
            asyncio.get_running_loop().call_soon(callback, self)
        else:
            self._callbacks = (*self._callbacks, callback)

    async def initial_metadata(self) -> Metadata:
        """Returns nothing: a link has none."""
        return Metadata()

    async def trailing_metadata(self) -> Metadata:
        """Returns what the hub told with the answer, or with the error."""
        await self._ended()
        return self._error.trailing_metadata() if self._error is not None else Metadata(*self._trailing)

    async def code(self) -> grpc.StatusCode:
        """Returns the status, once there is one."""
        await self._ended()
        return self._error.code() if self._error is not None else grpc.StatusCode.OK

    async def details(self) -> str:
        """Returns the text of the status, once there is one."""
        await self._ended()
        return (self._error.details() or "") if self._error is not None else ""

    async def wait_for_connection(self) -> None:
        """Does nothing: a call that waits for its link waits where it is awaited."""


class LinkUnaryCall(LinkCall, grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call with one answer; await it."""

    _payload = b""

    def replied(self, payload: bytes) -> None:
        """Takes the answer."""
        if not self._over:
            self._payload = payload
            self._finish()

    def __await__(self) -> Generator[Any, None, Any]:
        while not self._over:
            yield from self._wait()
        self._raise_error()
        return parsed(self.method, self._payload)


class LinkStreamCall(LinkCall, grpc.aio.UnaryStreamCall[Any, Any]):
    """A call with a stream of answers; iterate over it, or ``read`` it."""

    def __init__(self, method: Method, prefix: bytes, window: int = INITIAL_CREDIT) -> None:
        super().__init__(method, prefix)
        self.open_window(window)
        self._arrived: deque[bytes] = deque()

    def arrived(self, payload: bytes) -> None:
        """Takes one message."""
        if not self._over:
            self._arrived.append(payload)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def cancel(self) -> bool:
        """Cancels it, and forgets what was not read."""
        self._arrived.clear()
        return super().cancel()

    async def read(self) -> Any:
        """Returns the next message, or ``grpc.aio.EOF``."""
        while not self._arrived:
            if self._over:
                self._raise_error()
                return grpc.aio.EOF
            await self._wait()
        payload = self._arrived.popleft()
        if self.carrier is not None and not self._over:
            self.carrier.grant(self, len(payload))
        return parsed(self.method, payload)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message


def parsed(method: Method, payload: bytes) -> Any:
    """Reads a response; one that is none is gRPC's INTERNAL."""
    try:
        return read_message(method.response, payload, f"the answer to {method.name}", _MAX_ANSWER_NODES)
    except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError
        raise rpc_error(grpc.StatusCode.INTERNAL, f"the response cannot be read: {str(failure)[:200]}") from None
