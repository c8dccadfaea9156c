"""Talks to an MCP server that is a process, over its standard input and output."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import INTERNAL_ERROR, PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter

from grpc_tool_bridge.adapters.mcp.bounds import Bounds, Bucket, too_large_text
from grpc_tool_bridge.adapters.mcp.config import ServerConfig
from grpc_tool_bridge.adapters.mcp.process import GuardedProcess, start_process
from grpc_tool_bridge.aio.lines import END_BYTES, EndlessLineError, LineSplitter, LongLine
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors.clipped_repr import clipped_repr

_log = logging.getLogger(__name__)

_CHUNK = 65_536
_SHOWN_CHARS = 120
_LIST_CHANGED = b"tools/list_changed"
# A line may have so many times the limit until its server is given up.
_PATIENCE = 16
# The id of a message that cannot be read whole is at one of its ends.
_ID = rb'"id"\s*:\s*(?:(\d{1,18})|"([^"\\]{1,200})")'
_HEAD = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID)
_TAIL = re.compile(_ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')

Incoming = SessionMessage | Exception


class ProcessConnection:
    """The streams of a process.

    Args:
        config: The server.
        process: It runs.
        bounds: Its limits.
        bucket: Limits its notifications; shared with what reads them.
        on_drop: Called for each notification that is dropped.
    """

    def __init__(
        self,
        config: ServerConfig,
        process: GuardedProcess,
        bounds: Bounds,
        bucket: Bucket,
        on_drop: Callable[[], None],
    ) -> None:
        self._name = config.name
        self._process = process
        self._bounds = bounds
        self._bucket = bucket
        self._on_drop = on_drop
        self._to_session: MemoryObjectSendStream[Incoming]
        self._to_session, self.read = anyio.create_memory_object_stream[Incoming](0)
        self._from_session: MemoryObjectReceiveStream[SessionMessage]
        self.write, self._from_session = anyio.create_memory_object_stream[SessionMessage](0)
        self._strays = 0
        self._tasks = TaskSet()
        # Set when no message will come any more.
        self.lost = asyncio.Event()
        self._fault = ""

    def start(self) -> None:
        """Starts to pass messages."""
        self._tasks.spawn(self._read(), "output of an MCP server")
        self._tasks.spawn(self._write(), "input of an MCP server")

    async def why(self) -> str:
        """Says why it was lost."""
        return self._fault or await self._process.ending()

    async def aclose(self) -> None:
        """Ends the process."""
        # What it still writes is read, or it could not end.
        self.read.close()
        self.write.close()
        try:
            await self._process.aclose()
        finally:
            await self._tasks.aclose()
            self._to_session.close()
            self._from_session.close()
            self.lost.set()

    async def _read(self) -> None:
        most = self._bounds.message_bytes * _PATIENCE
        lines, turns = LineSplitter(self._bounds.message_bytes, most), Turns()
        try:
            while data := await self._process.stdout.read(_CHUNK):
                for line in lines.feed(data):
                    await self._take(line)
                    if turns.due:
                        await turns.give()
        except (ConnectionError, EndlessLineError) as error:
            self._fault = str(error)
        finally:
            self._to_session.close()
            self.lost.set()

    async def _take(self, line: bytes | LongLine) -> None:
        message = self._refused(line) if isinstance(line, LongLine) else self._parsed(line)
        if message is None:
            return
        # The session may be gone.
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await self._to_session.send(message)

    def _refused(self, line: LongLine) -> SessionMessage | None:
        text = too_large_text(line.size, self._bounds.message_bytes)
        request_id = request_id_of(line)
        if request_id is None:
            _log.warning("MCP server %s: a message was dropped: %s", self._name, text)
            return None
        error = ErrorData(code=INTERNAL_ERROR, message=text)
        return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=error))

    def _parsed(self, line: bytes) -> SessionMessage | None:
        text = line.strip()
        if not text:
            return None
        if not text.startswith(b"{"):
            self._stray(text)
            return None
        if self._bucket.is_empty and b'"id"' not in text and _LIST_CHANGED not in text:
            # A notification, of which there are too many; parsing it would take most of the time.
            self._on_drop()
            return None
        if len(text) > _CHUNK and text.count(b"{") + text.count(b"[") > self._bounds.containers:
            return self._refused(LongLine(len(text), text[:END_BYTES], text[-END_BYTES:]))
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
        except ValueError:
            request_id = answered_id(text)
            if request_id is None:
                self._stray(text)
                return None
            error = ErrorData(code=PARSE_ERROR, message="its answer is not valid JSON-RPC, or has too many levels")
            return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=error))

    def _stray(self, line: bytes) -> None:
        self._strays += 1
        if self._strays == 1:
            shown = clipped_repr(line[:_SHOWN_CHARS].decode("utf-8", "replace"), _SHOWN_CHARS)
            _log.warning(
                "MCP server %s: it writes other things than messages to its standard output, which are skipped: %s",
                self._name,
                shown,
            )

    async def _write(self) -> None:
        try:
            async for message in self._from_session:
                data = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                self._process.stdin.write(data.encode() + b"\n")
                async with asyncio.timeout(self._bounds.input_seconds):
                    await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            # The server has closed its input; it is of no use any more.
            self._to_session.close()
            self.lost.set()
        except TimeoutError:
            self._fault = f"it has not read its input for {self._bounds.input_seconds:g} s"
            self._to_session.close()
            self.lost.set()


@asynccontextmanager
async def open_process(
    config: ServerConfig, bounds: Bounds, bucket: Bucket, on_drop: Callable[[], None]
) -> AsyncGenerator[ProcessConnection, None]:
    """Starts the process of a server, and ends it at the end; arguments as for ``ProcessConnection``.

    Raises:
        ValidationError: The program cannot be found.
    """
    env = get_default_environment() | dict(config.env)
    process = await start_process(config.name, config.command, env=env, cwd=config.cwd)
    connection = ProcessConnection(config, process, bounds, bucket, on_drop)
    connection.start()
    try:
        yield connection
    finally:
        await _finished(connection.aclose())


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Finishes what must be finished, however often this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def request_id_of(line: LongLine) -> int | str | None:
    """Returns the id of a message by the ends of its line; None if it is at none of them."""
    found = _HEAD.match(line.head) or _TAIL.search(line.tail)
    if found is None:
        return None
    return int(found[1]) if found[1] is not None else found[2].decode("utf-8", "replace")


def answered_id(line: bytes) -> int | str | None:
    """Returns the id of the request that a message answers which cannot be read; None if it is no answer."""
    if b'"result"' not in line and b'"error"' not in line:
        return None
    return request_id_of(LongLine(len(line), line[:END_BYTES], line[-END_BYTES:]))
