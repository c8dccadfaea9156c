"""Runs whose client or runtime is lost: one error, or nothing missed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from failure_modes.links import Connect, OverLink
from failure_modes.workers import MakeCrew, RawWorker
from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    NotFoundError,
    Question,
    Settings,
    ToolContext,
    ToolWorker,
    UnavailableError,
    UnimplementedError,
)
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolBridgeError, ValidationError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkHello, LinkStatus
from grpc_tool_bridge.rpc.asks import cannot_answer
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.connections import read
from support.waiting import soon, until


class Hanging:
    """A tool that waits to be let go, and counts those who were not."""

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()

    async def hang(self) -> str:
        self.running += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "went on"


async def cut(world: OverLink) -> None:
    """Loses the client's link, and waits until both ends know; the runtime's, which goes another way, stays."""
    world.lose()
    await until(lambda: not world.bridge.client.is_linked and len(world.links()) == 1)


# ---------------------------------------------------------------------------------------------- a client that is lost


async def test_a_client_whose_link_is_cut_misses_no_chunk_and_sees_none_twice(over_link: Connect) -> None:
    tool, agents = Hanging(), ObedientAgents()
    world = await over_link(tool.hang)
    async with ToolWorker(world.server.address, agents=agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        asked = {"agent_id": agent_id, "input": {"think": 3, "call": "hang"}}
        reading = asyncio.create_task(read(world.bridge.execute_agent_streaming(asked), seen))
        await until(lambda: len(seen) == 4)
        await cut(world)
        # What happens meanwhile waits for the reader.
        tool.go_on.set()
        await agents.quiet()
        world.proxy.restore()
        await soon(reading)
        assert [chunk["sequence"] for chunk in seen] == list(range(6))
        assert seen[-1]["final_answer"]["Answer"] == "went on"
        assert len(agents.requests) == 1
        assert not tool.cancelled
        await world.quiet()


async def test_a_client_that_is_cut_before_the_first_chunk_begins_no_second_run(over_link: Connect) -> None:
    agents = ObedientAgents()
    world = await over_link()
    async with ToolWorker(world.server.address, agents=agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        asked = {"agent_id": agent_id, "input": {"think": 0, "wait": True}}
        reading = asyncio.create_task(read(world.bridge.execute_agent_streaming(asked), seen))
        await agents.begun()
        await cut(world)
        world.proxy.restore()
        agents.go_on.set()
        await soon(reading)
        assert ([chunk["type"] for chunk in seen], len(agents.requests)) == (["result"], 1)


async def test_a_run_whose_client_does_not_come_back_is_cancelled_after_its_keep_time(over_link: Connect) -> None:
    tool, agents = Hanging(), ObedientAgents()
    world = await over_link(tool.hang, agent_run_ttl=0.2)
    async with ToolWorker(world.server.address, agents=agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        asked = {"agent_id": agent_id, "input": {"call": "hang"}, "run_id": "mine"}
        reading = asyncio.create_task(read(world.bridge.execute_agent_streaming(asked), seen))
        await until(lambda: tool.running)
        await cut(world)
        await until(lambda: tool.cancelled)
        await agents.quiet()
        (session,) = world.hub.store.sessions()
        await until(lambda: not world.hub.agents.of(session).runs)
        async with world.server.bridge(keep_session=True) as late:
            await late.initialize(world.session_id)
            with pytest.raises(NotFoundError, match="has no run 'mine'"):
                await soon(read(late.execute_agent_streaming({**asked, "from_sequence": 2}), []))
        assert len(agents.requests) == 1
        reading.cancel()
        world.proxy.restore()
        await asyncio.wait((reading,))


async def test_a_tool_of_a_run_whose_client_has_gone_is_told_that_nobody_answers(over_link: Connect) -> None:
    began = asyncio.Event()

    async def on_ask(_: Question) -> None:
        began.set()
        await asyncio.Event().wait()

    async def twice(ctx: ToolContext) -> list[str]:
        errors: list[str] = []
        for message in ("first", "second"):
            try:
                await ctx.ask(message)
            except UnimplementedError as error:
                errors.append(error.message)
        return errors

    agents = ObedientAgents()
    world = await over_link(twice, options={"on_ask": on_ask})
    async with ToolWorker(world.server.address, agents=agents):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        asked = {"agent_id": agent_id, "input": {"call": "twice"}}
        reading = asyncio.create_task(read(world.bridge.execute_agent_streaming(asked), seen))
        await soon(began.wait())
        await cut(world)
        await agents.quiet()
        world.proxy.restore()
        await soon(reading)
        assert seen[-1]["final_answer"]["Answer"] == [cannot_answer("twice").message] * 2
        await world.quiet()


async def test_a_hub_that_begins_anew_knows_nothing_of_the_agent_and_the_client_is_told(over_link: Connect) -> None:
    agents = ObedientAgents()
    world = await over_link()
    async with ToolWorker(world.server.address, agents=agents, settings=Settings(shutdown_grace=0.0)):
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        reading = asyncio.create_task(
            read(world.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"wait": True}}), seen)
        )
        await agents.begun()
        await until(lambda: seen)
        world.lose()
        await world.replace()
        world.proxy.restore()
        with pytest.raises(NotFoundError):
            await soon(reading)


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(settings=Settings(shutdown_grace=0.0)) as server:
        yield server


async def test_by_plain_rpc_a_client_that_is_killed_leaves_its_run_to_who_attaches(server: BridgeServer) -> None:
    agents = ObedientAgents()
    async with ToolWorker(server.address, agents=agents), GRPCToolBridge(server.address, transport="rpc") as bridge:
        await bridge.initialize("shared")
        agent_id = await bridge.create_react_agent(SIGNATURE)
        # The call itself goes, without a word of whoever read it.
        request = pb.ExecuteAgentRequest(session_id="shared", agent_id=agent_id, run_id="mine", stream=True)
        request.input.update({"wait": True})
        call = bridge.client.stub.ExecuteAgent(request)
        assert (await soon(call.read())).thought.text == "thought 1"
        call.cancel()
        (session,) = server.hub.store.sessions()
        run = server.hub.agents.of(session).runs["mine"]
        await until(lambda: not run.readers)
        assert not run.over
        seen: list[Any] = []
        attached = bridge.execute_agent_streaming({"run_id": "mine", "from_sequence": 1})
        reading = asyncio.create_task(read(attached, seen))
        await until(lambda: run.readers)
        agents.go_on.set()
        await soon(reading)
        assert [chunk["type"] for chunk in seen] == ["result"]


async def test_by_plain_rpc_cancelling_the_stream_cancels_a_run_that_was_given_no_id(server: BridgeServer) -> None:
    tool, agents = Hanging(), ObedientAgents()
    server.hub.registry.register_batch("", [tool.hang])
    async with ToolWorker(server.address, agents=agents), GRPCToolBridge(server.address, transport="rpc") as bridge:
        await bridge.initialize("shared")
        agent_id = await bridge.create_react_agent(SIGNATURE)
        request = pb.ExecuteAgentRequest(session_id="shared", agent_id=agent_id, stream=True)
        request.input.update({"call": "hang"})
        # As any gRPC client does.
        call = bridge.client.stub.ExecuteAgent(request)
        assert (await soon(call.read())).run_id
        await until(lambda: tool.running)
        call.cancel()
        await until(lambda: tool.cancelled)
        await agents.quiet()
        assert not server.hub.agents.active


# --------------------------------------------------------------------------------------------- a runtime that is lost


async def test_a_runtime_that_is_killed_in_the_middle_of_a_run_is_one_error_and_its_tool_is_stopped(
    make_crew: MakeCrew,
) -> None:
    tool = Hanging()
    crew = await make_crew(tool.hang)
    runtime = await crew.runtime("first")
    agent_id = await crew.bridge.create_react_agent(SIGNATURE)
    seen: list[Any] = []
    reading = asyncio.create_task(
        read(crew.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"call": "hang"}}), seen)
    )
    await until(lambda: tool.running)
    runtime.kill()
    with pytest.raises(UnavailableError, match="the agent runtime was lost in the middle of the run") as caught:
        await soon(reading)
    assert caught.value.retryable
    assert [chunk["type"] for chunk in seen] == ["thought", "action"]
    await until(lambda: tool.cancelled)
    with pytest.raises(UnavailableError, match="no agent runtime is connected"):
        await soon(read(crew.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {}}), []))
    # Another one that dials in has the agent with the next run.
    await crew.runtime("second")
    seen.clear()
    await soon(read(crew.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {}}), seen))
    assert seen[-1]["type"] == "result"
    await crew.quiet()


async def test_a_runtime_that_is_lost_while_it_looks_at_an_agent_is_said_to_be(make_crew: MakeCrew) -> None:
    crew = await make_crew()
    runtime = await crew.runtime("only")
    runtime.stop()
    creating = asyncio.create_task(crew.bridge.create_react_agent(SIGNATURE))
    await until(lambda: crew.known("only").active)
    runtime.kill()
    with pytest.raises(UnavailableError, match="the agent runtime was lost"):
        await soon(creating)
    await crew.quiet()


async def test_where_no_runtime_answers_a_run_is_refused_until_one_does(make_crew: MakeCrew) -> None:
    crew = await make_crew()
    silent = await crew.runtime("silent")
    agent_id = await crew.bridge.create_react_agent(SIGNATURE)
    silent.stop()
    await until(lambda: crew.known("silent").suspect)
    with pytest.raises(UnavailableError, match="the agent runtime does not answer") as caught:
        await soon(read(crew.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {}}), []))
    assert caught.value.retryable
    silent.go_on()
    await until(lambda: not crew.known("silent").suspect)
    seen: list[Any] = []
    await soon(read(crew.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {}}), seen))
    assert seen[-1]["type"] == "result"


async def test_a_runtime_that_stops_answering_gets_no_new_runs(make_crew: MakeCrew) -> None:
    crew = await make_crew()
    silent, _ = await crew.runtime("silent"), await crew.runtime("other")
    agent_id = await crew.bridge.create_react_agent(SIGNATURE)
    silent.stop()
    await until(lambda: crew.known("silent").suspect)
    for _ in range(3):
        seen: list[Any] = []
        await soon(read(crew.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {}}), seen))
        assert seen[-1]["type"] == "result"
    silent.go_on()
    await until(lambda: not crew.known("silent").suspect)


# ------------------------------------------------------------------------------------------ a runtime that is hostile

RESULT = pb.AgentExecutionChunk(result=pb.ResultChunk(stop_reason="finished"))


class RawRuntime(RawWorker):
    """A runtime that keeps to no rule."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._greet = False

    async def begin(self) -> None:
        await self.send(Envelope(hello=LinkHello(protocol=1, peer="raw", features=["agents"])))
        await self.register()

    async def receive(self) -> Envelope:
        """Returns what comes next, but for the end of a run that it has spoilt."""
        while (envelope := await super().receive()).WhichOneof("kind") == "cancel":
            pass
        return envelope

    async def take_agent(self) -> None:
        """Answers that it has the agent."""
        call = await self.called()
        assert call.call.method == "CreateReActAgent"
        await self.send(Envelope(id=call.id, reply=pb.CreateReActAgentResponse(agent_id="x").SerializeToString()))

    async def agent(self, bridge: GRPCToolBridge) -> str:
        """Has an agent created, and takes it."""
        creating = asyncio.create_task(bridge.create_react_agent(SIGNATURE))
        await self.take_agent()
        return str(await soon(creating))

    async def take_run(self, *chunks: pb.AgentExecutionChunk | bytes) -> None:
        """Answers a run with what the test says."""
        await self.take_agent()
        call = await self.called()
        assert call.call.method == "ExecuteAgent"
        for chunk in chunks:
            data = chunk if isinstance(chunk, bytes) else chunk.SerializeToString()
            await self.send(Envelope(id=call.id, chunk=data))
        await self.send(Envelope(id=call.id, end=LinkStatus()))


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([b"\xff\xff"], "cannot be read"),
        ([pb.AgentExecutionChunk()], "chunk 0 of the agent runtime is empty"),
        ([pb.AgentExecutionChunk(thought=pb.ThoughtChunk(text="a"), sequence=3)], "has a gap"),
        ([pb.AgentExecutionChunk(sequence=-1, result=RESULT.result)], "has a gap"),
        ([], "without a result or an error"),
    ],
)
async def test_what_a_runtime_must_not_send_ends_the_run_with_a_protocol_error(
    server: BridgeServer, chunks: list[Any], text: str
) -> None:
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(RawRuntime(server.address))
        await runtime.begin()
        bridge = await stack.enter_async_context(GRPCToolBridge(server.address, follow_tools=False))
        await bridge.initialize()
        asked = {"agent_id": await runtime.agent(bridge), "input": {}}
        reading = asyncio.create_task(read(bridge.execute_agent_streaming(asked), []))
        await runtime.take_run(*chunks)
        with pytest.raises(ProtocolError, match=text):
            await soon(reading)
        # And what it claims of the run does not count.
        seen: list[Any] = []
        reading = asyncio.create_task(read(bridge.execute_agent_streaming({**asked, "run_id": "mine"}), seen))
        await runtime.take_run(pb.AgentExecutionChunk(run_id="yours", agent_id="x", result=RESULT.result), RESULT)
        await soon(reading)
        assert [(chunk["type"], chunk["run_id"]) for chunk in seen] == [("result", "mine")]


async def test_a_runtime_that_answers_with_an_error_says_what_is_wrong(server: BridgeServer) -> None:
    async with RawRuntime(server.address) as runtime, GRPCToolBridge(server.address, follow_tools=False) as bridge:
        await runtime.begin()
        await bridge.initialize()
        creating = asyncio.create_task(bridge.create_react_agent(SIGNATURE))
        call = await runtime.called()
        refused = pb.CreateReActAgentResponse(error=error_info(ValidationError("it will not do")))
        await runtime.send(Envelope(id=call.id, reply=refused.SerializeToString()))
        with pytest.raises(ValidationError, match="it will not do"):
            await soon(creating)


async def test_a_runtime_that_forgets_its_agent_in_the_middle_of_a_run_is_not_told_again(server: BridgeServer) -> None:
    async with RawRuntime(server.address) as runtime, GRPCToolBridge(server.address, follow_tools=False) as bridge:
        await runtime.begin()
        await bridge.initialize()
        seen: list[Any] = []
        asked = {"agent_id": await runtime.agent(bridge), "input": {}}
        reading = asyncio.create_task(read(bridge.execute_agent_streaming(asked), seen))
        await runtime.take_agent()
        call = await runtime.called()
        thought = pb.AgentExecutionChunk(thought=pb.ThoughtChunk(text="a")).SerializeToString()
        forgotten = LinkStatus(code=5, error=error_info(NotFoundError("it is gone", error_type="AgentNotFound")))
        await runtime.send(Envelope(id=call.id, chunk=thought), Envelope(id=call.id, end=forgotten))
        with pytest.raises(NotFoundError, match="it is gone"):
            await soon(reading)
        assert [chunk["type"] for chunk in seen] == ["thought"]


async def test_a_chunk_beyond_what_a_message_may_hold_ends_the_run() -> None:
    async with AsyncExitStack() as stack:
        settings = Settings(shutdown_grace=0.0, max_message_bytes=10_000)
        server = await stack.enter_async_context(BridgeServer(settings=settings))
        runtime = await stack.enter_async_context(RawRuntime(server.address))
        await runtime.begin()
        bridge = await stack.enter_async_context(GRPCToolBridge(server.address, follow_tools=False))
        await bridge.initialize()
        asked = {"agent_id": await runtime.agent(bridge), "input": {}}
        reading = asyncio.create_task(read(bridge.execute_agent_streaming(asked), []))
        await runtime.take_run(pb.AgentExecutionChunk(thought=pb.ThoughtChunk(text="x" * 10_000)))
        with pytest.raises(MessageTooLargeError, match="a chunk of an agent's run"):
            await soon(reading)


async def test_a_runtime_whose_answer_to_an_agent_is_none_is_a_protocol_error(server: BridgeServer) -> None:
    async with RawRuntime(server.address) as runtime, GRPCToolBridge(server.address, follow_tools=False) as bridge:
        await runtime.begin()
        await bridge.initialize()
        for answer, text in ((b"\xff\xff", "cannot be read"), (b"", "names no agent")):
            creating = asyncio.create_task(bridge.create_react_agent(SIGNATURE))
            call = await runtime.called()
            await runtime.send(Envelope(id=call.id, reply=answer))
            with pytest.raises(ToolBridgeError, match=text):
                await soon(creating)
