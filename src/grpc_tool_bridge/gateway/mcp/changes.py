"""Tells clients what has changed in their session: the list of its tools, and whatever else is published."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mcp.server.connection import Connection
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated, ServerEvent, ToolsListChanged, event_to_notification
from mcp_types import INTERNAL_ERROR, SubscriptionsListenRequestParams, SubscriptionsListenResult

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.gateway.mcp.sessions import Context, SessionClients, SessionKey

# After a change is told, further ones are gathered for so long.
QUIET_SECONDS = 0.1
# Streams of changes that are open at once.
MAX_STREAMS = 1_024
# The key of a connection's state that has the addresses of the resources which its client has subscribed to.
SUBSCRIBED_KEY = "grpc-tool-bridge/subscribed"

_log = logging.getLogger(__name__)


class Changes:
    """Tells the clients of each session what has changed in it.

    Args:
        sessions: The sessions; while somebody reads its changes, a session stays open.
    """

    def __init__(self, sessions: SessionClients) -> None:
        self._sessions = sessions
        self._topics: dict[SessionKey, _Topic] = {}
        self._tasks = TaskSet()
        self._streams = 0
        sessions.on_close(self._close)

    async def listen(self, context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Sends the changes that a client asks for, until it leaves.

        Raises:
            MCPError: There are too many such streams.
        """
        if self._streams >= MAX_STREAMS:
            text = f"{MAX_STREAMS:,} clients listen already, which is the limit; try again when one has left"
            raise MCPError(code=INTERNAL_ERROR, message=text)
        key = self._sessions.key_of(context)
        topic = self._join(key)
        self._streams += 1
        try:
            return await topic.listener(context, params)
        finally:
            self._streams -= 1
            self._leave(key, topic)

    def tell(self, connection: Connection, key: SessionKey) -> None:
        """Sends the changes of a session over a connection that stays, until it is closed."""
        topic = self._join(key)
        reader = _Reader(connection, self._tasks)
        unsubscribe = topic.bus.subscribe(reader.take)

        def leave() -> None:
            unsubscribe()
            reader.close()
            self._leave(key, topic)

        connection.exit_stack.callback(leave)

    def publish(self, key: SessionKey, event: ServerEvent) -> None:
        """Tells the clients of a session of a change; the same change is told once in a while only."""
        topic = self._topics.get(key)
        if topic is None:
            return
        topic.news[event] = None
        if topic.publishing is None or topic.publishing.done():
            topic.publishing = self._tasks.spawn(topic.publish(), f"changes of session {key.session_id}")

    def _join(self, key: SessionKey) -> "_Topic":
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic()
            topic.unwatch = self._sessions.watch_tools(key, lambda: self.publish(key, ToolsListChanged()))
        topic.readers += 1
        return topic

    def _leave(self, key: SessionKey, topic: "_Topic") -> None:
        topic.readers -= 1
        if not topic.readers:
            topic.unwatch()
            if topic.publishing is not None:
                topic.publishing.cancel()
            if self._topics.get(key) is topic:
                del self._topics[key]

    def _close(self) -> None:
        for topic in self._topics.values():
            topic.listener.close()
        for task in [topic.publishing for topic in self._topics.values() if topic.publishing is not None]:
            task.cancel()


class _Topic:
    """The changes of one session, and those who read them."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.listener = ListenHandler(self.bus, max_subscriptions=MAX_STREAMS)
        self.readers = 0
        self.unwatch: Callable[[], None] = lambda: None
        # What is to be told, each change once.
        self.news: dict[ServerEvent, None] = {}
        self.publishing: asyncio.Task[None] | None = None

    async def publish(self) -> None:
        while self.news:
            events = list(self.news)
            self.news.clear()
            for event in events:
                await self.bus.publish(event)
            await asyncio.sleep(QUIET_SECONDS)


class _Reader:
    """Sends changes over one connection; while its client does not read, each change waits once."""

    def __init__(self, connection: Connection, tasks: TaskSet) -> None:
        self._connection = connection
        self._tasks = tasks
        self._waiting: dict[ServerEvent, None] = {}
        self._sending: asyncio.Task[None] | None = None

    def take(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri not in self._connection.state.get(SUBSCRIBED_KEY, ()):
            return
        self._waiting[event] = None
        if self._sending is None or self._sending.done():
            self._sending = self._tasks.spawn(self._send(), "changes for an MCP client")

    def close(self) -> None:
        self._waiting.clear()
        if self._sending is not None:
            self._sending.cancel()

    async def _send(self) -> None:
        while self._waiting:
            event = next(iter(self._waiting))
            del self._waiting[event]
            notification: Any = event_to_notification(event, {})
            params = {"uri": event.uri} if isinstance(event, ResourceUpdated) else None
            await self._connection.notify(notification.method, params)
