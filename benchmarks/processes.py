"""Servers in their own processes, as seen by the client."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from grpc_tool_bridge.client.bridge import GRPCToolBridge, ToolBridge
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.stubs import RpcTransport

# Starting, and commands such as opening 10,000 sessions, take a second or two; a minute is a failure.
_ANSWER_SECONDS = 60.0
_END_SECONDS = 10.0


class ServerProcess:
    """A running ``benchmarks.server``, or another process that answers lines.

    Attributes:
        address: Where it listens; of a worker, where its hub does; else what it said first.
        pid: Of the process.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.address = ""
        self.pid = process.pid
        self._process = process

    async def ask(self, command: str, argument: int = 0) -> Any:
        """Sends a command and returns its answer."""
        assert self._process.stdin is not None  # it was started with a pipe
        self._process.stdin.write(json.dumps([command, argument]).encode() + b"\n")
        return await self.read()

    async def read(self) -> Any:
        """Reads the next answer.

        Raises:
            TimeoutError: There was none in time.
            RuntimeError: The process has ended.
        """
        assert self._process.stdout is not None  # it was started with a pipe
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmarks ended; see its error above")
        return json.loads(line)

    async def kill(self) -> None:
        """Ends the process as kill -9 does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def close(self) -> None:
        """Ends the process by closing its input, or by force if that is not enough."""
        assert self._process.stdin is not None  # it was started with a pipe
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            # Its whole group: a server may have started one of its own.
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


@contextlib.asynccontextmanager
async def running(
    kind: str,
    *,
    tools: int = 1,
    hub: str = "",
    local_socket: bool = True,
    store: str = "memory:",
    audit: str = "",
    trust: str = "",
    name: str = "",
    address: str = "127.0.0.1:0",
    collector: str = "",
) -> AsyncGenerator[ServerProcess, None]:
    """Starts a server and ends it.

    Args:
        kind: "hub", "worker", "agents", or a peer's as ``benchmarks.server`` has it.
        tools: How many tools that add the hub has; 0: no tools at all.
        hub: That of a worker or of agents.
        local_socket: Whether a hub offers its unix socket to the processes of its machine; if not, they use gRPC.
        store: The URL of a hub's store.
        audit: An empty folder for a hub's audit trail; empty: it has none.
        trust: A folder that ``trust_files.prepare`` has filled, for a hub that guards itself; empty: it does not.
        name: Of a hub among several, or of the tool of a worker.
        address: Where a hub listens.
        collector: Where a hub sends the spans of 1 % of its calls; empty: it does not trace.
    """
    command = [sys.executable, "-m", "benchmarks.server", kind, "--tools", str(tools), "--hub", hub, "--store", store]
    command += ["--audit", audit, "--trust", trust, "--name", name, "--address", address, "--collector", collector]
    if not local_socket:
        command.append("--no-local-socket")
    async with _started(command) as server:
        yield server


@contextlib.asynccontextmanager
async def filling(load: str, address: str, *, sources: int) -> AsyncGenerator[ServerProcess, None]:
    """Starts a ``benchmarks.load_process``, and ends it.

    Args:
        load: What it does.
        address: The hub's.
        sources: How many links it does it over.
    """
    command = [sys.executable, "-m", "benchmarks.load_process", load, address, "--sources", str(sources)]
    async with _started(command) as process:
        yield process


@contextlib.asynccontextmanager
async def _started(command: Sequence[str]) -> AsyncGenerator[ServerProcess, None]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is for the client; the server ends when its input does.
        start_new_session=True,
    )
    server = ServerProcess(process)
    try:
        server.address = await server.read()
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def link_bridge(address: str, *, token: str | None = None) -> AsyncGenerator[ToolBridge, None]:
    """Opens a bridge with a session, over the transport that a program gets by default: the link."""
    async with GRPCToolBridge(address, token=token) as bridge:
        await bridge.initialize()
        yield bridge


@contextlib.asynccontextmanager
async def worker_bridge(*, workers: int = 1, local_socket: bool = True) -> AsyncGenerator[ToolBridge, None]:
    """Opens a bridge over the link to a hub with only workers' tools; each is a process."""
    async with contextlib.AsyncExitStack() as started:
        hub = await started.enter_async_context(running("hub", tools=0, local_socket=local_socket))
        for _ in range(workers):
            await started.enter_async_context(running("worker", hub=hub.address))
        yield await started.enter_async_context(link_bridge(hub.address))


@contextlib.asynccontextmanager
async def plain_bridge(address: str) -> AsyncGenerator[ToolBridge, None]:
    """Opens a bridge with a session, which sends each call as a separate RPC."""
    async with ToolBridge(ToolBridgeClient(RpcTransport(Connection(address=address)))) as bridge:
        await bridge.initialize()
        yield bridge
