"""``model_context_protocol.Mcp`` at the hub's own port: its tools, listed and called by MCP clients over gRPC."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc.aio

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import (
    DeadlineExceededError,
    MessageTooLargeError,
    SerializationError,
    ToolBridgeError,
    UnimplementedError,
)
from grpc_tool_bridge.gateway.declared_agents import check_declared
from grpc_tool_bridge.gateway.mcp.agents import AgentTools
from grpc_tool_bridge.gateway.mcp.callers import acting_for
from grpc_tool_bridge.gateway.mcp.hub_sessions import sessions_of
from grpc_tool_bridge.gateway.mcp.server import NAME, TITLE
from grpc_tool_bridge.gateway.mcp.session_tools import Call, SessionTools
from grpc_tool_bridge.gateway.mcp.tool_choice import read_choice
from grpc_tool_bridge.gateway.mcp_grpc.requests import TOOLS_KEY, read_call, read_envelope
from grpc_tool_bridge.gateway.mcp_grpc.responses import common_of, result_message, tool_message
from grpc_tool_bridge.rpc.nodes import check_message
from grpc_tool_bridge.transport.channel import MESSAGE_HEADROOM
from grpc_tool_bridge.transport.reads import Reads
from grpc_tool_bridge.transport.servicer import abort, present_principal
from grpc_tool_bridge.values.mcp_messages import (
    CALL_TOOL,
    LIST_TOOLS,
    METHODS,
    SERVICE_NAME,
    VERSION_KEY,
    VERSIONS,
    messages,
)
from grpc_tool_bridge.values.offload import in_reader

# Tools and results are written as for the last version whose structured content is an object: a Struct is one.
CONTENT_VERSION = "2025-11-25"
# A deadline beyond is none: a day is more than any call may take.
MAX_CALL_SECONDS = 86_400.0
_SERVER_INFO_META = "io.modelcontextprotocol/serverInfo"
# Smaller results are written in the event loop.
_SMALL_BYTES = 64 * 1024

Answer = Callable[[Any, Any], Awaitable[Any]]


class McpGrpcService:
    """Serves a hub to MCP clients over gRPC.

    It lists and calls tools; the other methods answer UNIMPLEMENTED.

    Args:
        hub: The hub.
        agents: Agents that every client sees as tools: signatures by name.

    Raises:
        ValidationError: The setting ``mcp_tools``, or an agent, is not valid.

    Attributes:
        name: The name of the service.
    """

    def __init__(self, hub: Hub, agents: Mapping[str, str] | None = None) -> None:
        self.name = SERVICE_NAME
        self._limit = hub.settings.max_message_bytes
        self._nodes = hub.settings.max_message_nodes
        self._chosen = ",".join(hub.settings.mcp_tools)
        # Else the first client would be told what is wrong with it.
        read_choice((self._chosen,) if self._chosen else ())
        self._sessions = sessions_of(hub)
        self._tools = SessionTools(self._sessions, AgentTools(check_declared(agents), hub.agents))
        self._meta = {_SERVER_INFO_META: {"name": NAME, "title": TITLE, "version": version("grpc-tool-bridge")}}

    @property
    def sessions(self) -> int:
        """Sessions that its clients have open."""
        return self._sessions.count

    def handler(self, reads: Reads) -> Any:
        """Returns the handler of the service; ``reads`` reads its requests."""
        answers: dict[str, tuple[Answer, Any]] = {
            LIST_TOOLS: (self._list_tools, messages.ListToolsRequest),
            CALL_TOOL: (self._call_tool, messages.CallToolRequest),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME,
            {
                name: grpc.stream_unary_rpc_method_handler(
                    partial(self._serve, reads, name, *answers.get(name, (_refuser(name), None)))
                )
                for name in METHODS
            },
        )

    async def aclose(self) -> None:
        """Closes the sessions; later requests are refused."""
        await self._sessions.aclose()

    async def _serve(self, reads: Reads, name: str, answer: Answer, kind: Any, _: Any, context: Any) -> Any:
        """Answers an RPC, whose request it reads itself."""
        try:
            rpc = reads.enter(context, name)
            request = None if kind is None else self._parsed(name, kind, await reads.request(context, rpc))
            with acting_for(present_principal()):
                response = await answer(request, context)
            del request
            return rpc.answer(self._written(name, response))
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            if isinstance(error, UnimplementedError):
                # A client of another version finds here which one to use.
                await context.send_initial_metadata(((VERSION_KEY, VERSIONS[-1]),))
            await abort(context, error)

    def _parsed(self, name: str, kind: Any, data: bytes) -> Any:
        what = f"the request of {name}"
        check_message(data, kind, what, self._nodes)
        try:
            return kind.FromString(data)
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the peer's fault
            raise SerializationError(f"{what} cannot be read: {str(failure)[:200]}") from None

    def _written(self, name: str, response: Any) -> bytes:
        data: bytes = response.SerializeToString()
        if len(data) > MESSAGE_HEADROOM * self._limit:
            raise MessageTooLargeError.of(f"the answer of {name}", len(data), MESSAGE_HEADROOM * self._limit)
        return data

    async def _list_tools(self, request: Any, context: Any) -> Any:
        envelope = read_envelope(context.invocation_metadata(), request.common, self._chosen)
        found = await self._tools.listed(envelope.key, envelope.choice)
        response = messages.ListToolsResponse(common=common_of(self._meta), cache_scope=messages.CACHE_SCOPE_PRIVATE)
        # The list may change any time.
        response.ttl.SetInParent()
        size = 0
        async for _, tool in found.written(CONTENT_VERSION):
            message = tool_message(tool)
            size += message.ByteSize()
            if size > self._limit:
                raise MessageTooLargeError(
                    f"message too large: the list of tools takes over {self._limit:,} bytes, the limit "
                    f"(max_message_bytes), and has no pages; choose some by the metadata {TOOLS_KEY}, such as files.*",
                    details={"limit": str(self._limit)},
                )
            response.tools.append(message)
        return response

    async def _call_tool(self, request: Any, context: Any) -> Any:
        envelope = read_envelope(context.invocation_metadata(), request.common, self._chosen)
        name, arguments = await read_call(request, envelope)
        # Or a call that waits would hold it twice.
        request.Clear()
        result = await self._tools.call(
            Call(
                key=envelope.key,
                choice=envelope.choice,
                name=name,
                arguments=arguments,
                version=CONTENT_VERSION,
                timeout=_seconds_left(context),
                failure=partial(_failure, context),
            )
        )
        if _size(result) <= _SMALL_BYTES:
            return result_message(result, self._meta)
        return await in_reader(lambda: result_message(result, self._meta))


def _refuser(name: str) -> Answer:
    async def refuse(_: Any, __: Any) -> None:
        raise UnimplementedError(f"this hub serves {LIST_TOOLS} and {CALL_TOOL} of {SERVICE_NAME}, not {name}")

    return refuse


def _failure(context: Any, _: str, error: ToolBridgeError) -> ToolBridgeError:
    """Returns what a call failed with; raises DeadlineExceededError if the client's own deadline has ended it."""
    left: float | None = context.time_remaining()
    if error.error_type == DeadlineExceededError.default_type and left is not None and left <= 0:
        raise DeadlineExceededError(error.message)
    return error


def _seconds_left(context: Any) -> float | None:
    """Returns how long the client waits; None: for ever, or longer than the hub can tell a tool."""
    left: float | None = context.time_remaining()
    return left if left is not None and 0 < left <= MAX_CALL_SECONDS else None


def _size(result: Mapping[str, Any]) -> int:
    """Returns about how many characters a result has."""
    return sum(len(block.get("text") or block.get("data") or "") for block in result["content"])
