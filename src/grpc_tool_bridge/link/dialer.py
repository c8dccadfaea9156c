"""A client's calls over one link, which is dialled again whenever it is lost."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import grpc.aio
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.loops import has_ended, lives_elsewhere, note_use, running_loop, silence_closed
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.connection import CLOSED, ClientLink
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.link.pending import WaitingCalls
from grpc_tool_bridge.link.server import served_methods
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection, close_stranded
from grpc_tool_bridge.transport.link_calls import LinkCall
from grpc_tool_bridge.transport.link_stub import LinkStub
from grpc_tool_bridge.transport.plain_calls import PlainCalls
from grpc_tool_bridge.transport.status import rpc_error

# Who takes a link and does not say so for so long is no hub, or one that is stuck.
GREETING_SECONDS = 20.0

# A link that lasted so long was a good one: the next dial need not wait longer for those that failed before it.
STABLE_SECONDS = 5.0

# A first dial that says nothing for so long is given up by who waits for it; gRPC's own limit.
FIRST_DIAL_SECONDS = 20.0

# What a dial ends with that another one would not mend.
_LASTING = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
    }
)

_log = logging.getLogger(__name__)


def is_passing(error: AioRpcError) -> bool:
    """Tells whether a hub that could not be linked to may be in a while; a wrong token stays wrong."""
    return error.code() not in _LASTING


class LinkTransport:
    """One link for all calls of a client, dialled when first used and again whenever it is lost.

    Calls in flight on a link that is lost fail with UNAVAILABLE. Calls that come while there is none wait for the next
    one. A hub that knows no links is called by plain RPCs instead.

    Args:
        connection: Where the hub is.
        dial_again: Decides whether a hub that refused a link is asked again by itself; else the next call asks.
        serves: An object with methods that are served to the hub; None: none are.
        features: What the hub is told of them.

    Attributes:
        where: The hub's address, for texts.
        on_relinked: Called on each link but the first, before other calls go over it, with a stub for that link.
        on_moved: Called when it is used in another event loop than before, since that one has ended.
    """

    def __init__(
        self,
        connection: Connection | MemoryConnection,
        *,
        dial_again: Callable[[AioRpcError], bool] = is_passing,
        serves: object = None,
        features: Iterable[str] = (),
    ) -> None:
        self.where = connection.where
        self.on_relinked: Callable[[Any], Awaitable[None]] | None = None
        self.on_moved: Callable[[], None] | None = None
        self._connection = connection
        self._dial_again = dial_again
        self._methods = served_methods(serves)
        self._features = tuple(features)
        # Those that are there, with those that drain.
        self._links: set[ClientLink] = set()
        self._retiring = False
        self._stub: Any = None
        self._channel: Any = None
        self._authorized: Any = None
        self._tasks = TaskSet()
        self._waiting = WaitingCalls(self._no_link)
        self._current: ClientLink | None = None
        self._plain: PlainCalls | None = None
        self._failure: AioRpcError | None = None
        # Set by whoever needs a link; None while nobody has.
        self._wanted: asyncio.Event | None = None
        # Done whenever a dial has succeeded or failed, and then made anew.
        self._dialled: asyncio.Future[None] | None = None
        self._linked_before = False
        # Where it lives; None before the first use, and in a process that has inherited it.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inherited = False
        forks.watch(self)

    @property
    def stub(self) -> Any:
        """The stub; made when first used."""
        if self._stub is None:
            self._stub = LinkStub(self)
        elif self._plain is not None and running_loop() is not self._loop:
            self._enter()
        return self._stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._stub = stub

    @property
    def resumes(self) -> bool:
        """Whether what was lost with a connection may be taken up again over the next."""
        return self._plain is None and isinstance(self.stub, LinkStub)

    @property
    def is_linked(self) -> bool:
        """Whether the hub sees by a link that the client is there."""
        return self._current is not None

    async def connect(self, seconds: float) -> None:
        """Waits for the link.

        Args:
            seconds: How long to go on dialling; 0: the first dial decides.

        Raises:
            AioRpcError: The hub cannot be reached, or refuses.
        """
        stub = self.stub
        if not isinstance(stub, LinkStub) or stub.is_replaced("InitializeSession"):
            # What opens the session goes elsewhere, and the hub may be nowhere.
            return
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._enter()
        end = loop.time() + (seconds or FIRST_DIAL_SECONDS)
        while self._current is None and self._plain is None:
            self._want()
            assert self._dialled is not None  # noqa: S101 - made with the task that dials
            try:
                await within(asyncio.shield(self._dialled), max(0.0, end - loop.time()))
            except ExpiredError:
                raise _copy(self._failure or self._no_link(seconds or FIRST_DIAL_SECONDS)) from None
            if self._failure is not None and (not seconds or not self._dial_again(self._failure)):
                raise _copy(self._failure)

    async def drain(self, grace: float) -> None:
        """Dials no more, and waits until the calls that the hub has made are over; at most ``grace`` seconds.

        Raises:
            ExpiredError: They were not over in time.
        """
        self._retiring = True
        # Over one that is only being dialled the hub makes none.
        used = [link for link in self._links if link is self._current or link.unusable.is_set()]
        await asyncio.gather(*(link.drain(grace) for link in used))

    def start(self, call: LinkCall, request: Any) -> None:
        """Sends a call, now or when there is a link that takes it.

        Raises:
            ProtocolError: The link lives in another event loop, which still runs, or in another process.
        """
        if asyncio.get_running_loop() is not self._loop:
            self._enter()
        link = self._current
        if link is not None and not self._waiting and link.takes_calls:
            link.send(call, request.SerializeToString())
        elif self._plain is not None:
            self._plain.send(call, request.SerializeToString())
        elif link is None and not call.waits and self._failure is not None:
            call.fail(_copy(self._failure))
        else:
            self._want()
            left = call.time_remaining() or getattr(request, "timeout_ms", 0) / 1000
            self._waiting.add(call, request.SerializeToString(), left or CALL_TIMEOUT, counts=bool(left))

    async def close(self) -> None:
        """Ends the link; calls in flight fail.

        From another event loop than the link's, which still runs, it is only begun there.
        """
        loop = self._loop
        if self._inherited:
            # It is the other process that closes it.
            self._inherited = False
        elif loop is not None and loop is not asyncio.get_running_loop():
            if not has_ended(loop):
                loop.call_soon_threadsafe(lambda: self._tasks.spawn(self._close(), "close"))
                return
            self._abandon()
        await self._close()

    async def _close(self) -> None:
        self._waiting.fail(partial(rpc_error, grpc.StatusCode.CANCELLED, CLOSED))
        self._current = self._wanted = self._dialled = self._failure = self._plain = self._stub = None
        self._linked_before, self._loop = False, None
        # Whoever calls while this waits opens a channel anew.
        channel, self._channel, self._authorized = self._channel, None, None
        await self._tasks.aclose()
        if channel is not None:
            await channel.close()
            forks.note_closed()

    def forked(self) -> None:
        """Refuses, in a process that has inherited it, to be used; what it has of gRPC is never freed there."""
        if self._loop is not None:
            forks.keep(dict(vars(self)))
            self._forget()
            self._loop, self._channel, self._linked_before, self._inherited = None, None, False, True

    def _enter(self) -> None:
        """Makes the running event loop the one that the link lives in.

        Raises:
            ProtocolError: It may not live there.
        """
        if self._inherited:
            raise forks.refusal(f"the bridge to {self.where}")
        before, loop = self._loop, asyncio.get_running_loop()
        if before is not None:
            if not has_ended(before):
                raise lives_elsewhere(f"the bridge to {self.where}")
            self._abandon()
        self._loop = loop
        note_use(loop)
        if before is not None and self.on_moved is not None:
            self.on_moved()

    def _abandon(self) -> None:
        """Gives up what lives in an event loop that has ended; the session is taken up again over the next link."""
        silence_closed()
        self._tasks.abandon()
        for link in self._links:
            link.abandon()
        channel, self._channel = self._channel, None
        self._forget()
        if channel is not None:
            # Takes no turn of either loop.
            self._tasks.spawn(close_stranded(channel), "close")
            forks.note_closed()

    def _forget(self) -> None:
        """Forgets all that belongs to an event loop."""
        if self._plain is not None and isinstance(self._stub, LinkStub):
            self._stub = None
        self._tasks, self._links, self._waiting = TaskSet(), set(), WaitingCalls(self._no_link)
        self._current = self._wanted = self._dialled = self._failure = self._plain = self._authorized = None

    def _no_link(self, seconds: float) -> AioRpcError:
        if self._current is not None:
            return rpc_error(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the link had no room for the call within {seconds:g} s"
            )
        why = f": {self._failure.details()}" if self._failure is not None else ""
        return rpc_error(grpc.StatusCode.UNAVAILABLE, f"there was no link within {seconds:g} s{why}")

    # ------------------------------------------------------------------------------------------------- dialling

    def _want(self) -> None:
        if self._wanted is None:
            self._channel = self._connection.open()
            token = self._connection.token
            self._authorized = self._channel if token is None else AuthorizedChannel(self._channel, token)
            self._wanted = asyncio.Event()
            self._dialled = asyncio.get_running_loop().create_future()
            self._tasks.spawn(self._keep_linked(self._wanted), f"link to {self.where}")
        self._wanted.set()

    async def _keep_linked(self, wanted: asyncio.Event) -> None:
        """Dials, and dials again when the link is lost or drains."""
        waits = back_off()
        while True:
            link = ClientLink(
                self._authorized.stream_stream(METHODS["Link"].path)(),
                self.where,
                on_turn=self._send_waiting,
                methods=self._methods,
                features=self._features,
            )
            self._tasks.spawn(self._serve(link), "link")
            if await self._greeted(link):
                began = time.monotonic()
                await self._use(link)
                await link.unusable.wait()
                if self._retiring:
                    return
                if time.monotonic() - began > STABLE_SECONDS:
                    # A hub that takes links only to end them is not dialled ever more often.
                    waits = back_off()
                self._current = None
            elif not await self._dial_failed(link.error, wanted):
                return
            await asyncio.sleep(next(waits))

    async def _greeted(self, link: ClientLink) -> bool:
        """Waits until the hub has taken the link; false where it has not."""
        try:
            await within(asyncio.shield(link.greeted), GREETING_SECONDS)
        except ExpiredError:
            link.give_up(f"the hub said nothing for {GREETING_SECONDS:g} s")
        return await link.greeted

    async def _serve(self, link: ClientLink) -> None:
        # A link that drains goes on beside the next one until its calls have ended.
        self._links.add(link)
        try:
            unsent = await link.run()
        finally:
            self._links.discard(link)
            if self._current is link:
                self._current = None
        self._waiting.put_back(unsent, CALL_TIMEOUT)
        if unsent:
            self._want()
            self._send_waiting()

    async def _use(self, link: ClientLink) -> None:
        if self._linked_before and self.on_relinked is not None:
            try:
                await within(self.on_relinked(LinkStub(link)), CALL_TIMEOUT)
            except (grpc.RpcError, ToolBridgeError, ExpiredError) as error:
                _log.warning("the session was not taken up again at %s: %s", self.where, error)
            except Exception:  # noqa: BLE001 - whoever is told of it; the link is good, and calls wait for it
                _log.exception("taking up the session again at %s failed", self.where)
        self._linked_before = True
        if not link.unusable.is_set():
            self._current, self._failure = link, None
            self._tell()
            self._send_waiting()

    async def _dial_failed(self, error: AioRpcError | None, wanted: asyncio.Event) -> bool:
        """Tells whether to dial again."""
        error = error or rpc_error(grpc.StatusCode.UNAVAILABLE, "the dial was given up")
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            self._fall_back()
            return False
        _log.debug("no link to %s: %s", self.where, error.details())
        self._failure = error
        self._waiting.fail(lambda: _copy(error), impatient_only=self._dial_again(error))
        self._tell()
        if not self._dial_again(error):
            wanted.clear()
            await wanted.wait()
        return True

    def _fall_back(self) -> None:
        _log.info("the hub at %s knows no links; each call goes as an RPC of its own", self.where)
        self._plain = PlainCalls(self._authorized, self._tasks)
        if isinstance(self._stub, LinkStub):
            self._stub.give_way(SnakepitBridgeStub(self._authorized))
        while len(self._waiting):
            self._plain.send(*self._waiting.take())
        self._tell()

    def _tell(self) -> None:
        if self._dialled is not None:
            self._dialled.set_result(None)
            self._dialled = asyncio.get_running_loop().create_future()

    def _send_waiting(self) -> None:
        link = self._current
        while link is not None and len(self._waiting) and link.takes_calls:
            link.send(*self._waiting.take())


def _copy(error: AioRpcError) -> AioRpcError:
    """Makes the error anew for each who gets it: one that is raised again and again collects tracebacks."""
    return AioRpcError(error.code(), error.initial_metadata(), error.trailing_metadata(), error.details())
