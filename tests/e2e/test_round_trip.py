"""The end-to-end tests of the testing strategy: the hub is a process of its own.

The agent's steps of the first test are left out; docs/testing.md says where they stand.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from grpc_tool_bridge import GRPCToolBridge, ToolCommunicationError, ToolExecutionError
from integration.connections import RemoteBridge

HUB = Path(__file__).with_name("hub_process.py")


@contextmanager
def hub_process() -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """Runs a hub; yields its process and its address, and terminates it where it still runs."""
    with subprocess.Popen([sys.executable, str(HUB)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the hub did not start; its error is above"
            yield process, address
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def hub_address() -> Iterator[str]:
    """Starts a real hub."""
    with hub_process() as (_, address):
        yield address


class TestEndToEnd:
    """Full system integration tests."""

    async def test_complete_tool_flow(self, hub_address: str) -> None:
        """Session, tools, calls and variables, from one process to another and back."""
        async with GRPCToolBridge(hub_address) as bridge:
            # Step 1: initialize a session.
            tools = await bridge.initialize("e2e_test_session")
            assert len(tools) > 0

            # Step 2: execute a tool.
            search_tool = tools.get("search_web")
            assert search_tool is not None
            results = await search_tool("DSPy framework")
            assert isinstance(results, list)
            assert len(results) > 0

            # Step 3: set a variable, which another client of the session reads.
            await bridge.client.session_context.set_variable("search_results", results)
            async with GRPCToolBridge(hub_address) as other:
                await other.initialize("e2e_test_session")
                assert await other.session_context.get_variable("search_results") == results

            # Steps 4 and 5 create and run an agent. What its actions call:
            assert "4" in str(await tools["calculate"]("2 + 2"))

    async def test_concurrent_sessions(self, hub_address: str) -> None:
        """Test multiple concurrent sessions."""
        bridges = [GRPCToolBridge(hub_address) for _ in range(5)]
        session_ids = [f"concurrent_session_{i}" for i in range(5)]

        tools_list = await asyncio.gather(
            *[bridge.initialize(sid) for bridge, sid in zip(bridges, session_ids, strict=True)]
        )
        assert all(len(tools) > 0 for tools in tools_list)

        # Every session has its own value of one variable, and its own answer.
        await asyncio.gather(
            *[
                bridge.session_context.set_variable("mine", sid)
                for bridge, sid in zip(bridges, session_ids, strict=True)
            ]
        )
        results = await asyncio.gather(
            *[tools["search_web"](f"test_input {sid}") for tools, sid in zip(tools_list, session_ids, strict=True)],
            return_exceptions=True,
        )

        assert [result for result in results if isinstance(result, BaseException)] == []
        assert [result[0]["query"] for result in results] == [f"test_input {sid}" for sid in session_ids]  # type: ignore[index]  # no exception is among them
        assert await asyncio.gather(*[bridge.session_context.get_variable("mine") for bridge in bridges]) == session_ids
        for bridge in bridges:
            await bridge.close()

    async def test_a_tool_s_error_crosses_with_its_traceback(self, hub_address: str) -> None:
        async with GRPCToolBridge(hub_address) as bridge:
            tools = await bridge.initialize()

            with pytest.raises(ToolExecutionError) as caught:
                await tools["calculate"]("1 / 0")

            assert caught.value.error_type == "ZeroDivisionError"
            assert "hub_process.py" in caught.value.remote_traceback
            assert await tools["calculate"]("6 * 7") == 42

    def test_a_program_without_an_event_loop_calls_tools(self, hub_address: str) -> None:
        with GRPCToolBridge(hub_address).sync as bridge:
            tools = bridge.initialize()

            assert tools["calculate"]("6 * 7") == 42


async def test_a_hub_that_is_killed_ends_a_stream_and_a_call_with_one_clear_error(remote_bridge: RemoteBridge) -> None:
    with hub_process() as (process, address):
        async with remote_bridge(address) as bridge:
            tools = await bridge.initialize()
            seen: list[int] = []

            async def read() -> None:
                async for number in tools["endless"].stream():
                    seen.append(number)
                    if number == 10:
                        process.kill()

            with pytest.raises(ToolCommunicationError) as in_stream:
                await read()

            assert seen == list(range(len(seen)))
            assert len(seen) > 10
            assert in_stream.value.code is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(ToolCommunicationError, match=address) as in_call:
                # Over a link it waits for the hub to come back, as long as its time lasts.
                await tools["calculate"].with_options(timeout=0.3)("1 + 1")
            assert in_call.value.code is grpc.StatusCode.UNAVAILABLE


def test_a_hub_that_is_terminated_ends_in_order() -> None:
    with hub_process() as (process, _):
        process.terminate()
        assert process.wait() == 0
