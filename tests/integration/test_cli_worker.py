"""``worker``: real processes of a hub and of workers that dial it."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeError
from grpc_tool_bridge.cli import main
from grpc_tool_bridge.testing.background import running_hub
from integration.test_cli import PATIENCE, TOKEN, TOOLS, popen, read_line, runner, wait_for_log
from support.waiting import soon, until


class Workers:
    """Starts workers in processes of their own, none of which outlives its test."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, address: str, *words: str, as_json: bool = True) -> "subprocess.Popen[str]":
        process = popen("worker", *words, "--address", address, *["--json"] * as_json)
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


@pytest.fixture
async def hub() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(settings=Settings(shutdown_grace=0)) as hub:
        yield hub


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Waits for a process while the hub of this one goes on."""
    return await asyncio.to_thread(function, *args)


async def facts(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Waits until the tools can be called; gives what the worker says then."""
    line = await in_thread(read_line, process)
    assert line, process.stderr.read() if process.stderr else "it ended"
    said: dict[str, Any] = json.loads(line)
    return said


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


async def test_a_worker_says_when_its_tools_can_be_called(hub: BridgeServer, workers: Workers) -> None:
    words = [f"{TOOLS}:add", f"{TOOLS}:process_id", "--worker-id", "first", "--capacity", "3"]
    worker = workers.start(hub.address, *words)
    said = await facts(worker)
    assert said == {"address": hub.address, "worker_id": "first", "tools": ["add", "process_id"], "pid": worker.pid}
    async with GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["add"](1)) == 3
        assert await tools["process_id"]() == worker.pid
    worker.send_signal(signal.SIGTERM)
    out, err = await in_thread(worker.communicate)
    assert (worker.returncode, out) == (0, "")
    assert "printed by a tool" in err


async def test_people_are_told_what_a_worker_offers(hub: BridgeServer, workers: Workers) -> None:
    worker = workers.start(hub.address, f"{TOOLS}:add", "--worker-id", "first", as_json=False)
    lines = [await in_thread(read_line, worker) for _ in range(3)]
    assert lines[0] == f"The hub at {hub.address} has the tools of worker first\n"
    assert lines[1:] == ["  add(a: int, b: int = 2) -> int\n", "Press Ctrl-C to stop\n"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_lets_a_call_in_flight_finish(
    hub: BridgeServer, workers: Workers, pipe: Path, number: signal.Signals, code: int
) -> None:
    worker = workers.start(hub.address, f"{TOOLS}:read_pipe")
    await facts(worker)
    async with GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        call = asyncio.ensure_future(tools["read_pipe"](str(pipe)))
        with await in_thread(pipe.open, "w") as writer:  # waits until the tool reads
            worker.send_signal(number)
            await in_thread(wait_for_log, worker, number.name)
            writer.write("what it waited for")
        assert await soon(call) == "what it waited for"
    assert await in_thread(worker.wait, PATIENCE) == code


async def test_a_second_signal_ends_the_call_in_flight(hub: BridgeServer, workers: Workers, pipe: Path) -> None:
    worker = workers.start(hub.address, f"{TOOLS}:read_pipe", "--shutdown-grace", "1000")
    await facts(worker)
    async with GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        call = asyncio.ensure_future(tools["read_pipe"](str(pipe)))
        with await in_thread(pipe.open, "w"):
            worker.send_signal(signal.SIGINT)
            await in_thread(wait_for_log, worker, "SIGINT")
            worker.send_signal(signal.SIGINT)
            assert await in_thread(worker.wait, PATIENCE) == 130
            with pytest.raises(ToolBridgeError):
                await soon(call)


async def test_a_hub_that_is_not_there_yet_is_waited_for_and_one_that_went_away_is_dialled_again(
    workers: Workers, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/hub.sock"
    worker = workers.start(address, f"{TOOLS}:add", "--session", "shared")
    await in_thread(wait_for_log, worker, f"waiting for the hub at {address}")
    async with BridgeServer(address, settings=Settings(shutdown_grace=0)):
        assert (await facts(worker))["tools"] == ["add"]
        async with GRPCToolBridge(address) as bridge:
            assert await soon((await bridge.initialize("shared"))["add"](1)) == 3
    async with BridgeServer(address, settings=Settings(shutdown_grace=0)):
        await in_thread(wait_for_log, worker, "the tools are registered")
        async with GRPCToolBridge(address) as bridge, GRPCToolBridge(address) as other:
            assert await soon((await bridge.initialize("shared"))["add"](1)) == 3
            assert await other.initialize("another") == {}


async def test_a_signal_ends_a_worker_that_waits_for_its_hub(workers: Workers, tmp_path: Path) -> None:
    worker = workers.start(f"unix:{tmp_path}/hub.sock", f"{TOOLS}:add")
    await in_thread(wait_for_log, worker, "waiting for the hub")
    worker.send_signal(signal.SIGTERM)
    assert await in_thread(worker.wait, PATIENCE) == 0


# ------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["worker"], "missing argument 'SOURCE'; see grpc-tool-bridge worker --help"),
        (["worker", "no_such_module"], "error: worker no_such_module: there is no module no_such_module"),
        (["worker", f"{TOOLS}:add", f"{TOOLS}:nothing"], " has no nothing"),
        (["worker", f"{TOOLS}:add", "--capacity", "0"], "invalid value for '--capacity'"),
        (["worker", f"{TOOLS}:add", "--shutdown-grace", "-1"], "setting shutdown_grace: "),
        (["worker", f"{TOOLS}:add", "--token-file", "/does/not/exist"], "cannot read /does/not/exist: No such file"),
        (["worker", f"{TOOLS}:add", "--jitter", "0.5"], "--jitter: for --max-calls and --max-age only"),
        (["worker", ":add", "--reload"], "':add' does not name a module"),
        (["worker", f"{TOOLS}:add", "--reload", "--max-calls", "5"], "--max-memory exclude each other; omit --reload"),
        (["worker", f"{TOOLS}:add", "--max-age", "nan"], "invalid value for '--max-age'"),
        (["worker", f"{TOOLS}:add", "--max-calls", "9999999999"], "invalid value for '--max-calls'"),
        (["worker", f"{TOOLS}:add", "--max-memory", str(2**64)], "invalid value for '--max-memory'"),
        (["worker", f"{TOOLS}:add", "--max-calls", "1", "--jitter", "nan"], "invalid value for '--jitter'"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in runner(capsys)(*words, code=2)


def test_two_tools_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other_add.py").write_text("def add(a: int) -> int:\n    return a\n")
    text = runner(capsys)("worker", f"{TOOLS}:add", f"{tmp_path}/other_add.py:add", code=2)
    assert text.startswith("error: worker: this worker has a tool named 'add' already")


def test_a_hub_that_does_not_come_in_time_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", f"{TOOLS}:add", "--address", "127.0.0.1:1", "--connect-timeout", "0.1"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: no hub answered at 127.0.0.1:1 (")


def test_a_name_that_is_taken_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    def add(a: int) -> int:
        return a

    with running_hub([add], Settings()) as hub:
        assert main(["worker", f"{TOOLS}:add", "--address", hub.address]) == 1
    # The hub of this process may log before it.
    text = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "the hub has a tool named 'add' already, and only one of the two has a version" in text


def test_a_wrong_token_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-word")
    with running_hub([], Settings(token=SecretStr(TOKEN))) as hub:
        assert main(["worker", f"{TOOLS}:add", "--address", hub.address, "--token-file", str(wrong)]) == 1
    said = capsys.readouterr().err
    text = next(line for line in said.splitlines() if line.startswith("error: "))
    assert text.startswith(f"error: the hub at {hub.address} refused access: the token is wrong")
    assert "wrong-word" not in said


# --------------------------------------------------------------------------------------------------------- --reload

SOURCE = "def version() -> int:\n    return {}\n"


async def called_until(bridge: GRPCToolBridge, wanted: int) -> None:
    """Calls again and again until the new code answers."""
    async with asyncio.timeout(PATIENCE):
        while await bridge.execute_with_retry("version", max_retries=20) != wanted:  # noqa: ASYNC110 - no event here
            await asyncio.sleep(0.05)


async def test_reload_brings_each_change_to_the_callers_and_leaves_no_process(
    hub: BridgeServer, workers: Workers, tmp_path: Path
) -> None:
    source = tmp_path / "changing.py"
    source.write_text(SOURCE.format(1))
    supervisor = workers.start(hub.address, f"{source}:version", "--reload")
    first = await facts(supervisor)
    async with GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        await called_until(bridge, 1)
        source.write_text(SOURCE.format(2))
        await called_until(bridge, 2)
        second = await facts(supervisor)
        assert (second["worker_id"], second["pid"] != first["pid"]) == (first["worker_id"], True)
        source.write_text("def version(:\n")
        await in_thread(wait_for_log, supervisor, f"SyntaxError: invalid syntax ({source}, line 1)")
        await in_thread(wait_for_log, supervisor, "exit code 2; the previous one keeps running; waiting for a change")
        await called_until(bridge, 2)
        source.write_text(SOURCE.format(3))
        last = await facts(supervisor)
        await called_until(bridge, 3)
    supervisor.send_signal(signal.SIGINT)
    assert await in_thread(supervisor.wait, PATIENCE) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(last["pid"], 0)


BLOCKING = """
from pathlib import Path

def version() -> int:
    return {}

def read_pipe(path: str) -> str:
    return Path(path).read_text()
"""


async def test_reload_lets_a_call_in_flight_finish_while_the_next_worker_serves(
    hub: BridgeServer, workers: Workers, tmp_path: Path, pipe: Path
) -> None:
    source = tmp_path / "changing.py"
    source.write_text(BLOCKING.format(1))
    supervisor = workers.start(hub.address, f"{source}:version", f"{source}:read_pipe", "--reload")
    await facts(supervisor)
    async with GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        call = asyncio.ensure_future(tools["read_pipe"](str(pipe)))
        with await in_thread(pipe.open, "w") as writer:  # waits until the tool reads
            source.write_text(BLOCKING.format(2))
            await facts(supervisor)
            await called_until(bridge, 2)
            assert not call.done()
            writer.write("of the old one")
        assert await soon(call) == "of the old one"
    supervisor.send_signal(signal.SIGINT)
    assert await in_thread(supervisor.wait, PATIENCE) == 130


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys\nsys.exit(0)\n", "it exits with 0"),
        ("import os\nos._exit(7)\n", "exit code 7; the previous one keeps running"),
        ("import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"),
        (None, "does not exist"),
    ],
)
async def test_reload_keeps_the_worker_where_the_change_cannot_be_imported(
    hub: BridgeServer, workers: Workers, tmp_path: Path, code: str | None, said: str
) -> None:
    source = tmp_path / "changing.py"
    source.write_text(SOURCE.format(1))
    supervisor = workers.start(hub.address, f"{source}:version", "--reload", as_json=False)
    await in_thread(read_line, supervisor)
    source.unlink() if code is None else source.write_text(code)
    await in_thread(wait_for_log, supervisor, said)
    async with GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        assert await soon(bridge.execute_with_retry("version", max_retries=0)) == 1
    assert supervisor.poll() is None
    supervisor.send_signal(signal.SIGINT)
    assert await in_thread(supervisor.wait, PATIENCE) == 130


async def test_reload_replaces_an_import_that_hangs_by_the_next_change(
    hub: BridgeServer, workers: Workers, tmp_path: Path, pipe: Path
) -> None:
    source = tmp_path / "changing.py"
    source.write_text(SOURCE.format(1))
    supervisor = workers.start(hub.address, f"{source}:version", "--reload")
    await facts(supervisor)
    source.write_text(f"open({str(pipe)!r}).read()\n")
    with await in_thread(pipe.open, "w"):  # waits until the import reads
        async with GRPCToolBridge(hub.address) as bridge:
            await bridge.initialize()
            await called_until(bridge, 1)
            source.write_text(SOURCE.format(3))
            last = await facts(supervisor)
            await called_until(bridge, 3)
    supervisor.send_signal(signal.SIGINT)
    assert await in_thread(supervisor.wait, PATIENCE) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(last["pid"], 0)


async def test_a_worker_ends_when_who_reloads_it_is_killed(hub: BridgeServer, workers: Workers, tmp_path: Path) -> None:
    source = tmp_path / "changing.py"
    source.write_text(SOURCE.format(1))
    supervisor = workers.start(hub.address, f"{source}:version", "--reload")
    await facts(supervisor)
    assert len(hub.hub.workers) == 1
    supervisor.kill()
    await until(lambda: not len(hub.hub.workers), "for the worker to leave")
