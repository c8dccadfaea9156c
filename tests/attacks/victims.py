"""A hub in a process of its own that is attacked, and what a second client sees of it meanwhile."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
import psutil

from grpc_tool_bridge import GRPCToolBridge
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from support.patience import PATIENCE as PATIENCE  # noqa: PLC0414 - the attacks have it from here too

TESTS = Path(__file__).parent.parent
MIB = 1024 * 1024

# A health check that waited longer was held up by a single step of the hub's. What must hold on a quiet machine is
# measured by ``make bench``; here it is one that no busy machine comes near.
MAX_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What the second client saw while the attack went on.

    Attributes:
        waits: Seconds that each health check took, in order.
        failures: Texts of those that failed.
        peak: Most bytes that the hub and its children held.
        memory: Bytes that they hold now.
    """

    waits: Sequence[float]
    failures: Sequence[str]
    peak: int
    memory: int


class Victim:
    """The hub.

    Attributes:
        address: Where it listens.
        http_address: Where its gateway does.
        pid: Its process.
        token: The token that it asks for, if any.
    """

    def __init__(self, process: asyncio.subprocess.Process, addresses: str, token: str | None) -> None:
        self.address, self.http_address = addresses.split()
        self.token = token
        self.pid = process.pid
        self.process = process
        self._watch: asyncio.subprocess.Process | None = None
        self._channels: list[Any] = []

    async def watch(self) -> None:
        """Lets the second client begin, and waits for its first answer."""
        self._watch = await _started("watch_process.py", self.address, str(self.pid))
        while not (await self.look()).waits:
            pass  # each look is a round trip to the watching process

    async def look(self) -> Sight:
        """Tells what the second client saw since it was asked last."""
        assert self._watch is not None, "watch() comes first"
        assert self._watch.stdin is not None
        self._watch.stdin.write(b"\n")
        return Sight(**json.loads(await _line(self._watch)))

    async def looks_unharmed(self, *, max_bytes: int | None = None) -> Sight:
        """Fails where the second client had to wait or was refused, or the hub held over ``max_bytes``."""
        sight = await self.look()
        assert not sight.failures, sight.failures[:3]
        assert max(sight.waits, default=0.0) < MAX_WAIT, f"health waited {max(sight.waits):.1f} s"
        if max_bytes is not None:
            assert sight.peak < max_bytes, f"the hub held {sight.peak / MIB:,.0f} MiB"
        return sight

    def memory(self) -> int:
        """Bytes that the hub's process holds."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def files(self) -> int:
        """Files and sockets that the hub's process has open."""
        return int(psutil.Process(self.pid).num_fds())

    def channel(self) -> Any:
        """Makes a connection of its own, without any limit of its own; closed with the test."""
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        channel = grpc.aio.insecure_channel(self.address, options=options)
        self._channels.append(channel)
        return channel

    async def stub(self, session_id: str | None = None) -> Any:
        """Makes a stub over a connection of its own, whose session is open where one is named."""
        stub: Any = SnakepitBridgeStub(self.channel())
        if session_id is not None:
            await stub.InitializeSession(pb.InitializeSessionRequest(session_id=session_id))
        return stub

    async def serves_others(self) -> None:
        """Fails where another client gets no answer to a call."""
        async with asyncio.timeout(PATIENCE), GRPCToolBridge(self.address, token=self.token) as bridge:
            tools = await bridge.initialize()
            assert await tools["add"](2, 3) == 5

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close(None)
        for process in (self._watch, self.process):
            if process is not None:
                await _ended(process)


class MakeVictim(Protocol):
    """Starts a hub that is watched."""

    async def __call__(self, *tools: str, **settings: Any) -> Victim:
        """``tools`` are ``module:attr`` (a tool or a list), ``settings`` the hub's."""


@asynccontextmanager
async def victim(*tools: str, **settings: Any) -> AsyncIterator[Victim]:
    """Starts a hub that is watched; whatever was done to it, it lives and serves others at the end."""
    process = await _started("hub_process.py", json.dumps({"tools": tools, "settings": settings}))
    attacked = Victim(process, await _line(process), settings.get("token"))
    try:
        await attacked.watch()
        yield attacked
        assert process.returncode is None, f"the hub ended with {process.returncode}"
        await attacked.serves_others()
        await attacked.looks_unharmed()
    finally:
        await attacked.close()


@asynccontextmanager
async def others_go_on(hub: Victim) -> AsyncIterator[None]:
    """Another client calls all the time; each of its calls has the right answer."""
    async with GRPCToolBridge(hub.address) as bridge:
        add = (await bridge.initialize())["add"]
        number = 0

        async def call() -> None:
            nonlocal number
            while True:
                async with asyncio.timeout(PATIENCE):
                    assert await add(number, 1) == number + 1
                number += 1

        calling = asyncio.create_task(call())
        try:
            yield
            assert not calling.done(), calling.exception()
            assert number
        finally:
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await calling


async def _started(script: str, *arguments: str) -> asyncio.subprocess.Process:
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(TESTS / "attacks" / script),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        # Its answers may be large.
        limit=64 * MIB,
        start_new_session=True,
    )


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        line = await process.stdout.readline()
    assert line, "the process ended; its own error stands above"
    return line.decode()


async def _ended(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise AssertionError("the process did not end with its input") from None
