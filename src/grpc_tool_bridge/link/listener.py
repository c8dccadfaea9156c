"""The hub's end of its links.

Of a peer that says no hello, and of one that reads nothing, this end decides that its link is over (``hello_timeout``,
``stream_timeout``). The deadline of a call is the business of whoever runs it.
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
    CallCancelledError,
    DeadlineExceededError,
    ProtocolError,
    ResourceExhaustedError,
    SerializationError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.connection import LinkConnection
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.io import FlushPolicy
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.server import ServedMethod, served_methods
from grpc_tool_bridge.link.streams import FrameStream
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LinkHello, LogRecord
from grpc_tool_bridge.rpc.asks import ASK_FEATURE
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.methods import ORIGIN_KEY
from grpc_tool_bridge.rpc.peers import Peer, Peers, peers_of
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER, SessionDefaults, defaults_metadata

# A link that opened more sessions forgets those that have ended, whenever they have doubled.
MIN_PRUNED = 100

# Of the number of a call, in a text.
MAX_DIGITS = 20

# Of what a peer calls itself, in the log.
MAX_PEER_CHARS = 100

# Of the links that have not said hello, so large a part may be one connection's.
PENDING_PART = 4

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

    def on_pong(self, link: Any) -> None:
        """Notes a sign of life of a worker."""

    def on_drain(self, link: Any) -> None:
        """Takes note that a peer drains."""

    def on_disconnect(self, link: Any, why: str) -> None:
        """Takes note that a link has ended."""


class LinkedHub(SessionDefaults, Protocol):
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
    """

    def __init__(self, hub: LinkedHub, settings: Settings, peers: Peers | None = None) -> None:
        self._hub = hub
        self._settings = settings
        memory = Budget(settings.max_hub_bytes, owner="the hub", setting="max_hub_bytes")
        self._peers = peers_of(memory, settings) if peers is None else peers
        # Links whose peers have not said hello, the oldest first.
        self._pending: dict[AcceptedLink, Peer] = {}
        self._methods = served_methods(hub)
        self._links: set[AcceptedLink] = set()
        self._draining = False
        # The frame that brings a call may be what a call to a worker waits for.
        self._policy = FlushPolicy()
        self._none_left = asyncio.Event()
        # A peer can cause its lines as often as it likes.
        self._throttled = ThrottledLog(_log)

    def __len__(self) -> int:
        return len(self._links)

    async def serve(self, stream: FrameStream, principal: Principal | None = None) -> None:
        """Serves one link until its peer has gone.

        Args:
            stream: Where its frames come.
            principal: Who the peer is; None: nobody was asked to say who they are.

        Raises:
            ToolBridgeError: What the peer is to be told of its end.
        """
        if self._draining:
            raise _going()
        peer = self._peers.enter(stream.peer)
        peer.links += 1
        try:
            self._check_links(peer)
            await self._serve(stream, peer, principal)
        finally:
            peer.links -= 1
            self._peers.leave(peer)
        if self._draining:
            raise _going()

    async def _serve(self, stream: FrameStream, peer: Peer, principal: Principal | None) -> None:
        self._end_oldest_pending(peer)
        link = AcceptedLink(self._hub, self._methods, self._settings, stream, self._policy, peer.budget)
        link.principal = principal
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
            oldest.end_without_hello(f"{of_one} links of its connection have not said hello (max_pending_links)")
        elif len(self._pending) >= most:
            oldest = next(iter(self._pending))
            oldest.end_without_hello(f"{most} links have not said hello (max_pending_links)")

    def _greeted(self, link: "AcceptedLink", peer: Peer, timer: asyncio.TimerHandle) -> None:
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


class AcceptedLink(LinkConnection):
    """A link that a peer has dialled: runs what it calls and, of a worker, calls its tools.

    Args:
        hub: What is served.
        methods: Its methods.
        settings: Limits.
        stream: Where the frames go.
        policy: When frames leave.
        budget: Charged with what it holds.

    Attributes:
        on_greeted: Called once with the peer's hello, or with the end of the link where none came.
    """

    names_calls = False

    def __init__(
        self,
        hub: LinkedHub,
        methods: Mapping[str, ServedMethod],
        settings: Settings,
        stream: FrameStream,
        policy: FlushPolicy,
        budget: Budget | None = None,
    ) -> None:
        hello = LinkHello(peer="hub", capacity=settings.max_link_calls)
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
        self.on_greeted: Callable[[], None] | None = None
        self._hub = hub
        self._workers = hub.workers
        self._sessions: dict[str, SessionHold] = {}
        self._prune_at = MIN_PRUNED
        self._no_hello = ""

    @property
    def peer(self) -> str:
        """What the peer calls itself, for the log."""
        return self._link.peer.peer[:MAX_PEER_CHARS] if self._link.peer is not None else "an unknown peer"

    async def run(self) -> None:
        """Serves until the link ends.

        Raises:
            ToolBridgeError: What the peer is to be told of its end.
        """
        why = "its link was lost"
        try:
            await self._io.run()
            why = self._aborted or "its link ended"
        except (ProtocolError, SerializationError) as error:
            why = f"its link was ended: {error.message}"
            raise
        finally:
            self._workers.on_disconnect(self, why)
            try:
                await self._close()
            finally:
                in_slices(lambda hold: hold.release(), list(self._sessions.values()))
                self._stream.close()
        if self._no_hello:
            raise DeadlineExceededError(f"the link was ended: {self._no_hello}")

    def end_without_hello(self, why: str) -> None:
        """Ends the link of a peer that has not said who it is."""
        self._no_hello = why
        self.on_hello()
        self.abort(why)

    def release(self) -> None:
        """Answers a peer that drains: no call of it is left, and none will come."""
        self.drain(0)

    def on_hello(self) -> None:
        """Says once that the peer has greeted, or has gone."""
        self.peer_answers = ASK_FEATURE in self.features
        on_greeted, self.on_greeted = self.on_greeted, None
        if on_greeted is not None:
            on_greeted()

    def on_pong(self) -> None:
        """As of ``Workers``."""
        self._workers.on_pong(self)

    def on_drain(self) -> None:
        """As of ``Workers``."""
        self._workers.on_drain(self)

    def parent_of(self, call: IncomingCall) -> Any:
        """Returns the call of the hub whose tool makes this one; None for a call from outside."""
        number = call.metadata.get(ORIGIN_KEY)
        if number is None:
            return None
        is_number = number.isdecimal() and len(number) <= MAX_DIGITS
        made_for = self._link.calls.get(int(number)) if is_number else None
        if made_for is None or made_for.given_up:
            raise CallCancelledError("the call that made this one is over, and may call no further tools")
        return made_for.owner

    def asker_of(self, call: IncomingCall) -> LinkAsker | None:
        """Makes what asks the peer; None where its hello did not say that it can answer."""
        return super().asker_of(call) if self.peer_answers else None

    def on_session(self, call: IncomingCall, response: Any) -> None:
        """Binds a session to the link, and tells what plain RPC tells in the trailing metadata."""
        if not response.success:
            return
        session_id = response.session_id
        fields = dict(defaults_metadata(self._hub, session_id))
        self._link.tell(call, LinkEvent(log=LogRecord(level="debug", logger=METADATA_LOGGER, fields=fields)))
        hold = self._sessions.pop(session_id, None)
        if hold is not None:
            # It may be of another session of the same name.
            hold.release()
        self._sessions[session_id] = self._hub.hold_session(session_id)
        if len(self._sessions) > self._prune_at:
            self._sessions = {name: hold for name, hold in self._sessions.items() if hold.is_needed}
            self._prune_at = max(MIN_PRUNED, 2 * len(self._sessions))
