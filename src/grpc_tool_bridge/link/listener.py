"""The hub's end of its links.

It ends the link of a peer that sends no hello (``hello_timeout``) or does not read (``stream_timeout``). It does not
enforce the deadlines of calls: whatever executes a call does.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.aio.turns import in_slices
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import (
    AccessError,
    CallCancelledError,
    DeadlineExceededError,
    ProtocolError,
    ResourceExhaustedError,
    SerializationError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.connection import LinkConnection
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.renewal import IdentityWatch
from grpc_tool_bridge.link.server import ServedMethod, served_methods
from grpc_tool_bridge.link.streams import FrameStream, PushStream
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LinkHello, LogRecord
from grpc_tool_bridge.rpc.asks import ASK_FEATURE, ASK_PER_CALL_FEATURE
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.callers import HUB_METHOD
from grpc_tool_bridge.rpc.methods import ORIGIN_KEY
from grpc_tool_bridge.rpc.peers import Peer, Peers, peers_of
from grpc_tool_bridge.rpc.request_ids import LINK_ID_KEY, new_link_id
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER, SessionDefaults, defaults_metadata
from grpc_tool_bridge.rpc.tracing import hello_features

# If a link has opened more sessions, those that have ended are dropped each time their number has doubled.
MIN_PRUNED = 100

# Digits of a call's number in metadata.
MAX_DIGITS = 20

# Of a peer's name in the log.
MAX_PEER_CHARS = 100

# One connection may have this part, one in four, of the links without a hello.
PENDING_PART = 4

_log = logging.getLogger(__name__)


class SessionHold(Protocol):
    """An open link that counts as activity of a session."""

    @property
    def is_needed(self) -> bool:
        """Whether the session still exists."""

    def release(self) -> None:
        """Releases the hold."""


class Workers(Protocol):
    """The workers of a hub, as links see them."""

    def on_pong(self, link: Any) -> None:
        """Notes that a worker has answered a ping."""

    def on_drain(self, link: Any) -> None:
        """Notes that a peer drains."""

    def on_disconnect(self, link: Any, why: str) -> None:
        """Notes that a link has ended."""


class LinkedHub(SessionDefaults, Protocol):
    """What links need of a hub besides its methods."""

    @property
    def workers(self) -> Workers:
        """Its workers."""

    def hold_session(self, session_id: str) -> SessionHold:
        """Counts an open link as activity of a session, until the hold is released."""


class LinkServer:
    """Serves the links of one hub.

    Args:
        hub: An object with some of the methods; the others answer UNIMPLEMENTED.
        settings: Limits.
        peers: The connections that the links belong to; None: all links belong to one, with a budget of its own.
    """

    def __init__(self, hub: LinkedHub, settings: Settings, peers: Peers | None = None) -> None:
        self._hub = hub
        self._settings = settings
        memory = Budget(settings.max_hub_bytes, owner="the hub", setting="max_hub_bytes")
        self._peers = peers_of(memory, settings) if peers is None else peers
        # Links whose peers have sent no hello, the oldest first.
        self._pending: dict[AcceptedLink, Peer] = {}
        self._methods = served_methods(hub)
        self._links: set[AcceptedLink] = set()
        self._identities = IdentityWatch(self._links)
        self._draining = False
        # Why no links are taken for now; empty: they are.
        self._paused = ""
        # Shared: a frame of a client may bring calls for the link of a worker.
        self._policy = FlushPolicy()
        self._none_left = asyncio.Event()
        # A peer could flood the log otherwise.
        self._throttled = ThrottledLog(_log)

    def __len__(self) -> int:
        return len(self._links)

    async def serve(self, stream: FrameStream | PushStream, principal: Principal | None = None) -> None:
        """Serves one link until its peer disconnects.

        Args:
            stream: The stream of its frames.
            principal: Who the peer is; None: the hub does not authenticate, or the stream does with the peer's hello.

        Raises:
            ToolBridgeError: Why the link ended, for the peer.
        """
        self._refuse_while_away()
        peer = self._peers.enter(stream.peer)
        peer.links += 1
        try:
            self._check_links(peer)
            await self._serve(stream, peer, principal)
        finally:
            peer.links -= 1
            self._peers.leave(peer)
        self._refuse_while_away()

    def _refuse_while_away(self) -> None:
        if self._draining:
            raise UnavailableError("the hub is shutting down; connect again when it is back")
        if self._paused:
            raise UnavailableError(self._paused)

    async def _serve(self, stream: FrameStream | PushStream, peer: Peer, principal: Principal | None) -> None:
        self._end_oldest_pending(peer)
        link = AcceptedLink(self._hub, self._methods, self._settings, stream, self._policy, peer.budget)
        link.principal = principal
        link.source = f"link {stream.peer}"
        self._links.add(link)
        self._pending[link] = peer
        peer.pending_links += 1
        seconds = self._settings.hello_timeout
        late = f"its peer said no hello within {seconds:g} s (hello_timeout)"
        timer = asyncio.get_running_loop().call_later(seconds, link.end_without_hello, late)
        link.on_greeted = partial(self._greeted, link, peer, timer)
        try:
            await link.run()
        except (ProtocolError, SerializationError) as error:
            self._throttled.warning("the link of %s was ended: %s", link.peer, error)
            raise ValidationError(f"the link was ended: {error.message}") from error
        finally:
            link.on_hello()
            self._links.discard(link)
            if not self._links:
                self._none_left.set()
                self._identities.end()

    def _check_links(self, peer: Peer) -> None:
        most = self._settings.max_connection_links
        if peer.links > most and peer.is_one:
            raise ResourceExhaustedError(
                f"this connection has {most} links, which is its limit (max_connection_links); one is enough for all "
                "calls, or connect once more"
            )

    def _end_oldest_pending(self, peer: Peer) -> None:
        """Makes room for a link without a hello: a genuine peer sends one before others push its link out."""
        most = self._settings.max_pending_links
        of_one = max(1, most // PENDING_PART)
        if peer.pending_links >= of_one:
            oldest = next(link for link, other in self._pending.items() if other is peer)
            oldest.end_without_hello(f"{of_one} links of its connection have not said hello (max_pending_links)")
        elif len(self._pending) >= most:
            oldest = next(iter(self._pending))
            oldest.end_without_hello(f"{most} links have not said hello (max_pending_links)")

    def _greeted(self, link: "AcceptedLink", peer: Peer, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        del self._pending[link]
        peer.pending_links -= 1
        if link.is_authenticated:
            self._identities.begin()

    def drain(self, grace: float) -> None:
        """Refuses new links, and tells all peers to make no new calls; ``grace`` in seconds."""
        self._draining = True
        for link in list(self._links):
            link.drain(grace)

    def pause(self, why: str, grace: float) -> None:
        """Refuses new links until ``resume``, and tells all peers to make no new calls.

        Args:
            why: For the peers.
            grace: Seconds until the links that are open end.
        """
        self._paused = why
        for link in list(self._links):
            link.drain(grace)

    def resume(self) -> None:
        """Takes new links again."""
        self._paused = ""

    def drop(self, session_id: str) -> int:
        """Ends the links that have opened a session, as if the network had; returns how many."""
        dropped = [link for link in self._links if link.opened(session_id)]
        for link in dropped:
            link.abort("it was dropped on purpose")
        return len(dropped)

    async def settle(self, grace: float) -> None:
        """Refuses new links and calls, and waits at most ``grace`` seconds until what peers have called is answered.

        Once it returns, no call of a peer is on its way that this end might still begin.
        """
        self.drain(grace)
        if self._links:
            with contextlib.suppress(ExpiredError):
                await within(asyncio.gather(*(link.settled() for link in self._links)), grace)

    async def close(self, grace: float) -> None:
        """Ends every link, after at most ``grace`` seconds for answers to be made, and as many for them to be sent."""
        if not self._links:
            return
        # A call that was just cancelled is answered in one of the next turns.
        answering = asyncio.gather(*(link.answered() for link in self._links))
        with contextlib.suppress(ExpiredError):
            await within(answering, grace)
        self._none_left.clear()
        for link in list(self._links):
            link.finish()
        if self._links:
            with contextlib.suppress(ExpiredError):
                await within(self._none_left.wait(), grace)


class AcceptedLink(LinkConnection):
    """The hub's end of a link: serves the peer's calls and, if the peer is a worker, calls its tools.

    Args:
        hub: What is served.
        methods: Its methods.
        settings: Limits.
        stream: Where the frames go.
        policy: When frames are sent.
        budget: Charged with what it holds.

    Attributes:
        on_greeted: Called once: with the peer's hello, or when the link ends without one.
    """

    names_calls = False

    def __init__(
        self,
        hub: LinkedHub,
        methods: Mapping[str, ServedMethod],
        settings: Settings,
        stream: FrameStream | PushStream,
        policy: FlushPolicy,
        budget: Budget | None = None,
    ) -> None:
        metadata = {**stream.hello_metadata, LINK_ID_KEY: new_link_id()}
        capacity = settings.max_link_calls
        hello = LinkHello(peer="hub", capacity=capacity, metadata=metadata, features=hello_features())
        most = settings.max_link_bytes
        super().__init__(
            Link(dialer=False, hello=hello, max_incoming_bytes=most, max_answer_bytes=most, budget=budget),
            stream,
            methods=methods,
            who="this hub",
            write_timeout=settings.stream_timeout,
            room_timeout=settings.request_timeout,
            policy=policy,
        )
        self.link_id = metadata[LINK_ID_KEY]
        self.on_greeted: Callable[[], None] | None = None
        self._hub = hub
        self._workers = hub.workers
        self._sessions: dict[str, SessionHold] = {}
        self._prune_at = MIN_PRUNED
        self._no_hello = ""
        # Why the peer may not go on: it is not who it was, or does not prove it any more.
        self._refusal: ToolBridgeError | None = None
        self._refusal_timer: asyncio.TimerHandle | None = None
        # Set when a ping of ``settled`` is answered; None: there is none.
        self._ponged: asyncio.Event | None = None

    @property
    def peer(self) -> str:
        """The peer's name from its hello, for the log."""
        return self._link.peer.peer[:MAX_PEER_CHARS] if self._link.peer is not None else "an unknown peer"

    async def run(self) -> None:
        """Serves until the link ends.

        Raises:
            ToolBridgeError: Why the link ended, for the peer.
        """
        why = "its link was lost"
        try:
            await self._io.run()
            why = self._aborted or "its link ended"
        except (ProtocolError, SerializationError) as error:
            why = f"its link was ended: {error.message}"
            raise
        finally:
            if self._ponged is not None:
                self._ponged.set()
            if self._refusal_timer is not None:
                self._refusal_timer.cancel()
            self._workers.on_disconnect(self, why)
            try:
                await self._close()
            finally:
                in_slices(lambda hold: hold.release(), list(self._sessions.values()))
                self._stream.close()
        if self._refusal is not None and self._aborted:
            raise self._refusal
        if self._no_hello:
            raise DeadlineExceededError(f"the link was ended: {self._no_hello}")

    def end_without_hello(self, why: str) -> None:
        """Ends the link of a peer that has sent no hello."""
        self._no_hello = why
        self.on_hello()
        self.abort(why)

    @property
    def is_authenticated(self) -> bool:
        """Whether the peer has proved who it is in a way that may end."""
        return self._stream.renew is not None

    def renew_principal(self, grace: float) -> None:
        """Authenticates the peer once more; if that fails, the link drains, and ends in ``grace`` seconds."""
        renew = self._stream.renew
        if renew is None or self._refusal is not None or self._ended:
            return
        try:
            self.principal = renew()
        except AccessError as error:
            _log.info("the link of %s ends: %s", self.peer, error.message)
            self._refusal = error
            self.drain(grace)
            self._refusal_timer = self._loop.call_later(grace, self.abort, error.message)
        except UnavailableError as error:
            _log.debug("the peer %s keeps its link for now: %s", self.peer, error.message)

    def opened(self, session_id: str) -> bool:
        """Returns whether the peer has opened a session over this link."""
        return session_id in self._sessions

    def release(self) -> None:
        """Tells a peer that drains that it has no open calls and gets no new ones."""
        self.drain(0)

    def on_hello(self) -> None:
        """Calls ``on_greeted`` once: the peer has sent its hello, or has disconnected."""
        self.peer_answers = ASK_FEATURE in self.features
        on_greeted, self.on_greeted = self.on_greeted, None
        if on_greeted is not None:
            on_greeted()

    async def settled(self) -> None:
        """Waits until a peer that was told to make no new calls knows that, and has its answers."""
        # What it has called before it heard of the drain comes before its pong.
        self._ponged = asyncio.Event()
        self.ping()
        await self._ponged.wait()
        await self.answered()

    def on_pong(self) -> None:
        """See ``Workers``."""
        if self._ponged is not None:
            self._ponged.set()
        self._workers.on_pong(self)

    def on_drain(self) -> None:
        """See ``Workers``."""
        self._workers.on_drain(self)

    def parent_of(self, call: IncomingCall) -> Any:
        """Returns the hub's call whose tool made this one; None for a call from outside."""
        number = call.metadata.get(ORIGIN_KEY)
        if number is None:
            return None
        made_for = self._call_of(number)
        if made_for is None or made_for.given_up:
            raise CallCancelledError("the call that made this one is over, and may call no further tools")
        return made_for.owner

    def identify(self, call: IncomingCall, request: Any = None) -> None:
        """See ``CallOwner``: a worker's tool acts for the caller of its own call, whatever its metadata says.

        It does so in the session of that call; elsewhere the worker acts for itself. What another hub says is believed,
        and what anybody else says is ignored.
        """
        number = call.metadata.get(ORIGIN_KEY)
        if number is not None:
            made_for = self._call_of(number)
            if made_for is not None and getattr(request, "session_id", "") == made_for.owner.session.id:
                call.principal, call.via = made_for.owner.principal, made_for.owner.delegation
        elif self.principal is not None and self.principal.method == HUB_METHOD:
            super().identify(call)

    def _call_of(self, number: str) -> Any:
        """Returns the hub's call of a number in metadata; None if it is not on this link."""
        is_number = number.isdecimal() and len(number) <= MAX_DIGITS
        return self._link.calls.get(int(number)) if is_number else None

    def asker_of(self, call: IncomingCall) -> LinkAsker | None:
        """Returns the asker for a call; None if neither the peer's hello nor the call says that it can answer."""
        return super().asker_of(call) if self.peer_answers or ASK_PER_CALL_FEATURE in self.features else None

    def on_session(self, call: IncomingCall, response: Any) -> None:
        """Binds a session to the link, and sends the session defaults, which a plain RPC has in trailing metadata."""
        if not response.success:
            return
        session_id = response.session_id
        fields = dict(defaults_metadata(self._hub, session_id))
        self._link.tell(call, LinkEvent(log=LogRecord(level="debug", logger=METADATA_LOGGER, fields=fields)))
        hold = self._sessions.pop(session_id, None)
        if hold is not None:
            # It may belong to an earlier session with the same id.
            hold.release()
        self._sessions[session_id] = self._hub.hold_session(session_id)
        if len(self._sessions) > self._prune_at:
            self._sessions = {name: hold for name, hold in self._sessions.items() if hold.is_needed}
            self._prune_at = max(MIN_PRUNED, 2 * len(self._sessions))
