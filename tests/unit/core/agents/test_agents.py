"""The agents of sessions: what is asked of a runtime, which runtime, and what a run comes to."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from grpc_tool_bridge.auth.quotas.quotas import Quotas
from grpc_tool_bridge.auth.quotas.rules import QuotaRule
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import infos
from grpc_tool_bridge.core.agents import runs
from grpc_tool_bridge.core.agents import runtimes as module
from grpc_tool_bridge.core.agents.agents import MAX_DEFINITION_BYTES, Agents
from grpc_tool_bridge.core.agents.runs import RunReader
from grpc_tool_bridge.core.agents.runtimes import MAX_TELLINGS
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.errors import (
    AccessError,
    CallCancelledError,
    ConflictError,
    DeadlineExceededError,
    MessageTooLargeError,
    NotFoundError,
    ProtocolError,
    ResourceExhaustedError,
    SessionExpiredError,
    StoreError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    error_from_info,
    error_info,
)
from grpc_tool_bridge.link.calls import WorkerCall
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext
from support.patience import PATIENCE
from support.waiting import soon, turns, until
from unit.core.agents.held_store import HeldStore
from unit.core.workers.test_pool import CALM, FakeLink

SIGNATURE = "Question -> Answer"


class FakeRuntime(FakeLink):
    """The link of an agent runtime that does as the test says."""

    features = ("agents",)

    async def asked(self, count: int = 1) -> WorkerCall:
        """Waits until so many calls are open; returns the last."""
        await until(lambda: len(self.open) >= count, f"for {count} calls")
        return self.open[count - 1]

    async def take_agent(self, agent_id: str = "there", *, index: int = 0) -> None:
        """Answers that it has the agent that it is told of."""
        await self.asked(index + 1)
        response = pb.CreateReActAgentResponse(agent_id=agent_id, capabilities=["streaming"])
        self.reply(response.SerializeToString(), index=index)

    async def take_run(self, *, index: int = 0) -> WorkerCall:
        """Answers that it has the agent, and returns the run that it is given then."""
        await self.take_agent(index=index)
        return await self.asked(index + 1)

    def refuse(self, error: ToolBridgeError, *, index: int = 0) -> None:
        """Ends a call with an error."""
        call = self.open.pop(index)
        self.cancel(call)
        call.on_end(pb.LinkStatus(code=2, error=error_info(error)))

    def request(self) -> pb.ExecuteAgentRequest:
        """Reads what it was asked last."""
        return pb.ExecuteAgentRequest.FromString(self.payloads[-1])


class World:
    """A hub's inner parts, a session with tools, and agent runtimes."""

    def __init__(self, **settings: Any) -> None:
        self.store = SessionStore(Settings(**{**CALM, "worker_grace_period": 0.0, **settings}))
        self.registry = ToolRegistry(self.store)
        self.pool = WorkerPool(self.registry)
        self.executor = Executor(self.store, self.registry)
        self.agents = Agents(self.store, self.registry, self.pool, self.executor)
        self.session: Session
        self.tasks: list[asyncio.Task[Any]] = []

    async def open(self) -> None:
        self.session = await self.store.create_session("s")
        tools = FakeLink(self.pool)
        self.pool.register(tools, pb.RegisterToolsRequest(tools=[pb.ToolSpec(name="add"), pb.ToolSpec(name="search")]))

    async def close(self) -> None:
        await self.agents.aclose()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.pool.aclose()

    def runtime(self, name: str = "", capacity: int = 0) -> FakeRuntime:
        runtime = FakeRuntime(self.pool)
        self.pool.register(runtime, pb.RegisterToolsRequest(worker_id=name, capacity=capacity))
        return runtime

    def begin(self, coroutine: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(coroutine)
        self.tasks.append(task)
        return task

    def creating(self, **fields: Any) -> "asyncio.Task[Any]":
        return self.begin(self.agents.create(definition(**fields)))

    async def agent(self, runtime: FakeRuntime, **fields: Any) -> str:
        """Creates an agent; returns its id."""
        creating = self.creating(**fields)
        await runtime.take_agent()
        return str((await soon(creating)).agent_id)

    def reader(self, agent_id: str, *, deadline: float | None = None, **fields: Any) -> RunReader:
        request = pb.ExecuteAgentRequest(session_id="s", agent_id=agent_id, **{"stream": True, **fields})
        request.input.SetInParent()
        return self.agents.execute(request, RequestContext(deadline=deadline))

    def running(self, agent_id: str, **fields: Any) -> "asyncio.Task[list[pb.AgentExecutionChunk]]":
        """Begins a run and reads it to its end."""
        return self.begin(_all(self.reader(agent_id, **fields)))

    async def quiet(self) -> None:
        """Waits until nothing counts any more that was begun."""
        await until(lambda: not self.agents.active, "for every run to end")
        assert self.executor.admission.active == 0
        assert self.session.active == 0
        assert not self.session.calls


async def _all(reader: Any) -> list[pb.AgentExecutionChunk]:
    return [chunk async for chunk in reader]


def definition(**fields: Any) -> pb.CreateReActAgentRequest:
    return pb.CreateReActAgentRequest(**{"session_id": "s", "signature": SIGNATURE, **fields})


def thought(sequence: int = 0, text: str = "I think.") -> bytes:
    return pb.AgentExecutionChunk(sequence=sequence, thought=pb.ThoughtChunk(text=text)).SerializeToString()


def result(sequence: int = 0) -> bytes:
    return pb.AgentExecutionChunk(sequence=sequence, result=pb.ResultChunk(stop_reason="finished")).SerializeToString()


def error_of(chunks: list[pb.AgentExecutionChunk]) -> ToolBridgeError:
    """Returns the error that a run ended with."""
    assert [chunk.WhichOneof("content") for chunk in chunks].count("error") == 1
    return error_from_info(chunks[-1].error)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.close()


async def made(**settings: Any) -> World:
    world = World(**settings)
    await world.open()
    return world


# --------------------------------------------------------------------------------------------------------- creating


async def test_a_runtime_is_told_of_an_agent_as_it_was_asked_for(world: World) -> None:
    runtime = world.runtime()
    creating = world.creating(tool_names=["search", "add", "search"], max_iters=3)
    await runtime.take_agent()
    response = await soon(creating)
    assert (response.tool_count, list(response.capabilities)) == (2, ["streaming"])
    told = pb.CreateReActAgentRequest.FromString(runtime.payloads[0])
    assert (told.signature, list(told.tool_names), told.max_iters) == (SIGNATURE, ["search", "add"], 3)
    await world.quiet()


async def test_without_names_an_agent_has_every_tool_that_the_session_sees(world: World) -> None:
    runtime = world.runtime()
    creating = world.creating()
    await runtime.take_agent()
    assert (await soon(creating)).tool_count == 2
    assert not pb.CreateReActAgentRequest.FromString(runtime.payloads[0]).tool_names


async def test_who_watches_is_told_when_a_session_gets_another_agent_and_when_it_ends(world: World) -> None:
    runtime = world.runtime()
    told: list[str] = []
    world.agents.watch(told.append)
    assert world.agents.definitions("s") == world.agents.definitions("none") == {}
    first = await world.agent(runtime, tool_names=["add"])
    # The same one again is no change.
    assert await world.agent(runtime, tool_names=["add"]) == first
    assert told == ["s"]
    ((agent_id, made_of),) = world.agents.definitions("s").items()
    assert (agent_id, made_of.signature, list(made_of.tool_names)) == (first, SIGNATURE, ["add"])
    world.agents.session_ended(world.session, SessionExpiredError("it ended"))
    assert told == ["s", "s"]
    assert world.agents.definitions("s") == {}


async def test_an_id_tells_apart_what_is_asked_for_differently(world: World) -> None:
    runtime = world.runtime()
    first = await world.agent(runtime)
    assert await world.agent(runtime) == first
    others = {await world.agent(runtime, max_iters=2), await world.agent(runtime, tool_names=["add"])}
    assert len(others | {first}) == 3


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"tool_names": ["ad"]}, NotFoundError, "'ad'; did you mean add"),
        ({"tool_names": ["add"] * 1_001}, ValidationError, "tool_names has at most 1,000 entries"),
        ({"max_iters": -1}, ValidationError, "max_iters must be 0"),
        ({"signature": "x" * MAX_DEFINITION_BYTES}, MessageTooLargeError, "message too large"),
        ({"session_id": "none"}, NotFoundError, "none"),
    ],
)
async def test_a_definition_that_cannot_be_reaches_no_runtime(
    world: World, fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    runtime = world.runtime()
    with pytest.raises(error, match=text):
        await world.agents.create(definition(**fields))
    assert not runtime.payloads
    await world.quiet()


async def test_what_a_runtime_refuses_is_refused_as_it_says(world: World) -> None:
    runtime = world.runtime()
    creating = world.creating()
    await runtime.asked()
    runtime.refuse(AccessError("the agent runtime does not offer the model 'x'"))
    with pytest.raises(AccessError, match="does not offer the model 'x'"):
        await soon(creating)
    assert not world.agents.of(world.session).agents
    creating = world.creating()
    await runtime.asked()
    refusal = pb.CreateReActAgentResponse(error=error_info(ValidationError("no signature")))
    runtime.reply(refusal.SerializeToString())
    with pytest.raises(ValidationError, match="no signature"):
        await soon(creating)
    assert not world.agents.of(world.session).agents
    await world.quiet()


@pytest.mark.parametrize(
    ("answer", "text"), [(b"\xff\xff", "cannot be read"), (b"", "has no agent_id")], ids=["broken", "empty"]
)
async def test_what_is_no_answer_of_a_runtime_is_a_protocol_error(world: World, answer: bytes, text: str) -> None:
    runtime = world.runtime()
    creating = world.creating()
    await runtime.asked()
    runtime.reply(answer)
    with pytest.raises(ProtocolError, match=text):
        await soon(creating)
    assert not world.agents.of(world.session).agents


async def test_a_runtime_that_is_lost_while_it_is_told_is_one_error(world: World) -> None:
    runtime = world.runtime()
    creating = world.creating()
    await runtime.asked()
    world.pool.on_disconnect(runtime, "its link broke")
    with pytest.raises(UnavailableError, match=r"the agent runtime was lost: .*its link broke"):
        await soon(creating)
    await world.quiet()


async def test_a_session_that_ends_while_its_agent_is_made_says_so(world: World) -> None:
    runtime = world.runtime()
    creating = world.creating()
    call = await runtime.asked()
    assert world.session.calls
    (waiting,) = world.session.calls
    waiting.cancel(CallCancelledError("the session was removed"))
    with pytest.raises(CallCancelledError, match="the session was removed"):
        await soon(creating)
    assert call not in runtime.waiting, "the runtime is told that nobody waits"
    await world.quiet()


async def test_agents_that_are_made_at_once_are_bounded_as_well() -> None:
    world = await made(max_session_agents=2)
    runtime = world.runtime()
    creating = [world.creating(max_iters=number) for number in range(1, 6)]
    await runtime.asked(5)
    for _ in creating:
        await runtime.take_agent()
    done = await asyncio.gather(*creating, return_exceptions=True)
    assert [type(outcome) for outcome in done].count(ResourceExhaustedError) == 3
    assert len(world.agents.of(world.session).agents or ()) == 2
    await world.close()


async def test_agents_of_a_session_are_bounded() -> None:
    world = await made(max_session_agents=1)
    runtime = world.runtime()
    await world.agent(runtime)
    with pytest.raises(ResourceExhaustedError, match="has 1 agents, which is its limit"):
        await world.agents.create(definition(max_iters=7))
    await world.agent(runtime)
    await world.close()


# --------------------------------------------------------------------------------------------------------- runtimes


async def test_a_worker_without_agents_is_no_runtime(world: World) -> None:
    assert not world.agents.available
    with pytest.raises(UnavailableError, match="no agent runtime is connected"):
        await world.agents.create(definition())
    world.runtime()
    assert world.agents.available


async def test_a_runtime_that_leaves_gets_nothing_more(world: World) -> None:
    runtime = world.runtime()
    world.pool.on_drain(runtime)
    assert not world.agents.available
    with pytest.raises(UnavailableError, match="no agent runtime is connected"):
        await world.agents.create(definition())


async def test_a_runtime_that_does_not_answer_is_passed_over(world: World) -> None:
    silent, other = world.runtime("silent"), world.runtime("other")
    for worker in world.pool.workers():
        worker.suspect = worker.link is silent
    await world.agent(other)
    assert not silent.payloads
    for worker in world.pool.workers():
        worker.suspect = True
    with pytest.raises(UnavailableError, match="the agent runtime does not answer"):
        await world.agents.create(definition())
    # It may answer again; until it is out there are agents.
    assert world.agents.available


async def test_the_runtime_with_the_fewest_calls_gets_the_next_and_full_ones_none(world: World) -> None:
    first, second = world.runtime("first", capacity=1), world.runtime("second", capacity=1)
    world.creating()
    await first.asked()
    world.creating()
    await second.asked()
    third = world.runtime("third", capacity=2)
    for _ in range(2):
        # It has more calls than the others, and room.
        world.creating()
    await third.asked(2)
    with pytest.raises(ResourceExhaustedError, match=r"each has as many calls as it takes \(1, 1, 2\)") as caught:
        await world.agents.create(definition())
    assert caught.value.retry_after == 1


# ---------------------------------------------------------------------------------------------------------- running


async def test_a_run_asks_for_all_steps_from_the_first_whatever_its_reader_wants(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime), stream=False, run_id="mine", timeout_ms=5_000)
    call = await runtime.take_run()
    request = runtime.request()
    assert (request.agent_id, request.run_id, request.stream, request.from_sequence) == ("there", "mine", True, 0)
    # The link tells it how much time is left.
    assert request.timeout_ms == 0
    call.on_message(thought())
    call.on_message(result(1))
    (last,) = await soon(running)
    assert (last.sequence, last.run_id, last.result.stop_reason) == (1, "mine", "finished")
    # Of what follows there is none, so nothing need be granted for the last.
    assert runtime.granted == len(thought())
    await world.quiet()


async def test_an_agent_of_another_session_is_not_found(world: World) -> None:
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    await world.store.create_session("other")
    request = pb.ExecuteAgentRequest(session_id="other", agent_id=agent_id)
    with pytest.raises(NotFoundError, match="session 'other' has no agent") as caught:
        await soon(_all(world.agents.execute(request)))
    assert caught.value.error_type == "AgentNotFound"


async def test_a_run_of_another_session_is_neither_read_nor_cancelled(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime), run_id="mine")
    call = await runtime.take_run()
    await world.store.create_session("other")
    with pytest.raises(NotFoundError, match="session 'other' has no run 'mine'"):
        await soon(_all(world.agents.execute(pb.ExecuteAgentRequest(session_id="other", run_id="mine"))))
    with pytest.raises(NotFoundError, match="session 'other' has no run 'mine'"):
        world.agents.cancel(pb.CancelAgentRunRequest(session_id="other", run_id="mine"))
    call.on_message(result())
    await soon(running)


async def test_a_runtime_that_forgot_the_agent_is_told_again_but_not_for_ever(world: World) -> None:
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    forgotten = NotFoundError("no such agent here", error_type="AgentNotFound")
    running = world.running(agent_id)
    for _ in range(MAX_TELLINGS - 1):
        await runtime.take_run()
        runtime.refuse(forgotten)
    (await runtime.take_run()).on_message(result())
    assert len(await soon(running)) == 1
    runtime.end()
    running = world.running(agent_id)
    for _ in range(MAX_TELLINGS):
        await runtime.take_run()
        runtime.refuse(forgotten)
    assert "no such agent here" in error_of(await soon(running)).message
    await world.quiet()


async def test_a_run_that_has_begun_is_not_begun_again(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    (await runtime.take_run()).on_message(thought())
    runtime.refuse(NotFoundError("no such agent here", error_type="AgentNotFound"))
    chunks = await soon(running)
    assert "no such agent here" in error_of(chunks).message
    assert [chunk.sequence for chunk in chunks] == [0, 1]
    assert len(runtime.payloads) == 3
    await world.quiet()


async def test_a_runtime_that_is_lost_ends_the_run_with_one_error(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    (await runtime.take_run()).on_message(thought())
    world.pool.on_disconnect(runtime, "its link broke")
    error = error_of(await soon(running))
    assert isinstance(error, UnavailableError)
    assert "the agent runtime was lost in the middle of the run" in error.message
    assert error.retryable
    await world.quiet()


async def test_a_runtime_that_is_lost_before_it_has_the_run_leaves_it_to_another(world: World) -> None:
    first = world.runtime("first")
    running = world.running(await world.agent(first))
    await first.asked()
    second = world.runtime("second")
    world.pool.on_disconnect(first, "its link broke")
    (await second.take_run()).on_message(result())
    assert [chunk.WhichOneof("content") for chunk in await soon(running)] == ["result"]
    running = world.running(next(iter(world.agents.of(world.session).agents or ())))
    second.end()
    await second.asked()
    world.pool.on_disconnect(second, "its link broke")
    assert "no agent runtime is connected" in error_of(await soon(running)).message
    await world.quiet()


async def test_a_stream_without_a_last_chunk_is_a_protocol_error(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    (await runtime.take_run()).on_message(thought())
    runtime.end()
    assert isinstance(error_of(await soon(running)), ProtocolError)
    await world.quiet()


async def test_what_follows_the_last_chunk_is_not_read(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    call = await runtime.take_run()
    call.on_message(result())
    call.on_message(thought(1))
    assert [chunk.WhichOneof("content") for chunk in await soon(running)] == ["result"]
    await until(lambda: call not in runtime.waiting, "for the runtime to be told")
    await world.quiet()


async def test_a_chunk_over_the_limit_of_messages_ends_the_run() -> None:
    world = await made(max_message_bytes=1_000)
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    (await runtime.take_run()).on_message(thought(text="x" * 2_000))
    error = error_of(await soon(running))
    assert error.error_type == "MessageTooLarge"
    assert "a chunk of an agent's run" in error.message
    await world.quiet()
    await world.close()


async def test_a_fault_of_the_hub_ends_the_run_without_its_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = world.runtime()
    agent_id = await world.agent(runtime)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("of no business to anybody")

    monkeypatch.setattr(module, "WorkerCall", broken)
    error = error_of(await soon(world.running(agent_id)))
    assert error.error_type == "InternalError"
    assert "business" not in error.message
    await world.quiet()


@pytest.mark.parametrize("limit", ["its own", "the transport's"])
async def test_the_time_of_a_run_ends_it(world: World, limit: str) -> None:
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    if limit == "its own":
        running = world.running(agent_id, timeout_ms=50)
    else:
        running = world.running(agent_id, deadline=time.monotonic() + 0.05)
    assert isinstance(error_of(await soon(running)), DeadlineExceededError)
    assert not runtime.waiting, "the runtime is told"
    await world.quiet()


async def test_a_run_ends_once_the_tokens_of_its_principal_are_used_and_no_other_begins(world: World) -> None:
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    world.executor.admission.payers.quotas = Quotas((QuotaRule(("ann",), agent_tokens_per_day=100),), 10)
    context = RequestContext(principal=Principal("ann", method="token"))
    request = pb.ExecuteAgentRequest(session_id="s", agent_id=agent_id, stream=True)
    request.input.SetInParent()
    running = world.begin(_all(world.agents.execute(request, context)))
    call = await runtime.take_run()
    metrics = pb.ExecutionMetrics(custom_metrics={"prompt_tokens": 90.0, "completion_tokens": 30.0})
    observed = pb.AgentExecutionChunk(observation=pb.ObservationChunk(metrics=metrics))
    call.on_message(observed.SerializeToString())
    error = error_of(await soon(running))
    assert error.error_type == "RateLimitExceeded"
    assert "100 tokens of agents a day" in error.message
    with pytest.raises(ResourceExhaustedError):
        await soon(_all(world.agents.execute(request, context)))
    # Others may.
    other = world.running(agent_id)
    await runtime.asked()
    other.cancel()


async def test_runs_share_the_permits_of_their_session() -> None:
    world = World()
    world.session = await world.store.create_session("s", config=pb.SessionConfig(max_concurrent_tools=1))
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    first = world.running(agent_id, run_id="first")
    call = await runtime.take_run()
    second = world.running(agent_id, run_id="second")
    await until(lambda: len(world.agents.of(world.session).runs) == 2)
    # One that waits for its place can be cancelled, too.
    assert world.agents.cancel(pb.CancelAgentRunRequest(session_id="s", run_id="second")) == "run 'second' is cancelled"
    assert isinstance(error_of(await soon(second)), CallCancelledError)
    assert len(runtime.open) == 1
    call.on_message(result())
    await soon(first)
    await world.quiet()
    await world.close()


async def test_runs_of_a_session_are_bounded_and_those_that_are_over_make_room() -> None:
    world = await made(max_session_runs=2)
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    for run_id in ("first", "second"):
        running = world.running(agent_id, run_id=run_id)
        (await runtime.take_run()).on_message(result())
        await soon(running)
        runtime.end()
    third = world.running(agent_id, run_id="third")
    await runtime.take_run()
    assert list(world.agents.of(world.session).runs) == ["second", "third"]
    fourth = world.running(agent_id, run_id="fourth")
    await runtime.take_run(index=1)
    with pytest.raises(ResourceExhaustedError, match="has 2 runs, which is its limit") as caught:
        await soon(world.running(agent_id, run_id="fifth"))
    assert caught.value.retry_after == 1
    for call in list(runtime.waiting):
        call.on_message(result())
    await soon(asyncio.gather(third, fourth))
    await world.close()


# -------------------------------------------------------------------------------------------- attaching, cancelling


async def test_who_is_closed_reads_no_more_and_who_cancels_ends_the_run(world: World) -> None:
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    lost = world.reader(agent_id, run_id="mine")
    reading = world.begin(lost.__anext__())
    call = await runtime.take_run()
    call.on_message(thought())
    await soon(reading)
    await lost.aclose()
    assert world.agents.active == 1
    looking_on = world.agents.execute(pb.ExecuteAgentRequest(session_id="s", run_id="mine", stream=True))
    assert (await soon(looking_on.__anext__())).WhichOneof("content") == "thought"
    looking_on.cancel()
    await looking_on.aclose()
    assert world.agents.active == 1, "who looks on leaves it to who began it"
    again = world.reader(agent_id, run_id="mine")
    assert (await soon(again.__anext__())).WhichOneof("content") == "thought"
    again.cancel()
    rest = await soon(_all(again))
    assert isinstance(error_of(rest), CallCancelledError)
    await world.quiet()
    assert world.agents.cancel(pb.CancelAgentRunRequest(session_id="s", run_id="mine")) == "run 'mine' was over already"


async def test_a_run_id_stands_for_one_agent_and_one_input(world: World) -> None:
    runtime = world.runtime()
    agent_id, other = await world.agent(runtime), await world.agent(runtime, max_iters=2)
    running = world.running(agent_id, run_id="mine")
    call = await runtime.take_run()
    with pytest.raises(ConflictError, match="has another agent or input") as caught:
        await soon(world.running(other, run_id="mine"))
    assert caught.value.error_type == "IdempotencyConflict"
    also = world.running(agent_id, run_id="mine")
    call.on_message(result())
    assert await soon(also) == await soon(running)
    assert len(runtime.open) == 1


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"from_sequence": 1}, ValidationError, "it needs the run_id"),
        ({"run_id": "mine", "from_sequence": 1}, NotFoundError, "has no run 'mine'"),
        ({"run_id": "a\nb"}, ValidationError, "a run id"),
        ({"run_id": "x" * 300}, ValidationError, "run_id has at most 256"),
    ],
)
async def test_what_cannot_begin_a_run_begins_none(
    world: World, fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    with pytest.raises(error, match=text):
        await soon(world.running(agent_id, **fields))
    assert not runtime.open
    await world.quiet()


async def test_the_end_of_a_session_ends_its_runs_and_forgets_them(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    await runtime.take_run()
    world.agents.session_ended(world.session, SessionExpiredError("session 's' was removed"))
    error = error_of(await soon(running))
    assert isinstance(error, CallCancelledError)
    assert "session 's' was removed" in error.message
    await world.quiet()
    assert not world.agents.of(world.session).runs


async def test_a_run_that_is_only_about_to_begin_is_ended_with_the_hub_too(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    # One turn of the loop begins the reader, which begins the run; its task has had none yet.
    await asyncio.sleep(0)
    assert world.agents.active == 1
    await soon(world.agents.aclose())
    assert isinstance(error_of(await soon(running)), CallCancelledError)
    await world.quiet()


async def test_the_end_of_the_hub_ends_every_run_with_a_word(world: World) -> None:
    runtime = world.runtime()
    running = world.running(await world.agent(runtime))
    await runtime.take_run()
    await soon(world.agents.aclose())
    error = error_of(await soon(running))
    assert isinstance(error, CallCancelledError)
    assert "the hub is shutting down" in error.message
    await world.quiet()
    assert not world.agents.of(world.session).runs


# -------------------------------------------------------------------------------------------------- a durable store


class StoredWorld(World):
    """A hub's inner parts whose agents and runs a durable store keeps."""

    def __init__(self, *kept: StoredSession, **settings: Any) -> None:
        super().__init__(**settings)
        self.durable = HeldStore()
        self._kept = kept

    async def open(self) -> None:
        await super().open()
        self.agents.restore(self._kept, cast("DurableStore", self.durable))

    async def close(self) -> None:
        await self.storing(asyncio.create_task(super().close()))

    async def storing(self, task: "asyncio.Task[Any]") -> Any:
        """Stores one change after another until a task is done."""
        async with asyncio.timeout(PATIENCE):
            while not task.done():
                self.durable.store(1)
                await turns()
        return task.result()

    async def agent(self, runtime: FakeRuntime, **fields: Any) -> str:
        creating = self.creating(**fields)
        await runtime.take_agent()
        await until(lambda: self.durable.taken)
        self.durable.store()
        return str((await soon(creating)).agent_id)


@pytest.fixture
async def stored_world() -> AsyncIterator[StoredWorld]:
    world = StoredWorld()
    await world.open()
    yield world
    await world.close()


async def test_an_agent_is_there_and_its_caller_answered_once_it_is_stored(stored_world: StoredWorld) -> None:
    world, runtime = stored_world, stored_world.runtime()
    told: list[str] = []
    world.agents.watch(told.append)
    creating = [world.creating(), world.creating()]
    await runtime.asked(2)
    for _ in creating:
        await runtime.take_agent()
    await until(lambda: len(world.durable.taken) == 2)
    assert world.agents.definitions("s") == {}
    world.durable.store()
    (agent_id,) = {response.agent_id for response in await soon(asyncio.gather(*creating))}
    assert world.durable.done[0] == ("agent", "s", agent_id, world.agents.definitions("s")[agent_id])
    assert told == ["s"]
    # Once it is there, nothing is written.
    again = world.creating()
    await runtime.take_agent()
    assert (await soon(again)).agent_id == agent_id
    assert not world.durable.taken


async def test_an_agent_that_cannot_be_stored_is_not_there(stored_world: StoredWorld) -> None:
    world, runtime = stored_world, stored_world.runtime()
    creating = world.creating()
    await runtime.take_agent()
    await until(lambda: world.durable.taken)
    world.durable.fail("the disk is full")
    with pytest.raises(StoreError, match="the disk is full"):
        await soon(creating)
    assert world.agents.definitions("s") == {}
    assert await world.agent(runtime) in world.agents.definitions("s")


async def test_an_agent_whose_caller_has_gone_is_there_once_it_is_stored() -> None:
    world = StoredWorld(max_session_agents=1)
    await world.open()
    runtime = world.runtime()
    creating = world.creating()
    await runtime.take_agent()
    await until(lambda: world.durable.taken)
    creating.cancel()
    await asyncio.wait((creating,))
    # It has its place while it is on its way.
    with pytest.raises(ResourceExhaustedError, match="has 1 agents"):
        await world.agents.create(definition(max_iters=7))
    world.durable.store()
    assert len(world.agents.definitions("s")) == 1
    await world.close()


async def test_an_agent_whose_session_ends_while_it_is_on_its_way_is_nowhere(stored_world: StoredWorld) -> None:
    world, runtime = stored_world, stored_world.runtime()
    creating = world.creating()
    await runtime.take_agent()
    await until(lambda: world.durable.taken)
    await world.store.cleanup_session("s")
    world.agents.session_ended(world.session, SessionExpiredError("it ended"))
    world.durable.store()
    await soon(creating)
    assert not list(world.agents.agents())


async def test_a_runtime_gets_a_run_once_it_is_stored_that_it_begins(stored_world: StoredWorld) -> None:
    world, runtime = stored_world, stored_world.runtime()
    agent_id = await world.agent(runtime)
    running = world.running(agent_id, run_id="mine")
    await until(lambda: world.durable.taken)
    await turns()
    assert not runtime.open
    (((name, session_id, run), _),) = world.durable.taken
    assert (name, session_id, run.run_id, run.agent_id) == ("run", "s", "mine", agent_id)
    assert abs(run.started_at - time.time()) < PATIENCE
    world.durable.store()
    call = await runtime.take_run()
    call.on_message(thought())
    call.on_message(result(1))
    await until(lambda: len(world.durable.taken) == 2)
    await turns()
    # The run goes on until readers have its result.
    assert (world.agents.active, running.done()) == (1, False)
    world.durable.store()
    assert [chunk.sequence for chunk in await soon(running)] == [0, 1]
    await world.quiet()


async def test_a_run_whose_beginning_cannot_be_stored_reaches_no_runtime(stored_world: StoredWorld) -> None:
    world, runtime = stored_world, stored_world.runtime()
    running = world.running(await world.agent(runtime))
    await until(lambda: world.durable.taken)
    world.durable.fail("the disk is full")
    error = error_of(await soon(running))
    assert (type(error), error.message) == (UnavailableError, "the disk is full")
    assert not runtime.open
    assert not world.durable.taken
    await world.quiet()


async def test_a_run_that_cannot_be_stored_ends_with_one_error_and_its_runtime_is_told(
    stored_world: StoredWorld,
) -> None:
    world, runtime = stored_world, stored_world.runtime()
    running = world.running(await world.agent(runtime))
    await until(lambda: world.durable.taken)
    world.durable.store()
    call = await runtime.take_run()
    call.on_message(thought())
    await until(lambda: world.durable.taken)
    world.durable.fail()
    error = error_of(await soon(running))
    assert (error.error_type, error.retryable) == ("RunInterrupted", False)
    await world.quiet()
    assert call not in runtime.waiting
    assert not world.durable.taken


async def test_a_runtime_that_is_faster_than_the_store_waits_for_it(
    stored_world: StoredWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_UNSTORED", 1)
    world, runtime = stored_world, stored_world.runtime()
    running = world.running(await world.agent(runtime))
    await until(lambda: world.durable.taken)
    world.durable.store()
    call = await runtime.take_run()
    for number in range(4):
        call.on_message(thought(number))
    call.on_message(result(4))
    await until(lambda: len(world.durable.taken) == 2)
    await turns()
    assert len(world.durable.taken) == 2
    assert len(await world.storing(running)) == 5
    await world.quiet()


async def test_the_end_of_a_session_ends_a_run_whose_result_is_on_its_way(stored_world: StoredWorld) -> None:
    world, runtime = stored_world, stored_world.runtime()
    running = world.running(await world.agent(runtime))
    await until(lambda: world.durable.taken)
    world.durable.store()
    (await runtime.take_run()).on_message(result())
    await until(lambda: world.durable.taken)
    world.agents.session_ended(world.session, SessionExpiredError("session 's' was removed"))
    error = error_of(await soon(running))
    assert isinstance(error, CallCancelledError)
    await world.quiet()
    # The store forgets its runs together with the session.
    assert world.durable.names() == ["chunk"]


async def test_the_end_of_the_hub_stores_how_every_run_ended_and_drops_nothing(stored_world: StoredWorld) -> None:
    world, runtime = stored_world, stored_world.runtime()
    running = world.running(await world.agent(runtime))
    await until(lambda: world.durable.taken)
    world.durable.store()
    await runtime.take_run()
    closing = asyncio.create_task(world.agents.aclose())
    await until(lambda: world.durable.taken)
    assert not closing.done()
    world.durable.store()
    await soon(closing)
    chunks = await soon(running)
    assert "the hub is shutting down" in error_of(chunks).message
    assert world.durable.done[-1][4:] == (chunks[-1].SerializeToString(), True)
    assert not world.durable.taken


def kept_session(*run_ids: str, agent_id: str = "agent-1", going_on: bool = False) -> StoredSession:
    """Returns a session of an earlier life, with an agent and runs that are over, or are going on."""
    agents = {agent_id: pb.CreateReActAgentRequest(session_id="s", signature=SIGNATURE)}
    kept = [StoredRun(run_id, agent_id, b"", 1_000.5 + number) for number, run_id in enumerate(run_ids)]
    for run in kept:
        run.chunks = [(thought(), False), *([] if going_on else [(result(1), True)])]
    return StoredSession("s", 1_000.0, {}, agents=agents, runs=kept)


async def test_runs_and_agents_of_an_earlier_life_are_there() -> None:
    world = StoredWorld(kept_session("first", "second"))
    await world.open()
    assert not world.durable.taken
    assert list(world.agents.definitions("s")) == ["agent-1"]
    assert world.agents.held_bytes == 2 * (len(thought()) + len(result(1)))
    attached = world.agents.execute(
        pb.ExecuteAgentRequest(session_id="s", run_id="second", stream=True, from_sequence=1)
    )
    assert [chunk.WhichOneof("content") for chunk in await _all(attached)] == ["result"]
    cancelled = world.agents.cancel(pb.CancelAgentRunRequest(session_id="s", run_id="first"))
    assert cancelled == "run 'first' was over already"
    listed = [infos.run_info(run) for run in world.agents.runs()]
    assert [(info.run_id, info.session_id, info.state, info.chunks) for info in listed] == [
        ("first", "s", "done", 2),
        ("second", "s", "done", 2),
    ]
    assert [info.started_at.ToMilliseconds() for info in listed] == [1_000_500, 1_001_500]
    await world.close()


async def test_a_run_of_an_earlier_life_that_was_going_on_has_ended() -> None:
    world = StoredWorld(kept_session("first", going_on=True))
    await world.open()
    attached = world.begin(
        _all(world.agents.execute(pb.ExecuteAgentRequest(session_id="s", run_id="first", stream=True)))
    )
    await until(lambda: any(run.readers for run in world.agents.runs()))
    assert world.agents.cancel(pb.CancelAgentRunRequest(session_id="s", run_id="first")).endswith("was over already")
    assert world.durable.names() == ["chunk"]
    world.durable.store()
    chunks = await soon(attached)
    assert [chunk.sequence for chunk in chunks] == [0, 1]
    assert error_of(chunks).error_type == "RunInterrupted"
    (info,) = [infos.run_info(run) for run in world.agents.runs()]
    assert (info.state, info.chunks) == ("failed", 2)
    await world.quiet()
    await world.close()


async def test_runs_of_an_earlier_life_make_room_for_a_lower_limit() -> None:
    world = StoredWorld(kept_session("first", "second", "third"), max_session_runs=2)
    await world.open()
    runtime = world.runtime()
    agent_id = await world.agent(runtime)
    running = world.running(agent_id, run_id="new")
    await until(lambda: world.durable.taken)
    assert world.durable.names() == ["drop run", "drop run", "run"]
    assert [run.run_id for run in world.agents.runs()] == ["third", "new"]
    world.durable.store()
    (await runtime.take_run()).on_message(result())
    await until(lambda: world.durable.taken)
    world.durable.store()
    await soon(running)
    await world.close()
