"""``serve --reload``: the tools change, and the hub goes on."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpc_tool_bridge import GRPCToolBridge
from integration.test_cli import TOKEN, Cli, popen, read_line, runner, wait_for_log
from support.patience import PATIENCE
from support.waiting import until

SOURCE = "from grpc_tool_bridge import tool\n\n@tool\ndef version() -> int:\n    return {}\n"


@contextmanager
def reloading(source: Path, *words: str, **options: Any) -> Iterator[tuple[dict[str, Any], "subprocess.Popen[str]"]]:
    process = popen(
        "serve", "--address", "127.0.0.1:0", "--json", "--reload", "--tools", str(source), *words, **options
    )
    try:
        line = read_line(process)
        assert line, process.stderr.read() if process.stderr else "it ended"
        yield json.loads(line), process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "changing.py"
    path.write_text(SOURCE.format(1))
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


async def called_until(bridge: GRPCToolBridge, wanted: int) -> None:
    """Calls again and again until the new code answers."""
    async with asyncio.timeout(PATIENCE):
        while await bridge.execute_with_retry("version", max_retries=20) != wanted:
            pass


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
async def test_a_change_reaches_callers_and_sessions_go_on(source: Path, loop: str) -> None:
    with reloading(source, "--loop", loop) as (announced, hub):
        assert announced["tools"] == ["version"]
        assert announced["pid"] == hub.pid
        async with GRPCToolBridge(announced["address"]) as bridge:
            await bridge.initialize("mine")
            await bridge.session_context.set_variable("x", 1)
            await called_until(bridge, 1)
            await asyncio.to_thread(source.write_text, SOURCE.format(2))
            await called_until(bridge, 2)
            await asyncio.to_thread(source.write_text, "def version(:\n")
            await asyncio.to_thread(wait_for_log, hub, f"SyntaxError: invalid syntax ({source}, line 1)")
            await asyncio.to_thread(wait_for_log, hub, "the previous one keeps running; waiting for a change")
            await called_until(bridge, 2)
            await asyncio.to_thread(source.write_text, SOURCE.format(3))
            await called_until(bridge, 3)
            assert await bridge.session_context.get_variable("x") == 1
        left = psutil.Process(hub.pid).children(recursive=True)
    assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


async def test_a_hub_whose_tools_cannot_be_imported_waits_for_a_change(source: Path) -> None:
    await asyncio.to_thread(source.write_text, "def version(:\n")
    with reloading(source) as (announced, hub):
        assert announced["tools"] == []
        await asyncio.to_thread(wait_for_log, hub, "waiting for a change")
        await asyncio.to_thread(source.write_text, SOURCE.format(1))
        async with GRPCToolBridge(announced["address"]) as bridge:
            await bridge.initialize()
            await until(lambda: "version" in bridge.tools, "for the tool")
            assert await bridge.execute_with_retry("version", max_retries=20) == 1


def test_the_worker_of_a_hub_with_a_token_has_it_too(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with reloading(source, "--token-file", str(token)) as (announced, _):
        assert announced["tools"] == ["version"]
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", TOKEN)
    with reloading(source) as (announced, _):
        assert announced["tools"] == ["version"]


LIVING = """
import contextlib

@contextlib.asynccontextmanager
async def other(owner):
    yield {"where": type(owner).__name__}
"""
READING = """
from grpc_tool_bridge import ToolContext, tool

@tool
def version(ctx: ToolContext) -> str:
    return ctx.lifespan["where"]
"""
WATCHING = """
async def seen(call, call_next):
    return f"{call.tool}: {await call_next(call)}"
"""


def test_lifespans_and_the_prefix_are_those_of_the_tools_and_middleware_is_the_hub_s(
    source: Path, tmp_path: Path
) -> None:
    source.write_text(READING)
    (tmp_path / "living.py").write_text(LIVING)
    (tmp_path / "watching.py").write_text(WATCHING)
    words = ("--lifespan", f"{tmp_path}/living.py:other", "--prefix", "my.")
    with reloading(source, *words, "--middleware", f"{tmp_path}/watching.py:seen") as (announced, _):
        assert announced["tools"] == ["my.version"]
        bridge = GRPCToolBridge(announced["address"])
        try:
            bridge.sync.initialize()
            assert bridge.sync.call_tool("my.version") == "my.version: ToolWorker"
        finally:
            bridge.sync.close()


def test_without_tools_it_is_refused(cli: Cli) -> None:
    assert "name some with --tools SOURCE" in cli("serve", "--reload", code=2)


def test_the_log_tells_of_a_change_and_of_no_signal_that_nobody_sent(source: Path) -> None:
    with reloading(source) as (_, hub):
        source.write_text(SOURCE.format(2))
        seen = wait_for_log(hub, "the tools are loaded again")
        hub.send_signal(signal.SIGINT)
        _, rest = hub.communicate(timeout=PATIENCE)
    assert f"{source} has changed; loading the tools again" in seen
    assert "SIGTERM" not in seen + rest
