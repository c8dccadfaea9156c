"""The slowest and the failed calls of the last minutes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import notable_calls as module
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.infos import CallIds
from grpc_tool_bridge.core.notable_calls import (
    KEPT_SECONDS,
    MAX_FAILED,
    MAX_MESSAGE_CHARS,
    MAX_SLOW,
    MAX_SLOW_OF_TOOL,
    MAX_TOOLS,
    SLICE_SECONDS,
    NotableCalls,
)
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import NotFoundError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.values.serialization import serialize_value
from support.clock import Clock
from unit.core.workers.test_pool import FakeLink


async def add(a: int, b: int = 0) -> int:
    return a + b


async def fail(text: str) -> int:
    raise NotFoundError(text)


def a_worker() -> Worker:
    pool: Any = None
    return Worker("w1", FakeLink(pool))


class Noting:
    """Notes calls at a time that the test sets."""

    def __init__(self, clock: Clock, session: Session, tools: dict[str, RegisteredTool]) -> None:
        self.clock = clock
        self.calls = NotableCalls(CallIds())
        self._session = session
        self._tools = tools

    def call(self, tool: str = "add", **facts: Any) -> HubCall:
        orphaned: Any = None
        call = HubCall(self._session, self.tool(tool), 0.0, parent=None, orphaned=orphaned, opened_at=self.clock.now)
        for name, fact in facts.items():
            setattr(call, name, fact)
        return call

    def tool(self, name: str) -> RegisteredTool:
        if name not in self._tools:
            spec = pb.ToolSpec()
            spec.CopyFrom(as_tool(add).spec)
            spec.tool_id = spec.name = name
            self._tools[name] = RegisteredTool(spec, None, 0, Settings())
        return self._tools[name]

    def ends(self, duration_us: int, tool: str = "add", *, outcome: Any = None, **facts: Any) -> bool:
        """Ends a call as ``Admission.end`` does; returns whether it was looked at."""
        call = self.call(tool, **facts)
        ok = outcome is None
        looked = not ok or duration_us > call.tool.metrics.noted_us or self.clock.now >= self.calls.turns_at
        if looked:
            self.calls.note(call, ok=ok, duration_us=duration_us, outcome=outcome)
        return looked

    async def durations(self, kind: str = "slow", **which: Any) -> list[int]:
        return [info.duration_us for info in await self.calls.calls(kind, **which)]


@pytest.fixture
async def noting(monkeypatch: pytest.MonkeyPatch) -> Noting:
    session = await SessionStore(Settings()).create_session("s")
    return Noting(Clock(monkeypatch, module), session, {})


async def test_the_slowest_are_kept_and_quicker_ones_are_not_even_looked_at(noting: Noting) -> None:
    # The slowest first, so that each later one is quicker than those that are kept.
    looked = [noting.ends(1_000_000 - number) for number in range(100)]
    assert looked == [*[True] * MAX_SLOW, *[False] * 80]
    assert await noting.durations() == [1_000_000 - number for number in range(MAX_SLOW)]
    assert noting.ends(2_000_000)
    assert (await noting.durations())[:2] == [2_000_000, 1_000_000]
    assert await noting.durations(most=1) == [2_000_000]


async def test_a_tool_has_its_slowest_beside_slower_tools(noting: Noting) -> None:
    for number in range(MAX_SLOW):
        noting.ends(1_000_000 + number, "slow")
    for number in range(10):
        noting.ends(100 + number, "quick")
    assert await noting.durations(tool_id="quick") == [109, 108, 107]
    assert not noting.ends(107, "quick")
    assert len(await noting.durations()) == MAX_SLOW + MAX_SLOW_OF_TOOL


async def test_only_so_many_tools_have_theirs(noting: Noting) -> None:
    for number in range(MAX_SLOW):
        noting.ends(1_000_000 + number, "slow")
    for number in range(MAX_TOOLS + 5):
        noting.ends(100, f"tool-{number}")
    assert len(await noting.durations(most=1_000)) == MAX_SLOW + MAX_TOOLS - 1


async def test_each_half_minute_starts_anew_and_ten_minutes_are_kept(noting: Noting) -> None:
    for _ in range(MAX_SLOW + 1):
        noting.ends(1_000)
    assert not noting.ends(500)
    noting.clock.now += SLICE_SECONDS
    assert noting.ends(500)
    assert (await noting.durations())[MAX_SLOW:] == [500]
    noting.clock.now += KEPT_SECONDS - SLICE_SECONDS + 1
    assert await noting.durations() == [500]
    noting.ends(1)
    assert await noting.durations() == [500, 1]
    noting.clock.now += KEPT_SECONDS + 1
    assert await noting.durations() == []


async def test_it_keeps_no_more_however_long_it_runs(noting: Noting) -> None:
    for _ in range(100):
        noting.ends(1_000)
        noting.clock.now += SLICE_SECONDS
    assert len(noting.calls._slices) == KEPT_SECONDS // SLICE_SECONDS + 1


async def test_the_last_failed_calls_are_kept_the_newest_first(noting: Noting) -> None:
    for number in range(MAX_FAILED + 10):
        noting.ends(number, outcome=NotFoundError(f"no {number}"))
    found = await noting.calls.calls("failed")
    assert [info.error.message for info in found] == [f"no {number}" for number in range(MAX_FAILED + 9, 9, -1)]
    assert {info.state for info in found} == {"failed"}


async def test_of_an_error_only_so_much_is_kept_whatever_a_worker_says(noting: Noting) -> None:
    noting.ends(1, outcome=pb.ErrorInfo(type="t" * 100_000, message="m" * 100_000, details={"origin": "o" * 100_000}))
    (info,) = await noting.calls.calls("failed")
    assert (len(info.error.type), len(info.error.message)) == (MAX_NAME_CHARS, MAX_MESSAGE_CHARS)
    assert len(info.error.details["origin"]) == MAX_NAME_CHARS


async def test_a_kept_call_has_its_facts_and_no_arguments(noting: Noting) -> None:
    outcome = pb.ErrorInfo(type="X", message="m" * 5_000, retryable=True, details={"origin": "tool", "secret": "x"})
    parent = noting.call("outer")
    worker = a_worker()
    progress = pb.Progress(message="secret")
    noting.ends(
        1_500, outcome=outcome, request_id="r", parent=parent, worker=worker, prepared=((1,), {}), progress=progress
    )
    (info,) = await noting.calls.calls("failed")
    assert (info.session_id, info.tool_id, info.request_id, info.worker_id) == ("s", "add", "r", "w1")
    assert info.call_id
    assert info.parent_id == parent.call_id
    assert info.duration_us == 1_500
    assert info.started_at.seconds > 0
    assert (info.error.type, info.error.retryable, dict(info.error.details)) == ("X", True, {"origin": "tool"})
    assert info.error.message == "m" * MAX_MESSAGE_CHARS
    assert not info.args
    assert not info.HasField("progress")


async def test_a_call_whose_caller_has_gone_is_kept_as_cancelled(noting: Noting) -> None:
    noting.ends(1, outcome=asyncio.CancelledError())
    assert [info.state for info in await noting.calls.calls("failed")] == ["cancelled"]


async def test_they_can_be_chosen(noting: Noting) -> None:
    worker = a_worker()
    noting.ends(3, "a")
    noting.ends(2, "b", worker=worker)
    noting.ends(1, "a", worker=worker)
    assert await noting.durations(tool_id="a") == [3, 1]
    assert await noting.durations(worker_id="w1") == [2, 1]
    assert await noting.durations(tool_id="a", worker_id="w1") == [1]
    assert await noting.durations(session_id="s") == [3, 2, 1]
    assert await noting.durations(session_id="other") == []


# --------------------------------------------------------------------------------------------------------- in a hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub(Settings(), [add, fail])
    await made.start()
    await made.store.create_session("s")
    yield made
    await made.drain(0)
    await made.aclose()


async def test_a_hub_keeps_them_though_nobody_watches(hub: Hub) -> None:
    for name, value in (("add", 1), ("fail", "not there"), ("add", "no number")):
        request = pb.ToolCallRequest(session_id="s", tool_id=name, args=[serialize_value(value)], request_id="mine")
        await hub.execute_tool(request)
    failed = await hub.notable_calls("failed")
    assert [(info.tool_id, info.error.type) for info in failed] == [
        ("add", "ValidationError"),
        ("fail", "ToolNotFound"),
    ]
    assert failed[1].error.message == "not there"
    assert failed[1].error.details["origin"] == "tool"
    slow = await hub.notable_calls("slow")
    assert sorted(info.tool_id for info in slow) == ["add", "add", "fail"]
    assert {info.request_id for info in slow} == {"mine"}
