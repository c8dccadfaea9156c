"""What tests of the client share."""

import asyncio

import pytest

from grpc_tool_bridge.client.caller import Caller


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records what is waited outside heartbeats, and waits none of it."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name() == "heartbeat":
            await sleep(seconds)
        waits.append(seconds)

    async def pause(_: Caller, seconds: float, method: str = "") -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("asyncio.sleep", record)
    monkeypatch.setattr(Caller, "pause", pause)
    return waits
