"""A hub of a cluster serves every session, wherever it is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import (
    ConflictError,
    SessionConfig,
    SessionExpiredError,
    SessionNotFoundError,
    Settings,
    ToolBridgeError,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
    UnavailableError,
    tool,
)
from grpc_tool_bridge.cluster.members import certainty
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.agent_runtime import SIGNATURE, ObedientAgents
from support.memory_cluster import MemoryCluster
from support.waiting import soon, turns, until


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
async def count(up_to: int) -> AsyncIterator[int]:
    for number in range(up_to):
        yield number


@tool
async def sleeps(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "woke"


@tool
async def remembers(ctx: ToolContext, value: int) -> int:
    await ctx.set_variable("kept", value)
    return value


@tool
async def counts(ctx: ToolContext) -> int:
    count: int = await ctx.get_variable("count", 0) + 1
    await ctx.set_variable("count", count)
    return count


@tool
def fails() -> None:
    raise KeyError("no such luck")


@tool
async def asks(ctx: ToolContext) -> str:
    return (await ctx.ask("Who?", {"type": "object", "properties": {"text": {"type": "string"}}})).action


@tool
def same(value: bytes) -> bytes:
    return value


TOOLS = [add, count, sleeps, remembers, counts, fails, asks, same]


@pytest.fixture
async def two() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster("ab", TOOLS) as cluster:
        yield cluster


async def test_a_session_of_one_hub_is_used_at_the_other(two: MemoryCluster) -> None:
    here = await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    assert "s" in two["a"].hub.store
    assert "s" not in two["b"].hub.store
    await there.session_context.set_variable("x", {"deep": [1, 2]})
    assert await here.session_context.get_variable("x") == {"deep": [1, 2]}
    assert await there.tools["add"](1, 2) == 3
    assert [number async for number in there.stream_tool("count", 3)] == [0, 1, 2]
    assert await there.tools["remembers"](5) == 5
    assert await there.session_context.get_variable("kept") == 5


async def test_a_session_whose_hub_is_gone_is_served_on_by_the_other(two: MemoryCluster) -> None:
    here = await two["a"].bridge("s")
    await here.session_context.set_variable("x", 1)
    there = await two["b"].bridge("s")
    await two["a"].die()
    two.book.closed.add("a")
    assert await soon(there.session_context.get_variable("x")) == 1
    assert "s" in two["b"].hub.store
    assert await there.tools["add"](1, 2) == 3


async def test_compare_and_set_holds_over_hubs(two: MemoryCluster) -> None:
    here, there = await two["a"].bridge("s"), await two["b"].bridge("s")
    first = await there.session_context.set_variable("x", 1, expected_revision=0)
    await here.session_context.set_variable("x", 2, expected_revision=first)
    with pytest.raises(ConflictError):
        await there.session_context.set_variable("x", 3, expected_revision=first)


async def test_of_two_hubs_that_open_a_new_session_at_once_one_creates_it(two: MemoryCluster) -> None:
    await asyncio.gather(*(two[name].bridge("s") for name in "abab"))
    assert ("s" in two["a"].hub.store) != ("s" in two["b"].hub.store)


async def test_who_comes_to_no_session_is_told_so_as_without_a_cluster(two: MemoryCluster) -> None:
    response = await two["b"].front.execute_tool(pb.ToolCallRequest(session_id="none", tool_id="add"))
    assert response.error.type == "SessionNotFound"
    with pytest.raises(SessionNotFoundError):
        await two["b"].front.get_session_info(pb.GetSessionInfoRequest(session_id="none"))


async def test_an_ended_session_is_ended_at_every_hub(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    answer = await two["b"].front.cleanup_session(pb.CleanupSessionRequest(session_id="s"))
    assert answer.success
    for name in "ab":
        with pytest.raises(SessionExpiredError, match="it was removed"):
            await two[name].front.get_session_info(pb.GetSessionInfoRequest(session_id="s"))
    await two["b"].bridge("s")
    assert "s" in two["b"].hub.store


async def test_a_watch_at_another_hub_goes_on_when_the_session_has_moved(two: MemoryCluster) -> None:
    here, there = await two["a"].bridge("s"), await two["b"].bridge("s")
    watch = there.session_context.watch_variables()
    waiting = asyncio.ensure_future(anext(watch))
    await until(lambda: two["a"].hub.store.find("s").watches)
    await here.session_context.set_variable("x", 1)
    assert (await soon(waiting)).value == 1
    await two["a"].die()
    waiting = asyncio.ensure_future(anext(watch))
    two.book.closed.add("a")
    await there.session_context.set_variable("x", 2)
    change = await soon(waiting)
    assert (change.operation, change.value) == ("update", 2)
    await watch.aclose()


async def test_a_watch_of_tools_begins_anew_where_the_session_moved_to(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    answer = await two["b"].front.get_session_tools(pb.GetSessionToolsRequest(session_id="s"))
    await two["a"].die()
    two.book.closed.add("a")
    request = pb.WatchSessionToolsRequest(session_id="s", from_revision=answer.revision)
    watch = two["b"].front.watch_session_tools(request)
    updates = [await soon(anext(watch)) for _ in range(1 + len(TOOLS))]
    await watch.aclose()
    assert [update.operation for update in updates] == ["reset", *["added"] * len(TOOLS)]
    assert updates[-1].revision > answer.revision


async def test_a_batch_runs_where_its_session_is(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    found = await there.execute_batch([{"tool_id": "add", "args": [1, n]} for n in range(3)])
    assert list(found) == [1, 2, 3]


async def test_a_key_has_one_effect_at_whichever_hubs_its_calls_come(two: MemoryCluster) -> None:
    here, there = await two["a"].bridge("s"), await two["b"].bridge("s")
    assert await there.tools["counts"].with_options(idempotency_key="k")() == 1
    assert await here.tools["counts"].with_options(idempotency_key="k")() == 1
    await two["a"].die()
    two.book.closed.add("a")
    assert await there.tools["counts"].with_options(idempotency_key="k")() == 1


async def test_the_errors_of_a_tool_arrive_whole(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    with pytest.raises(ToolExecutionError, match="no such luck") as raised:
        await there.tools["fails"]()
    assert raised.value.error_type == "KeyError"


async def test_a_call_that_is_cancelled_at_one_hub_is_cancelled_at_the_other(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    calling = asyncio.ensure_future(there.tools["sleeps"](60))
    session = two["a"].hub.store.find("s")
    await until(lambda: session.active)
    calling.cancel()
    await until(lambda: not session.active)


async def test_a_deadline_passes_to_the_hub_that_has_the_session(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    with pytest.raises(ToolBridgeError, match="did not end within its deadline"):
        await there.tools["sleeps"].with_options(timeout=0.05)(60)
    await until(lambda: not two["a"].hub.store.find("s").active)


async def test_a_tool_asks_its_caller_at_another_hub(two: MemoryCluster) -> None:
    await two["a"].bridge("s")

    async def on_ask(question: Any) -> dict[str, str]:
        return {"text": f"{question.message}!"}

    there = await two["b"].bridge("s", on_ask=on_ask)
    assert await there.tools["asks"]() == "accept"


async def test_large_values_pass(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    data = bytes(1_000_000)
    assert await there.tools["same"](data) == data
    await there.session_context.set_variable("large", data)
    assert await there.session_context.get_variable("large") == data


async def test_a_session_that_was_lost_is_let_go_of_with_an_error_that_can_be_retried(two: MemoryCluster) -> None:
    here = await two["a"].bridge("s")
    calling = asyncio.ensure_future(here.tools["sleeps"](60))
    await until(lambda: two["a"].hub.store.find("s").active)
    two.book.closed.add("a")
    two.book.chains["s"].owner = "b"
    two["a"].store.lose(["s"], "its lease ran out")
    with pytest.raises(ToolBridgeError, match="moved to another hub") as raised:
        await soon(calling)
    assert raised.value.error_type == "WorkerUnavailable"
    assert raised.value.retryable


async def test_what_moves_back_and_forth_is_found(two: MemoryCluster) -> None:
    here, there = await two["a"].bridge("s"), await two["b"].bridge("s")
    for turn in range(4):
        old, new = ("a", "b") if turn % 2 == 0 else ("b", "a")
        two.book.closed = {old}
        two[old].store.lose(["s"], "it was told to")
        assert await soon((there if new == "b" else here).tools["add"](turn, 1)) == turn + 1
        assert await soon((here if new == "b" else there).tools["add"](turn, 1)) == turn + 1
        two.book.closed = set()


async def test_a_hub_that_is_cut_off_says_so(two: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certainty, "MAX_WAIT_SECONDS", 0.2)
    await two["a"].bridge("s")
    two["a"].store.become(False)
    with pytest.raises(UnavailableError, match=r"cut off .*NATS does not answer") as raised:
        await two["a"].front.get_session_info(pb.GetSessionInfoRequest(session_id="s"))
    assert raised.value.retryable
    assert not two["a"].hub.serving
    assert "NATS" in two["a"].hub.not_serving_reason
    response = await two["a"].front.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="add"))
    assert response.error.type == "WorkerUnavailable"


async def test_a_request_waits_while_its_hub_is_not_certain_for_a_moment(two: MemoryCluster) -> None:
    here, there = await two["a"].bridge("s"), await two["b"].bridge("s")
    two["a"].store.become(False)
    calls = [asyncio.ensure_future(bridge.tools["add"](1, 2)) for bridge in (here, there)]
    await turns(100)
    assert not any(call.done() for call in calls)
    two["a"].store.become(True)
    assert await soon(asyncio.gather(*calls)) == [3, 3]


async def test_a_session_is_looked_for_once_by_all_who_need_it(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    store = two["b"].store
    requests = [two["b"].front.heartbeat(pb.HeartbeatRequest(session_id="s")) for _ in range(50)]
    answers = await asyncio.gather(*requests)
    assert all(answer.session_valid for answer in answers)
    assert store.located == 1


async def test_a_linked_client_keeps_its_session_alive_at_another_hub() -> None:
    settings = Settings(session_idle_timeout=0.3)
    async with MemoryCluster("ab", TOOLS, settings) as cluster:
        await cluster["a"].bridge("s")
        there = await cluster["b"].bridge("s")
        for bridge in cluster["a"].bridges:
            await bridge.client.close()
        session = cluster["a"].hub.store.peek("s")
        assert not session.links
        before = session.last_activity
        await until(lambda: session.last_activity > before)
        await there.client.close()
        await until(lambda: "s" not in cluster["a"].hub.store)


async def test_the_defaults_of_a_session_come_from_its_hub(two: MemoryCluster) -> None:
    config = SessionConfig(default_timeout_ms=1_500)
    await two["a"].front.initialize_session(pb.InitializeSessionRequest(session_id="s", config=config))
    await two["b"].bridge("s")
    assert two["b"].front.session_defaults("s") == two["a"].hub.session_defaults("s")


async def test_an_agent_runs_where_its_session_is(two: MemoryCluster) -> None:
    await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    agents = ObedientAgents()
    async with ToolWorker(MemoryConnection(two["a"].for_clients.serve), agents=agents):
        agent = await there.create_react_agent(SIGNATURE)
        asked = {"agent_id": agent, "input": {"call": "add", "arguments": {"a": 1, "b": 2}}}
        chunks = [chunk async for chunk in there.execute_agent_streaming(asked)]
    assert chunks[-1]["final_answer"]["Answer"] == 3
