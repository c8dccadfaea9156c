"""Results of idempotent tools that are given again, in a session that asks for it."""

from typing import NamedTuple

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.expiring_lru import ExpiringLRU
from grpc_tool_bridge.core.fingerprint import fingerprint
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolCallResponse, ToolCallResult
from grpc_tool_bridge.rpc.budgets import Budget

# In an answer's ``metrics.custom_metrics``: 1 where the result was kept, and nothing ran for it.
CACHED_METRIC = "cached"


class _Key(NamedTuple):
    tool_id: str
    version: str
    # Numbers the registration: another tool of the same id and version is another.
    revision: int
    asked_for: bytes


class ResultCache:
    """The results of one session's idempotent tools, by tool, version and arguments.

    Of equal calls that run at once, each runs: what is given again is the result of one that has ended.

    Args:
        settings: How long results are kept, how many, and how many bytes of them.
        memory: The session's budget.
    """

    __slots__ = ("_results",)

    def __init__(self, settings: Settings, memory: Budget | None = None) -> None:
        # As they were encoded: type URL and payload.
        self._results: ExpiringLRU[_Key, tuple[str, bytes]] = ExpiringLRU(
            ttl=settings.cache_ttl,
            max_entries=settings.max_session_cache_entries,
            max_bytes=settings.max_session_cache_bytes,
            memory=memory,
        )

    def place(self, tool: RegisteredTool, request: ToolCallRequest | ToolCallItem) -> "ResultPlace":
        """Returns the place of the result of a call."""
        key = _Key(tool.id, tool.spec.version, tool.revision, fingerprint(request))
        return ResultPlace(self._results, key)


class ResultPlace:
    """Where the result of a call is kept, for those that ask the same.

    Args:
        results: The session's.
        key: What the call asks for.
    """

    __slots__ = ("_key", "_results")

    def __init__(self, results: ExpiringLRU[_Key, tuple[str, bytes]], key: _Key) -> None:
        self._results = results
        self._key = key

    def fill(self, answer: ToolCallResponse | ToolCallResult) -> bool:
        """Fills the kept result in, and says so in the answer's metrics; returns whether there is one."""
        kept = self._results.get(self._key)
        if kept is None:
            return False
        answer.result.type_url, answer.result.value = kept
        answer.success = True
        answer.metrics.custom_metrics[CACHED_METRIC] = 1.0
        return True

    def keep(self, answer: ToolCallResponse | ToolCallResult) -> None:
        """Keeps the result of an answer, copied: a part of a message keeps the whole message alive."""
        type_url, value = answer.result.type_url, answer.result.value
        self._results.keep(self._key, (type_url, value), len(type_url) + len(value))
