"""Both ends of MCP over gRPC: a client, and a server whose answers a test gives."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from mcp_grpc_transport_proto import mcp_messages_pb2 as messages
from mcp_grpc_transport_proto import mcp_pb2_grpc

from grpc_tool_bridge import BridgeServer

SERVICE = "model_context_protocol.Mcp"


@asynccontextmanager
async def stub_of(server: BridgeServer) -> AsyncIterator[Any]:
    """Yields the stub that the proto's package has, of a hub."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield mcp_pb2_grpc.McpStub(channel)


def call_of(name: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Returns the request of a call."""
    request = messages.CallToolRequest()
    request.request.name = name
    request.request.arguments.update(arguments or {})
    return request


def answer_of(*texts: str, structured: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """Returns the answer to a call."""
    response = messages.CallToolResponse(**more)
    for text in texts:
        response.content.add().text.text = text
    if structured is not None:
        response.structured_content.update(structured)
    return response


def tool_message(name: str, output: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """Returns a tool of a list."""
    tool = messages.Tool(name=name, description=f"The tool {name}.", **more)
    tool.input_schema.update({"type": "object"})
    if output is not None:
        tool.output_schema.update(output)
    return tool


class Server:
    """An MCP server over gRPC.

    Attributes:
        address: Where it listens.
        tools: What it lists, each a ``Tool``; or bytes, for the whole answer.
        on_list: Called before the list is sent; may abort.
        on_call: Answers a call with a message, or with bytes.
        metadata: That of the last request.
        requests: The calls that came.
    """

    def __init__(self) -> None:
        self.address = ""
        self.tools: Any = [tool_message("one")]
        self.on_list: Callable[[Any], Awaitable[None]] | None = None
        self.on_call: Callable[[Any, Any], Awaitable[Any]] = self._answer
        self.metadata: dict[str, Any] = {}
        self.requests: list[Any] = []
        self.listed = 0
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str = "127.0.0.1:0", credentials: Any = None) -> None:
        """Listens."""
        self._server = grpc.aio.server(options=[("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
        handlers = {
            "ListTools": grpc.unary_unary_rpc_method_handler(
                self._list, request_deserializer=messages.ListToolsRequest.FromString, response_serializer=_bytes
            ),
            "CallTool": grpc.unary_unary_rpc_method_handler(
                self._call, request_deserializer=messages.CallToolRequest.FromString, response_serializer=_bytes
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        if credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, credentials)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Ends it; what still runs is cancelled."""
        assert self._server is not None
        await self._server.stop(0)

    async def _list(self, _: Any, context: Any) -> Any:
        self.listed += 1
        self.metadata = dict(context.invocation_metadata())
        if self.on_list is not None:
            await self.on_list(context)
        return self.tools if isinstance(self.tools, bytes) else messages.ListToolsResponse(tools=self.tools)

    async def _call(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        return await self.on_call(request, context)

    async def _answer(self, request: Any, context: Any) -> Any:
        return answer_of(f"from {request.request.name}")


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


@asynccontextmanager
async def serving(credentials: Any = None) -> AsyncIterator[Server]:
    """Yields a server that listens."""
    server = Server()
    await server.start(credentials=credentials)
    try:
        yield server
    finally:
        await server.stop()
