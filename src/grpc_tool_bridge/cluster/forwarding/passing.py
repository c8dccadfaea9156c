"""Passes requests on to the hub that has their session, and looks for the session again when it has moved."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from grpc_tool_bridge.cluster.forwarding.moved import is_elsewhere
from grpc_tool_bridge.cluster.forwarding.owners import MAX_WAIT_SECONDS, Owners
from grpc_tool_bridge.cluster.forwarding.passed_calls import pass_call, pass_stream
from grpc_tool_bridge.cluster.links.peer_calls import PeerLostError
from grpc_tool_bridge.cluster.links.peers import PeerLink
from grpc_tool_bridge.errors import ToolBridgeError, UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.context import RequestContext

# Requests that have the same effect when they are made twice: a lost link does not say whether the first one arrived.
_REPEATABLE = frozenset(
    {
        "InitializeSession",
        "GetSessionInfo",
        "Heartbeat",
        "GetSessionTools",
        "GetSessionVariable",
        "ListSessionVariables",
        "CancelAgentRun",
    }
)

_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.25


class Here(Exception):  # noqa: N818 - it is no error
    """The session of a request is at this hub, or nowhere."""


class Passing:
    """Passes requests on.

    Args:
        owners: Finds the hub that has a session.

    Attributes:
        passed: How many requests were passed on.
    """

    def __init__(self, owners: Owners) -> None:
        self.passed = 0
        self._owners = owners

    async def call(
        self,
        method: str,
        session_id: str,
        payload: Payload,
        context: RequestContext,
        *,
        on_event: Callable[[LinkEvent], None] | None = None,
    ) -> Payload:
        """Passes a request on that has one answer, and returns that.

        Args:
            method: Such as "ExecuteTool".
            session_id: The session of the request.
            payload: The serialized request.
            context: Its context.
            on_event: Called with what the other hub reports meanwhile.

        Raises:
            Here: The session is at this hub, or nowhere.
            ToolBridgeError: The other hub's error; or no hub with the session could be reached.
        """
        attempts = _Attempts(self._owners, method, session_id, context)
        while True:
            peer = await attempts.next()
            self.passed += 1
            try:
                return await pass_call(peer, method, payload, context, on_event=on_event)
            except ToolBridgeError as error:
                await attempts.failed(peer, error)

    async def stream(
        self, method: str, session_id: str, payload: Payload, context: RequestContext
    ) -> AsyncGenerator[Payload, None]:
        """Passes a request on that has a stream of answers, and yields them; arguments and errors as for ``call``."""
        attempts = _Attempts(self._owners, method, session_id, context)
        while True:
            peer = await attempts.next()
            self.passed += 1
            messages = pass_stream(peer, method, payload, context)
            try:
                async with aclosing(messages):
                    async for message in messages:
                        attempts.has_begun = True
                        yield message
            except ToolBridgeError as error:
                await attempts.failed(peer, error)
            else:
                return


class _Attempts:
    """The attempts to pass one request on."""

    def __init__(self, owners: Owners, method: str, session_id: str, context: RequestContext) -> None:
        self._owners = owners
        self._method = method
        self._session_id = session_id
        self._deadline = context.deadline
        self._end = time.monotonic() + MAX_WAIT_SECONDS
        if context.deadline is not None:
            self._end = min(self._end, context.deadline)
        self._pause = _FIRST_PAUSE
        # Whether its reader has got something of it.
        self.has_begun = False

    async def next(self) -> PeerLink:
        peer = await self._owners.find(self._session_id, self._deadline)
        if peer is None:
            raise Here
        return peer

    async def failed(self, peer: PeerLink, error: ToolBridgeError) -> None:
        """Returns after a pause if the request is to be passed on again; else raises what its caller gets."""
        if not isinstance(error, PeerLostError) and not is_elsewhere(error):
            raise error
        self._owners.drop(self._session_id)
        if isinstance(error, PeerLostError) and error.began and (self.has_begun or self._method not in _REPEATABLE):
            raise UnavailableError(
                f"{self._method}: the hub {peer.hub.name}, which had session {self._session_id[:256]!r}, was lost; "
                "whether the request took effect is not known",
            ) from None
        if self.has_begun or time.monotonic() + self._pause >= self._end:
            raise UnavailableError(error.message, details={"retry_after": "1"}) from None
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LAST_PAUSE)


def metadata_of(event: LinkEvent, logger: str) -> Mapping[str, str]:
    """Returns the fields of an event if it is a log record of this logger; else nothing."""
    return dict(event.log.fields) if event.log.logger == logger else {}
