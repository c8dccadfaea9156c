"""What a running tool tells: progress and log, sent to the client in order and before the result."""

import asyncio
import logging
import warnings
from types import TracebackType
from typing import Any, Self

from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import LOG_LEVEL_META_KEY, LoggingLevel, RequestId
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress

# Events of one call that wait to be sent; further ones are dropped, and counted.
MAX_WAITING = 1_000

_log = logging.getLogger(__name__)


class CallEvents:
    """Sends the events of one call.

    Args:
        session: The client's.
        request_id: The call's.
    """

    def __init__(self, session: ServerSession, request_id: RequestId | None) -> None:
        self._session = session
        self._request_id = request_id
        self._waiting: asyncio.Queue[Progress | LogRecord | None] = asyncio.Queue()
        self._dropped = 0
        self._sender: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, context: Context) -> "CallEvents | None":
        """Returns what sends the events of a call; None if its client wants none."""
        meta: Any = context.meta or {}
        is_modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        if is_modern and LOG_LEVEL_META_KEY not in meta and "progress_token" not in meta:
            return None
        return cls(context.session, context.request_id)

    def progress(self, event: Progress) -> None:
        """Takes an event."""
        self._put(event)

    def log(self, event: LogRecord) -> None:
        """Takes an event."""
        self._put(event)

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._send_all(), name="events of an MCP call")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._sender is not None  # noqa: S101 - it was entered
        if isinstance(error, asyncio.CancelledError):
            self._sender.cancel()
        self._waiting.put_nowait(None)
        try:
            await asyncio.wait({self._sender})
        finally:
            self._sender.cancel()

    def _put(self, event: Progress | LogRecord) -> None:
        if self._waiting.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.put_nowait(event)

    async def _send_all(self) -> None:
        while (event := await self._waiting.get()) is not None:
            if isinstance(event, Progress):
                await self._session.report_progress(event.current, event.total or None, event.message or None)
            else:
                await self._send_log(event)
        if self._dropped:
            _log.warning("%d events of a call were dropped: its client reads too slowly", self._dropped)

    async def _send_log(self, event: LogRecord) -> None:
        level: LoggingLevel = event.level if event.level in ("debug", "info", "warning", "error") else "info"  # type: ignore[assignment]
        data: Any = {"message": event.message, **event.fields} if event.fields else event.message
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            sending = self._session.send_log_message(level, data, event.logger or None, self._request_id)
        await sending
