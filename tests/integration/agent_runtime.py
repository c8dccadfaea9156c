"""An agent runtime without a model: its agents do as their input says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from google.protobuf.json_format import MessageToDict

from grpc_tool_bridge import LocalToolBridge, ToolWorker
from grpc_tool_bridge.errors import NotFoundError, ToolExecutionError, ValidationError, error_info
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.values.serialization import serialize_value
from support.waiting import until

SIGNATURE = "Question -> Answer"


class ObedientAgents:
    """Makes agents whose input says what they do; given to a worker as ``agents=``.

    The input has "call" (a tool, called with "arguments"), "think" (so many thoughts), "wait" (until they are let go),
    "stop" (the stop reason), "raise" (the run's error), or "end" (the stream ends without a result).
    """

    def __init__(self) -> None:
        self.definitions: list[pb.CreateReActAgentRequest] = []
        self.requests: list[pb.ExecuteAgentRequest] = []
        self.deadlines: list[float | None] = []
        self.known: set[str] = set()
        # How often an agent is not known any more when it is to be run.
        self.forgets = 0
        self.running = 0
        self.cancelled = 0
        self.closed = False
        self.go_on = asyncio.Event()
        self.open_session: Any = None

    def __call__(self, open_session: Any) -> "ObedientAgents":
        self.open_session = open_session
        return self

    async def create_react_agent(self, request: pb.CreateReActAgentRequest) -> pb.CreateReActAgentResponse:
        if "->" not in request.signature:
            raise ValidationError(f"{request.signature!r} is no signature")
        self.definitions.append(request)
        agent_id = f"here-{request.signature}"
        self.known.add(agent_id)
        return pb.CreateReActAgentResponse(agent_id=agent_id, capabilities=["streaming"])

    async def execute_agent(
        self, request: pb.ExecuteAgentRequest, context: RequestContext
    ) -> AsyncIterator[pb.AgentExecutionChunk]:
        if self.forgets:
            self.forgets -= 1
            self.known.discard(request.agent_id)
        if request.agent_id not in self.known:
            raise NotFoundError("no such agent here", error_type="AgentNotFound")
        self.requests.append(request)
        self.deadlines.append(context.deadline)
        assert context.deadline is not None
        session = self.open_session(request.session_id, context.parent, context.deadline)
        self.running += 1
        sequence = 0
        try:
            async for chunk in self._steps(MessageToDict(request.input), session):
                chunk.agent_id, chunk.run_id, chunk.sequence = request.agent_id, request.run_id, sequence
                yield chunk
                sequence += 1
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _steps(self, asked: dict[str, Any], session: Any) -> AsyncIterator[pb.AgentExecutionChunk]:
        for step in range(1, int(asked.get("think", 1)) + 1):
            yield pb.AgentExecutionChunk(thought=pb.ThoughtChunk(text=f"thought {step}", step=step))
        if asked.get("wait"):
            await self.go_on.wait()
        if asked.get("raise"):
            yield pb.AgentExecutionChunk(error=error_info(ValidationError(asked["raise"])))
            return
        answer: Any = "nothing"
        if "call" in asked:
            action = pb.AgentExecutionChunk(action=pb.ActionChunk(tool_name=asked["call"], step=1))
            action.action.tool_input.update(asked.get("arguments", {}))
            yield action
            seen = pb.AgentExecutionChunk()
            seen.observation.step = 1
            try:
                answer = await session.call_tool(asked["call"], (), asked.get("arguments", {}))
            except ToolExecutionError as error:
                answer = str(error)
                seen.observation.error.CopyFrom(error_info(error))
            seen.observation.tool_output.CopyFrom(serialize_value(answer))
            yield seen
        if asked.get("end"):
            return
        last = pb.AgentExecutionChunk(result=pb.ResultChunk(total_steps=1, stop_reason=asked.get("stop", "finished")))
        last.result.final_answer.update({"Answer": answer, "tools": len(await session.tools())})
        yield last

    async def begun(self, count: int = 1) -> None:
        """Waits until so many runs are under way."""
        await until(lambda: self.running >= count, f"for {count} runs to begin")

    async def quiet(self) -> None:
        """Waits until none is."""
        await until(lambda: not self.running, "for every run to end")

    def cancel_all(self, cause: Exception) -> None:
        self.go_on.set()

    async def aclose(self) -> None:
        self.closed = True


def runtime_of(bridge: LocalToolBridge, agents: ObedientAgents) -> AbstractAsyncContextManager[Any]:
    """Runs agents for the hub that a bridge has in this process."""
    return ToolWorker(MemoryConnection(LinkServer(bridge.hub, bridge.hub.settings).serve), agents=agents)
