"""What a running tool tells: progress and log, sent to the client in order and before the result."""

import asyncio
import logging
from types import TracebackType
from typing import Any, Self, get_args

from mcp.server.session import ServerSession
from mcp_types import (
    LOG_LEVEL_META_KEY,
    EmptyResult,
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    RequestId,
    SetLevelRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.gateway.mcp.sdk_internals import connection_of
from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress

# Events of one call that wait to be sent; further ones are dropped, and counted.
MAX_WAITING = 1_000

LEVELS: tuple[LoggingLevel, ...] = get_args(LoggingLevel)
# What a client of the handshake protocol is sent until it chooses.
DEFAULT_LEVEL: LoggingLevel = "info"

_LEVEL_KEY = "grpc-tool-bridge/log-level"

_log = logging.getLogger(__name__)


async def set_level(context: Context, params: SetLevelRequestParams) -> EmptyResult:
    """Sets from which level on a client is sent log messages."""
    connection_of(context).state[_LEVEL_KEY] = params.level
    return EmptyResult()


def level_of(context: Context) -> LoggingLevel | None:
    """Returns from which level on a request's client is sent log messages; None: it is sent none."""
    level: LoggingLevel | None
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        asked: Any = (context.meta or {}).get(LOG_LEVEL_META_KEY)
        level = asked if asked in LEVELS else None
    else:
        level = connection_of(context).state.get(_LEVEL_KEY, DEFAULT_LEVEL)
    return level


class CallEvents:
    """Sends the events of one call.

    Args:
        session: The client's.
        request_id: The call's.
        sends_progress: Whether the client wants progress.
        level: From which level on it wants log messages; None: it wants none.
    """

    def __init__(
        self,
        session: ServerSession,
        request_id: RequestId | None,
        *,
        sends_progress: bool,
        level: LoggingLevel | None,
    ) -> None:
        self._session = session
        self._request_id = request_id
        self._sends_progress = sends_progress
        self._levels = frozenset() if level is None else frozenset(LEVELS[LEVELS.index(level) :])
        self._waiting: asyncio.Queue[Progress | LogRecord | None] = asyncio.Queue()
        self._dropped = 0
        self._sender: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, context: Context) -> "CallEvents | None":
        """Returns what sends the events of a call; None if its client wants none."""
        sends_progress = (context.meta or {}).get("progress_token") is not None
        level = level_of(context)
        if level is None and not sends_progress:
            return None
        return cls(context.session, context.request_id, sends_progress=sends_progress, level=level)

    def progress(self, event: Progress) -> None:
        """Takes an event."""
        if self._sends_progress:
            self._put(event)

    def log(self, event: LogRecord) -> None:
        """Takes an event."""
        if _level(event) in self._levels:
            self._put(event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sender is None:
            return
        if isinstance(error, asyncio.CancelledError):
            self._sender.cancel()
        self._waiting.put_nowait(None)
        try:
            await asyncio.wait({self._sender})
        finally:
            self._sender.cancel()
        if self._dropped:
            _log.warning("%d events of a call were dropped: its client reads too slowly", self._dropped)

    def _put(self, event: Progress | LogRecord) -> None:
        if self._waiting.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.put_nowait(event)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all(), name="events of an MCP call")

    async def _send_all(self) -> None:
        try:
            while (event := await self._waiting.get()) is not None:
                if isinstance(event, Progress):
                    await self._session.report_progress(event.current, event.total or None, event.message or None)
                else:
                    await self._send_log(event)
        except Exception as error:  # noqa: BLE001 - what a transport raises; the call goes on without its events
            _log.debug("the events of a call are not sent any more: %r", error)
            self._waiting = _Nowhere()

    async def _send_log(self, event: LogRecord) -> None:
        data: Any = {"message": event.message, **event.fields} if event.fields else event.message
        params = LoggingMessageNotificationParams(level=_level(event), data=data, logger=event.logger or None)
        await self._session.send_notification(LoggingMessageNotification(params=params), self._request_id)


class _Nowhere(asyncio.Queue[Any]):
    """A queue that keeps nothing."""

    def put_nowait(self, item: Any) -> None:
        """Drops an item."""


def _level(event: LogRecord) -> LoggingLevel:
    return event.level if event.level in LEVELS else "info"
