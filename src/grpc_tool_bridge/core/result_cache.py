"""The cache of results of idempotent tools, in sessions with ``enable_caching``."""

from typing import NamedTuple

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.expiring_lru import ExpiringLRU
from grpc_tool_bridge.core.fingerprint import fingerprint
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolCallResponse, ToolCallResult
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.budgets import Budget

# In an answer's ``metrics.custom_metrics``: 1 if the result came from the cache.
CACHED_METRIC = "cached"


class _Key(NamedTuple):
    tool_id: str
    version: str
    # Of the registration: a tool that replaces another with the same id and version has its own results.
    revision: int
    asked_for: bytes
    principal: Principal | None
    via: tuple[str, ...]


class ResultCache:
    """The results of one session's idempotent tools, by tool, version and arguments.

    Equal calls that are made concurrently all run: only the result of a call that has ended is reused.

    Args:
        settings: Time, number and bytes of results to keep.
        memory: The session's budget.
    """

    __slots__ = ("_results",)

    def __init__(self, settings: Settings, memory: Budget | None = None) -> None:
        # As encoded: type URL and payload.
        self._results: ExpiringLRU[_Key, tuple[str, bytes]] = ExpiringLRU(
            ttl=settings.cache_ttl,
            max_entries=settings.max_session_cache_entries,
            max_bytes=settings.max_session_cache_bytes,
            memory=memory,
        )

    def entry(
        self,
        tool: RegisteredTool,
        request: ToolCallRequest | ToolCallItem,
        principal: Principal | None = None,
        via: tuple[str, ...] = (),
    ) -> "CacheEntry":
        """Returns the entry for the result of a call; a tool may give another principal another result."""
        key = _Key(tool.id, tool.spec.version, tool.revision, fingerprint(request), principal, via)
        return CacheEntry(self._results, key)


class CacheEntry:
    """The entry of the cache for one call and all equal ones.

    Args:
        results: The results of the session.
        key: Identifies the call.
    """

    __slots__ = ("_key", "_results")

    def __init__(self, results: ExpiringLRU[_Key, tuple[str, bytes]], key: _Key) -> None:
        self._results = results
        self._key = key

    def fill(self, answer: ToolCallResponse | ToolCallResult) -> bool:
        """Fills in the kept result, and marks the answer as cached; returns False if there is none."""
        kept = self._results.get(self._key)
        if kept is None:
            return False
        answer.result.type_url, answer.result.value = kept
        answer.success = True
        answer.metrics.custom_metrics[CACHED_METRIC] = 1.0
        return True

    def keep(self, answer: ToolCallResponse | ToolCallResult) -> None:
        """Keeps a copy of the result: a part of a message would keep the whole message alive."""
        type_url, value = answer.result.type_url, answer.result.value
        self._results.keep(self._key, (type_url, value), len(type_url) + len(value))
