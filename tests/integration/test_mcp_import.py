"""Tools of MCP servers as tools of a hub: real servers of the SDK, over pipes and over HTTP."""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from grpc_tool_bridge import Answer, BridgeServer, GRPCToolBridge, Question, ToolExecutionError, ToolWorker, tool
from grpc_tool_bridge.adapters.mcp import Bounds, McpServer, import_mcp
from grpc_tool_bridge.errors import ProtocolError, UnavailableError, ValidationError
from grpc_tool_bridge.server import LocalToolBridge
from grpc_tool_bridge.tools.media import Audio, Image, Resource, ResourceLink, media_of
from integration.mcp_servers import honest_command
from integration.mcp_servers.honest import PICTURE
from support.patience import PATIENCE
from support.waiting import is_gone, soon, until


@asynccontextmanager
async def http_server() -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *honest_command("--http", str(port)), stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        await until(listens, "for an HTTP server")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.wait()


@pytest_asyncio.fixture(params=["pipes", "older pipes", "http"])
async def source(request: pytest.FixtureRequest) -> AsyncIterator[McpServer]:
    if "pipes" in request.param:
        yield import_mcp(honest_command(*(["--older"] if "older" in request.param else [])), name="honest")
        return
    async with http_server() as address:
        yield import_mcp(address, name="honest")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes an import try again after short pauses that do not grow."""
    for module in ("server", "connection"):
        monkeypatch.setattr(f"grpc_tool_bridge.adapters.mcp.{module}.back_off", lambda: itertools.repeat(0.05))


@asynccontextmanager
async def bridge_of(*sources: McpServer, tools: Any = (), on_ask: Any = None) -> AsyncIterator[GRPCToolBridge]:
    async with (
        BridgeServer(tools=tools, sources=sources) as server,
        GRPCToolBridge(server.address, on_ask=on_ask) as bridge,
    ):
        await bridge.initialize()
        yield bridge


async def refused(call: Any) -> ToolExecutionError:
    with pytest.raises(ToolExecutionError) as caught:
        await soon(call)
    return caught.value


async def test_its_tools_are_called_with_their_types(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        tools = bridge.tools
        assert await soon(tools["honest.add"](a=2, b=3)) == 5
        assert await soon(tools["honest.point"](x=2)) == {"x": 2, "y": -2}
        value = {"text": "ä", "list": [1, 2.5, None, True], "deep": {"a": {}}}
        assert await soon(tools["honest.echo"](value=value)) == value
        assert "integer" in (await refused(tools["honest.add"](a="x"))).details["a"]
        assert "missing" in (await refused(tools["honest.add"]())).details["a"]


async def test_its_specs_are_kept(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        spec = bridge.tools["honest.add"].spec
        assert spec.description == "Adds two numbers."
        assert spec.idempotent
        assert [(item.name, item.python_type, item.required) for item in spec.arguments] == [
            ("a", "int", True),
            ("b", "int", False),
        ]
        assert spec.output_schema == '{"type":"integer"}'
        assert spec.metadata["mcp.title"] == "Addition"
        assert '"readOnlyHint": true' in spec.metadata["mcp.annotations"]
        assert (spec.metadata["mcp.server"], spec.metadata["mcp.tool"]) == ("honest", "add")
        assert not bridge.tools["honest.echo"].spec.idempotent


async def test_every_kind_of_content_becomes_a_value(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        text, *others = await soon(bridge.tools["honest.media"]())
        assert text == "a text"
        assert [media_of(other) for other in others] == [
            Image(PICTURE, "image/png"),
            Audio(PICTURE, "audio/wav"),
            Resource("file:///a", "A", "text/plain"),
            ResourceLink("file:///b", "b", description="B"),
        ]


async def test_nothing_beside_structured_content_is_lost(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        value, caption, picture = await soon(bridge.tools["honest.both"]())
        assert (value, caption, media_of(picture)) == ({"width": 3}, "a caption", Image(PICTURE, "image/png"))


async def test_errors_keep_their_type_and_details(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        plain = await refused(bridge.tools["honest.fail"](kind="plain"))
        assert plain.error_type == "McpToolError"
        assert "fail" in plain.message
        assert plain.details["origin"] == "tool"
        kept = await refused(bridge.tools["honest.fail"](kind="bridge"))
        assert (kept.error_type, kept.message) == ("KeyError", "no such key")
        assert kept.details == {"key": "a", "origin": "tool", "server": "honest"}


async def test_progress_and_log_lines_reach_the_caller(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        told: list[Any] = []
        work = bridge.tools["honest.work"].with_options(on_progress=told.append, on_log=told.append)
        assert await soon(work(steps=2)) == "done"
        assert {"step 0", "step 1", "line 0", "line 1"} <= {event.message for event in told}


async def test_a_cancelled_call_is_cancelled_at_the_server(source: McpServer, tmp_path: Path) -> None:
    file = tmp_path / "state"
    async with bridge_of(source) as bridge:
        call = asyncio.ensure_future(bridge.tools["honest.wait"](file=str(file)))
        await until(lambda: file.exists() and file.read_text() == "began", "for the tool to begin")
        call.cancel()
        await until(lambda: file.read_text() == "cancelled", "for the tool to be cancelled")


async def test_a_deadline_cancels_the_call_at_the_server(source: McpServer, tmp_path: Path) -> None:
    file = tmp_path / "state"
    async with bridge_of(source) as bridge:
        error = await refused(bridge.tools["honest.wait"].with_options(timeout=1.0)(file=str(file)))
        assert error.error_type == "TimeoutError"
        await until(lambda: file.read_text() == "cancelled", "for the tool to be cancelled")


async def test_a_question_reaches_the_caller(source: McpServer) -> None:
    asked: list[Question] = []

    async def on_ask(question: Question) -> Answer:
        asked.append(question)
        return Answer("accept", {"sure": True})

    async with bridge_of(source, on_ask=on_ask) as bridge:
        assert await soon(bridge.tools["honest.ask"]()) == "accept True"
    assert asked[0].message == "Are you sure?"
    assert asked[0].schema is not None
    assert asked[0].schema["properties"].keys() == {"sure"}


async def test_a_question_that_nobody_can_answer_is_a_clear_error(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        error = await refused(bridge.tools["honest.ask"]())
        assert "cannot" in error.message or "on_ask" in error.message


async def test_new_tools_appear_while_it_runs(source: McpServer) -> None:
    async with bridge_of(source) as bridge:
        before = bridge.tools["honest.add"].spec
        assert await soon(bridge.tools["honest.grow"](name="later")) == "later"
        await until(lambda: "honest.later" in bridge.tools, "for the new tool")
        assert await soon(bridge.tools["honest.later"]()) == "later"
        assert bridge.tools["honest.add"].spec == before


async def test_a_process_that_dies_is_started_again_and_its_tools_are_away_meanwhile() -> None:
    source = import_mcp(honest_command(), name="honest")
    async with bridge_of(source) as bridge:
        pid = await soon(bridge.tools["honest.pid"]())
        error = await refused(bridge.tools["honest.die"]())
        assert error.error_type == "WorkerUnavailable"
        assert error.retryable
        assert "exit code 3" in error.message
        await until(lambda: is_gone(pid))
        await until(lambda: "honest.pid" not in bridge.tools, "for its tools to be gone")
        await until(lambda: "honest.pid" in bridge.tools, "for the server to be back")
        again = await soon(bridge.execute_with_retry("honest.pid", max_retries=10))
        assert again != pid


async def test_its_environment_is_that_of_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_BRIDGE", "secret")
    async with bridge_of(import_mcp(honest_command(), name="honest", env={"OF_THE_SERVER": "1"})) as bridge:
        found = await soon(bridge.tools["honest.environment"]())
    assert found["OF_THE_SERVER"] == "1"
    assert "PATH" in found
    assert "OF_THE_BRIDGE" not in found


async def test_a_taken_name_is_refused_aloud_and_the_others_are_offered(caplog: pytest.LogCaptureFixture) -> None:
    def mine() -> str:
        return "mine"

    source = import_mcp(honest_command(), name="honest")
    async with bridge_of(source, tools=[tool(name="honest.add")(mine)]) as bridge:
        assert await soon(bridge.tools["honest.add"]()) == "mine"
        assert await soon(bridge.tools["honest.point"](x=1)) == {"x": 1, "y": -1}
        assert [refusal.name for refusal in source.refused] == ["honest.add"]
    assert "honest.add" in caplog.text


async def test_only_chosen_tools_are_imported_under_the_chosen_prefix() -> None:
    source = import_mcp(honest_command(), name="honest", prefix="h", include=["p*", "add"], exclude=["pid"])
    async with bridge_of(source) as bridge:
        assert sorted(bridge.tools) == ["h.add", "h.point"]
    async with bridge_of(import_mcp(honest_command(), prefix="", include=["add"])) as bridge:
        assert sorted(bridge.tools) == ["add"]


async def test_a_worker_offers_them_over_its_link() -> None:
    async with BridgeServer() as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        source = import_mcp(honest_command(), name="honest")
        async with ToolWorker(hub.address, sources=[source]) as worker:
            await until(lambda: "honest.add" in bridge.tools, "for the tools")
            assert "honest.add" in worker.tools
            assert await soon(bridge.tools["honest.add"](a=1)) == 2
            await soon(bridge.tools["honest.grow"](name="later"))
            await until(lambda: "honest.later" in bridge.tools, "for the new tool")
            error = await refused(bridge.tools["honest.die"]())
            assert error.error_type == "WorkerUnavailable"
            await until(lambda: "honest.add" not in bridge.tools, "for its tools to be gone")
            await until(lambda: "honest.add" in bridge.tools, "for the server to be back")
            assert await soon(bridge.execute_with_retry("honest.add", max_retries=10, a=5)) == 6
        await until(lambda: "honest.add" not in bridge.tools, "for the worker to be gone")


async def test_a_worker_of_one_session_hides_no_tool_of_the_hub() -> None:
    def mine() -> str:
        return "the hub's"

    hub = BridgeServer(tools=[tool(name="honest.add")(mine)])
    source = import_mcp(honest_command(), name="honest")
    async with hub, GRPCToolBridge(hub.address) as bridge, ToolWorker(hub.address, session_id="s", sources=[source]):
        await bridge.initialize("s")
        assert await soon(bridge.tools["honest.point"](x=1)) == {"x": 1, "y": -1}
        assert await soon(bridge.tools["honest.add"]()) == "the hub's"


async def test_a_worker_offers_them_again_to_a_hub_that_has_restarted(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    hub = BridgeServer(address)
    await hub.start()
    async with ToolWorker(address, sources=[import_mcp(honest_command(), name="honest")]):
        await hub.stop(0)
        async with BridgeServer(address), GRPCToolBridge(address) as bridge:
            await bridge.initialize()
            await until(lambda: "honest.add" in bridge.tools, "for the worker to be back")
            assert await soon(bridge.tools["honest.add"](a=1)) == 2


async def test_its_tools_can_be_given_to_anything_that_takes_tools() -> None:
    async with import_mcp(honest_command(), name="honest") as server, LocalToolBridge(server.tools) as bridge:
        await bridge.initialize()
        assert await soon(bridge.tools["honest.add"](a=1)) == 2
        with pytest.raises(ProtocolError, match="only once"):
            await server.__aenter__()
    assert server.tools == []


async def test_nothing_is_left_of_a_server_when_its_hub_has_stopped() -> None:
    async with bridge_of(import_mcp(honest_command(), name="honest")) as bridge:
        pid = await soon(bridge.tools["honest.pid"]())
    assert is_gone(pid)


async def test_nothing_is_left_of_a_server_when_its_hub_was_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from grpc_tool_bridge.adapters.mcp import import_mcp\n"
        "from grpc_tool_bridge.server import LocalToolBridge\n"
        "async def main():\n"
        "    async with import_mcp(sys.argv[1:], name='h') as server, LocalToolBridge(server.tools) as bridge:\n"
        "        await bridge.initialize()\n"
        "        print(await bridge.tools['h.pid'](), flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *honest_command(), stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    pid = int(await soon(process.stdout.readline()))
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: is_gone(pid), "for the server to end")


async def test_what_can_never_be_started_is_an_error_of_the_hub() -> None:
    with pytest.raises(ValidationError, match=r"MCP server nope: the program 'nope' was not found"):
        await BridgeServer(sources=[import_mcp("nope --flag")]).start()
    with pytest.raises(ValidationError, match="there is no directory"):
        await BridgeServer(sources=[import_mcp("sh -c true", cwd="/nowhere", name="x")]).start()
    with pytest.raises(UnavailableError, match=r"MCP server x: .*exit code 3; its last lines were: a reason"):
        await BridgeServer(sources=[import_mcp("sh -c 'echo a reason >&2; exit 3'", name="x")]).start()


@pytest.mark.usefixtures("impatient")
async def test_an_address_that_is_not_there_yet_is_waited_for(unused_tcp_port: int) -> None:
    source = import_mcp(f"http://127.0.0.1:{unused_tcp_port}/mcp", name="honest")
    async with bridge_of(source) as bridge:
        assert bridge.tools == {}
        process = await asyncio.create_subprocess_exec(
            *honest_command("--http", str(unused_tcp_port)),
            stderr=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(lambda: "honest.add" in bridge.tools, "for the server")
            assert await soon(bridge.tools["honest.add"](a=1)) == 2
        finally:
            process.kill()
            await process.wait()


@pytest.mark.usefixtures("impatient")
async def test_an_address_that_goes_away_takes_its_tools_with_it_until_it_is_back(unused_tcp_port: int) -> None:
    words = honest_command("--http", str(unused_tcp_port))
    nowhere = asyncio.subprocess.DEVNULL
    async with bridge_of(import_mcp(f"http://127.0.0.1:{unused_tcp_port}/mcp", name="honest")) as bridge:
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(*words, stdout=nowhere, stderr=nowhere)
            try:
                await until(lambda: "honest.add" in bridge.tools, "for the server")
                assert await soon(bridge.tools["honest.add"](a=1)) == 2
            finally:
                process.kill()
                await process.wait()
            await until(lambda: "honest.add" not in bridge.tools, "for its tools to be gone")


async def test_an_address_without_an_mcp_server_is_a_clear_error() -> None:
    async with http_server() as address:
        wrong = address.replace("/mcp", "/other?token=secret")
        with pytest.raises(UnavailableError, match="404") as caught:
            await BridgeServer(sources=[import_mcp(wrong, name="x", bounds=Bounds(start_seconds=PATIENCE))]).start()
        assert "secret" not in str(caught.value)
