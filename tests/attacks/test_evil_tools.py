"""Tools whose exceptions and results run code that would end the hub or hold its event loop."""

import asyncio
from typing import Literal

import pytest

from attacks.victims import PATIENCE, MakeVictim
from grpc_tool_bridge import GRPCToolBridge, ToolCommunicationError, ToolExecutionError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.evil_tools import GIVING, RAISED, RAISING, RESULTS, WITH_CODE, WITHOUT_CODE

Transport = Literal["link", "rpc"]

TOOLS = "attacks.evil_tools:TOOLS"
# Of a call whose tool never comes to an end.
SECONDS = 0.5


@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_a_hub_outlives_every_evil_exception_and_result(attacked: MakeVictim, transport: Transport) -> None:
    hub = await attacked(TOOLS)
    raised = [(tool.spec.name, what, each) for tool in RAISING for what in WITH_CODE for each in RAISED]
    raised += [(tool.spec.name, what, "") for tool in RAISING for what in WITHOUT_CODE]
    given = [(tool.spec.name, what, each) for tool in GIVING for what in RESULTS for each in RAISED]
    async with asyncio.timeout(PATIENCE), GRPCToolBridge(hub.address, transport=transport) as bridge:
        tools = await bridge.initialize()
        for tool, *args in raised:
            with pytest.raises(ToolExecutionError):
                await tools[tool](*args)
        for tool, what, each in given:
            try:
                assert "said" in str(await tools[tool](what, each)), (tool, what, each)
            except ToolExecutionError as error:
                assert error.error_type != "InternalError", (tool, what, each)  # noqa: PT017 - some do, some do not
    await hub.looks_unharmed()


@pytest.mark.parametrize(
    ("tool", "told"),
    [
        ("slow_text", "Slow"),
        ("slow_notes", "SlowNotes"),
        ("slow_text_in_thread", "TimeoutError"),
        ("slow_text_in_stream", "Slow"),
        ("slow_result", "TimeoutError"),
    ],
)
@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_what_never_comes_to_an_end_is_answered_at_the_calls_deadline(
    attacked: MakeVictim, transport: Transport, tool: str, told: str
) -> None:
    hub = await attacked(TOOLS)
    async with asyncio.timeout(PATIENCE), GRPCToolBridge(hub.address, transport=transport) as bridge:
        tools = await bridge.initialize()
        # More than there are threads for it.
        calls = [tools[tool].with_options(timeout=SECONDS)() for _ in range(20)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        # On a busy machine the client gives some up, a second after their deadline.
        answered = [error for error in errors if not isinstance(error, ToolCommunicationError)]
        assert answered
        for error in answered:
            assert isinstance(error, ToolExecutionError)
            assert error.error_type == told
            if told != "TimeoutError":
                assert "longer than the call's deadline" in error.message
    await hub.looks_unharmed()


async def test_what_says_of_which_class_it_is_only_in_hours_is_not_asked(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    async with asyncio.timeout(PATIENCE), GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        assert await tools["slow_class"]() == "said"
    await hub.looks_unharmed()


async def test_a_value_for_a_variable_that_ends_the_program_fails_its_own_call(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    async with asyncio.timeout(PATIENCE), GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        with pytest.raises(ToolExecutionError) as caught:
            await tools["asks_for_evil"]()
        assert caught.value.error_type == "SystemExit"


@pytest.mark.parametrize("tool", ["waits_for_no_future", "waits_for_an_odd_future"])
async def test_what_is_no_future_fails_the_tool_that_waits_for_it(attacked: MakeVictim, tool: str) -> None:
    hub = await attacked(TOOLS)
    async with asyncio.timeout(PATIENCE), GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        with pytest.raises(ToolExecutionError, match="which is not an asyncio future"):
            await tools[tool]()


async def test_a_tool_that_was_left_behind_may_raise_what_it_likes(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    stub = await hub.stub("s")
    async with asyncio.timeout(PATIENCE):
        answer = await stub.ExecuteTool(pb.ToolCallRequest(session_id="s", tool_id="ignores_its_end", timeout_ms=500))
    assert answer.error.type == "TimeoutError"
    await hub.looks_unharmed()
