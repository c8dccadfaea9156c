"""Keeps a link up: dials it when it is first needed, and again whenever it is lost.

A call that waits for a link is ended here, after its own timeout or CALL_TIMEOUT; once it is sent, the connection ends
it.
"""

import asyncio
import contextlib
import copy
import logging
import platform
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.loops import has_ended, lives_elsewhere, note_use, silence_closed
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.config import CALL_TIMEOUT, STREAM_TIMEOUT
from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.connection import LinkConnection
from grpc_tool_bridge.link.keepalive import LinkWatch
from grpc_tool_bridge.link.pending import PendingCalls
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.server import ServedMethod, served_methods
from grpc_tool_bridge.link.status import Code, code_of, is_transient, link_error
from grpc_tool_bridge.link.streams import Dialable, Endpoint, FrameStream, PushStream
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkHello
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.tracing import hello_features

# After a link that lasted so long, the back-off starts from the beginning.
STABLE_SECONDS = 5.0

# How long a caller waits for the first dial; gRPC's own limit.
FIRST_DIAL_SECONDS = 20.0

# The error text of a call whose bridge was closed while it waited.
CLOSED = "the bridge was closed before the answer came"

_NOTHING_SERVED: Mapping[str, ServedMethod] = {}

_log = logging.getLogger(__name__)


def _refuse(call: LinkCall, payload: bytes) -> bool:
    """Sends nothing: there is no link, or other calls wait for it."""
    del call, payload
    return False


class DialledLink(LinkConnection):
    """The client's or worker's end of a link.

    Args:
        stream: Where the frames go.
        where: The hub's address, for error texts.
        methods: What is served to the hub, by name.
        features: Announced to the hub.

    Attributes:
        where: As given.
        greeted: Whether the hub accepted the link, once that is known.
        unusable: Set when the link takes no further calls: it drains, or has ended.
        error: What it ended with.
    """

    def __init__(
        self,
        stream: FrameStream | PushStream,
        where: str,
        *,
        methods: Mapping[str, ServedMethod] = _NOTHING_SERVED,
        features: Iterable[str] = (),
    ) -> None:
        name = f"Python {platform.python_version()}"
        hello = LinkHello(peer=name, features=features, metadata=stream.hello_metadata)
        super().__init__(
            Link(dialer=True, hello=hello),
            stream,
            methods=methods,
            who="this worker" if methods else "a client",
            write_timeout=STREAM_TIMEOUT,
        )
        self.where = where
        self._watch: LinkWatch | None = None
        self.greeted: asyncio.Future[bool] = self._loop.create_future()
        self.unusable = asyncio.Event()
        self.error: ToolBridgeError | None = None
        self._lost = f"the link to {where} was lost"

    @property
    def over(self) -> str:
        """What carries the link, for people."""
        return self._stream.over

    def leave(self, grace: float) -> Awaitable[None]:
        """Tells the hub to make no new calls.

        Returns:
            An awaitable that waits at most ``grace`` seconds until its open calls have ended; raises ExpiredError if
            they have not.
        """
        self.drain(grace)
        return self._drained_within(grace)

    async def _drained_within(self, grace: float) -> None:
        await within(self._drained(), grace)

    async def _drained(self) -> None:
        # The hub drains the link in turn once it has no call left here.
        await self.unusable.wait()
        await self.answered()

    async def run(self) -> list[tuple[LinkCall, Payload]]:
        """Serves until the link ends, and fails its calls.

        Returns:
            The calls that were never sent, with their payloads.
        """
        try:
            self.error = await self._serve()
        except GeneratorExit:
            # Its event loop has ended before it.
            self.abandon()
            raise
        except BaseException:
            await self._conclude()
            raise
        await self._conclude()
        return self._link.unsent()

    async def _conclude(self) -> None:
        """Fails the link's calls and closes it."""
        self._ended = True
        if self._watch is not None:
            self._watch.close()
        self._stream.close()
        calls = list(self._link.calls.values())
        code, text = Code.CANCELLED, CLOSED
        if self.error is not None:
            code, text = Code.UNAVAILABLE, f"{self._lost}: {self.error.message}"
        else:
            # Unsent calls are not sent over another link.
            calls.extend(call for call, _ in self._link.unsent())
        for call in calls:
            call.fail(link_error(code, text))
        self.unusable.set()
        if not self.greeted.done():
            self.greeted.set_result(False)
        await self._close()

    def abandon(self) -> None:
        """Gives up a link whose event loop has ended."""
        self._ended = True
        # The stream may have tasks in that loop.
        with contextlib.suppress(RuntimeError):
            self._stream.close()

    async def _serve(self) -> ToolBridgeError:
        """Returns what the link ended with."""
        failure: Exception | None = None
        try:
            await self._io.run()
        except ToolBridgeError as error:
            return link_error(Code.INTERNAL, error.message)
        except Exception as error:  # noqa: BLE001 - failure() raises what is not the stream's error
            failure = error.with_traceback(None)
        if self._aborted:
            return link_error(Code.UNAVAILABLE, self._aborted)
        return await self._stream.failure(failure)

    def on_hello(self) -> None:
        """Notes that the hub accepted the link."""
        if not self.greeted.done():
            self.greeted.set_result(True)
            if self._stream.keepalive is not None:
                self._watch = LinkWatch(self, self._stream.keepalive, self._loop)

    def on_drain(self) -> None:
        """Notes that the link takes no further calls."""
        self.unusable.set()


class Dialer:
    """One link for all calls to a hub, dialled when first used and again whenever it is lost.

    When a link is lost, its calls in flight fail with UNAVAILABLE; new calls wait for the next link. If the hub does
    not support Link, each call is a plain RPC instead, provided that the endpoint has any.

    Args:
        endpoint: Where the hub is.
        dial_again: Decides whether to dial again after this error; if not, the next call dials.
        serves: An object with methods that are served to the hub; None: none are.
        features: Announced to the hub.

    Attributes:
        send_request: Sends a call, now or once a link takes it; rebound to the link's own method while that takes
            calls. Raises ProtocolError if the link belongs to another event loop that still runs, or to another
            process.
        try_send_bytes: Sends a call whose request is serialized if a link takes it now; returns whether it did.
        on_moved: Called when the dialer is used in a new event loop, because the previous one has ended.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        dial_again: Callable[[ToolBridgeError], bool] = is_transient,
        serves: object = None,
        features: Iterable[str] = (),
    ) -> None:
        self.on_moved: Callable[[], None] | None = None
        self._endpoint = endpoint
        self._dial_again = dial_again
        self._methods = served_methods(serves)
        self._features = tuple(features)
        # Open links, including those that drain.
        self._links: set[DialledLink] = set()
        self._retiring = False
        self._way: Dialable | None = None
        self._tasks = TaskSet()
        self._pending = PendingCalls(self._no_link)
        self._current: DialledLink | None = None
        # The link over which the session is being resumed.
        self._resuming: DialledLink | None = None
        self.send_request: Callable[[LinkCall, Any], None] = self._send_later
        self.try_send_bytes: Callable[[LinkCall, bytes], bool] = _refuse
        # Sends calls to a hub that does not support Link.
        self._plain: Any = None
        self._failure: ToolBridgeError | None = None
        # Set when a link is needed; None before the first call.
        self._wanted: asyncio.Event | None = None
        # Done when a dial has succeeded or failed, which is True, or the dialer was closed; replaced after each dial.
        self._dialled: asyncio.Future[bool] | None = None
        self._linked_before = False
        # The event loop that it belongs to; None before the first use, and in a forked process.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inherited = False
        forks.watch(self)

    @property
    def where(self) -> str:
        """The address of the hub, for texts; of several, that of the link, or all of them while there is no link."""
        link = self._resuming or self._current
        return self._endpoint.where if link is None else link.where

    @property
    def is_linked(self) -> bool:
        """Whether there is a link, by which the hub sees that the client is alive."""
        return self._current is not None

    @property
    def failure(self) -> str:
        """Why the last dial failed; empty if there is a link, or if none was dialled."""
        return "" if self._failure is None or self.is_linked else self._failure.message

    @property
    def linked_over(self) -> str | None:
        """What carries the link, such as "gRPC", for people; None if there is no link."""
        link = self._current
        if link is None or self._way is None or not self._way.has_others:
            return None if link is None else link.over
        return f"{link.over}, to {link.where}"

    async def connect(self, seconds: float) -> None:
        """Waits for the link.

        Args:
            seconds: How long to keep dialling; 0: dial once.

        Raises:
            ToolBridgeError: The hub cannot be reached, or refuses the link; or the dialer was closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._enter()
        end = loop.time() + (seconds or FIRST_DIAL_SECONDS)
        while self._current is None and self._plain is None:
            self._want()
            assert self._dialled is not None  # noqa: S101 - made with the task that dials
            try:
                dialled = await within(asyncio.shield(self._dialled), max(0.0, end - loop.time()))
            except ExpiredError:
                raise self._fresh_copy(self._failure or self._no_link(seconds or FIRST_DIAL_SECONDS)) from None
            if not dialled:
                raise link_error(Code.CANCELLED, CLOSED)
            if self._failure is not None and (not seconds or not self._dial_again(self._failure)):
                raise self._fresh_copy(self._failure)

    async def drain(self, grace: float) -> None:
        """Stops dialling, and waits at most ``grace`` seconds until the hub's calls have ended.

        Raises:
            ExpiredError: They have not ended in time.
        """
        self._retiring = True
        # The hub makes no calls over a link that is still being dialled.
        used = [link for link in self._links if link is self._current or link.unusable.is_set()]
        await asyncio.gather(*(link.leave(grace) for link in used))

    def _send_later(self, call: LinkCall, request: Any) -> None:
        """Sends a call, or keeps it until a link takes it."""
        if asyncio.get_running_loop() is not self._loop:
            self._enter()
        link = self._current
        if link is not None and not len(self._pending) and link.takes_calls:
            self._route()
            link.send_or_fail(call, request.SerializeToString())
        elif self._plain is not None:
            self._plain.send(call, request.SerializeToString())
        elif link is None and not call.waits and self._failure is not None:
            call.fail(copy.copy(self._failure))
        else:
            self._want()
            left = call.time_remaining() or getattr(request, "timeout_ms", 0) / 1000
            self._pending.add(call, request.SerializeToString(), left or CALL_TIMEOUT, counts=bool(left))
            self._route()

    async def close(self) -> None:
        """Closes the link; calls in flight fail.

        If the link belongs to another event loop that still runs, this only schedules the close there.
        """
        loop = self._loop
        if self._inherited:
            # The parent process closes it.
            self._inherited = False
        elif loop is not None and loop is not asyncio.get_running_loop():
            if not has_ended(loop):
                loop.call_soon_threadsafe(lambda: self._tasks.spawn(self._close(), "close"))
                return
            self._abandon()
        await self._close()

    async def _close(self) -> None:
        self._pending.fail(partial(link_error, Code.CANCELLED, CLOSED))
        if self._dialled is not None:
            self._dialled.set_result(False)
        self._wanted = self._dialled = self._failure = self._plain = None
        self._linked_before, self._loop = False, None
        self._use(None)
        # A call that is made meanwhile opens a new way.
        way, self._way = self._way, None
        await self._tasks.aclose()
        if way is not None:
            await way.close()
            forks.note_closed()

    def forked(self) -> None:
        """Makes the dialer unusable in a forked process; its gRPC objects are never freed there."""
        if self._loop is not None:
            forks.keep(dict(vars(self)))
            self._forget()
            self._loop, self._way, self._linked_before, self._inherited = None, None, False, True

    def _enter(self) -> None:
        """Moves the dialer to the running event loop.

        Raises:
            ProtocolError: Its previous loop still runs, or this process was forked.
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
        """Gives up what belongs to an event loop that has ended; the session is resumed over the next link."""
        silence_closed()
        self._tasks.abandon()
        for link in self._links:
            link.abandon()
        way, self._way = self._way, None
        self._forget()
        if way is not None:
            # Does not wait for either loop.
            self._tasks.spawn(way.close(stranded=True), "close")
            forks.note_closed()

    def _forget(self) -> None:
        """Forgets all that belongs to an event loop."""
        self._tasks, self._links, self._pending = TaskSet(), set(), PendingCalls(self._no_link)
        self._wanted = self._dialled = self._failure = self._plain = None
        self._use(None)

    def _no_link(self, seconds: float) -> ToolCommunicationError:
        if self._current is not None:
            return link_error(Code.DEADLINE_EXCEEDED, f"the link had no room for the call within {seconds:g} s")
        why = f": {self._failure.message}" if self._failure is not None else ""
        return link_error(Code.UNAVAILABLE, f"there was no link within {seconds:g} s{why}")

    def _fresh_copy(self, error: ToolBridgeError) -> Exception:
        """Returns a copy of an error to raise: one that is raised repeatedly collects tracebacks."""
        return copy.copy(error)

    # ------------------------------------------------------------------------------------------------- dialling

    def _want(self) -> None:
        if self._wanted is None:
            self._way = self._endpoint.open()
            self._wanted = asyncio.Event()
            self._dialled = asyncio.get_running_loop().create_future()
            self._tasks.spawn(self._keep_linked(self._way, self._wanted), f"link to {self.where}")
        self._wanted.set()

    async def _keep_linked(self, way: Dialable, wanted: asyncio.Event) -> None:
        """Dials, and dials again when the link is lost or drains."""
        waits = back_off()
        while True:
            link, error = await self._dial(way)
            if self._way is not way:
                # It was closed meanwhile; wait_for of Python 3.11 swallows a cancellation that comes with an answer.
                if link is not None:
                    link.abort(CLOSED)
                return
            if link is not None:
                began = time.monotonic()
                await self._take_up(link, way)
                await link.unusable.wait()
                if self._retiring:
                    return
                stable = time.monotonic() - began > STABLE_SECONDS
                if stable:
                    # Not after a short link: a hub that accepts links only to end them needs the back-off, too.
                    waits = back_off()
                self._use(None)
                if self._has_moved_on(link, way, stable=stable):
                    continue
            elif not await self._dial_failed(error, way, wanted):
                return
            await asyncio.sleep(next(waits))

    def _has_moved_on(self, link: DialledLink, way: Dialable, *, stable: bool) -> bool:
        """Returns whether the next of several hubs is dialled now, after a link that takes no further calls."""
        if not way.has_others:
            return False
        error = link.error or link_error(Code.UNAVAILABLE, "the hub takes no further calls over the link")
        at_once = way.move_on(error, stable=stable)
        _log.info("the link to %s was lost: %s; the next hub is %s", link.where, error.message, way.where)
        if not at_once:
            self._failure = way.sum_up(error)
        return at_once

    def move_on(self, error: ToolBridgeError) -> bool:
        """Gives up the link to a hub that cannot serve now, if there is another hub to dial.

        Args:
            error: Why it cannot; calls in flight fail with that.

        Returns:
            Whether the next one is dialled.
        """
        link = self._current
        if link is None or self._way is None or not self._way.has_others or code_of(error) is not Code.UNAVAILABLE:
            return False
        link.abort(error.message)
        self._use(None)
        return True

    async def _dial(self, way: Dialable) -> tuple[DialledLink | None, ToolBridgeError | None]:
        """Dials a link; returns it once the hub has accepted it, else the error."""
        while True:
            link, error = await self._dial_once(way)
            if link is not None or error is None or not way.dial_otherwise(error):
                return link, error

    async def _dial_once(self, way: Dialable) -> tuple[DialledLink | None, ToolBridgeError | None]:
        try:
            stream = await way.dial()
        except ToolBridgeError as error:
            return None, error
        features = (*self._features, *hello_features())
        link = DialledLink(stream, way.where or self._endpoint.where, methods=self._methods, features=features)
        self._tasks.spawn(self._serve(link), "link")
        try:
            await within(asyncio.shield(link.greeted), stream.greeting_seconds)
        except ExpiredError:
            link.abort(f"the hub said nothing for {stream.greeting_seconds:g} s")
        return (link, None) if await link.greeted else (None, link.error)

    async def _serve(self, link: DialledLink) -> None:
        # A link that drains stays open beside the next one until its calls have ended.
        self._links.add(link)
        try:
            unsent = await link.run()
        finally:
            self._links.discard(link)
            if self._current is link:
                self._use(None)
        if link is self._resuming:
            # Over the next link they would wait for themselves: that one is dialled when they are over.
            for call, _ in unsent:
                call.fail(link_error(Code.UNAVAILABLE, f"the link to {link.where} was lost"))
            return
        self._pending.put_back(unsent, CALL_TIMEOUT)
        if unsent:
            self._want()
            self._send_pending()

    async def _take_up(self, link: DialledLink, way: Dialable) -> None:
        """Starts to use a link, once the session was resumed over it."""
        if self._linked_before:
            self._resuming = link
            try:
                await within(self._relinked(link), CALL_TIMEOUT)
            except (ToolBridgeError, ExpiredError) as error:
                why = f"no answer within {CALL_TIMEOUT:g} s" if isinstance(error, ExpiredError) else error
                # If the link was lost, it is resumed over the next one.
                level = logging.DEBUG if link.unusable.is_set() else logging.WARNING
                _log.log(level, "the session could not be resumed at %s: %s", link.where, why)
                if way.has_others and (isinstance(error, ExpiredError) or code_of(error) is Code.UNAVAILABLE):
                    link.abort(f"the session could not be resumed: {getattr(error, 'message', why)}")
                    return
            except Exception:  # noqa: BLE001 - a fault of the callback; the link is good, and calls wait for it
                _log.exception("resuming the session at %s failed", link.where)
            finally:
                self._resuming = None
        self._linked_before = True
        if not link.unusable.is_set():
            _log.debug("the link to %s goes over %s", link.where, link.over)
            self._failure = None
            self._use(link)
            self._tell()
            self._send_pending()

    async def _relinked(self, link: DialledLink) -> None:
        """Called with each link but the first, before other calls use it."""

    async def _dial_failed(self, error: ToolBridgeError | None, way: Dialable, wanted: asyncio.Event) -> bool:
        """Returns whether to dial again."""
        error = way.sum_up(error or link_error(Code.UNAVAILABLE, "the dial was given up"))
        if code_of(error) is Code.UNIMPLEMENTED:
            self._plain = way.plain_calls(self._tasks)
            if self._plain is not None:
                self._fall_back()
                return False
        _log.debug("no link to %s: %s", self.where, error.message)
        self._failure = error
        self._pending.fail(lambda: copy.copy(error), fail_fast_only=self._dial_again(error))
        self._tell()
        if not self._dial_again(error):
            wanted.clear()
            await wanted.wait()
        return True

    def _fall_back(self) -> None:
        """Sends the pending calls as plain RPCs: the hub does not support Link."""
        _log.info("the hub at %s does not support Link; each call is an RPC of its own", self.where)
        while len(self._pending):
            self._plain.send(*self._pending.take())
        self._tell()

    def _tell(self) -> None:
        if self._dialled is not None:
            self._dialled.set_result(True)
            self._dialled = asyncio.get_running_loop().create_future()

    def _use(self, link: DialledLink | None) -> None:
        """Makes a link the current one; None: there is none."""
        before, self._current = self._current, link
        if before is not None:
            before.overflow = before.on_writable = None
        if link is not None:
            link.overflow = self._send_later
        self._route()

    def _route(self) -> None:
        """Sends calls straight to the link while no earlier call is pending."""
        link, waiting = self._current, len(self._pending) > 0
        self.send_request = self._send_later if link is None or waiting else link.try_send_request
        self.try_send_bytes = _refuse if link is None or waiting else link.try_send_bytes
        if link is not None:
            link.on_writable = self._send_pending if waiting else None

    def _send_pending(self) -> None:
        link = self._current
        while link is not None and len(self._pending) and link.takes_calls:
            link.send_or_fail(*self._pending.take())
        self._route()
