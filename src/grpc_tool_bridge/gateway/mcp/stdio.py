"""MCP over two descriptors, such as the standard streams of a process: messages are lines of JSON."""

import asyncio
import contextlib
import json
from collections import deque
from itertools import count
from types import TracebackType
from typing import Any, Protocol, Self

import anyio
from mcp.server.lowlevel.server import Server
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, jsonrpc_message_adapter
from pydantic import ValidationError

from grpc_tool_bridge.aio.descriptors import DescriptorReader, DescriptorWriter
from grpc_tool_bridge.aio.lines import LineSplitter, LongLine
from grpc_tool_bridge.gateway.mcp.direct_lines import DirectLines
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers

# Seconds for the last answers to leave.
_DELIVERY_SECONDS = 1.0
# Others have their turn after so many lines.
_TURN_LINES = 32
# Characters of an id that an answer repeats.
_MAX_ID = 1_000
_A_MESSAGE = (
    'Invalid request: a message has "jsonrpc": "2.0", a "method" that is text, a request also an "id" that is a number '
    'or text, and "params", if any, are an object'
)


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


class Shortcut(Protocol):
    """A shorter way for some messages."""

    def take(self, line: bytes, /) -> bool:
        """Takes a line; returns whether it is answered here."""

    async def aclose(self) -> None:
        """Ends what is in flight: the client has left."""


class MessageReader:
    """The messages that a client sends, as the SDK reads them. What is not a message is answered with an error.

    Args:
        reader: Where they come from.
        writer: Where errors go.
        limit: Bytes of a message; a longer one is skipped, and answered with an error.
        shortcut: Is given each line before it is read here.
    """

    def __init__(self, reader: DescriptorReader, writer: DescriptorWriter, limit: int, shortcut: Shortcut) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = limit
        self._shortcut = shortcut
        self._splitter = LineSplitter(limit)
        self._lines: deque[bytes | LongLine] = deque()
        self._closed = False

    async def receive(self) -> SessionMessage:
        """Waits for the next message.

        Raises:
            EndOfStream: There are no more.
        """
        try:
            for number in count(1):
                message = self._message(await self._next_line())
                if message is not None:
                    return message
                if number % _TURN_LINES == 0:
                    await asyncio.sleep(0)
                    await self._writer.drain()
        except (OSError, anyio.EndOfStream):
            # The client has left, or no longer reads. Its session ends after its calls.
            await self._shortcut.aclose()
        raise anyio.EndOfStream

    def _message(self, line: bytes | LongLine) -> SessionMessage | None:
        """Reads a line; None: there is no message in it."""
        if isinstance(line, LongLine):
            text = f"Message too large: more than {self._limit:,} bytes"
            self._writer.write(error_line(None, INVALID_REQUEST, text))
        elif line.strip() and not self._shortcut.take(line):
            try:
                return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
            except ValidationError:
                self._writer.write(refusal_of(line))
        return None

    async def aclose(self) -> None:
        """Reads no more."""
        self._closed = True
        self._reader.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _next_line(self) -> bytes | LongLine:
        while not self._lines:
            if self._closed:
                raise anyio.EndOfStream
            # A client that does not read its answers has to, before it asks for more.
            await self._writer.drain()
            data = await self._reader.read()
            if data:
                self._lines.extend(self._splitter.feed(data))
            else:
                self._closed = True
                self._lines.extend(self._splitter.end())
        return self._lines.popleft()


class MessageWriter:
    """The messages that a client gets, as the SDK writes them.

    Args:
        writer: Where they go.
        reader: What the client sends; read no more once the client does not read.
    """

    def __init__(self, writer: DescriptorWriter, reader: DescriptorReader) -> None:
        self._writer = writer
        self._reader = reader

    async def send(self, item: SessionMessage, /) -> None:
        """Sends a message; waits if the client reads too slowly.

        Raises:
            BrokenResourceError: The client no longer reads.
        """
        text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            self._writer.write(text.encode() + b"\n")
            await self._writer.drain()
        except OSError as error:
            self._reader.close()
            raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        """Does nothing: what was sent may still wait."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def refusal_of(line: bytes) -> bytes:
    """Returns the answer to a line that is not a message."""
    try:
        item: Any = json.loads(line)
    except RecursionError:
        return error_line(None, PARSE_ERROR, "Parse error: nested too deep")
    except ValueError as error:
        return error_line(None, PARSE_ERROR, f"Parse error: {error}")
    if isinstance(item, list):
        return error_line(None, INVALID_REQUEST, "Invalid request: this is a batch; send one message on each line")
    if not isinstance(item, dict):
        return error_line(None, INVALID_REQUEST, "Invalid request: a message is a JSON object")
    given = item.get("id")
    is_id = type(given) is int or (isinstance(given, str) and len(given) <= _MAX_ID)
    return error_line(given if is_id else None, INVALID_REQUEST, _A_MESSAGE)


def error_line(request_id: int | str | None, code: int, text: str) -> bytes:
    """Returns an error as a line."""
    message = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}
    return json.dumps(message).encode() + b"\n"
