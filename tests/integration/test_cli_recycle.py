"""``worker --max-calls`` and its like: a worker whose process is replaced when it is old."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolExecutionError
from grpc_tool_bridge.cli.recycle import without_id
from integration.test_cli import PATIENCE, wait_for_log
from integration.test_cli_worker import Workers, facts, in_thread
from support.waiting import is_gone, soon, until

SOURCE = """
import os
from pathlib import Path

def pid() -> int:
    return os.getpid()

def read_pipe(path: str) -> str:
    return Path(path).read_text()

KEPT = []

def keep(size: int) -> int:
    KEPT.append(b"x" * size)
    return os.getpid()
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "aging.py"
    path.write_text(SOURCE)
    return ",".join(f"{path}:{name}" for name in ("pid", "read_pipe", "keep"))


@pytest.fixture
async def hub() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(settings=Settings(shutdown_grace=0)) as hub:
        yield hub


@pytest.fixture
async def bridge(hub: BridgeServer) -> AsyncIterator[GRPCToolBridge]:
    async with GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        yield bridge


@pytest.fixture
async def workers(hub: BridgeServer) -> AsyncIterator[Workers]:
    workers = Workers()
    yield workers
    # The hub goes on meanwhile, and lets them leave.
    await in_thread(workers.close)


async def offered(bridge: GRPCToolBridge) -> Mapping[str, Any]:
    """Returns the tools once the client has heard of them."""
    await until(lambda: "keep" in bridge.tools)
    return bridge.tools


def ids(hub: BridgeServer) -> list[str]:
    """Returns the workers that take calls."""
    return sorted(worker.id for worker in hub.hub.workers.workers() if not worker.gone)


async def test_calls_never_fail_and_there_is_always_a_worker_that_takes_them(
    hub: BridgeServer, bridge: GRPCToolBridge, workers: Workers, source: str
) -> None:
    supervisor = workers.start(hub.address, *source.split(","), "--max-calls", "5", "--worker-id", "tools")
    said = await facts(supervisor)
    tools = await offered(bridge)
    assert (said["worker_id"], said["pid"]) == ("tools-1", supervisor.pid)
    seen: list[list[str]] = []
    hub.hub.workers.on_change = lambda _, __: seen.append(ids(hub))
    pids: list[int] = []
    while len(set(pids)) < 3:
        pids.append(await soon(tools["pid"]()))
    assert [] not in seen
    assert ["tools-1", "tools-2"] in seen
    # Each has served five at least.
    assert all(pids.count(pid) >= 5 for pid in list(dict.fromkeys(pids))[:2])
    supervisor.send_signal(signal.SIGTERM)
    assert await in_thread(supervisor.wait, PATIENCE) == 0
    assert all(is_gone(pid) for pid in pids)
    # Only the first says that it serves.
    assert supervisor.stdout is not None
    assert await in_thread(supervisor.stdout.read) == ""


async def test_a_call_in_flight_finishes_in_the_old_process(
    hub: BridgeServer, bridge: GRPCToolBridge, workers: Workers, source: str, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # A grace that is over at once is for signals only.
    words = ["--max-calls", "2", "--jitter", "0", "--worker-id", "w", "--shutdown-grace", "0"]
    supervisor = workers.start(hub.address, *source.split(","), *words)
    await facts(supervisor)
    tools = await offered(bridge)
    reading = asyncio.ensure_future(tools["read_pipe"](str(pipe)))
    old = await soon(tools["pid"]())
    await until(lambda: ids(hub) == ["w-2"])
    assert await soon(tools["pid"]()) != old
    await in_thread(pipe.write_text, "done")
    assert await soon(reading) == "done"
    await until(lambda: is_gone(old))


async def test_a_signal_gives_the_calls_of_an_old_process_their_grace(
    hub: BridgeServer, bridge: GRPCToolBridge, workers: Workers, source: str, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = ["--max-calls", "1", "--worker-id", "w", "--shutdown-grace", "0"]
    supervisor = workers.start(hub.address, *source.split(","), *words)
    await facts(supervisor)
    tools = await offered(bridge)
    reading = asyncio.ensure_future(tools["read_pipe"](str(pipe)))
    await until(lambda: ids(hub) == ["w-2"])
    supervisor.send_signal(signal.SIGINT)
    with pytest.raises(ToolExecutionError, match="its worker leaves"):
        await soon(reading)
    assert await in_thread(supervisor.wait, PATIENCE) == 130


async def test_a_process_that_holds_too_much_memory_is_replaced(
    hub: BridgeServer, bridge: GRPCToolBridge, workers: Workers, source: str
) -> None:
    supervisor = workers.start(hub.address, *source.split(","), "--max-memory", str(300 << 20), "--worker-id", "w")
    await facts(supervisor)
    tools = await offered(bridge)
    first = await soon(tools["keep"](1))
    assert await soon(tools["keep"](300 << 20)) == first
    await until(lambda: ids(hub) == ["w-2"])
    await in_thread(wait_for_log, supervisor, "bytes of memory")


async def test_a_process_that_is_killed_is_replaced_and_the_next_one_ends_with_its_supervisor(
    hub: BridgeServer, bridge: GRPCToolBridge, workers: Workers, source: str
) -> None:
    supervisor = workers.start(hub.address, *source.split(","), "--max-age", "10000", "--worker-id", "w")
    await facts(supervisor)
    tools = await offered(bridge)
    first = await soon(tools["pid"]())
    os.kill(first, signal.SIGKILL)
    await until(lambda: ids(hub) == ["w-2"])
    second = await soon(tools["pid"]())
    assert second != first
    await in_thread(wait_for_log, supervisor, "the worker ended with exit code -9; starting the next one")
    supervisor.kill()
    await until(lambda: is_gone(second))


async def test_a_worker_whose_session_has_ended_ends_the_command(
    hub: BridgeServer, bridge: GRPCToolBridge, workers: Workers, source: str
) -> None:
    words = [*source.split(","), "--session", "other", "--max-calls", "1000"]
    supervisor = workers.start(hub.address, *words)
    await facts(supervisor)
    await hub.hub.store.cleanup_session("other")
    hub.hub.workers.workers()[0].link.abort("the test cuts it")
    assert await in_thread(supervisor.wait, PATIENCE) == 1


async def test_a_worker_that_cannot_start_ends_the_command(hub: BridgeServer, workers: Workers, tmp_path: Path) -> None:
    supervisor = workers.start(hub.address, str(tmp_path / "none.py"), "--max-calls", "1")
    assert await in_thread(supervisor.wait, PATIENCE) == 2
    assert supervisor.stderr is not None
    assert "none.py does not exist" in await in_thread(supervisor.stderr.read)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["worker", "a.py", "--worker-id", "x", "--json"], ["worker", "a.py", "--json"]),
        (["worker", "--worker-id=x", "a.py"], ["worker", "a.py"]),
        (["worker", "--worker-id", "--worker-id", "a.py"], ["worker", "a.py"]),
        (["worker", "--", "--worker-id"], ["worker", "--", "--worker-id"]),
    ],
)
def test_each_process_has_an_id_of_its_own(words: list[Any], kept: list[Any]) -> None:
    assert list(without_id(words)) == kept
