"""The hub's end of its links."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

import grpc.aio

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.eager import EagerTasks
from grpc_tool_bridge.errors import (
    CallCancelledError,
    DeadlineExceededError,
    ProtocolError,
    SerializationError,
    ToolBridgeError,
    UnavailableError,
    UnimplementedError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LinkHello, LinkStatus, LogRecord
from grpc_tool_bridge.timeouts import ExpiredError, within
from grpc_tool_bridge.transport.facts import METADATA_LOGGER, SessionFacts, fact_metadata
from grpc_tool_bridge.transport.link_io import LinkIO
from grpc_tool_bridge.transport.status import link_status_of
from grpc_tool_bridge.wire.link import Called, Cancelled, Event, IncomingCall, Link
from grpc_tool_bridge.wire.methods import METHODS, TAKE_DEADLINE, Method

# Reading a request beyond this takes so long that small calls would notice.
LARGE_BYTES = 256 * 1024

# A link that opened more sessions forgets those that have ended, whenever they have doubled.
MIN_PRUNED = 100

# Of what a peer calls itself, in the log.
MAX_PEER_CHARS = 100

_log = logging.getLogger(__name__)


class SessionHold(Protocol):
    """An open link that counts as activity of a session."""

    @property
    def is_needed(self) -> bool:
        """Whether the session is still there."""

    def release(self) -> None:
        """Ends it."""


class LinkedHub(SessionFacts, Protocol):
    """A hub, as far as links need more of it than its methods."""

    def hold_session(self, session_id: str) -> SessionHold:
        """Counts an open link as activity of a session, until the hold is released."""


class LinkServer:
    """Serves links for one hub.

    Args:
        hub: What is served: an object with some of the methods; the others answer UNIMPLEMENTED.
        settings: Limits.
    """

    def __init__(self, hub: LinkedHub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._methods = {
            name: _ServedMethod(method, function)
            for name, method in METHODS.items()
            if (function := getattr(hub, method.attribute, None)) is not None
        }
        self._links: set[_HubLink] = set()
        self._draining = False
        self._none_left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._links)

    async def serve(self, _: Any, context: Any) -> None:
        """Serves one link until its peer has gone; the behaviour of the method Link."""
        if self._draining:
            raise _going()
        link = _HubLink(self._hub, self._methods, self._settings, _ServerStream(context))
        self._links.add(link)
        try:
            await link.run()
        except (ProtocolError, SerializationError) as error:
            _log.warning("the link of %s was ended: %s", link.peer, error)
            raise ValidationError(f"the link was ended: {error.message}") from error
        finally:
            self._links.discard(link)
            if not self._links:
                self._none_left.set()
        if self._draining:
            raise _going()

    def drain(self, grace: float) -> None:
        """Refuses new links, and tells the peers of the others to make no new calls; ``grace`` in seconds."""
        self._draining = True
        for link in list(self._links):
            link.drain(grace)

    async def close(self, grace: float) -> None:
        """Ends every link once what waits in it was sent, at most after ``grace`` seconds."""
        if not self._links:
            return
        self._none_left.clear()
        for link in list(self._links):
            link.finish()
        with contextlib.suppress(ExpiredError):
            await within(self._none_left.wait(), grace)


def _going() -> UnavailableError:
    return UnavailableError("the hub is shutting down; connect again when it is back")


class _ServedMethod:
    """A method of the hub, with what each call would have to look up of it."""

    __slots__ = ("_function", "_parse", "_takes_deadline", "name", "opens_session", "streams")

    def __init__(self, method: Method, function: Callable[..., Any]) -> None:
        self.name = method.name
        self.streams = method.response_streaming
        self.opens_session = method.name == "InitializeSession"
        self._takes_deadline = method.name in TAKE_DEADLINE
        self._parse = method.request.FromString
        self._function = function

    def open(self, call: IncomingCall) -> tuple[Any, Any]:
        """Reads the request, and makes the coroutine or the generator that answers it.

        Raises:
            SerializationError: The request cannot be read.
        """
        payload = call.payload
        try:
            request = self._parse(payload)
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the peer's fault
            raise SerializationError(f"the request of {self.name} cannot be read: {str(failure)[:200]}") from None
        # A call that waits need not hold it twice.
        call.payload = b""
        if not self._takes_deadline:
            return request, self._function(request)
        deadline = time.monotonic() + call.timeout_ms / 1000 if call.timeout_ms else None
        return request, self._function(request, deadline=deadline, size=len(payload))


async def _in_turns(call: IncomingCall, served: _ServedMethod) -> Any:
    """Reads a large request and runs its call, and lets others have their turn before each."""
    await asyncio.sleep(0)
    _, work = served.open(call)
    await asyncio.sleep(0)
    return await work


class _ServerStream:
    """The frames of a link at the side of the server."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.write: Callable[[bytes], Awaitable[None]] = context.write

    async def read(self) -> bytes | None:
        frame = await self._context.read()
        return None if frame is grpc.aio.EOF else frame


class _HubLink:
    """One link: runs what its peer calls."""

    def __init__(self, hub: LinkedHub, methods: Mapping[str, _ServedMethod], settings: Settings, stream: Any) -> None:
        self._hub = hub
        self._methods = methods
        hello = LinkHello(peer="hub", capacity=settings.max_link_calls)
        most = settings.max_link_bytes
        self._link = Link(dialler=False, hello=hello, max_incoming_bytes=most, max_answer_bytes=most)
        self._io = LinkIO(
            self._link,
            stream,
            on_event=self._take,
            on_turn=self._begin_held,
            patience=settings.stream_timeout,
        )
        self._patience = settings.stream_timeout
        self._tasks = EagerTasks()
        # Calls that came while answers piled up, in order; they begin when the peer has read some.
        self._held: dict[int, IncomingCall] = {}
        self._sessions: dict[str, SessionHold] = {}
        self._prune_at = MIN_PRUNED

    @property
    def peer(self) -> str:
        return self._link.peer.peer[:MAX_PEER_CHARS] if self._link.peer is not None else "an unknown peer"

    async def run(self) -> None:
        try:
            await self._io.run()
        finally:
            # Their peer has gone, or is about to: nobody waits for an answer.
            self._held.clear()
            try:
                await self._tasks.aclose()
            finally:
                for hold in self._sessions.values():
                    hold.release()

    def drain(self, grace: float) -> None:
        self._link.drain(int(grace * 1000))
        self._io.wake()

    def finish(self) -> None:
        self._io.finish()

    def _take(self, event: Event) -> None:
        if isinstance(event, Called):
            call = event.call
            if self._held or not self._link.writable:
                self._held[call.id] = call
            else:
                self._begin(call)
        elif isinstance(event, Cancelled):
            self._cancel(event.call)

    def _begin_held(self) -> None:
        held = self._held
        while held and self._link.writable:
            self._begin(held.pop(next(iter(held))))

    def _cancel(self, call: IncomingCall) -> None:
        if call.task is not None:
            call.task.cancel()
            return
        self._held.pop(call.id, None)
        self._fail(call, CallCancelledError("the call was cancelled before it began"))

    # ------------------------------------------------------------------------------------------------- the calls

    def _begin(self, call: IncomingCall) -> None:
        served = self._methods.get(call.method)
        try:
            if served is None:
                raise UnimplementedError(f"this hub does not offer {call.method[:100]}")
            if len(call.payload) > LARGE_BYTES and not served.streams:
                call.task = self._tasks.start(_in_turns(call, served), partial(self._answered, call, served))
                return
            request, work = served.open(call)
        except ToolBridgeError as error:
            self._fail(call, error)
            return
        if served.streams:
            patience = self._patience
            if getattr(request, "timeout_ms", 0) > 0:
                # A stream that gives itself less time holds its place no longer than that for a reader that stalls.
                patience = min(patience, request.timeout_ms / 1000)
            call.task = self._tasks.start(self._stream(call, work, patience), partial(self._streamed, call))
        else:
            call.task = self._tasks.start(work, partial(self._answered, call, served))

    def _answered(self, call: IncomingCall, served: _ServedMethod, response: Any, error: BaseException | None) -> None:
        """Sends the answer of a unary call."""
        if error is None:
            try:
                if served.opens_session:
                    self._opened(call, response)
                self._link.reply(call, response.SerializeToString())
            except ToolBridgeError as refusal:
                self._fail(call, refusal)
        else:
            self._fail(call, error)
        self._io.wake()

    def _opened(self, call: IncomingCall, response: Any) -> None:
        """Binds a session to the link, and tells what plain RPC tells in the trailing metadata."""
        session_id = response.session_id
        if not response.success:
            return
        fields = dict(fact_metadata(self._hub, session_id))
        self._link.tell(call, LinkEvent(log=LogRecord(level="debug", logger=METADATA_LOGGER, fields=fields)))
        hold = self._sessions.pop(session_id, None)
        if hold is not None:
            # It may be of another session of the same name.
            hold.release()
        self._sessions[session_id] = self._hub.hold_session(session_id)
        if len(self._sessions) > self._prune_at:
            self._sessions = {name: hold for name, hold in self._sessions.items() if hold.is_needed}
            self._prune_at = max(MIN_PRUNED, 2 * len(self._sessions))

    async def _stream(self, call: IncomingCall, messages: Any, patience: float) -> None:
        link, io = self._link, self._io
        room: asyncio.Event | None = None
        try:
            async for message in messages:
                link.chunk(call, message.SerializeToString())
                io.wake()
                while not link.has_room(call):
                    if room is None:
                        room = asyncio.Event()
                    room.clear()
                    link.has_room(call, room.set)
                    try:
                        await within(room.wait(), patience)
                    except ExpiredError:
                        raise DeadlineExceededError(
                            f"the stream was ended: its reader took nothing for {patience:g} s"
                        ) from None
        finally:
            await messages.aclose()

    def _streamed(self, call: IncomingCall, _: None, error: BaseException | None) -> None:
        if error is None:
            self._link.end(call, LinkStatus())
        else:
            self._fail(call, error)
        self._io.wake()

    def _fail(self, call: IncomingCall, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = CallCancelledError("the call was cancelled")
        elif not isinstance(error, ToolBridgeError):
            _log.error("fault in %s", call.method, exc_info=error)
        self._link.end(call, link_status_of(error))
        self._io.wake()
