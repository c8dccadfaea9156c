"""The hub's end of its links."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol

import grpc.aio

from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.aio.turns import in_slices
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import (
    CallCancelledError,
    DeadlineExceededError,
    ProtocolError,
    ResourceExhaustedError,
    SerializationError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
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
    OutgoingCall,
    Ponged,
    Replied,
)
from grpc_tool_bridge.link.server import CallServer, ServedMethod, served_methods
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LinkHello, LogRecord
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.methods import ORIGIN_KEY
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER, SessionFacts, fact_metadata
from grpc_tool_bridge.transport.reads import Peer, Peers, Reads, peers_of

# A link that opened more sessions forgets those that have ended, whenever they have doubled.
MIN_PRUNED = 100

# Of the number of a call, in a text.
MAX_DIGITS = 20

# Of what a peer calls itself, in the log.
MAX_PEER_CHARS = 100

# Of the links that have not said hello, so large a part may be one connection's.
PENDING_PART = 4

# What is read of a link before its peer has said hello.
MAX_FIRST_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class SessionHold(Protocol):
    """An open link that counts as activity of a session."""

    @property
    def is_needed(self) -> bool:
        """Whether the session is still there."""

    def release(self) -> None:
        """Ends it."""


class Workers(Protocol):
    """The workers of a hub, as far as links tell of them."""

    def offers(self, link: Any) -> bool:
        """Tells whether a link is a worker's."""

    def on_pong(self, link: Any) -> None:
        """Notes a sign of life of a worker."""

    def on_writable(self, link: Any) -> None:
        """Called after each frame of a link."""

    def on_drain(self, link: Any) -> None:
        """Takes note that a peer drains."""

    def on_disconnect(self, link: Any, why: str) -> None:
        """Takes note that a link has ended."""


class LinkedHub(SessionFacts, Protocol):
    """A hub, as far as links need more of it than its methods."""

    @property
    def workers(self) -> Workers:
        """Its workers."""

    def hold_session(self, session_id: str) -> SessionHold:
        """Counts an open link as activity of a session, until the hold is released."""


class LinkServer:
    """Serves links for one hub.

    Args:
        hub: What is served: an object with some of the methods; the others answer UNIMPLEMENTED.
        settings: Limits.
        peers: The connections that the links belong to; None: all links are one's, with a budget of its own.
        reads: Reads what comes before a hello; None: nobody waits for others.
    """

    def __init__(
        self, hub: LinkedHub, settings: Settings, peers: Peers | None = None, reads: Reads | None = None
    ) -> None:
        self._hub = hub
        self._settings = settings
        memory = Budget(settings.max_hub_bytes, owner="the hub", setting="max_hub_bytes")
        self._peers = peers_of(memory, settings) if peers is None else peers
        self._reads = reads
        # Links whose peers have not said hello, the oldest first.
        self._pending: dict[_HubLink, Peer] = {}
        self._methods = served_methods(hub)
        self._links: set[_HubLink] = set()
        self._draining = False
        self._alone: list[_HubLink] = []
        self._none_left = asyncio.Event()
        # A peer can cause its lines as often as it likes.
        self._throttled = ThrottledLog(_log)

    def __len__(self) -> int:
        return len(self._links)

    async def serve(self, _: Any, context: Any) -> None:
        """Serves one link until its peer has gone; the behaviour of the method Link."""
        if self._draining:
            raise _going()
        name = context.peer() if hasattr(context, "peer") else "this process"
        peer = self._peers.enter(name)
        peer.links += 1
        try:
            self._check_links(peer)
            await self._serve(_ServerStream(context, peer, self._reads), peer)
        finally:
            peer.links -= 1
            self._peers.leave(peer)
        if self._draining:
            raise _going()

    async def _serve(self, stream: "_ServerStream", peer: Peer) -> None:
        self._end_oldest_pending(peer)
        link = _HubLink(self._hub, self._methods, self._settings, stream, self._alone, peer.budget)
        self._links.add(link)
        self._pending[link] = peer
        peer.pending_links += 1
        seconds = self._settings.hello_timeout
        late = f"its peer said no hello within {seconds:g} s (hello_timeout)"
        timer = asyncio.get_running_loop().call_later(seconds, link.end_unheard, late)
        link.on_greeted = partial(self._greeted, link, peer, timer)
        try:
            await link.run()
        except (ProtocolError, SerializationError) as error:
            self._throttled.warning("the link of %s was ended: %s", link.peer, error)
            raise ValidationError(f"the link was ended: {error.message}") from error
        finally:
            link.greeted()
            self._links.discard(link)
            if not self._links:
                self._none_left.set()

    def _check_links(self, peer: Peer) -> None:
        most = self._settings.max_connection_links
        if peer.links > most and peer.is_one:
            raise ResourceExhaustedError(
                f"this connection has {most} links, which is its limit (max_connection_links); one is enough for all "
                "calls, or connect once more"
            )

    def _end_oldest_pending(self, peer: Peer) -> None:
        """Makes room for a link that has yet to greet: who means to greet does so before others push it out."""
        most = self._settings.max_pending_links
        of_one = max(1, most // PENDING_PART)
        if peer.pending_links >= of_one:
            oldest = next(link for link, other in self._pending.items() if other is peer)
            oldest.end_unheard(f"{of_one} links of its connection have not said hello (max_pending_links)")
        elif len(self._pending) >= most:
            oldest = next(iter(self._pending))
            oldest.end_unheard(f"{most} links have not said hello (max_pending_links)")

    def _greeted(self, link: "_HubLink", peer: Peer, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        del self._pending[link]
        peer.pending_links -= 1

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


class _ServerStream:
    """The frames of a link at the side of the server."""

    def __init__(self, context: Any, peer: Peer, reads: Reads | None) -> None:
        self._context = context
        self._peer = peer
        # Until the first frame has come.
        self._reads = reads
        self.write: Any = context.write

    async def read(self) -> bytes | None:
        reads, self._reads = self._reads, None
        try:
            frame = await (self._context.read() if reads is None else self._first(reads))
        except BaseException as error:
            # gRPC's own frames hold its call, and that the server.
            error.__traceback__ = None
            raise
        return None if frame is grpc.aio.EOF else frame

    async def _first(self, reads: Reads) -> Any:
        frame = await reads.message(self._context, self._peer, "a link")
        if frame is not grpc.aio.EOF and len(frame) > MAX_FIRST_BYTES:
            raise ProtocolError(f"the first frame has {len(frame):,} bytes; with its hello it has {MAX_FIRST_BYTES:,}")
        return frame

    def release(self) -> None:
        """Forgets the stream, which has ended."""
        self._context = self.write = None


class _HubLink:
    """One link: runs what its peer calls and, of a worker, calls its tools.

    Args:
        hub: What is served.
        methods: Its methods.
        settings: Limits.
        stream: Where the frames go.
        alone: Links with the only call that they have, to be sent when the frame that brought it has been read.
        budget: Charged with what it holds.

    Attributes:
        on_greeted: Called once with the peer's hello, or with the end of the link where none came.
    """

    def __init__(
        self,
        hub: LinkedHub,
        methods: Mapping[str, ServedMethod],
        settings: Settings,
        stream: Any,
        alone: "list[_HubLink]",
        budget: Budget | None = None,
    ) -> None:
        self.on_greeted: Callable[[], None] | None = None
        self._alone = alone
        self._hub = hub
        self._workers = hub.workers
        hello = LinkHello(peer="hub", capacity=settings.max_link_calls)
        most = settings.max_link_bytes
        self._link = Link(dialler=False, hello=hello, max_incoming_bytes=most, max_answer_bytes=most, budget=budget)
        self._stream = stream
        self._io = LinkIO(self._link, stream, on_event=self._take, on_turn=self._turn, patience=settings.stream_timeout)
        self.wake, self.push = self._io.wake, self._io.push
        self._server = CallServer(
            self._link,
            self,
            methods,
            who="this hub",
            patience=settings.stream_timeout,
            room_timeout=settings.request_timeout,
        )
        self._sessions: dict[str, SessionHold] = {}
        self._prune_at = MIN_PRUNED
        self._given_up = self._unheard = ""

    @property
    def peer(self) -> str:
        return self._link.peer.peer[:MAX_PEER_CHARS] if self._link.peer is not None else "an unknown peer"

    async def run(self) -> None:
        why = "its link was lost"
        try:
            await self._io.run()
            why = self._given_up or "its link ended"
        except (ProtocolError, SerializationError) as error:
            why = f"its link was ended: {error.message}"
            raise
        finally:
            self._workers.on_disconnect(self, why)
            try:
                await self._server.aclose()
            finally:
                in_slices(lambda hold: hold.release(), list(self._sessions.values()))
                self._stream.release()
                self._link.release()
        if self._unheard:
            raise DeadlineExceededError(f"the link was ended: {self._unheard}")

    def end_unheard(self, why: str) -> None:
        """Ends the link of a peer that has not said who it is."""
        self._unheard = why
        self.greeted()
        self.abort(why)

    def greeted(self) -> None:
        """Says once that the peer has greeted, or has gone."""
        on_greeted, self.on_greeted = self.on_greeted, None
        if on_greeted is not None:
            on_greeted()

    def drain(self, grace: float) -> None:
        self._link.drain(int(grace * 1000))
        self._io.wake()

    def finish(self) -> None:
        self._io.finish()

    def _take(self, event: Event) -> None:
        if isinstance(event, Called):
            self._server.take(event.call)
        elif isinstance(event, Replied):
            event.call.replied(event.payload)
        elif isinstance(event, Arrived):
            event.call.arrived(event.payload)
        elif isinstance(event, Ended):
            event.call.ended(event.status)
        elif isinstance(event, Cancelled):
            self._server.cancel(event.call)
        elif isinstance(event, Ponged):
            self._workers.on_pong(self)
        elif isinstance(event, Draining):
            self._workers.on_drain(self)
        elif isinstance(event, Greeted):
            self.greeted()

    def _turn(self) -> None:
        self._link.settle()
        alone = self._alone
        while alone:
            alone.pop().push()
        self._server.begin_held()
        self._workers.on_writable(self)

    # ------------------------------------------------------------------------------------------ the peer's calls

    def parent_of(self, call: IncomingCall) -> Any:
        """Returns the call of the hub whose tool makes this one; None for a call from outside."""
        if not call.metadata:
            return None
        number = call.metadata.get(ORIGIN_KEY)
        if number is None:
            return None
        is_number = number.isdecimal() and len(number) <= MAX_DIGITS
        made_for = self._link.calls.get(int(number)) if is_number else None
        if made_for is None or made_for.given_up:
            raise CallCancelledError("the call that made this one is over, and may call no further tools")
        return made_for.owner

    def before_reply(self, method: str, call: IncomingCall, response: Any) -> None:
        """Binds a session to the link, and tells what plain RPC tells in the trailing metadata."""
        if method != "InitializeSession" or not response.success:
            return
        session_id = response.session_id
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

    # -------------------------------------------------------------------------------------- the hub's own calls

    @property
    def features(self) -> Collection[str]:
        return self._link.peer.features if self._link.peer is not None else ()

    @property
    def open_calls(self) -> int:
        return self._link.open_calls

    def calls(self) -> list[Any]:
        unsent = [call for call, _ in self._link.unsent()]
        return [call for call in (*self._link.calls.values(), *unsent) if not call.given_up]

    def has_sent(self, call: OutgoingCall) -> bool:
        return self._link.has_sent(call)

    def start(self, call: OutgoingCall, payload: bytes) -> None:
        others = self._link.awaits_answers
        self._link.call(call, payload)
        if others:
            self._io.wake()
        else:
            # Sent after the frame that is being read, which may bring more.
            self._alone.append(self)
            self._io.push_soon()

    def cancel(self, call: OutgoingCall) -> None:
        self._link.cancel(call)
        self._io.wake()

    def grant(self, call: OutgoingCall, size: int) -> None:
        self._link.grant(call, size)
        if self._link.has_output:
            self._io.wake()

    def ping(self) -> None:
        self._link.ping()
        self._io.wake()

    def release(self) -> None:
        """Answers a peer that drains: no call of it is left, and none will come."""
        self._link.drain(0)
        self._io.wake()

    def abort(self, why: str) -> None:
        self._given_up = why
        self._io.abort()
