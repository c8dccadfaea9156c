"""Agents over every transport: creating, running, attaching, cancelling, and their limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from grpc_tool_bridge import (
    NotFoundError,
    SessionError,
    ToolBridge,
    ToolBridgeError,
    ToolWorker,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ConflictError,
    DeadlineExceededError,
    MessageTooLargeError,
    ProtocolError,
    ResourceExhaustedError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import deserialize_value
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.connections import Connect, World, read
from support.patience import PATIENCE
from support.waiting import soon, until


async def calculate(expression: str) -> int:
    """Adds up."""
    return sum(int(part) for part in expression.split("+"))


async def search_web(query: str) -> list[str]:
    return [query]


async def fail(reason: str) -> None:
    raise RuntimeError(reason)


class Hanging:
    """A tool that waits for ever."""

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0

    async def hang(self) -> None:
        self.running += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.fixture
def agents() -> ObedientAgents:
    return ObedientAgents()


@pytest.fixture
async def world(connect: Connect, agents: ObedientAgents) -> AsyncIterator[World]:
    """A hub with tools and one agent runtime."""
    world = await connect(calculate, search_web, fail)
    async with runtime(world, agents):
        yield world


def runtime(world: World, agents: ObedientAgents, **options: Any) -> ToolWorker:
    return ToolWorker(world.server.address, agents=agents, **options)


async def run(bridge: ToolBridge, agent_id: str, *, given: dict[str, Any] | None = None, **asked: Any) -> list[Any]:
    """Reads a run to its end."""
    request = {"agent_id": agent_id, "input": given or {}, **asked}
    chunks: list[Any] = await soon(_all(bridge.execute_agent_streaming(request)))
    return chunks


async def _all(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


ITSELF: dict[str, Any] = {}
ITSELF["itself"] = ITSELF
SUM = {"call": "calculate", "arguments": {"expression": "2+2"}}


async def test_an_agent_thinks_calls_its_tool_and_answers(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE, tool_names=["search_web", "calculate"], max_iters=3)
    chunks = await run(world.bridge, agent_id, given=SUM)
    assert [chunk["type"] for chunk in chunks] == ["thought", "action", "observation", "result"]
    assert [chunk["sequence"] for chunk in chunks] == [0, 1, 2, 3]
    assert len({chunk["run_id"] for chunk in chunks}) == 1
    thought, action, observation, result = chunks
    assert (thought["text"], thought["step"]) == ("thought 1", 1)
    assert (action["tool_name"], action["tool_input"]) == ("calculate", {"expression": "2+2"})
    assert (observation["output"], observation["error"]) == (4, None)
    assert (result["final_answer"], result["stop_reason"]) == ({"Answer": 4, "tools": 3}, "finished")
    definition = agents.definitions[-1]
    assert (list(definition.tool_names), definition.max_iters) == (["search_web", "calculate"], 3)
    await world.quiet()


async def test_without_stream_only_the_result_comes(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    (result,) = await run(world.bridge, agent_id, given=SUM, stream=False)
    assert (result["type"], result["final_answer"]["Answer"]) == ("result", 4)


async def test_a_runtime_is_asked_for_every_step_whatever_its_first_reader_wants(
    world: World, agents: ObedientAgents
) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    await run(world.bridge, agent_id, stream=False, run_id="mine", timeout=60)
    (request,) = agents.requests
    assert (request.run_id, request.stream, request.from_sequence, request.timeout_ms) == ("mine", True, 0, 0)


async def test_an_error_of_a_tool_is_an_observation_and_the_run_goes_on(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    chunks = await run(world.bridge, agent_id, given={"call": "fail", "arguments": {"reason": "no such luck"}})
    error = chunks[2]["error"]
    assert (error["type"], error["message"], error["details"]["origin"]) == ("RuntimeError", "no such luck", "tool")
    assert chunks[-1]["stop_reason"] == "finished"


async def test_a_run_of_more_than_a_link_holds_comes_whole(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    query = "x" * 600_000
    chunks = await run(world.bridge, agent_id, given={"call": "search_web", "arguments": {"query": query}})
    assert [chunk["type"] for chunk in chunks] == ["thought", "action", "observation", "result"]
    assert chunks[-1]["final_answer"]["Answer"] == [query]


async def test_a_tool_that_is_missing_is_an_observation_too(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    chunks = await run(world.bridge, agent_id, given={"call": "calculat"})
    assert chunks[2]["error"]["type"] == "ToolNotFound"
    assert "did you mean calculate" in chunks[2]["error"]["message"]


async def test_an_error_of_the_run_is_raised_with_its_type(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    seen: list[Any] = []
    with pytest.raises(ValidationError, match="the model said nothing of use"):
        await soon(
            read(
                world.bridge.execute_agent_streaming(
                    {"agent_id": agent_id, "input": {"raise": "the model said nothing of use"}}
                ),
                seen,
            )
        )
    assert [chunk["type"] for chunk in seen] == ["thought"]


async def test_a_run_that_its_runtime_ends_without_a_result_is_a_protocol_error(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    with pytest.raises(ProtocolError, match="without a result"):
        await run(world.bridge, agent_id, given={"end": True})


async def test_the_runtime_says_what_is_wrong_with_a_definition_at_once(world: World) -> None:
    with pytest.raises(ValidationError, match="'nonsense' is no signature"):
        await world.bridge.create_react_agent("nonsense")


async def test_a_definition_that_is_too_large_is_told_to_no_runtime(world: World, agents: ObedientAgents) -> None:
    with pytest.raises(MessageTooLargeError, match="the definition of an agent"):
        await world.bridge.create_react_agent(SIGNATURE, llm_config={"model": "x" * 300_000})
    with pytest.raises(ValidationError, match="signature has at most 262,144 characters"):
        await world.bridge.create_react_agent(SIGNATURE + "x" * 300_000)
    with pytest.raises(ValidationError, match="tool_names has at most 1,000 entries"):
        await world.bridge.create_react_agent(SIGNATURE, tool_names=[f"t{number}" for number in range(1_001)])
    assert not agents.definitions


async def test_a_number_of_steps_below_zero_is_refused_by_the_hub(world: World, agents: ObedientAgents) -> None:
    request = pb.CreateReActAgentRequest(session_id=world.session_id, signature=SIGNATURE, max_iters=-1)
    with pytest.raises(ValidationError, match=r"max_iters must be 0 \(the default\) or more, not -1"):
        await world.bridge.client.call("CreateReActAgent", request)
    assert not agents.definitions


async def test_an_unknown_tool_is_refused_by_name_with_what_is_like_it(world: World) -> None:
    with pytest.raises(NotFoundError, match="sees no tool 'calculat'; did you mean calculate"):
        await world.bridge.create_react_agent(SIGNATURE, tool_names=["search_web", "calculat"])


async def test_the_session_says_whether_there_are_agents(world: World, agents: ObedientAgents) -> None:
    async def capabilities() -> list[str]:
        response = await world.bridge.client.call(
            "InitializeSession", pb.InitializeSessionRequest(session_id=world.session_id)
        )
        return list(response.capabilities)

    assert "agents" in await capabilities()


async def test_without_a_runtime_a_create_says_how_to_start_one(connect: Connect) -> None:
    world = await connect(calculate)
    with pytest.raises(UnavailableError, match="no agent runtime is connected; start one with grpc-tool-bridge worker"):
        await world.bridge.create_react_agent(SIGNATURE)


async def test_a_worker_that_runs_no_agents_is_given_none(connect: Connect, agents: ObedientAgents) -> None:
    world = await connect()
    async with ToolWorker(world.server.address, tools=[calculate]):
        with pytest.raises(UnavailableError, match="no agent runtime is connected"):
            await world.bridge.create_react_agent(SIGNATURE)
        opening = pb.InitializeSessionRequest(session_id=world.session_id)
        assert "agents" not in (await world.bridge.client.call("InitializeSession", opening)).capabilities
        async with runtime(world, agents):
            agent_id = await world.bridge.create_react_agent(SIGNATURE)
            assert (await run(world.bridge, agent_id, given=SUM))[-1]["final_answer"]["Answer"] == 4


async def test_the_same_definition_is_the_same_agent_and_others_are_bounded(
    connect: Connect, agents: ObedientAgents
) -> None:
    world = await connect(calculate, max_session_agents=2)
    async with runtime(world, agents):
        first = await world.bridge.create_react_agent(SIGNATURE)
        assert await world.bridge.create_react_agent(SIGNATURE) == first
        assert await world.bridge.create_react_agent(SIGNATURE, max_iters=2) != first
        with pytest.raises(ResourceExhaustedError, match="max_session_agents"):
            await world.bridge.create_react_agent(SIGNATURE, max_iters=3)
        # One that is there is in nobody's place.
        assert await world.bridge.create_react_agent(SIGNATURE) == first


async def test_tools_that_are_named_otherwise_or_twice_are_the_same_agent(world: World, agents: ObedientAgents) -> None:
    async def create(*names: str) -> pb.CreateReActAgentResponse:
        request = pb.CreateReActAgentRequest(session_id=world.session_id, signature=SIGNATURE, tool_names=names)
        response: pb.CreateReActAgentResponse = await world.bridge.client.call("CreateReActAgent", request)
        assert list(agents.definitions[-1].tool_names) == ["calculate", "fail"]
        return response

    made = await create("calculate", "fail")
    assert (made.tool_count, list(made.capabilities)) == (2, ["streaming"])
    assert await create("calculate", "fail", "calculate") == made
    assert await create(*(world.tools[name].spec.tool_id for name in ("calculate", "fail"))) == made


async def test_an_agent_belongs_to_its_session(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    other = await world.attach()
    with pytest.raises(NotFoundError, match="has no agent") as caught:
        await run(other, agent_id)
    assert caught.value.error_type == "AgentNotFound"


async def test_a_runtime_that_has_forgotten_an_agent_is_told_again(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    agents.forgets = 2
    assert (await run(world.bridge, agent_id))[-1]["type"] == "result"
    agents.forgets = 3
    with pytest.raises(NotFoundError, match="no such agent here"):
        await run(world.bridge, agent_id)


# ------------------------------------------------------------------------------------------------------- attaching


async def test_a_second_reader_attaches_from_where_it_says(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    first: list[Any] = []
    asked = {"agent_id": agent_id, "input": {"think": 3, "wait": True}, "run_id": "mine"}
    reading = asyncio.create_task(read(world.bridge.execute_agent_streaming(asked), first))
    await until(lambda: len(first) == 3)
    second: list[Any] = []
    attached = world.bridge.execute_agent_streaming({"run_id": "mine", "from_sequence": 1})
    also_reading = asyncio.create_task(read(attached, second))
    await until(lambda: len(second) == 2)
    agents.go_on.set()
    await soon(asyncio.gather(reading, also_reading))
    assert second == first[1:]
    # And once it is over.
    assert await run(world.bridge, agent_id, given={"think": 3, "wait": True}, run_id="mine") == first
    assert len(agents.requests) == 1


async def test_another_input_under_the_same_run_id_is_refused(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    await run(world.bridge, agent_id, given={"think": 1}, run_id="mine")
    other_id = await world.bridge.create_react_agent(SIGNATURE, max_iters=2)
    others: list[dict[str, Any]] = [
        {"agent_id": agent_id, "given": {"think": 2}},
        {"agent_id": agent_id, "given": {"think": 1}, "context": {"user": "other"}},
        {"agent_id": other_id, "given": {"think": 1}},
    ]
    for other in others:
        with pytest.raises(ConflictError, match="choose another run_id") as caught:
            await run(world.bridge, **other, run_id="mine")
        assert caught.value.error_type == "IdempotencyConflict"


async def test_the_context_of_a_run_reaches_its_runtime(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    await run(world.bridge, agent_id, context={"user": "me"})
    (request,) = agents.requests
    assert deserialize_value(request.context["user"]) == "me"


async def test_a_run_that_is_not_there_is_not_begun_by_who_wants_to_go_on_with_it(
    world: World, agents: ObedientAgents
) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    with pytest.raises(NotFoundError, match="has no run 'mine'"):
        await run(world.bridge, agent_id, run_id="mine", from_sequence=2)
    with pytest.raises(NotFoundError, match="has no run 'mine'"):
        await soon(_all(world.bridge.execute_agent_streaming({"run_id": "mine"})))
    assert not agents.requests


async def test_who_goes_on_with_a_run_says_with_which(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    request = pb.ExecuteAgentRequest(session_id=world.session_id, agent_id=agent_id, from_sequence=1, stream=True)
    request.input.SetInParent()
    with pytest.raises(ValidationError, match="it needs the run_id"):
        await soon(_all(world.hub.agents.execute(request)))
    assert not agents.requests


@pytest.mark.parametrize(
    ("run_id", "text"),
    [("x" * 300, "run_id has at most 256 characters"), ("a\nb", "a run id must have only printable")],
)
async def test_a_run_id_that_no_chunk_should_carry_is_refused(
    world: World, agents: ObedientAgents, run_id: str, text: str
) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    with pytest.raises(ValidationError, match=text):
        await run(world.bridge, agent_id, run_id=run_id)
    assert not agents.requests


async def test_a_chunk_that_is_still_to_come_cannot_be_asked_for(world: World) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    await run(world.bridge, agent_id, run_id="mine")
    with pytest.raises(ValidationError, match="has 2 chunks so far; from_sequence is 3"):
        await run(world.bridge, agent_id, run_id="mine", from_sequence=3)


async def test_what_is_kept_of_a_run_is_bounded_and_what_is_gone_is_said(
    connect: Connect, agents: ObedientAgents
) -> None:
    world = await connect(calculate, agent_run_bytes=500)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        await run(world.bridge, agent_id, given={"think": 40}, run_id="mine", stream=False)
        with pytest.raises(
            ValidationError, match="chunk 0 of run 'mine' was evicted; the oldest kept chunk is"
        ) as caught:
            await run(world.bridge, agent_id, given={"think": 40}, run_id="mine")
        first = int(caught.value.details["first_sequence"])
        rest = await run(world.bridge, agent_id, given={"think": 40}, run_id="mine", from_sequence=first)
        assert [chunk["sequence"] for chunk in rest] == list(range(first, 41))
        # The end is there whatever has gone.
        (result,) = await run(world.bridge, agent_id, given={"think": 40}, run_id="mine", stream=False)
        assert result["sequence"] == 40


async def test_a_run_that_nobody_reads_is_forgotten_after_its_ttl(connect: Connect, agents: ObedientAgents) -> None:
    world = await connect(calculate, agent_run_ttl=0.01)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        await run(world.bridge, agent_id, run_id="mine")
        (session,) = [s for s in world.hub.store.sessions() if s.id == world.session_id]
        await until(lambda: not world.hub.agents.of(session).runs)


async def test_runs_of_a_session_are_bounded_and_those_that_are_over_give_way(
    connect: Connect, agents: ObedientAgents
) -> None:
    world = await connect(calculate, max_session_runs=2)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        waiting = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True}))
        await agents.begun()
        for _ in range(3):
            await run(world.bridge, agent_id)
        also_waiting = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True}))
        await agents.begun(2)
        with pytest.raises(ResourceExhaustedError, match="max_session_runs") as caught:
            await run(world.bridge, agent_id)
        assert caught.value.retry_after == 1
        agents.go_on.set()
        await soon(asyncio.gather(waiting, also_waiting))


# ------------------------------------------------------------------------------------------------------ cancelling


async def test_who_only_looks_on_leaves_the_run_to_who_began_it(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    other = await world.attach(world.session_id)
    reading = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True}, run_id="mine"))
    await agents.begun()
    async with aclosing(other.execute_agent_streaming({"run_id": "mine"})) as looking_on:
        assert (await soon(anext(looking_on)))["type"] == "thought"
    # A call that comes after the end of the look has found the run as it was.
    assert (await other.client.get_metrics("hub.agent_runs"))["hub.agent_runs"].integer_value == 1
    agents.go_on.set()
    assert (await soon(reading))[-1]["type"] == "result"
    assert not agents.cancelled


async def test_closing_the_iterator_cancels_the_run(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    async with aclosing(world.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"wait": True}})) as run:
        await soon(anext(run))
    await agents.quiet()
    assert agents.cancelled == 1
    await world.quiet()


async def test_cancelling_who_reads_cancels_the_run(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    reading = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True}))
    await agents.begun()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await agents.quiet()
    assert agents.cancelled == 1


async def test_a_run_that_is_cancelled_by_id_tells_its_reader_and_stops_its_tool(
    connect: Connect, agents: ObedientAgents
) -> None:
    tool = Hanging()
    world = await connect(tool.hang)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        reading = asyncio.create_task(run(world.bridge, agent_id, given={"call": "hang"}, run_id="mine"))
        await until(lambda: tool.running)
        other = await world.attach(world.session_id)
        await other.cancel_agent_run("mine")
        with pytest.raises(CallCancelledError, match="cancelled by its caller"):
            await soon(reading)
        await until(lambda: tool.cancelled)
        await agents.quiet()
        # Again it changes nothing.
        request = pb.CancelAgentRunRequest(session_id=world.session_id, run_id="mine")
        assert "was over already" in (await other.client.call("CancelAgentRun", request)).message
        with pytest.raises(NotFoundError, match="has no run 'another'"):
            await other.cancel_agent_run("another")
        await world.quiet()


async def test_the_time_of_a_run_ends_it_with_its_tool(connect: Connect, agents: ObedientAgents) -> None:
    tool = Hanging()
    world = await connect(tool.hang)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        with pytest.raises(DeadlineExceededError, match="did not end within its deadline"):
            await run(world.bridge, agent_id, given={"call": "hang"}, timeout=0.2)
        await until(lambda: tool.cancelled)
        await agents.quiet()
        await world.quiet()


async def test_a_run_that_is_given_no_time_has_that_of_the_hub(connect: Connect, agents: ObedientAgents) -> None:
    world = await connect(agent_timeout=0.2)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        with pytest.raises(DeadlineExceededError, match="did not end within its deadline"):
            await run(world.bridge, agent_id, given={"wait": True})
        await agents.quiet()


async def test_an_input_beyond_what_a_message_may_hold_is_refused_by_the_hub(
    connect: Connect, agents: ObedientAgents
) -> None:
    world = await connect(max_message_bytes=10_000)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        request = pb.ExecuteAgentRequest(session_id=world.session_id, agent_id=agent_id, stream=True)
        request.input.update({"text": "x" * 10_000})
        with pytest.raises(MessageTooLargeError, match="the input of an agent"):
            await soon(_all(world.hub.agents.execute(request)))
        assert not agents.requests


async def test_a_session_that_ends_takes_its_runs_with_it(world: World, agents: ObedientAgents) -> None:
    other = await world.attach()
    agent_id = await other.create_react_agent(SIGNATURE)
    reading = asyncio.create_task(run(other, agent_id, given={"wait": True}))
    await agents.begun()
    (session,) = [s for s in world.hub.store.sessions() if s.id == other.session_id]
    await other.client.cleanup_session(force=True)
    with pytest.raises(CallCancelledError, match="it was removed"):
        await soon(reading)
    await agents.quiet()
    assert not world.hub.agents.of(session).runs
    with pytest.raises(SessionError):
        await run(other, agent_id)


async def test_a_hub_that_ends_leaves_no_run_behind(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    await run(world.bridge, agent_id)
    reading = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True}))
    await agents.begun()
    (session,) = [s for s in world.hub.store.sessions() if s.id == world.session_id]
    await world.hub.agents.aclose()
    assert (world.hub.agents.active, world.hub.agents.of(session).runs) == (0, {})
    with pytest.raises(CallCancelledError, match="the hub is shutting down"):
        await soon(reading)
    await agents.quiet()


async def test_a_hub_that_is_about_to_end_begins_no_run_and_goes_on_with_those_there_are(
    world: World, agents: ObedientAgents
) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    reading = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True}, run_id="mine"))
    await agents.begun()
    world.hub.admission.draining = True
    with pytest.raises(UnavailableError, match="takes no new calls"):
        await soon(
            _all(world.hub.agents.execute(pb.ExecuteAgentRequest(session_id=world.session_id, agent_id=agent_id)))
        )
    with pytest.raises(UnavailableError, match="takes no new calls"):
        await world.bridge.create_react_agent(SIGNATURE, max_iters=2)
    agents.go_on.set()
    chunks = await soon(reading)
    assert await run(world.bridge, agent_id, given={"wait": True}, run_id="mine") == chunks
    assert len(agents.requests) == 1


async def test_limits_of_tools_that_set_none_are_not_those_of_agents(connect: Connect, agents: ObedientAgents) -> None:
    world = await connect(rate_limit_per_minute=1)
    async with runtime(world, agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        for _ in range(2):
            assert (await run(world.bridge, agent_id))[-1]["type"] == "result"


async def test_a_run_counts_as_a_call_of_its_session(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    reading = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True}))
    await agents.begun()
    assert await world.active_operations() == 1
    # The runtime has begun; what it told the hub of that may be on its way.
    async with asyncio.timeout(PATIENCE):
        while True:
            metrics = await world.bridge.client.get_metrics("hub.agent_*")
            if metrics["hub.agent_run_bytes"].integer_value:
                break
            # In the hub's own process the question itself waits for nothing.
            await asyncio.sleep(0.002)
    assert metrics["hub.agent_runs"].integer_value == 1
    agents.go_on.set()
    await soon(reading)
    await world.quiet()


# -------------------------------------------------------------------------------------------------------- runtimes


async def test_of_two_runtimes_the_one_with_fewer_runs_gets_the_next(world: World, agents: ObedientAgents) -> None:
    others = ObedientAgents()
    async with runtime(world, others):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        runs = []
        for number in range(4):
            runs.append(asyncio.create_task(run(world.bridge, agent_id, given={"wait": True})))
            await until(lambda count=number + 1: agents.running + others.running == count)  # type: ignore[misc]
        assert (agents.running, others.running) == (2, 2)
        agents.go_on.set()
        others.go_on.set()
        await soon(asyncio.gather(*runs))


async def test_runtimes_that_are_full_refuse_with_a_time_to_come_back(connect: Connect, agents: ObedientAgents) -> None:
    world = await connect(calculate)
    async with runtime(world, agents, capacity=1):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        first = asyncio.create_task(run(world.bridge, agent_id, given={"wait": True, **SUM}))
        await agents.begun()
        with pytest.raises(ResourceExhaustedError, match="the agent runtimes are busy") as caught:
            await run(world.bridge, agent_id)
        assert caught.value.retry_after == 1
        agents.go_on.set()
        assert (await soon(first))[-1]["final_answer"]["Answer"] == 4


async def test_an_agent_calls_the_tools_of_its_own_runtime(connect: Connect, agents: ObedientAgents) -> None:
    world = await connect()
    async with runtime(world, agents, tools=[calculate], capacity=1):
        agent_id = await world.bridge.create_react_agent(SIGNATURE, tool_names=["calculate"])
        assert (await run(world.bridge, agent_id, given=SUM))[-1]["final_answer"]["Answer"] == 4


async def test_fifty_agents_run_at_once_on_one_runtime(world: World, agents: ObedientAgents) -> None:
    agent_id = await world.bridge.create_react_agent(SIGNATURE)
    runs = [
        asyncio.create_task(
            run(
                world.bridge,
                agent_id,
                given={"wait": True, "call": "calculate", "arguments": {"expression": f"{number}+1"}},
            )
        )
        for number in range(50)
    ]
    await agents.begun(50)
    agents.go_on.set()
    answers = [chunks[-1]["final_answer"]["Answer"] for chunks in await soon(asyncio.gather(*runs))]
    assert answers == list(range(1, 51))
    await world.quiet()


async def test_five_sessions_run_their_agents_at_once(world: World) -> None:
    bridges = [await world.attach(f"concurrent_session_{number}") for number in range(5)]
    ids = await asyncio.gather(*(bridge.create_react_agent(SIGNATURE) for bridge in bridges))
    runs = await asyncio.gather(
        *(run(bridge, agent_id, given=SUM) for bridge, agent_id in zip(bridges, ids, strict=True))
    )
    assert [chunks[-1]["final_answer"]["Answer"] for chunks in runs] == [4] * 5


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"input": {}}, "needs the agent_id"),
        ({"agent_id": "a", "inputs": {}}, "it was given inputs"),
        ({"agent_id": "a", "input": {"when": object()}}, "a dict of JSON values"),
        ({"agent_id": "a", "input": {}, "timeout": 0}, "the run: the timeout is 0 s"),
    ],
)
async def test_a_request_that_cannot_be_is_refused_by_what_is_wrong(
    world: World, asked: dict[str, Any], text: str
) -> None:
    with pytest.raises(ToolBridgeError, match=text):
        await soon(_all(world.bridge.execute_agent_streaming(asked)))


# A bridge of the hub's own process belongs to the hub's event loop.
@pytest.mark.parametrize("connect", ["grpc", "link"], indirect=True)
async def test_a_program_without_an_event_loop_runs_agents(connect: Connect, agents: ObedientAgents) -> None:
    world = await connect(calculate)

    def program() -> list[str]:
        with world.make_bridge().sync as bridge:
            bridge.initialize()
            agent_id = bridge.create_react_agent(SIGNATURE)
            return [chunk["type"] for chunk in bridge.execute_agent_streaming({"agent_id": agent_id, "input": SUM})]

    async with runtime(world, agents):
        assert await soon(asyncio.to_thread(program)) == ["thought", "action", "observation", "result"]
