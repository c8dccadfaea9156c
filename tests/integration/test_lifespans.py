"""Lifespans: entered before anything is served, left after the last call, in hubs, workers and processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from grpc_tool_bridge import (
    ArgumentTypeError,
    BridgeServer,
    GRPCToolBridge,
    LocalToolBridge,
    Settings,
    ToolExecutionError,
    ToolWorker,
    ValidationError,
    tool,
)
from integration import dependent_tools as made
from integration.test_cli import PATIENCE, popen, read_line, serving
from support.waiting import is_gone, soon, until

TOOLS = str(Path(made.__file__))
AT_ONCE = Settings(shutdown_grace=0)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Reads what happened, in this process and in others."""
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv(made.LOG, str(path))
    return lambda: path.read_text().splitlines()


in_process = tool(executor="process")


async def test_a_hub_enters_its_lifespan_before_it_serves_and_leaves_it_after_the_last_call(
    log: Callable[[], list[str]],
) -> None:
    @asynccontextmanager
    async def lifespan(server: BridgeServer) -> AsyncIterator[dict[str, str]]:
        made.note("entered" if not server.hub.serving else "serves already")
        yield {"db": "shared"}
        made.note("left" if not server.hub.admission.active else "calls run")

    async def wait() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            made.note("call ended")

    async with BridgeServer(tools=[made.lifespan_value, wait], settings=AT_ONCE, lifespan=lifespan) as server:
        bridge = GRPCToolBridge(server.address)
        tools = await bridge.initialize()
        assert await soon(tools["lifespan_value"]("db")) == "shared"
        running = asyncio.ensure_future(tools["wait"]())
        await until(lambda: server.hub.admission.active)
    with pytest.raises(ToolExecutionError):
        await soon(running)
    await bridge.close()
    assert log() == ["entered", "call ended", "left"]


async def test_a_local_bridge_has_a_lifespan_however_it_is_used(log: Callable[[], list[str]]) -> None:
    async with LocalToolBridge([made.lifespan_value], lifespan=made.lifespan) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["lifespan_value"]("db")) == "db of LocalToolBridge"
    bridge = LocalToolBridge([made.lifespan_value], lifespan=made.lifespan)
    await bridge.initialize()
    await bridge.close()
    assert log() == ["enter LocalToolBridge", "leave LocalToolBridge"] * 2


def test_a_synchronous_bridge_has_a_lifespan(log: Callable[[], list[str]]) -> None:
    with LocalToolBridge([made.lifespan_value], lifespan=made.lifespan).sync as bridge:
        assert bridge.initialize()["lifespan_value"]("db") == "db of LocalToolBridge"
    assert log() == ["enter LocalToolBridge", "leave LocalToolBridge"]


async def test_several_lifespans_are_entered_in_order_and_left_in_reverse(log: Callable[[], list[str]]) -> None:
    given = [made.lifespan, made.other_lifespan, made.lifespan]
    async with LocalToolBridge([made.lifespan_value], lifespan=given) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["lifespan_value"]("other")) == "1"
    assert log() == ["enter LocalToolBridge", "enter other", "leave other", "leave LocalToolBridge"]


async def test_a_worker_enters_its_lifespan_once_though_it_loses_its_connection(
    log: Callable[[], list[str]],
) -> None:
    async with BridgeServer(settings=AT_ONCE) as server:
        worker = ToolWorker(server.address, [made.lifespan_value], settings=AT_ONCE, lifespan=made.lifespan)
        async with worker:
            async with server.bridge() as bridge:
                tools = await bridge.initialize()
                assert await soon(tools["lifespan_value"]("db")) == "db of ToolWorker"
                (before,) = server.hub.workers.workers()
                before.link.abort("the test cuts it")
                await until(lambda: server.hub.workers.workers() and server.hub.workers.workers()[0] is not before)
                assert await soon(tools["lifespan_value"]("db")) == "db of ToolWorker"
            assert log() == ["enter ToolWorker"]
    assert log() == ["enter ToolWorker", "leave ToolWorker"]


@pytest.mark.parametrize("kind", ["hub", "worker", "bridge"])
async def test_what_a_lifespan_raises_ends_the_start_and_leaves_those_before_it(
    kind: str, log: Callable[[], list[str]]
) -> None:
    given = [made.other_lifespan, made.failing_lifespan]
    owners: dict[str, Callable[[], Any]] = {
        "hub": lambda: BridgeServer(lifespan=given),
        "worker": lambda: ToolWorker("127.0.0.1:1", [made.query], lifespan=given),
        "bridge": lambda: LocalToolBridge(lifespan=given),
    }
    owner = owners[kind]()
    with pytest.raises(ConnectionError, match="refused") as caught:
        await soon(owner.__aenter__())
    assert caught.value.__notes__ == ["raised by the lifespan integration.dependent_tools:failing_lifespan"]
    assert log() == ["enter other", "leave other"]


async def test_a_lifespan_is_left_if_the_hub_cannot_listen(log: Callable[[], list[str]]) -> None:
    async with BridgeServer() as first:
        with pytest.raises(OSError, match="in use"):
            await BridgeServer(first.address, lifespan=made.lifespan).start()
    assert log() == ["enter BridgeServer", "leave BridgeServer"]


async def test_a_worker_that_is_refused_leaves_its_lifespan(log: Callable[[], list[str]]) -> None:
    async with BridgeServer(tools=[made.query]) as server:
        with pytest.raises(Exception, match="query"):
            await soon(ToolWorker(server.address, [made.query], lifespan=made.lifespan).start())
    assert log() == ["enter ToolWorker", "leave ToolWorker"]


async def test_a_start_that_is_cancelled_leaves_what_was_entered(log: Callable[[], list[str]]) -> None:
    entering = asyncio.Event()

    @asynccontextmanager
    async def endless(_: Any) -> AsyncIterator[None]:
        entering.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            made.note("cancelled")
        yield

    starting = asyncio.ensure_future(BridgeServer(lifespan=[made.other_lifespan, endless]).start())
    await soon(entering.wait())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(starting)
    assert log() == ["enter other", "cancelled", "leave other"]


async def test_what_a_lifespan_raises_at_its_end_is_raised_once_everything_is_closed(
    log: Callable[[], list[str]],
) -> None:
    @asynccontextmanager
    async def failing(_: Any) -> AsyncIterator[None]:
        yield
        raise OSError("disk full")

    server = BridgeServer(lifespan=[made.other_lifespan, failing])
    await server.start()
    with pytest.raises(OSError, match="disk full") as caught:
        await server.stop(0)
    assert "raised at the end of the lifespan" in caught.value.__notes__[0]
    assert not server.hub.serving
    await server.stop(0)
    async with BridgeServer() as hub:
        worker = ToolWorker(hub.address, [made.query], lifespan=[made.other_lifespan, failing])
        await worker.start()
        running = asyncio.ensure_future(worker.run())
        with pytest.raises(OSError, match="disk full"):
            await worker.drain(0)
        await soon(running)
    assert log() == ["enter other", "leave other"] * 2


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (3, ArgumentTypeError, "lifespan is 3; it must be an async context manager function"),
        ([made.lifespan, "made:lifespan"], ArgumentTypeError, "it must be an async context manager function"),
        (made.query, ArgumentTypeError, "must take one argument: the server or the worker"),
        (made.uncommitted, ArgumentTypeError, "must take one argument"),
    ],
)
def test_what_cannot_be_a_lifespan_is_refused(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        BridgeServer(lifespan=given)


def test_a_function_that_is_not_asynchronous_or_does_not_yield_is_refused() -> None:
    async def returns(server: Any) -> None:
        """Yields nothing."""

    def yields(server: Any) -> Any:
        yield

    with pytest.raises(ArgumentTypeError, match="is an async function that yields nothing; write"):
        LocalToolBridge(lifespan=returns)
    with pytest.raises(ArgumentTypeError, match="is not async; write"):
        LocalToolBridge(lifespan=yields)


async def test_what_a_lifespan_yields_is_checked() -> None:
    async def no_dict(_: Any) -> AsyncIterator[Any]:
        yield 3

    async def another(_: Any) -> AsyncIterator[Any]:
        yield {"other": 2}

    for given, text in (
        (no_dict, r"no_dict yields int; it must yield a dict"),
        ([made.other_lifespan, another], r"another yields 'other', as one before it does"),
        (lambda _: 3, r"returned int, which is no async context manager"),
    ):
        with pytest.raises(ValidationError, match=text):
            async with LocalToolBridge(lifespan=given):
                """Never entered."""


async def test_an_async_generator_function_is_a_lifespan_without_a_decorator() -> None:
    async def plain(bridge: Any) -> AsyncIterator[dict[str, int]]:
        yield {"number": 1}

    async with LocalToolBridge([made.lifespan_value], lifespan=plain) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["lifespan_value"]("number")) == "1"
        with pytest.raises(ToolExecutionError, match=r"no lifespan has yielded .numbr., only .number.; did you mean"):
            await soon(tools["lifespan_value"]("numbr"))


async def test_without_a_lifespan_its_values_say_so() -> None:
    async with LocalToolBridge([made.lifespan_value]) as bridge:
        tools = await bridge.initialize()
        with pytest.raises(ToolExecutionError, match="there is no lifespan, so there is no 'n'"):
            await soon(tools["lifespan_value"]("n"))


# ------------------------------------------------------------------------------------------------------- processes


async def test_each_process_of_tools_has_the_lifespan_once_until_it_ends(log: Callable[[], list[str]]) -> None:
    tools = [in_process(made.lifespan_value), in_process(made.query)]
    async with LocalToolBridge(tools, lifespan=made.lifespan, settings=Settings(max_processes=1)) as bridge:
        found = await bridge.initialize()
        assert await soon(found["lifespan_value"]("db")) == "db of NoneType"
        assert await soon(found["lifespan_value"]("db")) == "db of NoneType"
        assert await soon(found["query"]("cats")) == "cats in db of NoneType, 3"
        assert log()[:2] == ["enter LocalToolBridge", "enter NoneType"]
    assert log()[-2:] == ["leave NoneType", "leave LocalToolBridge"]
    assert log().count("enter NoneType") == 1


async def test_a_process_that_is_replaced_leaves_its_lifespan(log: Callable[[], list[str]]) -> None:
    settings = Settings(max_processes=1, max_process_calls=1, process_jitter=0)
    tools = [in_process(made.lifespan_value), in_process(made.process_id)]
    async with LocalToolBridge(tools, lifespan=made.lifespan, settings=settings) as bridge:
        found = await bridge.initialize()
        first = await soon(found["process_id"]())
        await until(lambda: is_gone(first))
        assert log() == ["enter LocalToolBridge", "enter NoneType", "enter NoneType", "leave NoneType"]
        assert await soon(found["lifespan_value"]("db")) == "db of NoneType"


async def test_a_lifespan_that_fails_in_a_process_fails_the_call() -> None:
    async with LocalToolBridge([in_process(made.process_id)], lifespan=made.failing_in_processes) as bridge:
        found = await bridge.initialize()
        for _ in range(2):
            with pytest.raises(ToolExecutionError) as caught:
                await soon(found["process_id"]())
            assert caught.value.error_type == "WorkerUnavailable"
            text = "cannot enter the lifespan integration.dependent_tools:failing_in_processes: ConnectionError: no db"
            assert text in caught.value.message


async def test_a_lifespan_that_processes_cannot_find_is_refused_where_it_is_given() -> None:
    async def local(_: Any) -> AsyncIterator[None]:
        yield

    text = r"tool 'process_id' runs in a process: the lifespan .*local cannot be found by its name"
    for owner in (BridgeServer, LocalToolBridge, ToolWorker):
        with pytest.raises(ValidationError, match=text):
            owner(tools=[in_process(made.process_id)], lifespan=local)


# ------------------------------------------------------------------------------------------------ the command line


def end(process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> tuple[int, str]:
    """Sends a signal; returns the exit code and stderr."""
    if number:
        process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def test_serve_enters_the_lifespan_beside_its_tools_and_those_that_are_named(
    log: Callable[[], list[str]],
) -> None:
    words = ["--tools", f"{TOOLS}:in_process", "--lifespan", f"{TOOLS}:other_lifespan"]
    with serving(*words, stderr=subprocess.DEVNULL) as (said, _), GRPCToolBridge(said["address"]).sync as bridge:
        tools = bridge.initialize()
        assert tools["lifespan_value"]("db") == "db of NoneType"
        assert log() == ["enter other", "enter BridgeServer", "enter other", "enter NoneType"]
    assert log()[4:] == ["leave NoneType", "leave other", "leave BridgeServer", "leave other"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_process_leaves_its_lifespan_at_a_signal(number: int, log: Callable[[], list[str]]) -> None:
    async with BridgeServer() as server:
        process = popen("worker", f"{TOOLS}:lifespan_value", "--address", server.address, "--json")
        try:
            assert json.loads(await asyncio.to_thread(read_line, process))["tools"] == ["lifespan_value"]
            async with GRPCToolBridge(server.address) as bridge:
                tools = await bridge.initialize()
                assert await soon(tools["lifespan_value"]("db")) == "db of ToolWorker"
            code, _ = await asyncio.to_thread(end, process, number)
            assert code == (0 if number == signal.SIGTERM else 130)
        finally:
            process.kill()
            process.communicate()
    assert log() == ["enter ToolWorker", "leave ToolWorker"]


async def test_each_process_of_a_worker_that_is_replaced_has_a_lifespan_of_its_own(
    log: Callable[[], list[str]],
) -> None:
    async with BridgeServer() as server:
        words = [f"{TOOLS}:process_id", f"{TOOLS}:lifespan_value", "--max-calls", "2", "--jitter", "0"]
        process = popen("worker", *words, "--address", server.address, "--json")
        try:
            assert await asyncio.to_thread(read_line, process)
            async with GRPCToolBridge(server.address) as bridge:
                tools = await bridge.initialize()
                pids: set[int] = set()
                while len(pids) < 3:
                    pids.add(await soon(tools["process_id"]()))
                    assert await soon(tools["lifespan_value"]("db")) == "db of ToolWorker"
            code, _ = await asyncio.to_thread(end, process)
            assert code == 0
        finally:
            process.kill()
            process.communicate()
    assert log().count("enter ToolWorker") == log().count("leave ToolWorker") >= 3


async def test_mcp_enters_the_lifespan_beside_its_tools(log: Callable[[], list[str]]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = ["-m", "grpc_tool_bridge.cli", "mcp", "--tools", f"{TOOLS}:OFFERED"]
    async with Client(StdioServerParameters(command=sys.executable, args=words, env=environment)) as client:
        found = await soon(client.call_tool("lifespan_value", {"name": "db"}))
        assert "db of LocalToolBridge" in str(found.content)
    await until(lambda: log() == ["enter LocalToolBridge", "leave LocalToolBridge"])


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_lifespan_that_fails_is_an_error_of_the_command(command: str, tmp_path: Path) -> None:
    source = tmp_path / "bad_lifespan.py"
    source.write_text(
        "from grpc_tool_bridge import tool\n\n@tool\ndef add(a: int) -> int:\n    return a\n\n"
        "async def lifespan(owner):\n    raise ConnectionError('refused')\n    yield\n"
    )
    given = ["serve", "--address", "127.0.0.1:0", "--tools"] if command == "serve" else ["worker"]
    code, errors = end(popen(*given, str(source)), 0)
    assert code == 1
    wanted = "error: the lifespan bad_lifespan:lifespan failed: ConnectionError: refused "
    assert errors.splitlines()[-1] == f"{wanted}({source}, line 8)"


def test_a_lifespan_that_fails_at_the_end_is_an_error_of_the_command(tmp_path: Path) -> None:
    source = tmp_path / "late_lifespan.py"
    source.write_text(
        "from grpc_tool_bridge import tool\n\n@tool\ndef add(a: int) -> int:\n    return a\n\n"
        "async def lifespan(owner):\n    yield\n    raise SystemExit(3)\n"
    )
    process = popen("serve", "--address", "127.0.0.1:0", "--json", "--tools", str(source))
    assert read_line(process)
    code, errors = end(process)
    assert code == 1
    assert "the lifespan late_lifespan:lifespan failed: SystemExit: it exits with 3" in errors


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--lifespan", "no_such_module:lifespan"], "--lifespan no_such_module:lifespan: there is no module"),
        (["--lifespan", f"{TOOLS}:nothing"], "has no nothing"),
        (["--lifespan", f"{TOOLS}:query"], "must take one argument: the server or the worker"),
        (["--tools", "{number}"], "rename it, if it is no lifespan"),
    ],
)
def test_a_lifespan_that_cannot_be_one_is_a_wrong_argument(words: list[str], text: str, tmp_path: Path) -> None:
    number = tmp_path / "with_number.py"
    number.write_text("from grpc_tool_bridge import tool\n\n@tool\ndef add() -> int:\n    return 1\n\nlifespan = 80\n")
    given = [word.replace("{number}", str(number)) for word in words]
    code, errors = end(popen("serve", "--address", "127.0.0.1:0", *given), 0)
    assert code == 2
    assert text in errors
