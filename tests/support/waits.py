"""What a client waits before it tries again."""

import asyncio

import pytest

from grpc_tool_bridge.client.caller import Caller


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the seconds that a client waits before it tries again, and waits none of them."""
    recorded: list[float] = []

    async def record(_: Caller, seconds: float, method: str = "") -> None:
        recorded.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(Caller, "pause", record)
    return recorded
