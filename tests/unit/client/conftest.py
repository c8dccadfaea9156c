"""What tests of the client share."""

import asyncio

import pytest


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

    monkeypatch.setattr("asyncio.sleep", record)
    return waits
