"""A session, and what keeps it from becoming idle."""

import time
import weakref
from collections.abc import Callable, Mapping

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.core.idempotency import KeyedCalls
from grpc_tool_bridge.core.limits import ConcurrencyLimiter
from grpc_tool_bridge.core.result_cache import ResultCache
from grpc_tool_bridge.core.tool_scopes import ToolScope
from grpc_tool_bridge.core.variables import Variables
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.callers import without_reserved
from grpc_tool_bridge.runner.calls import Call

_NO_METADATA: Mapping[str, str] = {}


class Session:
    """A session. Parts that most sessions do not use are created on first use, so that an idle session stays small.

    Attributes:
        id: Its id.
        created_at: Seconds since the epoch.
        last_activity: Time of the monotonic clock.
        metadata: As given when it was created, without names of the bridge.
        call_timeout: Default timeout of a call in seconds; None: the hub's.
        max_calls: Maximum number of concurrent calls; 0: the hub's.
        tools: The session's own tools by id.
        tools_revision: Revision of the last change to its own tools.
        tools_removed_at: Revision at which a tool of its own was last removed.
        keyed: Its calls with an idempotency key.
        caching: Whether results of idempotent tools are kept.
        cache: The kept results.
        watches: Open watches of variables; they count as activity.
        tool_watches: Open watches of tools; they do not count as activity.
        links: Open links of clients that use the session.
        closing: Number of requests that wait to remove it; new calls are refused meanwhile.
        ended: Why it has ended; None: it has not.
        idle: Notified when its last call ends; None until it is first needed.
        memory: The session's budget; None until something is charged (``SessionStore.memory_of``).
        variables: Its variables; None until they are first used (``SessionStore.variables``).
    """

    __slots__ = (
        "__weakref__",
        "cache",
        "caching",
        "call_timeout",
        "calls",
        "closing",
        "created_at",
        "ended",
        "id",
        "idle",
        "keyed",
        "last_activity",
        "limiter",
        "links",
        "max_calls",
        "memory",
        "metadata",
        "tool_watches",
        "tools",
        "tools_removed_at",
        "tools_revision",
        "variables",
        "watches",
    )

    def __init__(self, session_id: str, metadata: Mapping[str, str], config: SessionConfig | None) -> None:
        self.id = session_id
        self.created_at = time.time()
        self.last_activity = time.monotonic()
        self.metadata = dict(without_reserved(metadata)) if metadata else _NO_METADATA
        self.call_timeout = config.default_timeout_ms / 1000 if config and config.default_timeout_ms else None
        self.max_calls = config.max_concurrent_tools if config else 0
        self.tools: ToolScope | None = None
        self.tools_revision = 0
        self.tools_removed_at = 0
        self.limiter: ConcurrencyLimiter | None = None
        self.calls: set[Call] | None = None
        self.keyed: KeyedCalls | None = None
        self.caching = bool(config and config.enable_caching)
        self.cache: ResultCache | None = None
        self.watches = 0
        self.tool_watches = 0
        self.links = 0
        self.closing = 0
        self.ended: ToolBridgeError | None = None
        self.idle: Notifier | None = None
        self.memory: Budget | None = None
        self.variables: Variables | None = None

    @property
    def active(self) -> int:
        """Calls and streams that run or wait for a permit."""
        return self.limiter.used + self.limiter.waiting if self.limiter else 0

    @property
    def variable_count(self) -> int:
        """Number of its variables."""
        return len(self.variables) if self.variables else 0


class SessionHold:
    """Counts an open link as activity of a session, until it is released. It does not keep an ended session in memory.

    Args:
        session: The session.
        touch: Counts as its activity.
    """

    __slots__ = ("_session", "_touch")

    def __init__(self, session: Session, touch: Callable[[Session], None]) -> None:
        session.links += 1
        self._session = weakref.ref(session)
        self._touch = touch

    @property
    def is_needed(self) -> bool:
        """Whether the session is still there."""
        return self._session() is not None

    def release(self) -> None:
        """Releases the hold; the session's idle time starts now."""
        session = self._session()
        if session is not None:
            session.links -= 1
            self._touch(session)
