"""MCP over two descriptors, such as the standard streams of a process."""

import asyncio
import contextlib
from typing import Any

from mcp.server.lowlevel.server import Server

from grpc_tool_bridge.aio.descriptors import DescriptorReader, DescriptorWriter
from grpc_tool_bridge.gateway.mcp.direct_lines import DirectLines
from grpc_tool_bridge.gateway.mcp.lines import MessageReader, MessageWriter
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers

# Seconds for the last answers to leave.
_DELIVERY_SECONDS = 1.0


async def serve_descriptors(
    server: Server[Any], handlers: ToolHandlers, reads: int, writes: int, *, max_line: int
) -> None:
    """Serves one client until it closes what is read, or no longer reads; its calls in flight are cancelled then.

    Messages are lines of JSON, and both generations of the protocol are served. If this is cancelled, it ends in the
    same way.

    Args:
        server: The server, for this client alone.
        handlers: Call its tools.
        reads: Descriptor that the client's messages come from.
        writes: Descriptor that the answers go to.
        max_line: Bytes of a message; a longer one is answered with an error.
    """
    reader, writer = DescriptorReader(reads), DescriptorWriter(writes)
    direct = DirectLines(server, handlers, writer)
    incoming, outgoing = MessageReader(reader, writer, max_line, direct), MessageWriter(writer, reader)
    try:
        await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        reader.close()
        await direct.aclose()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_DELIVERY_SECONDS):
                await writer.drain(0)
        writer.close()
