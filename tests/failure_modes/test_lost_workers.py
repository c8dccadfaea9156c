"""Workers that are killed, stopped, busy or replaced, and hubs that are: what may be repeated is, nothing else is lost.

All of them are processes of their own.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from failure_modes.workers import Crew, MakeCrew, start_worker
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolBridgeError, ToolExecutionError
from support.patience import PATIENCE
from support.waiting import soon, until

CALLS = 50


def begin(crew: Crew, tool: str, numbers: range) -> "dict[int, asyncio.Task[str]]":
    """Makes many calls at once."""
    return {number: asyncio.create_task(crew.call(tool, number)) for number in numbers}


async def outcome(call: "asyncio.Task[str]") -> str:
    """Returns what a call gave, or the type of the error that it was answered with."""
    try:
        return str(await soon(call))
    except ToolExecutionError as error:
        return error.error_type


async def test_kill_9_of_one_of_three_under_a_hundred_calls_loses_no_idempotent_one_and_answers_all(
    make_crew: MakeCrew,
) -> None:
    # The calls are shared alike by workers that nothing is held against, however busy the machine.
    crew = await make_crew(worker_suspect_after=PATIENCE / 2)
    a, *_ = await crew.processes("a", "b", "c")
    look_ups, charges = begin(crew, "look_up", range(CALLS)), begin(crew, "charge", range(CALLS, 2 * CALLS))
    await until(lambda: len(crew.gate.entered) == 2 * CALLS, "for all calls to run")
    shares = Counter(name for name, _ in crew.gate.entered)
    assert max(shares.values()) - min(shares.values()) <= 1
    lost = set(crew.gate.numbers("a"))

    a.kill()
    await until(lambda: set(crew.gate.numbers("b", "c")) >= set(look_ups), "for the lost calls to run elsewhere")
    assert crew.workers() == ["b", "c"]
    crew.gate.open.set()

    assert {await outcome(call) for call in look_ups.values()} == {"b", "c"}
    answers = {number: await outcome(call) for number, call in charges.items()}
    unknown = {number for number, answer in answers.items() if answer == "WorkerUnavailable"}
    assert unknown == lost & set(charges)
    assert set(answers.values()) == {"b", "c", "WorkerUnavailable"}
    # What may not be repeated was not.
    ran = Counter(crew.gate.numbers())
    assert {ran[number] for number in charges} == {1}
    await crew.quiet()


async def test_calls_of_a_tool_whose_only_worker_is_killed_wait_for_the_next_one(make_crew: MakeCrew) -> None:
    crew = await make_crew()
    (a,) = await crew.processes("a")
    running = begin(crew, "look_up", range(1))
    await until(lambda: crew.gate.entered == [("a", 0)])
    a.kill()
    await until(lambda: not crew.workers())
    later = begin(crew, "charge", range(1, 2))
    crew.gate.open.set()
    await crew.process("b")
    assert [await outcome(call) for call in (running | later).values()] == ["b", "b"]
    await crew.quiet()


class TestStopped:
    """A worker that gets SIGSTOP: its link stands, and nothing comes over it."""

    async def test_it_gets_no_new_calls_and_those_that_may_be_repeated_go_elsewhere(self, make_crew: MakeCrew) -> None:
        crew = await make_crew()
        a, _ = await crew.processes("a", "b")
        calls = begin(crew, "look_up", range(4)) | begin(crew, "charge", range(4, 8))
        await until(lambda: len(crew.gate.entered) == len(calls))
        stuck = [number for number in crew.gate.numbers("a") if number >= 4]
        assert stuck

        a.stop()
        await until(lambda: crew.known("a").suspect, "for a to be suspect")
        await until(lambda: set(crew.gate.numbers("b")) >= set(range(4)))
        assert {await soon(crew.call("name")) for _ in range(4)} == {"b"}
        crew.gate.open.set()
        assert {await outcome(calls[number]) for number in calls if number not in stuck} == {"b"}
        assert not any(calls[number].done() for number in stuck)

        # It was only slow: what it runs is not lost.
        a.go_on()
        assert {await outcome(calls[number]) for number in stuck} == {"a"}
        await until(lambda: not crew.known("a").suspect)
        assert {await soon(crew.call("name")) for _ in range(4)} == {"a", "b"}
        assert crew.workers() == ["a", "b"]
        await crew.quiet()

    async def test_in_the_end_it_is_out_its_calls_are_answered_and_it_comes_back_by_itself(
        self, make_crew: MakeCrew
    ) -> None:
        crew = await make_crew(worker_lost_after=0.5)
        (a,) = await crew.processes("a")
        charges = begin(crew, "charge", range(3))
        await until(lambda: len(crew.gate.entered) == len(charges))
        look_ups = begin(crew, "look_up", range(3, 6))
        await until(lambda: len(crew.gate.entered) == len(charges) + len(look_ups))

        a.stop()
        assert {await outcome(call) for call in charges.values()} == {"WorkerUnavailable"}
        assert crew.workers() == []
        # There was no other worker: these wait, for the same one if need be.
        assert not any(call.done() for call in look_ups.values())
        crew.gate.open.set()
        a.go_on()
        assert {await outcome(call) for call in look_ups.values()} == {"a"}
        assert crew.workers() == ["a"]
        await crew.quiet()


async def test_a_tool_that_holds_the_gil_costs_its_worker_no_place(make_crew: MakeCrew, tmp_path: Path) -> None:
    crew = await make_crew()
    await crew.processes("a", "b")
    release = tmp_path / "release"
    call = asyncio.create_task(crew.call("hold_the_gil", str(release)))
    await until(lambda: any(worker.suspect for worker in crew.hub.workers.workers()), "for a suspect")
    (busy,) = [worker for worker in crew.hub.workers.workers() if worker.suspect]
    assert busy.id not in {await soon(crew.call("name")) for _ in range(4)}
    release.touch()
    assert await soon(call) == busy.id
    await until(lambda: not busy.suspect)
    assert crew.known(busy.id) is busy
    assert busy.id in {await soon(crew.call("name")) for _ in range(4)}
    await crew.quiet()


class HubProcess:
    """A hub as a process, which can be started anew at the same address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.process: Process | None = None

    async def start(self) -> None:
        """Starts it; returns when it serves."""
        options = ["--address", self.address, "--shutdown-grace", "0.1"]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "grpc_tool_bridge.cli", "serve", *options, stdout=PIPE
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert await self.process.stdout.readline(), "the hub did not start; its error is above"

    async def end(self, *, kill: bool) -> None:
        """Ends it, with or without a word."""
        process, self.process = self.process, None
        if process is not None:
            (process.kill if kill else process.terminate)()
            await soon(process.wait())


@asynccontextmanager
async def hub_process() -> AsyncIterator[HubProcess]:
    """Starts a hub that has only the tools of its workers."""
    async with BridgeServer() as server:
        address = server.address
    hub = HubProcess(address)
    try:
        await hub.start()
        yield hub
    finally:
        await hub.end(kill=True)


async def name_of_a_worker(bridge: GRPCToolBridge) -> str:
    """Calls until a worker answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return str(await bridge.client.tool("name").with_options(timeout=1)())
            except ToolBridgeError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "terminated"])
async def test_workers_and_clients_come_back_by_themselves_when_the_hub_does(kill: bool) -> None:
    async with hub_process() as hub, AsyncExitStack() as stack:
        worker = await start_worker(hub.address, "a", stack)
        bridge, other = [await stack.enter_async_context(GRPCToolBridge(hub.address)) for _ in range(2)]
        await bridge.initialize()
        await other.initialize("named")
        assert await soon(bridge.tools["name"]()) == "a"

        await hub.end(kill=kill)
        await hub.start()
        assert await name_of_a_worker(bridge) == "a"
        assert await name_of_a_worker(other) == "a"
        # It is the same process still, and ends well.
        worker.terminate()
        assert await worker.ended() == 0


class Load:
    """Callers who call again and again, and what they got."""

    def __init__(self, crew: Crew, callers: int) -> None:
        self.answers: Counter[str] = Counter()
        self._crew = crew
        self._going_on = True
        self._callers = [asyncio.create_task(self._call()) for _ in range(callers)]

    async def _call(self) -> None:
        while self._going_on:
            try:
                self.answers[await self._crew.call("charge", 0)] += 1
            except ToolBridgeError as error:
                self.answers[f"{error.error_type}: {error}"] += 1

    async def reaches(self, name: str) -> None:
        """Waits until a worker has answered some calls."""
        await until(lambda: self.answers[name] >= 20, f"for answers of {name}; there are {self.answers}")

    async def end(self) -> set[str]:
        """Lets the callers finish; returns what they got."""
        self._going_on = False
        await soon(asyncio.gather(*self._callers))
        return set(self.answers)


async def test_a_rolling_restart_of_all_workers_under_load_loses_nothing(make_crew: MakeCrew) -> None:
    crew = await make_crew()
    crew.gate.open.set()
    old = await crew.processes("a", "b", "c")
    load = Load(crew, 16)
    for worker in old:
        await load.reaches(worker.name)
        new = await crew.process(f"{worker.name} again")
        worker.terminate()
        assert await worker.ended() == 0
        await load.reaches(new.name)
    assert await load.end() == {"a", "b", "c", "a again", "b again", "c again"}
    assert crew.workers() == ["a again", "b again", "c again"]
    await crew.quiet()


async def test_a_restart_of_the_only_worker_under_load_loses_nothing(make_crew: MakeCrew) -> None:
    crew = await make_crew()
    crew.gate.open.set()
    (old,) = await crew.processes("a")
    load = Load(crew, 16)
    await load.reaches("a")
    old.terminate()
    assert await old.ended() == 0
    await crew.process("b")
    await load.reaches("b")
    assert await load.end() == {"a", "b"}
    await crew.quiet()


async def test_a_worker_that_is_started_while_its_namesake_drains_costs_it_no_call(make_crew: MakeCrew) -> None:
    crew = await make_crew()
    (old,) = await crew.processes("a")
    running = begin(crew, "charge", range(2))
    await until(lambda: len(crew.gate.entered) == len(running))
    first = crew.known("a")
    old.terminate()
    await until(lambda: first.gone)
    await crew.process("a")
    assert await soon(crew.call("name")) == "a"
    crew.gate.open.set()
    assert [await outcome(call) for call in running.values()] == ["a", "a"]
    assert await old.ended() == 0
    await crew.quiet()
