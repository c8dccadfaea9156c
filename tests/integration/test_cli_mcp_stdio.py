"""``mcp``: real processes over pipes, with the SDK's client and with lines written by hand."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp_types import ToolListChangedNotification
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, Settings, ToolWorker, tool
from grpc_tool_bridge.cli import main
from integration.agent_runtime import ObedientAgents
from support.patience import PATIENCE
from support.programs import environment
from support.waiting import until

TOOLS = str(Path(__file__).parent / "mcp_stdio_tools.py")
# For commands that start in other folders, too.
FOLDERS = [str(Path(folder).resolve()) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
ENVIRONMENT = environment(PYTHONPATH=os.pathsep.join(FOLDERS))
PROGRAM = [sys.executable, "-m", "grpc_tool_bridge.cli", "mcp"]
MODES = ("legacy", "2026-07-28")
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Lines:
    """The server as a process, and its lines.

    Args:
        words: Those of the command line.
    """

    def __init__(self, *words: str, **options: Any) -> None:
        pipe = asyncio.subprocess.PIPE
        given = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "limit": 2**24, "env": ENVIRONMENT, **options}
        self._starting = asyncio.create_subprocess_exec(*PROGRAM, *words, **given)

    async def __aenter__(self) -> Self:
        self.process = await self._starting
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def open(self) -> "Lines":
        """Shakes hands as a client of 2025 does."""
        self.send(INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (await self.read())["id"] == 0
        return self

    def send(self, *messages: Any) -> None:
        self.write(*(json.dumps(message).encode() for message in messages))

    def write(self, *lines: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))

    async def read(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        assert line, "the server ended"
        return json.loads(line)

    async def call(self, name: str, **arguments: Any) -> Any:
        self.send(call(1, name, **arguments))
        return await self.read()

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def end(self) -> tuple[int, list[Any], str]:
        """Waits for the end; returns the exit code, the messages that are left, and what stderr has."""
        async with asyncio.timeout(PATIENCE):
            out, err = await asyncio.gather(self._left(self.process.stdout), self._left(self.process.stderr))
            code = await self.process.wait()
        return code, [json.loads(line) for line in out.splitlines()], err.decode()

    @staticmethod
    async def _left(stream: asyncio.StreamReader | None) -> bytes:
        return b"" if stream is None else await stream.read()


def call(request_id: int, tool_name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool_name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


async def fills(pipe: int) -> None:
    """Waits until a pipe is full, but for what is left of a page."""
    await until(lambda: int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) >= 60_000)


@contextmanager
def pipe_to_read() -> Iterator[list[int]]:
    """A pipe: the end to read and the end to write, closed at the end if they are still in the list."""
    ends = list(os.pipe())
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


@asynccontextmanager
async def client(*words: str, mode: str = "legacy") -> AsyncIterator[Client]:
    """Starts the command as an application does, by the official SDK."""
    parameters = StdioServerParameters(command=PROGRAM[0], args=[*PROGRAM[1:], *words], env=ENVIRONMENT)
    async with asyncio.timeout(PATIENCE), Client(parameters, mode=mode) as opened:
        yield opened


@pytest.fixture
async def hub() -> AsyncIterator[BridgeServer]:
    @tool
    def double(number: int) -> int:
        return 2 * number

    async with BridgeServer(tools=[double], settings=Settings(shutdown_grace=0)) as server:
        yield server


# ------------------------------------------------------------------------------------------------- the SDK's client


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_calls_the_tools_of_a_file_without_a_hub(mode: str) -> None:
    async with client("--tools", f"{TOOLS}:add", "--tools", f"{TOOLS}:reports", mode=mode) as opened:
        assert [item.name for item in (await opened.list_tools()).tools] == ["add", "reports"]
        answer = await opened.call_tool("add", {"a": 2, "b": 3})
        assert (answer.content[0].text, answer.is_error) == ("5", False)  # type: ignore[union-attr]
        seen: list[tuple[float, float | None, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            seen.append((progress, total, message))

        await opened.call_tool("reports", {}, progress_callback=note)
        assert seen == [(0.0, 3.0, "step 0"), (1.0, 3.0, "step 1"), (2.0, 3.0, "step 2")]
        wrong = await opened.call_tool("add", {"a": "two", "b": 3})
        assert wrong.is_error
        with pytest.raises(MCPError, match="nothing"):
            await opened.call_tool("nothing", {})


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_calls_the_tools_of_a_hub(hub: BridgeServer, mode: str) -> None:
    async with client("--address", hub.address, mode=mode) as opened:
        assert [item.name for item in (await opened.list_tools()).tools] == ["double"]
        answer = await opened.call_tool("double", {"number": 21})
        assert answer.content[0].text == "42"  # type: ignore[union-attr]
        assert len(hub.hub.store) == 1
    await until(lambda: len(hub.hub.store) == 0)


async def test_a_named_session_is_shared_and_kept(hub: BridgeServer) -> None:
    async with hub.bridge(keep_session=True) as bridge:
        await bridge.initialize("shared")
        async with client("--address", hub.address, "--session", "shared") as opened:
            await opened.call_tool("double", {"number": 1})
            assert len(hub.hub.store) == 1
        assert (await bridge.client.session_info()).session_id == "shared"


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_of_the_hub_is_a_tool(hub: BridgeServer, mode: str) -> None:
    async with ToolWorker(hub.address, agents=ObedientAgents()):
        words = ("--address", hub.address, "--mcp-agent", "ask=Question -> Answer")
        async with client(*words, mode=mode) as opened:
            assert [item.name for item in (await opened.list_tools()).tools] == ["ask", "double"]
            asked = {"call": "double", "arguments": {"number": 21}}
            answer = await opened.call_tool("ask", asked)
            assert (answer.is_error, answer.structured_content) == (False, {"Answer": "42"})


# ----------------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_but_the_protocol_is_on_stdout(mode: str) -> None:
    async with Lines("--tools", TOOLS, "--log-level", "debug") as lines:
        number = 1
        if mode == "legacy":
            await lines.open()
        asked = call(number, "noisy")
        if mode != "legacy":
            asked["params"]["_meta"] = MODERN
        lines.send(asked)
        answer = await lines.read()
        assert answer["result"]["content"] == [{"type": "text", "text": "done"}]
        lines.close_stdin()
        code, rest, err = await lines.end()
        assert (code, rest) == (0, [])
        for what in ("an import", "Python", "redirection", "native code", "a child"):
            assert what in err


async def test_a_tool_that_reads_stdin_finds_it_empty_and_takes_no_message() -> None:
    async with Lines("--tools", TOOLS) as lines:
        await lines.open()
        lines.send(call(1, "greedy"), call(2, "add", a=1, b=1))
        answers = {answer["id"]: answer["result"] for answer in (await lines.read(), await lines.read())}
        assert answers[1]["structuredContent"] == {"result": ["", "''"]}
        assert answers[2]["content"][0]["text"] == "2"


async def test_a_result_larger_than_the_pipe_is_whole_and_others_do_not_come_between() -> None:
    async with Lines("--tools", TOOLS) as lines:
        await lines.open()
        sizes = [3_000_000, 10, 300_000, 4_096, 4_095]
        lines.send(*(call(number, "large", size=size) for number, size in enumerate(sizes)))
        answers = [await lines.read() for _ in sizes]
        assert {item["id"]: len(item["result"]["content"][0]["text"]) for item in answers} == dict(enumerate(sizes))


# -------------------------------------------------------------------------------------------------------- what is sent


async def test_lines_that_are_no_messages_are_answered_with_errors_and_the_next_one_works() -> None:
    async with Lines("--tools", TOOLS) as lines:
        await lines.open()
        lines.write(b"garbage", b"", b"[1]", b"\xff\xfe", b'{"jsonrpc": "2.0", "id": 7}', b"3", b"[" * 100_000)
        found = [await lines.read() for _ in range(6)]
        assert [item["error"]["code"] for item in found] == [-32700, -32600, -32700, -32600, -32600, -32700]
        assert [item["id"] for item in found] == [None, None, None, 7, None, None]
        assert (await lines.call("add", a=1, b=2))["result"]["content"][0]["text"] == "3"


async def test_a_line_beyond_the_limit_is_refused_and_the_next_one_works() -> None:
    async with Lines("--tools", TOOLS, "--max-message-bytes", "100000") as lines:
        await lines.open()
        lines.send(call(1, "add", a=1, b="x" * 1_000_000))
        refused = await lines.read()
        assert (refused["id"], refused["error"]["code"]) == (None, -32600)
        assert "more than 200,000 bytes" in refused["error"]["message"]
        assert (await lines.call("add", a=1, b=2))["result"]["content"][0]["text"] == "3"


async def test_many_requests_at_once_are_all_answered() -> None:
    async with Lines("--tools", TOOLS) as lines:
        await lines.open()
        lines.send(*(call(number, "add", a=number, b=0) for number in range(1, 501)))
        found = [await lines.read() for _ in range(500)]
        assert {item["id"]: item["result"]["content"][0]["text"] for item in found} == {
            number: str(number) for number in range(1, 501)
        }


async def test_requests_in_a_file_are_read_from_it(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.write_text(json.dumps(INITIALIZE) + "\n" + json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
    with asked.open("rb") as stdin:
        done = await asyncio.to_thread(
            subprocess.run, [*PROGRAM, "--tools", TOOLS], stdin=stdin, capture_output=True, timeout=PATIENCE, check=True
        )
    assert json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "grpc-tool-bridge"


async def test_a_cancelled_request_stops_its_tool(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    async with Lines("--tools", TOOLS) as lines:
        await lines.open()
        lines.send(call(5, "waits", started=str(started), ended=str(ended)))
        await until(started.exists)
        lines.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
        await until(ended.exists)
        assert (await lines.call("add", a=1, b=2))["id"] == 1


# --------------------------------------------------------------------------------------------------------- how it ends


def close_stdin(lines: Lines) -> None:
    lines.close_stdin()


def terminate(lines: Lines) -> None:
    lines.process.terminate()


def interrupt(lines: Lines) -> None:
    lines.process.send_signal(signal.SIGINT)


ENDS = [pytest.param(close_stdin, 0, id="stdin"), pytest.param(terminate, 0, id="SIGTERM")]
ENDS += [pytest.param(interrupt, 130, id="SIGINT")]


@pytest.fixture
def obeys_interrupts() -> Iterator[None]:
    """What runs in the background has SIGINT ignored, and hands that on to what it starts; a terminal does not."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("obeys_interrupts")
@pytest.mark.parametrize(("end", "code"), ENDS)
async def test_the_end_cancels_calls_in_flight(end: Callable[[Lines], None], code: int, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    async with Lines("--tools", TOOLS) as lines:
        await lines.open()
        lines.send(call(5, "waits", started=str(started), ended=str(ended)))
        await until(started.exists)
        end(lines)
        found, rest, err = await lines.end()
        assert (found, ended.exists()) == (code, True)
        assert [item["id"] for item in rest] == [5]
        assert "Traceback" not in err


@pytest.mark.usefixtures("obeys_interrupts")
@pytest.mark.parametrize(("end", "code"), ENDS)
async def test_the_end_leaves_no_process_and_waits_for_no_thread(
    end: Callable[[Lines], None], code: int, tmp_path: Path
) -> None:
    in_process, in_thread = tmp_path / "process", tmp_path / "thread"
    async with Lines("--tools", TOOLS) as lines:
        await lines.open()
        lines.send(call(5, "blocks_process", started=str(in_process)), call(6, "blocks_thread", started=str(in_thread)))
        await until(lambda: in_thread.exists() and in_process.exists() and bool(in_process.read_text()))
        child = psutil.Process(int(in_process.read_text()))
        end(lines)
        found, _, _ = await lines.end()
        assert found == code
        await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_client_that_reads_no_more_ends_it() -> None:
    with pipe_to_read() as ends:
        async with Lines("--tools", TOOLS, stdout=ends[1]) as lines:
            lines.send(INITIALIZE, call(1, "large", size=1_000_000))
            await fills(ends[0])
            os.close(ends.pop(0))
            code, _, err = await lines.end()
            assert code == 0
            assert "Traceback" not in err


@pytest.mark.usefixtures("obeys_interrupts")
@pytest.mark.parametrize(("end", "code"), ENDS)
async def test_a_client_that_does_not_read_does_not_hold_up_the_end(end: Callable[[Lines], None], code: int) -> None:
    with pipe_to_read() as ends:
        async with Lines("--tools", TOOLS, stdout=ends[1]) as lines:
            lines.send(INITIALIZE, call(1, "large", size=5_000_000))
            await fills(ends[0])
            end(lines)
            found, _, _ = await lines.end()
            assert found == code


# ------------------------------------------------------------------------------------------------------------- the hub


async def test_a_hub_that_is_away_at_the_start_is_a_clear_error() -> None:
    async with Lines("--address", "127.0.0.1:1", "--connect-timeout", "0") as lines:
        code, rest, err = await lines.end()
    assert (code, rest) == (1, [])
    assert err.splitlines()[-1].startswith("error: no hub answered at 127.0.0.1:1 (")


async def test_a_token_that_is_refused_is_a_clear_error(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong")
    token.chmod(0o600)
    async with (
        BridgeServer(settings=Settings(token=SecretStr("right"))) as hub,
        Lines("--address", hub.address, "--token-file", str(token)) as lines,
    ):
        code, _, err = await lines.end()
    assert code == 1
    assert "refused access" in err.splitlines()[-1]
    assert "--token-file" in err


async def test_calls_fail_while_the_hub_is_away_and_work_when_it_is_back() -> None:
    @tool
    def double(number: int) -> int:
        return 2 * number

    @tool
    def triple(number: int) -> int:
        return 3 * number

    first = BridgeServer(tools=[double], settings=Settings(shutdown_grace=0))
    await first.start()
    async with Lines("--address", first.address) as lines:
        await lines.open()
        assert (await lines.call("double", number=1))["result"]["content"][0]["text"] == "2"
        await first.stop(0)
        failed = await lines.call("double", number=1)
        assert failed["result"]["isError"]
        async with BridgeServer(first.address, tools=[double, triple]):
            async with asyncio.timeout(PATIENCE):
                while (answer := await lines.call("triple", number=1)).get("result", {"isError": True})["isError"]:
                    pass
            assert answer["result"]["content"][0]["text"] == "3"


async def test_the_client_is_told_when_tools_come_and_go(hub: BridgeServer) -> None:
    @tool
    def late() -> str:
        return "here"

    changed = asyncio.Event()

    async def note(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    parameters = StdioServerParameters(
        command=PROGRAM[0], args=[*PROGRAM[1:], "--address", hub.address], env=ENVIRONMENT
    )
    async with asyncio.timeout(PATIENCE), Client(parameters, mode="legacy", message_handler=note) as opened:
        assert [item.name for item in (await opened.list_tools()).tools] == ["double"]
        async with ToolWorker(hub.address, [late]):
            await changed.wait()
            changed.clear()
            assert [item.name for item in (await opened.list_tools()).tools] == ["double", "late"]
            assert (await opened.call_tool("late", {})).content[0].text == "here"  # type: ignore[union-attr]
        await changed.wait()
        assert [item.name for item in (await opened.list_tools()).tools] == ["double"]


async def test_a_client_of_the_latest_protocol_listens_to_changes(hub: BridgeServer) -> None:
    @tool
    def late() -> str:
        return "here"

    asked = {"notifications": {"toolsListChanged": True}, "_meta": MODERN}
    async with Lines("--address", hub.address) as lines:
        lines.send({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": asked})
        assert (await lines.read())["method"] == "notifications/subscriptions/acknowledged"
        lines.send({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {"_meta": MODERN}})
        assert [item["name"] for item in (await lines.read())["result"]["tools"]] == ["double"]
        async with ToolWorker(hub.address, [late]):
            assert (await lines.read())["method"] == "notifications/tools/list_changed"


async def test_a_filter_shows_a_part_of_the_tools_or_the_search_alone() -> None:
    async with client("--tools", TOOLS, "--tool-filter", "a*,large", "--tool-filter", "blocks_") as opened:
        names = [item.name for item in (await opened.list_tools()).tools]
        assert names == ["add", "blocks_process", "blocks_thread", "large"]
    async with client("--tools", TOOLS, "--tool-filter", "search") as opened:
        assert {item.name for item in (await opened.list_tools()).tools} == {"search_tools", "call_tool"}
        answer = await opened.call_tool("call_tool", {"name": "add", "arguments": {"a": 1, "b": 2}})
        assert answer.content[0].text == "3"  # type: ignore[union-attr]


# ---------------------------------------------------------------------------------------------------- what it is given


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--tools", "no_such_module"], "there is no module no_such_module"),
        (["--tools", TOOLS, "--session", "s"], "--session: for the session of a hub"),
        (["--tools", TOOLS, "--address", "localhost:1"], "--tools and --address exclude each other"),
        (["--tools", TOOLS, "--mcp-agent", "ask=a -> b"], "--mcp-agent: agents run at a hub"),
        (["--mcp-agent", "ask"], "--mcp-agent must be NAME=SIGNATURE"),
        (["--mcp-agent", "ask=nothing"], "--mcp-agent: the agent ask: "),
        (["--max-threads", "3"], "--max-threads: for the tools of --tools and --grpc only"),
        (["--name", "x"], "--name: for --print-config only"),
        (["--address", "nowhere"], "--address"),
    ],
)
async def test_wrong_arguments_are_named_before_anything_is_served(words: list[str], text: str) -> None:
    async with Lines(*words) as lines:
        code, rest, err = await lines.end()
    assert (code, rest) == (2, [])
    assert text in err


@pytest.mark.parametrize(("closed", "text"), [("<&-", "stdin is closed"), (">&-", "stdout is closed")])
def test_a_stream_that_is_closed_is_named(closed: str, text: str) -> None:
    command = f'"$0" "$@" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, *PROGRAM, "--tools", TOOLS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 1
    assert text in done.stderr


# ------------------------------------------------------------------------------------------------------ --print-config


@pytest.mark.parametrize("form", ["claude", "cursor", "vscode"])
async def test_what_print_config_prints_starts_the_server(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(shutil.copyfile, TOOLS, tmp_path / "of_mine.py")
    done = await asyncio.to_thread(
        subprocess.run,
        [*PROGRAM, "--print-config", form, "--name", "mine", "--tools", "of_mine:add", "--tools", "of_mine.py:large"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    block = json.loads(done.stdout)
    entry = block["servers" if form == "vscode" else "mcpServers"]["mine"]
    monkeypatch.chdir("/")
    given = StdioServerParameters(command=entry["command"], args=entry["args"], env=entry.get("env"))
    async with asyncio.timeout(PATIENCE), Client(given) as opened:
        assert [item.name for item in (await opened.list_tools()).tools] == ["add", "large"]
        assert (await opened.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"  # type: ignore[union-attr]


async def test_what_print_config_prints_for_a_hub_reaches_it(hub: BridgeServer, capfd: Any) -> None:
    assert await asyncio.to_thread(main, ["mcp", "--print-config", "claude", "--address", hub.address]) == 0
    entry = json.loads(capfd.readouterr().out)["mcpServers"]["grpc-tool-bridge"]
    given = StdioServerParameters(command=entry["command"], args=entry["args"], env=entry.get("env"))
    async with asyncio.timeout(PATIENCE), Client(given) as opened:
        assert (await opened.call_tool("double", {"number": 4})).content[0].text == "8"  # type: ignore[union-attr]
