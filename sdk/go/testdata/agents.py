"""An agent runtime without a model, for the tests of the Go SDK: its agents think once, and answer or wait."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.struct_pb2 import Struct

from grpc_tool_bridge import ToolWorker
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


class Agents:
    """Agents whose answer is their question; the question "wait" has none."""

    def __init__(self, _: Any) -> None:
        """Takes the settings, and ignores them."""

    async def create_react_agent(self, request: pb.CreateReActAgentRequest) -> pb.CreateReActAgentResponse:
        """Creates an agent."""
        return pb.CreateReActAgentResponse(agent_id=request.signature, capabilities=["streaming"])

    async def execute_agent(self, request: pb.ExecuteAgentRequest, _: Any) -> AsyncIterator[pb.AgentExecutionChunk]:
        """Runs it."""
        about = {"agent_id": request.agent_id, "run_id": request.run_id}
        yield pb.AgentExecutionChunk(**about, thought=pb.ThoughtChunk(text="Hm.", step=1))
        if request.input["question"] == "wait":
            await asyncio.Event().wait()
        answer = Struct()
        answer.update({"answer": request.input["question"]})
        result = pb.ResultChunk(final_answer=answer, total_steps=1, stop_reason="finished")
        yield pb.AgentExecutionChunk(**about, result=result, sequence=1)

    def cancel_all(self, _: Exception) -> None:
        """Cancels nothing: the worker ends the runs."""

    async def aclose(self) -> None:
        """Closes nothing."""


async def _main(address: str) -> None:
    async with ToolWorker(address, agents=Agents) as worker:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await worker.run()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
