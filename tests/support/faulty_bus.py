"""A connection to NATS that fails when a test says so."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus, new_message_id
from grpc_tool_bridge.cluster.errors import AppendError, MaybeStoredError, NotStoredError
from grpc_tool_bridge.cluster.journal.appending import Appender

# What may become of an append: it is done; nothing is stored; it is stored and nobody says so; nobody says so and it is
# stored later, when ``arrive`` is called.
DONE, REFUSED, UNHEARD, LATE = "done", "refused", "unheard", "late"


class FaultyBus:
    """Stands before a connection that works.

    Args:
        bus: The connection.

    Attributes:
        fates: What becomes of the next appends; those after them are done.
        appended: Subjects of all appends that were tried.
        purged: Subjects and numbers of all purges.
        has_failed: Whether the last append has failed.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.fates: deque[str] = deque()
        self.appended: list[str] = []
        self.purged: list[tuple[str, int]] = []
        self.has_failed = False
        self._late: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        last: int,
        headers: Mapping[str, str] | None = None,
        timeout: float = 2.0,
        message_id: str | None = None,
    ) -> int:
        self.appended.append(subject)
        fate = self.fates.popleft() if self.fates else DONE
        message_id = message_id or new_message_id()
        self.has_failed = fate != DONE
        if fate == REFUSED:
            raise NotStoredError("not stored: a test says so")
        if fate == LATE:
            self._late.append((subject, data, last, headers, message_id))
            raise MaybeStoredError("perhaps not stored: a test says so", message_id)
        sequence = await self._bus.append(subject, data, last=last, headers=headers, message_id=message_id)
        if fate == UNHEARD:
            raise MaybeStoredError("perhaps not stored: a test says so", message_id)
        return sequence

    async def arrive(self) -> int:
        """Has what was late arrive; returns how much of it was stored."""
        late, self._late = self._late, []
        stored = 0
        for subject, data, last, headers, message_id in late:
            try:
                await self._bus.append(subject, data, last=last, headers=headers, message_id=message_id)
            except AppendError:
                continue
            stored += 1
        return stored

    async def purge(self, subject: str, up_to: int) -> int:
        self.purged.append((subject, up_to))
        return await self._bus.purge(subject, up_to)


def no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has no message tried again once a ``FaultyBus`` has failed, however long it might be."""

    async def may_try(self: Appender, until: float) -> bool:
        bus: Any = self.bus
        has_failed, bus.has_failed = bus.has_failed, False
        return not has_failed

    monkeypatch.setattr(Appender, "_may_try", may_try)
