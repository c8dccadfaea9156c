"""Lists of what a hub has, and the end of a call by whoever runs it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import SessionExpiredError, SessionNotFoundError, ValidationError
from grpc_tool_bridge.errors.throttled_log import MAX_LINES
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.tools.context import ToolContext
from unit.core.workers.test_pool import FakeLink


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


async def nest(ctx: ToolContext) -> Any:
    return await ctx.call_tool("hang")


class World:
    """A hub, and calls of it that hang."""

    def __init__(self) -> None:
        self.hub = Hub(Settings(), [hang, nest])
        self.calls: list[asyncio.Task[Any]] = []

    async def call(self, tool: str = "hang", session: str = "s", **fields: Any) -> "asyncio.Task[Any]":
        request = pb.ToolCallRequest(session_id=session, tool_id=tool, **fields)
        task = asyncio.ensure_future(self.hub.execute_tool(request))
        self.calls.append(task)
        for _ in range(3):
            await asyncio.sleep(0)
        return task

    async def list_calls(self, **asked: Any) -> list[pb.CallInfo]:
        return list((await self.hub.list_calls(pb.ListCallsRequest(**asked))).calls)

    async def cancel(self, call_id: str, reason: str = "") -> pb.StatusResponse:
        return await self.hub.cancel_call(pb.CancelCallRequest(call_id=call_id, reason=reason))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.hub.start()
    await made.hub.store.create_session("s")
    yield made
    for task in made.calls:
        task.cancel()
    await asyncio.gather(*made.calls, return_exceptions=True)
    await made.hub.drain(0)
    await made.hub.aclose()


# ----------------------------------------------------------------------------------------------------------- lists


async def test_sessions_are_listed_by_age_as_they_are_described(world: World) -> None:
    await world.hub.store.create_session("a", {"k": "v"})
    # Use changes the order in which they expire, and no other.
    world.hub.store.find("s")
    response = await world.hub.list_sessions(pb.ListSessionsRequest())
    assert [info.session_id for info in response.sessions] == ["s", "a"]
    asked = await world.hub.get_session_info(pb.GetSessionInfoRequest(session_id="a"))
    listed = response.sessions[1]
    listed.last_activity.CopyFrom(asked.last_activity)
    assert listed == asked


async def test_to_be_listed_is_no_activity(world: World) -> None:
    session = world.hub.store.peek("s")
    before = session.last_activity
    await world.hub.list_sessions(pb.ListSessionsRequest())
    await world.list_calls(session_id="s")
    await world.hub.list_runs(pb.ListRunsRequest(session_id="s"))
    assert session.last_activity == before


async def test_calls_are_listed_by_age_of_one_session_or_of_all(world: World) -> None:
    await world.hub.store.create_session("other")
    await world.call(request_id="r1")
    await world.call(session="other")
    await world.call("nest")
    calls = await world.list_calls()
    assert [(call.session_id, call.tool_id) for call in calls] == [
        ("s", "hang"),
        ("other", "hang"),
        ("s", "nest"),
        ("s", "hang"),
    ]
    assert calls[0].request_id == "r1"
    assert calls[3].parent_id == calls[2].call_id
    assert [call.call_id for call in await world.list_calls(session_id="other")] == [calls[1].call_id]


async def test_pages_of_calls_go_on_though_calls_end(world: World) -> None:
    tasks = [await world.call() for _ in range(5)]
    first = await world.hub.list_calls(pb.ListCallsRequest(page_size=2))
    ids = [call.call_id for call in first.calls]
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    await world.call()
    rest = await world.list_calls(page_token=first.next_page_token)
    assert len(rest) == 4
    assert not {call.call_id for call in rest} & set(ids)


async def test_a_session_that_is_not_there_is_an_error(world: World) -> None:
    with pytest.raises(SessionNotFoundError):
        await world.list_calls(session_id="none")
    await world.hub.store.create_session("old")
    await world.hub.store.cleanup_session("old")
    with pytest.raises(SessionExpiredError):
        await world.hub.list_runs(pb.ListRunsRequest(session_id="old"))


async def test_a_token_is_good_for_its_own_list_only(world: World) -> None:
    await world.call()
    await world.call()
    token = (await world.hub.list_calls(pb.ListCallsRequest(page_size=1))).next_page_token
    assert token
    with pytest.raises(ValidationError, match="the list of sessions"):
        await world.hub.list_sessions(pb.ListSessionsRequest(page_token=token))


async def test_workers_are_listed_while_they_are_connected(world: World) -> None:
    links = [FakeLink(world.hub.workers), FakeLink(world.hub.workers)]
    for number, link in enumerate(links):
        tools = [pb.ToolSpec(name=f"t{number}")]
        world.hub.workers.register(link, pb.RegisterToolsRequest(worker_id=f"w{1 - number}", tools=tools))
    response = await world.hub.list_workers(pb.ListWorkersRequest())
    assert [(worker.worker_id, list(worker.tools)) for worker in response.workers] == [("w1", ["t0"]), ("w0", ["t1"])]
    world.hub.workers.on_disconnect(links[0], "it was lost")
    response = await world.hub.list_workers(pb.ListWorkersRequest())
    assert [worker.worker_id for worker in response.workers] == ["w0"]


# ---------------------------------------------------------------------------------------------------------- cancel


async def test_a_cancelled_call_tells_its_caller_who_did_it_and_why(world: World) -> None:
    for reason, text in [("too slow", "by an administrator: too slow"), ("", "by an administrator")]:
        task = await world.call("nest")
        outer, inner = await world.list_calls()
        response = await world.cancel(outer.call_id, reason)
        assert (response.success, response.message) == (True, f"call {outer.call_id} of nest is cancelled")
        error = (await task).error
        assert (error.type, error.message) == ("Cancelled", f"the call was cancelled {text}")
        assert await world.list_calls() == []
        assert (await world.cancel(inner.call_id)).error.type == "ToolNotFound"


async def test_the_call_of_a_tool_is_cancelled_by_itself(world: World) -> None:
    task = await world.call("nest")
    _, inner = await world.list_calls()
    await world.cancel(inner.call_id)
    # The outer one has failed of it.
    assert (await task).error.type == "Cancelled"


@pytest.mark.parametrize("call_id", ["1", "none", "x" * 256])
async def test_a_call_that_is_not_there_is_an_error_in_the_answer(world: World, call_id: str) -> None:
    response = await world.cancel(call_id)
    assert not response.success
    assert response.error.type == "ToolNotFound"
    assert response.message == response.error.message
    assert "it may have ended: list the calls again" in response.message


async def test_an_id_that_cannot_be_is_an_error_in_the_answer(world: World) -> None:
    assert "call_id is empty" in (await world.cancel("")).message
    assert (await world.cancel("x" * 1_000)).error.type == "ValidationError"


async def test_cancelled_calls_are_logged_within_bounds(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2 * MAX_LINES):
        await world.call()
    for call in await world.list_calls():
        await world.cancel(call.call_id, "why\nnot")
    lines = [record.getMessage() for record in caplog.records if "administrator" in record.getMessage()]
    assert len(lines) == MAX_LINES
    assert lines[0].endswith(" of hang was cancelled by an administrator: 'why\\nnot'")
