"""A hub that is used for long."""

import asyncio
from typing import Literal

import pytest

from attacks.victims import MIB, MakeVictim
from grpc_tool_bridge import GRPCToolBridge
from support.soak import rounds


@pytest.mark.soak
@pytest.mark.parametrize("transport", ["rpc", "link"])
async def test_whoever_comes_and_goes_is_answered_and_leaves_nothing_behind(
    attacked: MakeVictim, transport: Literal["rpc", "link"]
) -> None:
    hub = await attacked()
    before = 0
    for turn in rounds():
        async with GRPCToolBridge(hub.address, transport=transport) as bridge:
            tools = await bridge.initialize()
            answers = await asyncio.gather(*(tools["add"](turn, number) for number in range(100)))
            assert answers == list(range(turn, turn + 100))
            await bridge.session_context.set_variable("turn", "x" * 100_000)
            assert len(await bridge.session_context.get_variable("turn")) == 100_000
        if turn == 50:
            before = hub.memory()
    assert hub.memory() < before + 64 * MIB
