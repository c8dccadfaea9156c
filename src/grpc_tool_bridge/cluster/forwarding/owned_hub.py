"""What a hub serves to the other hubs of its cluster: the sessions that it owns, and never what it would pass on."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.cluster.forwarding.moved import elsewhere
from grpc_tool_bridge.cluster.members.certainty import Certainty
from grpc_tool_bridge.cluster.tools.peer_tools import PeerTools
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.hub_front import HubFront
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import METHODS


class NoHold:
    """Keeps no session from becoming idle: the link of a hub is open for as long as the hub lives."""

    is_needed = False

    def release(self) -> None:
        """Does nothing."""


def _owned(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Returns a method with one answer that serves owned sessions only."""
    attribute = METHODS[name].attribute

    async def owned(self: "OwnedHub", request: Any, context: RequestContext = LOCAL) -> Any:
        await self.require(request.session_id, context)
        return await self.methods.call(attribute, request, context)

    owned.__doc__ = "As in ``Hub``, of an owned session."
    return owned


def _owned_stream(name: str) -> Callable[..., AsyncGenerator[Any, None]]:
    async def owned(self: "OwnedHub", request: Any, context: RequestContext = LOCAL) -> AsyncGenerator[Any, None]:
        await self.require(request.session_id, context)
        messages = self.methods.call(METHODS[name].attribute, request, context)
        # A run's reader that is lost at the other hub is lost here; who cancels the run says so by CancelAgentRun.
        async with aclosing(messages):
            async for message in messages:
                yield message

    owned.__doc__ = "As in ``Hub``, of an owned session."
    return owned


class OwnedHub(HubFront):
    """Serves the sessions that a hub owns to its peers.

    A request for any other session is refused before anything of it has begun, and its sender looks for the session
    again: so a request makes one hop.

    Args:
        hub: The hub.
        certainty: Says whether it owns what it has.
        tools: Registers the tools that other hubs offer.
    """

    hub: Hub

    def __init__(self, hub: Hub, certainty: Certainty, tools: PeerTools) -> None:
        super().__init__(hub)
        self._tools = tools
        self.register_tools = tools.register_tools
        self._certainty = certainty
        self.try_begin_tool = None if hub.try_begin_tool is None else self._try_begin

    def hold_session(self, session_id: str) -> NoHold:
        """Holds nothing: the hub to which the session's client is linked keeps it alive by heartbeats."""
        del session_id
        return NoHold()

    async def require(self, session_id: str, context: RequestContext = LOCAL) -> None:
        """Waits until a session is surely here.

        Raises:
            UnavailableError: It is not, see ``is_elsewhere``.
        """
        hub = self.hub
        if session_id not in hub.store:
            await hub.store.settle(session_id)
        if session_id not in hub.store:
            raise elsewhere(session_id, "is not at this hub")
        if hub.admission.draining and context.parent is None:
            raise elsewhere(session_id, "is at a hub that is shutting down, and is about to move")
        if not self._certainty.is_certain():
            await self._certainty.wait(context.deadline)
            if session_id not in hub.store:
                raise elsewhere(session_id, "is no longer at this hub")

    async def unregister_tools(self, request: pb.UnregisterToolsRequest, context: RequestContext) -> pb.StatusResponse:
        """Removes tools that the other hub offers; without its id, those of a session, as a client of it asks."""
        if request.worker_id:
            return await self._tools.unregister_tools(request, context)
        await self.require(request.session_id)
        # Without the peer, whose own tools would be meant.
        caller = RequestContext(principal=context.principal, via=context.via)
        return await self.hub.unregister_tools(request, caller)

    def _try_begin(self, context: RequestContext, done: Any) -> Any:
        return self.hub.try_begin_tool(context, done) if self._certainty.is_certain() else None

    def begin_tool(self, request: pb.ToolCallRequest, context: RequestContext, done: Any) -> Any:
        """As in ``Executor``, of an owned session."""
        hub = self.hub
        if hub.begin_tool is not None and request.session_id in hub.store and self._certainty.is_certain():
            return hub.begin_tool(request, context, done)
        return self.execute_tool(request, context)

    initialize_session = _owned("InitializeSession")
    cleanup_session = _owned("CleanupSession")
    get_session_info = _owned("GetSessionInfo")
    heartbeat = _owned("Heartbeat")
    share_session = _owned("ShareSession")
    unshare_session = _owned("UnshareSession")
    get_session_tools = _owned("GetSessionTools")
    get_session_variable = _owned("GetSessionVariable")
    set_session_variable = _owned("SetSessionVariable")
    delete_session_variable = _owned("DeleteSessionVariable")
    list_session_variables = _owned("ListSessionVariables")
    create_react_agent = _owned("CreateReActAgent")
    cancel_agent_run = _owned("CancelAgentRun")
    execute_tool = _owned("ExecuteTool")
    batch_execute_tools = _owned("BatchExecuteTools")
    stream_tool = _owned_stream("StreamTool")
    execute_agent = _owned_stream("ExecuteAgent")
    watch_session_tools = _owned_stream("WatchSessionTools")
    watch_session_variables = _owned_stream("WatchSessionVariables")
