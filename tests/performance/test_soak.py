"""A hub at which everything comes and goes for long: every call is answered, and nothing of it is kept."""

import asyncio
import json
import os
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge
from support.growth import MIB, History, held_by
from support.patience import PATIENCE, SCALE
from support.soak import IS_SOAK, SECONDS
from support.waiting import soon, until

TESTS = Path(__file__).parents[1]
# At least ten minutes in `make soak`.
DURATION = max(600.0, SECONDS) if IS_SOAK else 12.0
LOOKS = 200

# What a process may hold more at the end than in the middle. Its memory settles within minutes: allocators, and what is
# remembered up to a bound.
MAY_GROW = {"memory": (8 if IS_SOAK else 32) * MIB, "threads": 4, "sockets": 8, "files": 4}

SETTINGS = {
    # So that what was left by clients without a word is ended, and what is remembered is soon at its bound; and no
    # session of a client that is merely held up.
    "session_idle_timeout": (20.0 if IS_SOAK else 4.0) * SCALE,
    "ended_sessions": 100,
    "worker_grace_period": 0.5,
    "agent_run_ttl": 2.0,
    "shutdown_grace": 0.0,
    # All of them soon run.
    "max_threads": 8,
}


@asynccontextmanager
async def program(*words: str, **options: Any) -> AsyncIterator[Process]:
    """Runs a program with the tests' modules, and kills it in the end if it still runs."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        **{"stdin": DEVNULL, "stdout": PIPE, "env": os.environ | {"PYTHONPATH": path}, **options},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def line_of(process: Process) -> str:
    """Reads what a program says when it is ready."""
    assert process.stdout is not None
    line = await soon(process.stdout.readline())
    assert line, "it ended; its own error stands above"
    return str(line.decode()).strip()


def worker(address: str, name: str) -> Any:
    """Runs a worker with the tools of ``churn_tools``."""
    tools = str(TESTS / "performance" / "churn_tools.py")
    words = ("worker", f"{tools}:TOOLS", "--address", address, "--worker-id", name, "--json")
    return program("-m", "grpc_tool_bridge.cli", *words)


async def restart_workers(address: str, seed: int, counts: dict[str, int]) -> None:
    """Runs a worker again and again, and kills or terminates it."""
    chance = random.Random(seed)
    while True:
        async with worker(address, "comes and goes") as process:
            await line_of(process)
            await asyncio.sleep(chance.uniform(0, 2))
            ending = chance.choice(["kill", "terminate"])
            getattr(process, ending)()
            await soon(process.wait())
            counts[ending] = counts.get(ending, 0) + 1


@pytest.mark.seeded
async def test_whatever_comes_and_goes_every_call_is_answered_and_nothing_grows(
    record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with AsyncExitStack() as stack:
        served = json.dumps({"tools": [], "settings": SETTINGS})
        hub = await stack.enter_async_context(program(str(TESTS / "attacks/hub_process.py"), served, stdin=PIPE))
        address, _ = (await line_of(hub)).split()
        staying = await stack.enter_async_context(worker(address, "stays"))
        runtime_file = str(TESTS / "failure_modes/runtime_process.py")
        runtime = await stack.enter_async_context(program(runtime_file, address, "runtime"))
        await asyncio.gather(line_of(staying), line_of(runtime))
        before = held_by(hub.pid)
        ended: dict[str, int] = {}
        restarting = asyncio.create_task(restart_workers(address, 1, ended))
        churn_file = str(TESTS / "performance/churn_process.py")
        arguments = json.dumps([address, DURATION, 1])
        churn = await stack.enter_async_context(program(churn_file, arguments))
        histories = {"hub": History(hub.pid), "worker": History(staying.pid), "clients": History(churn.pid)}
        tally = await watch(churn, histories)
        restarting.cancel()
        await asyncio.wait([restarting])
        grown = {name: history.growth() for name, history in histories.items()}
        report = {"seconds": DURATION, "workers ended": ended, **tally, "grown": grown}
        record_property("soak", report)
        if IS_SOAK:
            with capsys.disabled():
                sys.stdout.write(f"\nsoak: {json.dumps(report)}\n")
        assert tally["wrong"] == []
        assert sum(ended.values()) >= 1
        too_much = {
            f"{who}: {kind}": more
            for who, all_ in grown.items()
            for kind, more in all_.items()
            if more > MAY_GROW[kind]
        }
        assert too_much == {}
        await nothing_is_left(address)
        await until(lambda: held_by(hub.pid).sockets <= before.sockets, "for the hub to close its sockets")
        assert held_by(hub.pid).files <= before.files


async def watch(churn: Process, histories: dict[str, History]) -> dict[str, Any]:
    """Looks at the processes until the churn is over; returns what became of its calls."""
    assert churn.stdout is not None
    loop = asyncio.get_running_loop()
    reading = asyncio.create_task(churn.stdout.readline())
    while not reading.done():
        for history in histories.values():
            with suppress(FileNotFoundError):
                history.look(loop.time())
        await asyncio.wait([reading], timeout=DURATION / LOOKS)
        late = loop.time() - histories["hub"].looks[0][0] - DURATION
        assert late < 2 * PATIENCE, "the churn does not end"
    line = await reading
    assert line, "the churn failed; its own error stands above"
    tally: dict[str, Any] = json.loads(line)
    return tally


async def nothing_is_left(address: str) -> None:
    """Waits until the hub counts nothing of what has left: no session, call, run or worker."""
    async with GRPCToolBridge(address) as bridge:

        async def left() -> list[str]:
            admin = bridge.admin
            return [
                *[f"session {session.session_id}" async for session in admin.sessions()],
                *[f"call {call.call_id}" async for call in admin.calls()],
                *[f"run {run.run_id}" async for run in admin.runs()],
                *[
                    f"worker {worker.worker_id}"
                    async for worker in admin.workers()
                    if worker.worker_id not in ("stays", "runtime")
                ],
            ]

        found: list[str] = []
        try:
            async with asyncio.timeout(PATIENCE):
                while found := await left():  # noqa: ASYNC110 - only the hub knows
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"the hub still has {', '.join(found[:5])}") from None
