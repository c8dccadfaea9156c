"""Nodes of NATS with JetStream, for figures of several hubs."""

import asyncio
import contextlib
import json
import signal
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.programs import NATS_SERVER, where
from benchmarks.timing import NotInstalledError

_HOST = "127.0.0.1"
_READY_SECONDS = 30.0
_LOOK_SECONDS = 0.02
# Below the ports that a system gives to whoever connects: nobody takes one while its node is down.
_PORTS = range(12_000, 32_000)


class Node:
    """A process of nats-server.

    Args:
        name: Of the node.
        folder: Where its store is.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port, self.route, self.monitor = free_ports(3)
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def start(self, routes: Sequence[int]) -> None:
        """Starts it with what its disk has."""
        config = self._folder / f"{self.name}.conf"
        others = ", ".join(f"nats-route://{_HOST}:{port}" for port in routes)
        cluster = f"cluster {{ name: bench, listen: {_HOST}:{self.route}, routes: [{others}] }}\n" if routes else ""
        config.write_text(
            f"server_name: {self.name}\nlisten: {_HOST}:{self.port}\nhttp: {_HOST}:{self.monitor}\n"
            f'log_file: "{self._folder / self.name}.log"\n'
            f'jetstream {{ store_dir: "{self._folder / self.name}" }}\n{cluster}',
            encoding="utf-8",
        )
        program = where(NATS_SERVER) or NATS_SERVER
        self._process = await asyncio.create_subprocess_exec(program, "--config", str(config), start_new_session=True)

    async def kill(self) -> None:
        """Ends it as kill -9 does."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    def look(self, page: str) -> dict[str, Any]:
        """Returns what it says of itself; nothing while it does not answer."""
        try:
            with urlopen(f"http://{_HOST}:{self.monitor}/{page}", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return {}
        return found

    def leads(self, stream: str) -> bool:
        """Whether it leads a stream."""
        return any(
            detail["name"] == stream and detail.get("cluster", {}).get("leader") == self.name
            for account in self.look("jsz?streams=true").get("account_details", ())
            for detail in account.get("stream_detail", ())
        )


class Nodes:
    """Nodes that are one NATS.

    Args:
        nodes: As named.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes

    @property
    def urls(self) -> list[str]:
        """Where a client of NATS connects."""
        return [f"nats://{_HOST}:{node.port}" for node in self.nodes]

    def store(self, cluster: str) -> str:
        """Returns the URL of a hub's store in them."""
        return f"nats://{','.join(f'{_HOST}:{node.port}' for node in self.nodes)}/{cluster}"

    async def start(self, node: Node) -> None:
        """Starts a node."""
        # One alone is no cluster, and would wait for others.
        await node.start([each.route for each in self.nodes] if len(self.nodes) > 1 else [])

    async def ready(self) -> None:
        """Waits until all have caught up."""
        async with asyncio.timeout(_READY_SECONDS):
            for node in self.nodes:
                while (await asyncio.to_thread(node.look, "healthz")).get("status") != "ok":  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_LOOK_SECONDS)

    def last_record(self, stream: str) -> int:
        """Returns how many records a stream has taken so far, as the first node that has it says; 0: none has it."""
        for node in self.nodes:
            for account in node.look("jsz?streams=true").get("account_details", ()):
                for detail in account.get("stream_detail", ()):
                    if detail["name"] == stream:
                        return int(detail["state"]["last_seq"])
        return 0

    async def leader(self, stream: str) -> Node:
        """Waits until a stream has a leader; returns it."""
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                for node in self.nodes:
                    if await asyncio.to_thread(node.leads, stream):
                        return node
                await asyncio.sleep(_LOOK_SECONDS)


def three_nodes() -> AbstractAsyncContextManager[Nodes]:
    """Runs three nodes, so that each record is stored by two at least; see ``some_nodes``."""
    return some_nodes(3)


@contextlib.asynccontextmanager
async def some_nodes(number: int) -> AsyncGenerator[Nodes, None]:
    """Runs nodes, with their stores below the working directory, since a temporary one may be in memory.

    Args:
        number: How many; all of them are one NATS.

    Raises:
        NotInstalledError: There is no nats-server.
    """
    if where(NATS_SERVER) is None:
        raise NotInstalledError("nats-server")
    with tempfile.TemporaryDirectory(prefix=".bench-nats-", dir=Path.cwd(), ignore_cleanup_errors=True) as folder:
        nodes = Nodes([Node(f"n{index + 1}", Path(folder)) for index in range(number)])
        try:
            for node in nodes.nodes:
                await nodes.start(node)
            await nodes.ready()
            yield nodes
        finally:
            for node in nodes.nodes:
                await node.kill()


def free_ports(count: int) -> list[int]:
    """Finds ports where nobody listens, and which no system gives away."""
    found: list[int] = []
    first = time.monotonic_ns() // 1_000 % len(_PORTS)
    with contextlib.ExitStack() as taken:
        for number in range(len(_PORTS)):
            if len(found) == count:
                break
            port = _PORTS[(first + number) % len(_PORTS)]
            with contextlib.suppress(OSError):
                taken.enter_context(socket.create_server((_HOST, port)))
                found.append(port)
    return found
