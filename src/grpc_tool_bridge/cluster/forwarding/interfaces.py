"""What the front of a hub needs of the other parts of its cluster."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

from grpc_tool_bridge.cluster.links.peers import PeerLink
from grpc_tool_bridge.cluster.sessions.places import Place
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent
from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.buffers import Payload


class Locator(Protocol):
    """Knows who owns a session, and takes sessions; ``NatsStore`` is one."""

    def is_certain(self) -> bool:
        """Whether this hub is certain that it owns what it owns; quick."""

    @property
    def failure(self) -> str:
        """Why it is not certain, for error texts; empty if it is."""

    async def locate(self, session_id: str) -> Place:
        """Reads who owns a session.

        Raises:
            StoreError: It cannot be read.
        """

    async def take(self, session_id: str) -> StoredSession | None:
        """Takes a session whose owner is gone.

        Returns:
            What the session is; None if another hub was faster, or its owner is not gone.

        Raises:
            StoreError: It cannot be read or written.
        """

    def forget(self, session_id: str) -> None:
        """Gives up a session that was taken, so that it can be taken again."""

    def on_lost(self, callback: Callable[[Sequence[str], str], None]) -> None:
        """Calls ``callback`` with the ids of sessions that this hub no longer owns, and why."""


class Way(Protocol):
    """The way of nested calls back to the hub that made a call.

    Attributes:
        name: The other hub's, for error texts.
    """

    name: str

    async def call(
        self,
        method: str,
        payload: Payload,
        *,
        deadline: float | None = None,
        metadata: Mapping[str, str] | None = None,
        asker: Asker | None = None,
        on_event: Callable[[LinkEvent], None] | None = None,
    ) -> Payload:
        """Makes a call with one answer; cancelling the wait cancels it there.

        Args:
            method: Such as "ExecuteTool".
            payload: The serialized request.
            deadline: When its caller stops waiting, on the monotonic clock; None: never.
            metadata: Sent with it.
            asker: Answers the questions of its tool; None: nobody does.
            on_event: Called with each progress and log record that the other hub sends for it.

        Returns:
            The serialized answer.

        Raises:
            ToolBridgeError: The other hub's error, whole; UnavailableError if the link was lost.
        """
        ...

    def stream(
        self,
        method: str,
        payload: Payload,
        *,
        deadline: float | None = None,
        metadata: Mapping[str, str] | None = None,
        asker: Asker | None = None,
        on_event: Callable[[LinkEvent], None] | None = None,
    ) -> AsyncGenerator[Payload, None]:
        """Makes a call with a stream of answers; arguments and errors as for ``call``.

        The other hub sends no more than its reader takes; closing the generator cancels the call there.
        """


class PeerCalls(Protocol):
    """The links to the other hubs; ``Peers`` is one."""

    def get(self, incarnation: str) -> PeerLink | None:
        """Returns the link to a hub; None if the hub is not known, or gone. It may not be up."""


class Guests(Protocol):
    """The calls that other hubs run here."""

    def way_of(self, parent: Any) -> tuple[Way, Mapping[str, str]] | None:
        """Returns how a nested call of a peer's call reaches the hub that made it; None if the call is no peer's.

        Args:
            parent: ``RequestContext.parent`` of the nested call.

        Returns:
            The way to that hub, and the metadata that names the call.
        """


class GuestTools(Protocol):
    """The tools that workers offer here for sessions of other hubs."""

    async def register(self, link: Any, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        """Registers tools of a worker here for a session that another hub owns; errors are in the answer.

        Args:
            link: The worker's.
            request: Its request, with the id of that session.
        """
        ...

    async def unregister(self, link: Any, request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        """Removes such tools; arguments as for ``register``."""
        ...

    def adopted(self, session: Session) -> None:
        """Moves the tools for a session to the session itself: it has come to this hub."""

    def forgot(self, session: Session) -> None:
        """Keeps the tools that workers of this hub offer for a session that moves to another hub; called first."""
