"""Serves the calls of a link's peer."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import CoroutineType
from typing import Any, Protocol

from grpc_tool_bridge.aio.deferred import Deferred
from grpc_tool_bridge.aio.eager import Done, EagerTasks
from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.config import REQUEST_TIMEOUT
from grpc_tool_bridge.errors import (
    CallCancelledError,
    DeadlineExceededError,
    ToolBridgeError,
    UnimplementedError,
)
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.status import link_status_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkStatus
from grpc_tool_bridge.rpc.asks import ASKS_KEY
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.buffers import SERIALIZED, Buffers, Payload
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY
from grpc_tool_bridge.rpc.context import takes_context
from grpc_tool_bridge.rpc.large_messages import read_large_call
from grpc_tool_bridge.rpc.methods import METHODS, ORIGIN_KEY, RUN_TOOLS, Method
from grpc_tool_bridge.rpc.request_reader import UNCHECKED_BYTES, read_request
from grpc_tool_bridge.rpc.tracing import is_trace_only, trace_of

# A larger request takes so long to read that other calls get a turn before and after.
YIELD_BYTES = 256 * 1024

_log = logging.getLogger(__name__)


class CallOwner(Protocol):
    """Whose link it is.

    Attributes:
        names_calls: Whether every call has a parent; if not, only calls with metadata have.
        principal: Who the peer is; None: the hub does not authenticate.
        peer_answers: Whether the tools of all its calls may ask it; if not, only those of calls whose metadata says so.
    """

    names_calls: bool
    peer_answers: bool
    principal: Principal | None

    def schedule_flush(self) -> None:
        """Sends what waits, together with what follows in this turn of the event loop."""

    def flush(self) -> None:
        """Sends what waits immediately."""

    def parent_of(self, call: IncomingCall) -> Any:
        """Returns the parent of a call, see ``RequestContext``; raises ToolBridgeError."""

    def identify(self, call: IncomingCall, request: Any = None) -> None:
        """Sets the principal and the delegation of a call with metadata, if the peer makes it on behalf of another.

        Args:
            call: The call.
            request: Its request, if it was read.

        Raises:
            ProtocolError: The peer says so in a way that cannot be read.
        """

    def asker_of(self, call: IncomingCall) -> LinkAsker | None:
        """Returns the asker for a call of the peer; None if the peer cannot answer."""

    def on_session(self, call: IncomingCall, response: Any) -> None:
        """Called with the response to each InitializeSession, before it is sent."""


class ServedMethod:
    """A method, with what would otherwise be looked up for each call.

    Args:
        method: The method.
        function: Implements it: takes the request and, if it has a parameter of this name, its ``context``.
        begin: Begins a call instead of ``function``: returns a coroutine, or what runs already and calls back.
        try_begin: Begins a usual call, whose request it reads itself, like ``begin``; returns None for any other.
        takes_large_calls: Whether ``function`` takes a LargeToolCall as well as its request.

    Attributes:
        streams: Whether the answer is a stream.
        opens_session: Whether it opens a session.
        try_begin: As given.
    """

    __slots__ = (
        "_begin",
        "_function",
        "_method",
        "_parse",
        "_runs_tools",
        "_takes_context",
        "_takes_large_calls",
        "opens_session",
        "streams",
        "try_begin",
    )

    def __init__(
        self,
        method: Method,
        function: Callable[..., Any],
        begin: Callable[..., Any] | None = None,
        try_begin: Callable[[IncomingCall, Done], Any] | None = None,
        *,
        takes_large_calls: bool = False,
    ) -> None:
        self.streams = method.response_streaming
        self._takes_context = takes_context(function)
        self._runs_tools = method.name in RUN_TOOLS
        self._method = method
        self._parse: Callable[[bytes], Any] = method.request.FromString
        self.opens_session = method.name == "InitializeSession"
        self._function = function
        self._begin = begin
        self.try_begin = try_begin
        self._takes_large_calls = takes_large_calls

    def open(self, call: IncomingCall, owner: CallOwner, done: Done | None) -> tuple[Any, Any]:
        """Returns the request, and the coroutine or generator that answers it.

        If the call is forwarded, there is None to run: ``done`` is called at its end, and its task cancels it. Without
        ``done`` it is not forwarded.

        Raises:
            SerializationError: The request cannot be read.
            MessageTooLargeError: It is too large.
            ToolBridgeError: See ``parent_of``.
        """
        request = self._read(call.payload)
        call.peer = owner
        call.principal = owner.principal
        if call.timeout_ms:
            call.deadline = time.monotonic() + call.timeout_ms / 1000
        if not self._runs_tools:
            call.payload = b""
            if call.metadata:
                owner.identify(call, request)
            return request, self._function(request, call) if self._takes_context else self._function(request)
        _complete(call, request, owner)
        if self._begin is None or done is None or call.parent is not None:
            return request, self._function(request, call)
        begun = self._begin(request, call, done)
        if type(begun) is CoroutineType:
            return request, begun
        call.payload = b""
        call.task = begun
        return request, None

    def _read(self, payload: Payload) -> Any:
        """Reads a request; raises SerializationError, MessageTooLargeError."""
        try:
            # What ``read_request`` does; it raises the error if this fails.
            request = self._parse(payload) if type(payload) is bytes and len(payload) <= UNCHECKED_BYTES else None
        except Exception:  # noqa: BLE001 - protobuf's DecodeError, which is the peer's fault
            request = None
        if request is None and self._takes_large_calls and isinstance(payload, Buffers):
            request = read_large_call(payload)
        return read_request(self._method, payload) if request is None else request


def _complete(call: IncomingCall, request: Any, owner: CallOwner) -> None:
    """Fills in what a request that runs tools says of itself, and what is known of its link."""
    if call.metadata:
        call.trace = trace_of(call.metadata)
    if call.metadata or owner.names_calls:
        call.parent = owner.parent_of(call)
    if call.metadata:
        owner.identify(call, request)
    if owner.peer_answers or (call.metadata and ASKS_KEY in call.metadata):
        call.asker = owner.asker_of(call)


def served_methods(server: Any) -> dict[str, ServedMethod]:
    """Returns the methods that an object has, by name.

    With an attribute ``takes_large_calls`` that is true, its method for ExecuteTool takes a LargeToolCall too.
    """
    takes_large_calls = getattr(server, "takes_large_calls", False) is True
    begins = {"ExecuteTool": (getattr(server, "begin_tool", None), getattr(server, "try_begin_tool", None))}
    return {
        name: ServedMethod(
            method, function, *begins.get(name, ()), takes_large_calls=takes_large_calls and name == "ExecuteTool"
        )
        for name, method in METHODS.items()
        if (function := getattr(server, method.attribute, None)) is not None
    }


async def _in_turns(call: IncomingCall, served: ServedMethod, owner: CallOwner) -> Any:
    """Reads a large request and runs its call; other tasks get a turn before each."""
    await asyncio.sleep(0)
    _, work = served.open(call, owner, None)
    try:
        await asyncio.sleep(0)
        return await work
    finally:
        # The call may be cancelled before it runs.
        work.close()


class CallServer:
    """Runs the calls of one link's peer.

    Args:
        link: The protocol.
        owner: Whose link it is.
        methods: What is served, by name; others answer UNIMPLEMENTED.
        who: The name of this end, for that error.
        write_timeout: Seconds that a message of a stream waits for its reader; then the stream ends.
        room_timeout: Seconds that a large request waits for room in memory; then it is refused.
    """

    def __init__(
        self,
        link: Link,
        owner: CallOwner,
        methods: Mapping[str, ServedMethod],
        *,
        who: str,
        write_timeout: float,
        room_timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        self._link = link
        self._owner = owner
        self._methods = methods
        self._who = who
        self._write_timeout = write_timeout
        self._tasks = EagerTasks()
        # Calls that were received while answers piled up, in order; they begin when the peer has read some.
        self._pending: dict[int, IncomingCall] = {}
        # Large calls that wait for room in memory, with the timers of their timeouts. They delay no small call.
        self._roomless: dict[int, tuple[IncomingCall, asyncio.TimerHandle]] = {}
        self._room_timeout = room_timeout
        self._streams = 0

    @property
    def has_pending(self) -> bool:
        """Whether calls wait to be started."""
        return bool(self._pending or self._roomless)

    async def aclose(self) -> None:
        """Cancels all calls: the peer has disconnected, or is about to."""
        self._pending.clear()
        for _, timer in self._roomless.values():
            timer.cancel()
        self._roomless.clear()
        for call in list(self._link.incoming.values()):
            if call.task is not None and not isinstance(call.task, asyncio.Task):
                call.task.cancel()
        await self._tasks.aclose()

    def take(self, call: IncomingCall) -> None:
        """Starts a call, or keeps it until the link takes answers."""
        if self._pending or not self._link.writable:
            self._pending[call.id] = call
        else:
            self._begin(call)

    def resume_pending(self) -> None:
        """Starts the calls that waited, while the link takes answers."""
        pending = self._pending
        while pending and self._link.writable:
            self._begin(pending.pop(next(iter(pending))))
        while self._roomless:
            call, timer = next(iter(self._roomless.values()))
            if not self._link.reserve(call):
                return
            timer.cancel()
            del self._roomless[call.id]
            self._begin(call)

    def cancel(self, call: IncomingCall) -> None:
        """Cancels a call for the peer."""
        if call.task is not None:
            call.task.cancel()
            return
        self._pending.pop(call.id, None)
        waiting = self._roomless.pop(call.id, None)
        if waiting is not None:
            waiting[1].cancel()
        self._fail(call, CallCancelledError("the call was cancelled before it began"))

    def _has_room(self, call: IncomingCall) -> bool:
        """Returns whether a large request may be read; if not, it waits."""
        if call.metadata and ORIGIN_KEY in call.metadata:
            # All others may wait for the call that made this one.
            self._link.reserve_anyway(call)
            return True
        if not self._roomless and self._link.reserve(call):
            return True
        timer = asyncio.get_running_loop().call_later(self._room_timeout, self._refuse_roomless, call)
        self._roomless[call.id] = (call, timer)
        return False

    def _refuse_roomless(self, call: IncomingCall) -> None:
        del self._roomless[call.id]
        self._link.refuse_for_room(call)
        self._owner.schedule_flush()

    def _begin(self, call: IncomingCall) -> None:
        served = self._methods.get(call.method)
        if served is not None and served.try_begin is not None and (not call.metadata or self._is_usual(call)):
            call.peer = self._owner
            if call.metadata:
                call.trace = trace_of(call.metadata)
            if call.timeout_ms:
                call.deadline = time.monotonic() + call.timeout_ms / 1000
            if self._owner.peer_answers:
                call.asker = self._owner.asker_of(call)
            if not call.metadata:
                call.principal = self._owner.principal
            done = partial(self._answered, call, served)
            begun = served.try_begin(call, done)
            if begun is not None:
                if hasattr(begun, "send"):
                    call.task = self._tasks.start(begun, done)
                else:
                    call.payload = b""
                    call.task = begun
                return
        self._begin_general(call, served)

    def _is_usual(self, call: IncomingCall) -> bool:
        """Returns whether the metadata of a call says only on whose behalf it is made, and of which trace it is.

        Then it is identified.
        """
        if not is_trace_only(call.metadata.keys() - {PRINCIPAL_KEY}):
            return False
        if PRINCIPAL_KEY not in call.metadata:
            call.principal = self._owner.principal
            return True
        try:
            call.principal = self._owner.principal
            self._owner.identify(call)
        except ToolBridgeError:
            # The general way answers with it.
            return False
        return True

    def _begin_general(self, call: IncomingCall, served: ServedMethod | None) -> None:
        """Begins any call."""
        if len(call.payload) > YIELD_BYTES and self._link.is_budgeted and not call.begun and not self._has_room(call):
            return
        if served is None:
            self._fail(call, UnimplementedError(f"{self._who} does not offer {call.method[:100]}"))
            return
        try:
            if len(call.payload) > YIELD_BYTES and not served.streams:
                work = _in_turns(call, served, self._owner)
                call.task = self._tasks.start(work, partial(self._answered, call, served))
                return
            done = partial(self._answered, call, served)
            request, work = served.open(call, self._owner, done)
        except Exception as error:  # noqa: BLE001 - what begins at once may have a fault, too
            self._fail(call, error)
            return
        if isinstance(work, Deferred):
            call.task = work
            work.on_end(done if work.is_over else partial(self._settled, call, served))
            return
        if served.streams:
            write_timeout = self._write_timeout
            if getattr(request, "timeout_ms", 0) > 0:
                # A stream with a shorter timeout waits no longer than that for a reader that stalls.
                write_timeout = min(write_timeout, request.timeout_ms / 1000)
            self._streams += 1
            call.task = self._tasks.start(self._stream(call, work, write_timeout), partial(self._streamed, call))
        elif work is not None:
            call.task = self._tasks.start(work, done)

    def _answered(self, call: IncomingCall, served: ServedMethod, response: Any, error: BaseException | None) -> None:
        """Sends the answer of a unary call."""
        self._answer(call, served, response, error)
        if len(self._link.incoming) > self._streams:
            self._owner.schedule_flush()
        else:
            # The only open call: there is nothing to send its answer together with.
            self._owner.flush()

    def _settled(self, call: IncomingCall, served: ServedMethod, response: Any, error: BaseException | None) -> None:
        """Sends the answer of a unary call later: it is one of several that are told, and none may begin meanwhile."""
        self._answer(call, served, response, error)
        self._owner.schedule_flush()

    def _answer(self, call: IncomingCall, served: ServedMethod, response: Any, error: BaseException | None) -> None:
        if call.asker is not None:
            call.ask_nothing_more()
        if error is None:
            try:
                if type(response) not in SERIALIZED:
                    if served.opens_session:
                        self._owner.on_session(call, response)
                    response = response.SerializeToString()
                self._link.reply(call, response)
            except ToolBridgeError as refusal:
                self._fail(call, refusal)
        else:
            self._fail(call, error)

    async def _stream(self, call: IncomingCall, messages: Any, write_timeout: float) -> None:
        link, owner = self._link, self._owner
        room: asyncio.Event | None = None
        try:
            async for message in messages:
                link.chunk(call, message if type(message) in SERIALIZED else message.SerializeToString())
                owner.schedule_flush()
                while not link.has_room(call):
                    if room is None:
                        room = asyncio.Event()
                    room.clear()
                    link.has_room(call, room.set)
                    try:
                        await within(room.wait(), write_timeout)
                    except ExpiredError:
                        raise DeadlineExceededError(
                            f"the stream was ended: its reader took nothing for {write_timeout:g} s"
                        ) from None
        finally:
            if call.cancelled and (cancel := getattr(messages, "cancel", None)) is not None:
                # An agent's run survives a reader that is lost, but not one that cancels.
                cancel()
            await messages.aclose()

    def _streamed(self, call: IncomingCall, _: None, error: BaseException | None) -> None:
        self._streams -= 1
        if call.asker is not None:
            call.ask_nothing_more()
        if error is None:
            self._link.end(call, LinkStatus())
        else:
            self._fail(call, error)
        self._owner.schedule_flush()

    def _fail(self, call: IncomingCall, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = CallCancelledError("the call was cancelled")
        elif not isinstance(error, ToolBridgeError):
            log_fault(_log, "fault in %s", call.method, error=error)
        self._link.end(call, link_status_of(error))
        self._owner.schedule_flush()
