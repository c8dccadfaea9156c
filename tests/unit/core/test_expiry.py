"""Idle sessions end in the background."""

import asyncio

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.core.expiry import expire_forever
from grpc_tool_bridge.core.sessions import SessionStore


async def test_idle_sessions_are_looked_for_ten_times_in_an_idle_time_or_every_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    for idle, wait in ((20.0, 2.0), (300.0, 5.0)):
        waits.clear()
        store = SessionStore(Settings(session_idle_timeout=idle))
        with pytest.raises(asyncio.CancelledError):
            await expire_forever(store)
        assert waits == [wait, wait]
