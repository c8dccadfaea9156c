"""When a worker's process has served long enough."""

import asyncio
import math
from typing import Any

import pytest

from grpc_tool_bridge import ToolWorker
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.worker import lifetime as module
from grpc_tool_bridge.worker.lifetime import WorkerLifetime
from support.waiting import soon, turns


async def test_it_is_reached_with_the_last_call() -> None:
    lifetime = WorkerLifetime(max_calls=2, jitter=0)
    call = lifetime.counted(lambda request, context: (request, context))
    reached = asyncio.ensure_future(lifetime.reached())
    assert call(1, 2) == (1, 2)
    await turns()
    assert not reached.done()
    call(1, 2)
    assert await soon(reached) == "2 calls"


async def test_time_and_memory_are_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    assert (await soon(WorkerLifetime(max_seconds=0.01).reached())).endswith(" s")
    lifetime = WorkerLifetime(max_bytes=1)
    reached = asyncio.ensure_future(lifetime.reached())
    await turns()
    lifetime.counted(lambda *_: None)(1, 2)
    assert (await soon(reached)).endswith("bytes of memory")


@pytest.mark.parametrize(
    "wrong", [{"max_calls": -1}, {"max_seconds": math.nan}, {"max_bytes": 1.5}, {"jitter": 1.1}, {"jitter": math.nan}]
)
def test_a_limit_that_is_not_valid_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"^{next(iter(wrong))} is "):
        WorkerLifetime(**wrong)


def test_a_worker_takes_nothing_else_for_it() -> None:
    wrong: Any = 1000
    with pytest.raises(ValidationError, match="lifetime is 1000; it must be a WorkerLifetime, such as"):
        ToolWorker("127.0.0.1:1", lifetime=wrong)
