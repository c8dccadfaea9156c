"""The end-to-end tests of the testing strategy: Elixir starts the hub and serves the tools, Python calls them."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge import GRPCToolBridge

SDK = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def elixir_server() -> Iterator[str]:
    """Starts the Elixir application, which is a hub."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        ["mix", "run", "--no-halt"],
        cwd=SDK,
        env={**os.environ, "MIX_ENV": "test", "GRPC_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "ready\n" in iter(process.stdout.readline, ""), "the application ended before it was ready"
            yield f"localhost:{port}"
        finally:
            process.terminate()


async def test_complete_tool_flow(elixir_server: str) -> None:
    """Python → Elixir → Python → Elixir."""
    async with GRPCToolBridge(elixir_server) as bridge:
        tools = await bridge.initialize("e2e_test_session")
        assert len(tools) > 0

        results = await tools["search_web"]("DSPy framework")
        assert results == [
            {"title": "DSPy", "query": "DSPy framework"},
            {"title": "framework", "query": "DSPy framework"},
        ]
        await bridge.client.session_context.set_variable("search_results", results)

        agent_id = await bridge.create_react_agent(
            "Question -> Answer", tool_names=["search_web", "calculate"], max_iters=3
        )
        request = {"agent_id": agent_id, "input": {"question": "What is 2 + 2?"}, "stream": True}
        chunks = [chunk async for chunk in bridge.execute_agent_streaming(request)]

        kinds = [chunk["type"] for chunk in chunks]
        assert kinds.count("thought") > 0
        assert kinds.count("action") > 0
        assert kinds.count("result") == 1
        assert "4" in str(chunks[-1]["final_answer"])


async def test_concurrent_sessions(elixir_server: str) -> None:
    """Sessions at the same time do not disturb each other."""
    bridges = [GRPCToolBridge(elixir_server) for _ in range(5)]
    names = [f"concurrent_session_{number}" for number in range(5)]
    opened = await asyncio.gather(*(bridge.initialize(name) for bridge, name in zip(bridges, names, strict=True)))
    assert all(len(tools) > 0 for tools in opened)

    calls = [next(iter(tools.values()))(name) for tools, name in zip(opened, names, strict=True)]
    assert await asyncio.gather(*calls) == [f'got "{name}"' for name in names]
    await asyncio.gather(*(bridge.close() for bridge in bridges))
