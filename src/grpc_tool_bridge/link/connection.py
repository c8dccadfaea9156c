"""One link, as a client has it."""

import asyncio
import contextlib
import platform
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.timeouts import was_cancelled, within
from grpc_tool_bridge.config import STREAM_TIMEOUT
from grpc_tool_bridge.errors import MessageTooLargeError, ToolBridgeError
from grpc_tool_bridge.link.io import LinkIO
from grpc_tool_bridge.link.protocol import (
    Arrived,
    Called,
    Cancelled,
    Draining,
    Ended,
    Event,
    Greeted,
    IncomingCall,
    Link,
    Replied,
    Told,
)
from grpc_tool_bridge.link.server import CallServer, ServedMethod
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkHello
from grpc_tool_bridge.rpc.methods import DEPTH_KEY
from grpc_tool_bridge.transport.link_calls import LinkCall
from grpc_tool_bridge.transport.status import rpc_error

# How often a link looks after its calls; who guards a call gives it a second more than its time.
LOOK_SECONDS = 0.25

# Of the depth of a call, in its metadata.
MAX_DIGITS = 4

_NOTHING_SERVED: Mapping[str, ServedMethod] = {}

# What a call ends with whose bridge was closed while it waited.
CLOSED = "the bridge was closed before the answer came"


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """Where a call comes from that the hub makes.

    Attributes:
        link: The link that it came over, and that the calls of its tool go over.
        number: Its number on that link.
        depth: Calls above it.
    """

    link: "ClientLink"
    number: int
    depth: int


class ClientLink:
    """A link that was dialled: sends calls, and brings their answers; of a worker, it also serves those of the hub.

    Args:
        rpc: The stream.
        where: The hub's address, for texts.
        on_turn: Called when the link may take further calls.
        methods: What is served to the hub, by name.
        features: What the hub is told of them.

    Attributes:
        greeted: Done with whether the hub took the link.
        unusable: Set when the link takes no further calls: it drains, or has ended.
        error: What it ended with.
    """

    looks_after_calls = True

    def __init__(
        self,
        rpc: Any,
        where: str,
        *,
        on_turn: Callable[[], None],
        methods: Mapping[str, ServedMethod] = _NOTHING_SERVED,
        features: Iterable[str] = (),
    ) -> None:
        self.greeted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.unusable = asyncio.Event()
        self.error: AioRpcError | None = None
        self._ended = False
        self._given_up: AioRpcError | None = None
        self._look: asyncio.TimerHandle | None = None
        self._rpc = rpc
        self._stream = _ClientStream(rpc)
        self._where = where
        hello = LinkHello(peer=f"Python {platform.python_version()}", features=features)
        self._link = Link(dialler=True, hello=hello)
        self._on_turn = on_turn
        self._io = LinkIO(self._link, self._stream, on_event=self._take, on_turn=self._turn, patience=STREAM_TIMEOUT)
        self.wake, self.push = self._io.wake, self._io.push
        who = "this worker" if methods else "a client"
        self._server = CallServer(self._link, self, methods, who=who, patience=STREAM_TIMEOUT)
        self._quiet = asyncio.Event()

    @property
    def takes_calls(self) -> bool:
        """Whether a call may be made now."""
        return self._link.takes_calls

    def send(self, call: LinkCall, payload: bytes) -> None:
        """Sends a call."""
        call.carrier = self
        others = self._link.awaits_answers
        try:
            self._link.call(call, payload)
        except MessageTooLargeError as error:
            call.fail(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message))
            return
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_after_calls)
        if others:
            self._io.wake()
        else:
            # One call at a time, unless others are made in this turn.
            self._io.push_unless_busy()

    def _look_after_calls(self) -> None:
        """Ends the calls that took longer than they were guarded for, and looks again while there are others."""
        self._look = None
        now = time.monotonic()
        # A hub that reads nothing keeps calls from being sent.
        unsent = [call for call, _ in self._link.unsent()]
        for call in (*self._link.calls.values(), *unsent):
            if call.expires_at < now:
                call.expire()
        if self._link.calls or self._link.has_output:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_after_calls)

    def start(self, call: LinkCall, request: Any) -> None:
        """Sends a call, whether the link takes calls or not; over one that has ended it fails at once."""
        if self._ended:
            call.fail(rpc_error(grpc.StatusCode.UNAVAILABLE, f"the link to {self._where} was lost"))
            return
        self.send(call, request.SerializeToString())

    def cancel(self, call: LinkCall) -> None:
        """Tells the hub that a call is wanted no more."""
        if self._ended:
            return
        self._link.cancel(call)
        self._io.wake()

    def grant(self, call: LinkCall, size: int) -> None:
        """Tells the hub that so much of a stream was used."""
        if self._ended:
            return
        self._link.grant(call, size)
        if self._link.has_output:
            self._io.wake()

    def parent_of(self, call: IncomingCall) -> CallOrigin:
        """Returns what names a call of the hub in those that are made for it."""
        depth = call.metadata.get(DEPTH_KEY, "") if call.metadata else ""
        return CallOrigin(self, call.id, int(depth) if depth.isdecimal() and len(depth) <= MAX_DIGITS else 0)

    def before_reply(self, method: str, call: IncomingCall, response: Any) -> None:
        """Does nothing: a worker's answers are no more than they are."""

    def drain(self, grace: float) -> Awaitable[None]:
        """Tells the hub to make no new calls.

        Returns:
            What waits until those that it made are over, at most ``grace`` seconds; it raises ExpiredError where they
            were not.
        """
        self._link.drain(int(grace * 1000))
        self._io.wake()
        return self._drained_within(grace)

    async def _drained_within(self, grace: float) -> None:
        await within(self._drained(), grace)

    async def _drained(self) -> None:
        # The hub says when it has no call left here, and makes none any more.
        await self.unusable.wait()
        while self._link.incoming and not self._ended:
            self._quiet.clear()
            await self._quiet.wait()

    def give_up(self, why: str) -> None:
        """Ends the link from here."""
        self._given_up = rpc_error(grpc.StatusCode.UNAVAILABLE, why)
        if self._rpc is not None:
            self._rpc.cancel()

    async def run(self) -> list[tuple[LinkCall, bytes]]:
        """Serves until the link ends; then its calls have failed.

        Returns:
            The calls that were never sent.
        """
        try:
            self.error = await self._serve()
        finally:
            self._ended = True
            self._quiet.set()
            if self._rpc is not None:
                self._rpc.cancel()
            code, text = grpc.StatusCode.CANCELLED, CLOSED
            if self.error is not None:
                code = grpc.StatusCode.UNAVAILABLE
                text = f"the link to {self._where} was lost: {self.error.details()}"
            calls = list(self._link.calls.values())
            if self.error is None:
                # Nobody takes back what was not sent.
                calls.extend(call for call, _ in self._link.unsent())
            for call in calls:
                call.fail(rpc_error(code, text))
            if self._look is not None:
                self._look.cancel()
            self.unusable.set()
            if not self.greeted.done():
                self.greeted.set_result(False)
            try:
                await self._server.aclose()
            finally:
                self._release()
        return self._link.unsent()

    def abandon(self) -> None:
        """Gives up a link whose event loop has ended before it."""
        self._ended = True
        if self._rpc is not None:
            # It may have tasks of its own in that loop.
            with contextlib.suppress(RuntimeError):
                self._rpc.cancel()
            self._release()

    def _release(self) -> None:
        """Holds nothing of gRPC's any more: its call would keep the channel, and that all of gRPC's threads."""
        self._rpc = None
        self._stream.release()

    async def _serve(self) -> AioRpcError:
        """Returns what the link ended with."""
        try:
            await self._io.run()
        except AioRpcError as error:
            return error.with_traceback(None)
        except asyncio.CancelledError:
            if was_cancelled() or self._given_up is None:
                raise
            return self._given_up
        except asyncio.InvalidStateError:
            # A write to a stream that has ended; its status says why.
            pass
        except ToolBridgeError as error:
            return rpc_error(grpc.StatusCode.INTERNAL, error.message)
        if self._rpc is None:
            return rpc_error(grpc.StatusCode.CANCELLED, CLOSED)
        code = await self._rpc.code()
        if code is grpc.StatusCode.OK:
            return rpc_error(grpc.StatusCode.UNAVAILABLE, "the hub ended it")
        return rpc_error(code, await self._rpc.details())

    def _turn(self) -> None:
        self._server.begin_held()
        if not self._link.incoming:
            self._quiet.set()
        self._on_turn()

    def _take(self, event: Event) -> None:
        match event:
            case Replied():
                event.call.replied(event.payload)
            case Arrived():
                event.call.arrived(event.payload)
            case Ended():
                event.call.end(event.status)
            case Told():
                event.call.told(event.event)
            case Greeted() if not self.greeted.done():
                self.greeted.set_result(True)
            case Draining():
                self.unusable.set()
            case Called():
                self._server.take(event.call)
            case Cancelled():
                self._server.cancel(event.call)


class _ClientStream:
    """The frames of a link at the side of the client."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc
        self.write = rpc.write

    async def read(self) -> bytes | None:
        try:
            frame = await self._rpc.read()
        except BaseException as error:
            # gRPC's own frames hold its call.
            error.__traceback__ = None
            raise
        return None if frame is grpc.aio.EOF else frame

    def release(self) -> None:
        """Forgets the stream, which has ended."""
        self._rpc = self.write = None
