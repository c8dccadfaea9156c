"""One connection to an MCP server: from its start to its loss."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2
from mcp.client import Client
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    CallToolResult,
    Implementation,
    JSONRPCNotification,
    JSONRPCRequest,
    LoggingLevel,
    PaginatedRequestParams,
    ToolListChangedNotification,
)
from mcp_types import Tool as McpTool
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.adapters.mcp.bounds import Bounds, Bucket, one_line
from grpc_tool_bridge.adapters.mcp.config import ServerConfig
from grpc_tool_bridge.adapters.mcp.http import Refusals, open_http
from grpc_tool_bridge.adapters.mcp.results import Shape, failure_of, read_value, unavailable
from grpc_tool_bridge.adapters.mcp.running import RunningCall, RunningCalls, current_call
from grpc_tool_bridge.adapters.mcp.stdio import ProcessConnection, open_process
from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ExternalToolError, ProtocolError
from grpc_tool_bridge.tools.context import ToolContext

_log = logging.getLogger(__name__)

# Seconds between two questions whether a server of the older protocol is still there.
PING_SECONDS = 30.0
_LIST_CHANGED = "notifications/tools/list_changed"
_LOG_LEVEL: LoggingLevel = "info"


class UnreachableError(Exception):
    """The server cannot be reached now; it is tried again."""


class _BoundedReads:
    """A stream of messages without the notifications and requests that are too many.

    Args:
        stream: The messages.
        bucket: Limits notifications.
        requests: Limits requests: each is answered by a task.
        on_change: Called when the list of tools has changed.
        on_drop: Called for each that is dropped.
    """

    def __init__(
        self,
        stream: Any,
        bucket: Bucket,
        requests: Bucket,
        on_change: Callable[[], None],
        on_drop: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._bucket = bucket
        self._requests = requests
        self._on_change = on_change
        self._on_drop = on_drop

    @property
    def last_context(self) -> Any:
        """The context variables of what sent the last message, if they are known."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """Returns the next message; raises anyio.EndOfStream after the last one."""
        while True:
            item: SessionMessage | Exception = await self._stream.receive()
            message = item.message if isinstance(item, SessionMessage) else None
            if not isinstance(message, JSONRPCNotification | JSONRPCRequest):
                return item
            if message.method == _LIST_CHANGED:
                self._on_change()
            if (self._bucket if isinstance(message, JSONRPCNotification) else self._requests).take():
                return item
            self._on_drop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Closes it."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class McpConnection:
    """An open connection.

    Args:
        config: The server.
        bounds: Its limits.

    Attributes:
        changed: Set when the server says that its tools have changed.
        lost: Set when the connection is lost.
        pid: The id of the process that runs the server; None for an address.
    """

    def __init__(self, config: ServerConfig, bounds: Bounds) -> None:
        self._config = config
        self._bounds = bounds
        self._calls = RunningCalls(config.name)
        self._tasks = TaskSet()
        self._client: Client
        self._dropped = 0
        self.process: ProcessConnection | None = None
        self.changed = asyncio.Event()
        self.lost = asyncio.Event()
        self.refusals = Refusals()
        self._why = ""

    # ------------------------------------------------------------------------------------------------ its life

    @asynccontextmanager
    async def opened(self, auth: httpx2.Auth | None) -> AsyncGenerator[Self, None]:
        """Connects, and disconnects at the end; raises whatever the client raises."""
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._bounds.start_seconds):
                self._client = await stack.enter_async_context(self._make_client(auth))
            # Results are checked here, with bounds on how long that takes.
            self._client.session.validate_tool_result = _pass  # type: ignore[method-assign]
            self._tasks.spawn(self._watch(), "watch an MCP server")
            try:
                yield self
            finally:
                await self._tasks.aclose()

    def _make_client(self, auth: httpx2.Auth | None) -> Client:
        return Client(
            self._streams(auth),
            logging_callback=self._calls.on_log,
            log_level=_LOG_LEVEL,
            message_handler=self._on_message,
            elicitation_callback=self._calls.on_question,
            client_info=Implementation(name="grpc-tool-bridge", version=_own_version()),
            read_timeout_seconds=self._bounds.request_seconds,
            cache=None,
        )

    @asynccontextmanager
    async def _streams(self, auth: httpx2.Auth | None) -> AsyncGenerator[tuple[Any, Any], None]:
        bucket = Bucket(self._bounds.notifications, self._bounds.burst)
        if self._config.kind == "http":
            async with open_http(self._config, self._bounds, self.refusals, auth) as (read, write):
                yield self._bounded(read, bucket), write
            return
        async with open_process(self._config, self._bounds, bucket, self._note_drop) as self.process:
            watching = asyncio.ensure_future(self._when_lost(self.process))
            try:
                yield self._bounded(self.process.read, bucket), self.process.write
            finally:
                watching.cancel()

    def _bounded(self, stream: Any, bucket: Bucket) -> _BoundedReads:
        requests = Bucket(self._bounds.requests, self._bounds.requests * 10)
        return _BoundedReads(stream, bucket, requests, self.changed.set, self._note_drop)

    async def _when_lost(self, process: ProcessConnection) -> None:
        await process.lost.wait()
        self.lose("")

    def lose(self, why: str) -> None:
        """Gives the connection up."""
        self._why = self._why or why
        self.lost.set()

    async def why(self) -> str:
        """Says why the connection was lost."""
        if self._why or self.process is None:
            return self._why or "the connection was lost"
        return await self.process.why()

    def _note_drop(self) -> None:
        self._dropped += 1
        if self._dropped == 1:
            _log.warning(
                "MCP server %s: it sends over %g notifications or %g requests a second; more are dropped",
                self._config.name,
                self._bounds.notifications,
                self._bounds.requests,
            )

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self.changed.set()

    async def _watch(self) -> None:
        """Finds out when a server at an address is gone, and when the tools of any server change."""
        if self._client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            tools = self._client.server_capabilities.tools
            if tools is not None and tools.list_changed:
                await self._listen()
        elif self._config.kind == "http":
            await self._ping()

    async def _listen(self) -> None:
        """Hears of changes; asks again when a subscription has ended. A server that is gone is noticed elsewhere."""
        for wait in back_off():
            try:
                async with self._client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self.changed.set()
            except MCPError as error:
                _log.info(
                    "MCP server %s does not tell when its tools change: %s", self._config.name, one_line(str(error))
                )
                return
            except (SubscriptionLost, TimeoutError) as error:
                _log.debug("MCP server %s: %s", self._config.name, error)
            await asyncio.sleep(wait)
            # What has changed meanwhile was not told.
            self.changed.set()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            try:
                await self._client.session.send_ping()
            except Exception as error:  # noqa: BLE001 - likewise
                self.lose(f"it does not answer: {type(error).__name__}: {error}")
                return

    # ---------------------------------------------------------------------------------------------- what it does

    async def list_tools(self) -> list[McpTool]:
        """Lists the tools of the server.

        Raises:
            ProtocolError: There are too many of them, or their pages have no end.
        """
        found: list[McpTool] = []
        cursor: str | None = None
        seen: set[str] = set()
        size = 0
        if self._client.server_capabilities.tools is None and self._client.protocol_version not in (
            MODERN_PROTOCOL_VERSIONS
        ):
            return found
        name = self._config.name
        while True:
            params = None if cursor is None else PaginatedRequestParams(cursor=cursor)
            page = await self._client.session.list_tools(params=params)
            found.extend(page.tools)
            cursor = page.next_cursor
            size += len(page.model_dump_json())
            if size > self._bounds.list_bytes:
                raise ProtocolError(
                    f"MCP server {name}: its list of tools has over {self._bounds.list_bytes:,} bytes, the limit"
                )
            if len(found) > self._bounds.tools:
                raise ProtocolError(
                    f"MCP server {name}: it lists over {self._bounds.tools:,} tools, which is the limit"
                )
            if cursor is None:
                return found
            if cursor in seen:
                raise ProtocolError(f"MCP server {name}: the pages of its list of tools go in a circle")
            seen.add(cursor)
            if len(seen) > self._bounds.pages:
                raise ProtocolError(f"MCP server {name}: its list of tools has over {self._bounds.pages:,} pages")

    async def call(self, shape: Shape, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Calls a tool and returns its result as a value.

        Raises:
            ExternalToolError: It has failed, or the server is gone.
        """
        running = RunningCall(context)
        # The client needs a task of its own, whose context says for which call it works.
        task = asyncio.get_running_loop().create_task(self._send(shape, arguments, running))
        self._calls.add(running)
        try:
            result = await task
        except asyncio.CancelledError:
            # Or it would be reported as one that nobody waited for.
            task.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - every error of the client is one of the call
            raise await self._failure(error, shape, running) from None
        finally:
            self._calls.discard(running)
        return await read_value(result, shape)

    async def _send(self, shape: Shape, arguments: dict[str, Any], running: RunningCall) -> CallToolResult:
        current_call.set(running)
        context = running.context

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            context.progress(progress, total, message or "")

        return await self._client.call_tool(
            shape.tool, arguments, read_timeout_seconds=context.time_left(), progress_callback=on_progress
        )

    async def _failure(self, error: Exception, shape: Shape, running: RunningCall) -> ExternalToolError:
        if running.failure is not None:
            told = running.failure
            return shape.error(told.error_type, f"its question could not be answered: {told.message}")
        why = await self.why() if self.lost.is_set() else ""
        failure = failure_of(error, shape, why)
        if failure.error_type == "McpError" and "Session terminated" in failure.message:
            self.lose("the server has forgotten the session")
            return unavailable(shape.tool, shape.server, "it has forgotten the session")
        return failure


async def _pass(name: str, result: CallToolResult) -> None:
    del name, result


def _own_version() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version("grpc-tool-bridge")
    return "0"
