"""A hub with workers, as processes that can be killed or as objects in the test's own process."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from failure_modes.links import RawLink
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolSpec, ToolType, ToolWorker
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, RegisterToolsRequest, RegisterToolsResponse
from support.patience import PATIENCE
from support.waiting import soon, until

WORKER = Path(__file__).with_name("worker_process.py")
RUNTIME = Path(__file__).with_name("runtime_process.py")

# Of what happens to workers in seconds, in less of them.
QUICK = {
    "worker_ping_interval": 0.05,
    "worker_suspect_after": 0.25,
    "worker_lost_after": 60.0,
    "worker_grace_period": 30.0,
}


class WorkerProcess:
    """A worker in a process of its own."""

    def __init__(self, process: Process, name: str) -> None:
        self.name = name
        self._process = process

    def kill(self) -> None:
        """Ends it without a word."""
        self._send(signal.SIGKILL)

    def stop(self) -> None:
        """Lets it run no further."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it run again."""
        self._send(signal.SIGCONT)

    def terminate(self) -> None:
        """Asks it to finish its calls and end."""
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Waits for its end; returns its exit code."""
        return int(await soon(self._process.wait()))

    async def serves(self) -> None:
        """Waits until its tools are registered."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        assert line == b"serves\n", f"{self.name} did not start; its error is above"


async def start_worker(address: str, name: str, stack: AsyncExitStack, *, program: Path = WORKER) -> WorkerProcess:
    """Starts a worker's process, which ends with the stack; returns when it serves."""
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), address, name, stdout=PIPE, env=path)
    worker = WorkerProcess(process, name)

    async def end() -> None:
        worker.kill()
        await process.wait()

    stack.push_async_callback(end)
    await worker.serves()
    return worker


class Gate:
    """A tool of the hub that calls of workers wait in, and that knows who came."""

    def __init__(self) -> None:
        self.entered: list[tuple[str, int]] = []
        self.open = asyncio.Event()

    async def enter(self, name: str, number: int) -> None:
        self.entered.append((name, number))
        await self.open.wait()

    def numbers(self, *names: str) -> list[int]:
        """Returns the numbers of the calls that came from these workers; of none, from all."""
        return [number for name, number in self.entered if not names or name in names]


class Crew:
    """A hub, a client of it, and its workers.

    Args:
        server: The hub; it is started already.
        bridge: The client; its session is open.
        gate: Of the hub.
        stack: Ends the workers.
    """

    def __init__(self, server: BridgeServer, bridge: GRPCToolBridge, gate: Gate, stack: AsyncExitStack) -> None:
        self.server = server
        self.hub = server.hub
        self.bridge = bridge
        self.gate = gate
        self._stack = stack

    @property
    def session_id(self) -> str:
        return self.bridge.client.require_session()

    async def process(self, name: str) -> WorkerProcess:
        """Starts a worker in a process of its own."""
        return await start_worker(self.server.address, name, self._stack)

    async def runtime(self, name: str) -> WorkerProcess:
        """Starts an agent runtime in a process of its own."""
        return await start_worker(self.server.address, name, self._stack, program=RUNTIME)

    async def processes(self, *names: str) -> list[WorkerProcess]:
        """Starts several at once."""
        return await asyncio.gather(*(self.process(name) for name in names))

    async def worker(self, *tools: Any, **options: Any) -> ToolWorker:
        """Starts a worker in the test's own process."""
        return await self._stack.enter_async_context(ToolWorker(self.server.address, tools, **options))

    def workers(self) -> list[str]:
        """Lists the workers that the hub has."""
        return sorted(worker.id for worker in self.hub.workers.workers())

    def known(self, name: str) -> Worker:
        """Returns a worker as the hub has it."""
        (worker,) = [worker for worker in self.hub.workers.workers() if worker.id == name]
        return worker

    async def call(self, tool: str, *args: Any, timeout: float = 60.0) -> Any:
        """Calls a tool, whatever the client knows of it."""
        return await self.bridge.client.tool(tool).with_options(timeout=timeout)(*args)

    async def quiet(self) -> None:
        """Waits until the hub counts no call any more: over all, in a session, or at a worker."""
        hub = self.hub
        await until(lambda: not hub.admission.active, "for the end of all calls")
        await until(lambda: not any(session.active or session.calls for session in hub.store.sessions()))
        await until(lambda: not any(worker.active for worker in hub.workers.workers()), "for the workers to be idle")
        if self.session_id in {session.id for session in hub.store.sessions()}:
            assert (await self.bridge.client.session_info()).active_operations == 0


class RawWorker(RawLink):
    """A worker that keeps to no rule: what it registers, answers and breaks is the test's to say."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._last_id = -1

    async def request(self, method: str, request: Any) -> None:
        """Calls the hub."""
        self._last_id += 2
        await self.call(self._last_id, method, request)

    async def receive(self) -> Envelope:
        """Returns what comes next; pings are answered."""
        while (envelope := await super().receive()).WhichOneof("kind") == "ping":
            await self.send(Envelope(pong=envelope.ping))
        return envelope

    async def register(self, *specs: ToolSpec, **options: Any) -> RegisterToolsResponse:
        """Offers tools; ``options`` are fields of the request."""
        await self.request("RegisterTools", RegisterToolsRequest(tools=specs, **options))
        return RegisterToolsResponse.FromString(await self.answer())

    async def answer(self) -> bytes:
        """Returns the hub's answer, whether it comes in one piece or in several."""
        data = b""
        while (envelope := await self.receive()).WhichOneof("kind") == "part":
            data += envelope.part
        assert envelope.WhichOneof("kind") == "reply", envelope
        return data + envelope.reply

    async def called(self) -> Envelope:
        """Returns the next call of the hub."""
        envelope = await self.receive()
        assert envelope.WhichOneof("kind") == "call", envelope
        return envelope


def spec(name: str, *, streams: bool = False, **fields: Any) -> ToolSpec:
    """Describes a tool that a raw worker offers."""
    return ToolSpec(name=name, type=ToolType.STREAMING if streams else ToolType.STANDARD, **fields)


class MakeCrew(Protocol):
    """Starts a hub and a client of it."""

    def __call__(self, *tools: Any, **settings: Any) -> Awaitable[Crew]:
        """``tools`` and ``settings`` are the hub's."""


@pytest.fixture
async def make_crew() -> AsyncIterator[MakeCrew]:
    """Makes hubs that soon notice what becomes of their workers."""
    async with AsyncExitStack() as stack:

        async def make(*tools: Any, **settings: Any) -> Crew:
            gate = Gate()
            chosen = Settings(**{"shutdown_grace": 0.0, **QUICK, **settings})
            server = await stack.enter_async_context(BridgeServer(tools=[*tools, gate.enter], settings=chosen))
            bridge = await stack.enter_async_context(GRPCToolBridge(server.address, follow_tools=False))
            await bridge.initialize()
            workers = await stack.enter_async_context(AsyncExitStack())
            return Crew(server, bridge, gate, workers)

        yield make
