"""An LRU cache with a TTL, and limits on entries and bytes."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from grpc_tool_bridge.rpc.budgets import Budget

# Memory of an entry besides its value.
ENTRY_BYTES = 512

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(NamedTuple, Generic[V]):
    value: V
    size: int
    ends_at: float


class ExpiringLRU(Generic[K, V]):
    """A cache of values that expire.

    An expired value is never returned; its memory is freed at the next ``get`` or ``keep``. If there are too many, the
    least recently used values are evicted first.

    Args:
        ttl: Seconds for which a value is kept.
        max_entries: Maximum number of values.
        max_bytes: Maximum number of bytes of all values.
        memory: The budget to charge; a value for which it has no room is not kept. None: nothing is charged.
    """

    __slots__ = ("_bytes", "_entries", "_max_bytes", "_max_entries", "_memory", "_ttl", "_used")

    def __init__(self, *, ttl: float, max_entries: int, max_bytes: int, memory: Budget | None = None) -> None:
        self._memory = memory
        self._ttl = ttl
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        # The oldest first.
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        # The least recently used first.
        self._used: OrderedDict[K, None] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Returns the value of ``key``; None if there is none or it has expired."""
        self._drop_old()
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._used.move_to_end(key)
        return entry.value

    def keep(self, key: K, value: V, size: int) -> None:
        """Keeps a value of ``size`` bytes in place of an earlier one, unless there is no room even for it alone."""
        self._drop_old()
        if key in self._entries:
            self._drop(key)
        if size > self._max_bytes:
            return
        if self._memory is not None:
            if self._memory.is_full_for(size + ENTRY_BYTES) is not None:
                return
            self._memory.charge(size + ENTRY_BYTES)
        self._entries[key] = _Entry(value, size, time.monotonic() + self._ttl)
        self._used[key] = None
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._used)))

    def _drop_old(self) -> None:
        now = time.monotonic()
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].ends_at > now:
                return
            self._drop(oldest)

    def _drop(self, key: K) -> None:
        size = self._entries.pop(key).size
        self._bytes -= size
        if self._memory is not None:
            self._memory.give_back(size + ENTRY_BYTES)
        del self._used[key]
