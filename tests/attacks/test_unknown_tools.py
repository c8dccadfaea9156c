"""Requests for what is not there."""

import asyncio

from attacks.victims import MIB, MakeVictim
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


async def test_long_names_of_unknown_tools_hurt_nobody(attacked: MakeVictim) -> None:
    hub = await attacked()
    stub = await hub.stub("s")
    before = hub.memory()
    requests = [pb.ToolCallRequest(session_id="s", tool_id="x" * MIB) for _ in range(50)]
    answers = await asyncio.gather(*(stub.ExecuteTool(request) for request in requests))
    assert {answer.error.type for answer in answers} == {"ToolNotFound"}
    assert all(len(answer.error.message) < 1_000 for answer in answers)
    await hub.looks_unharmed(max_bytes=before + 400 * MIB)
