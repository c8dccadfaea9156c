"""Real nodes of NATS with JetStream as processes: one, or a cluster of three.

They start before what a test runs, so ``one_node`` and ``three_nodes`` need no event loop and serve fixtures of any
scope. What is done to them later leaves the loop free: ``kill``, ``pause`` and ``start`` come back at once, and
``ready`` is awaited.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from support.patience import PATIENCE

PROGRAM = Path(sys.executable).with_name("nats-server")
_HOST = "127.0.0.1"
# Below the ports that a system gives to whoever connects, else one could be taken while its node is down.
_PORTS = range(12_000, 32_000)
_LOOK_SECONDS = 0.02
# Any of three nodes may find a port taken by another test's.
_ATTEMPTS = 10


class PortTakenError(Exception):
    """A node did not start, as another program has one of its ports."""


def stop_process(pid: int) -> None:
    """Stops a process that this one has started (SIGSTOP); returns once none of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


class NatsNode:
    """A process of nats-server, which keeps its name, ports and folder over its lives.

    Args:
        name: Of the node.
        folder: Where its config, log and store are.
        config: More of its config.

    Attributes:
        port: Where clients connect.
        url: Likewise, as ``nats://127.0.0.1:port``.
        pid: Its process; the last one's while it is down.
    """

    def __init__(self, name: str, folder: Path, config: str = "") -> None:
        self.name, self.folder = name, folder
        self.port, self._monitor, self.route_port = free_ports(3)
        self.more = config
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"nats://{_HOST}:{self.port}"

    @property
    def store(self) -> Path:
        """The folder of its disk."""
        return self.folder / "store"

    @property
    def log(self) -> str:
        """All that it has logged."""
        path = self.folder / "node.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it with what its disk has; it is soon ready."""
        assert not self.is_running, f"{self.name} runs already"
        config = self.folder / "node.conf"
        config.write_text(
            f"server_name: {self.name}\nlisten: {_HOST}:{self.port}\nhttp: {_HOST}:{self._monitor}\n"
            f'log_file: "{self.folder / "node.log"}"\njetstream {{ store_dir: "{self.store}" }}\n{self.more}\n',
            encoding="utf-8",
        )
        # Its own group: what stops a run of tests at a terminal leaves the order of ends to the tests.
        self._process = subprocess.Popen(
            [str(PROGRAM), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        self.pid = self._process.pid

    def kill(self) -> None:
        """Ends it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def terminate(self) -> None:
        """Tells it to end in order; it may still do so for a while."""
        assert self._process is not None
        self._process.terminate()

    def pause(self) -> None:
        """Stops it as it is (SIGSTOP): its connections stay, and nothing comes over them."""
        stop_process(self.pid)

    def resume(self) -> None:
        """Lets it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def lose_disk(self) -> None:
        """Kills it and deletes all that it has stored; ``start`` then begins with nothing."""
        self.kill()
        shutil.rmtree(self.store, ignore_errors=True)

    async def restart(self) -> None:
        """Kills it if it runs, starts it again at the same ports with the same disk, and waits until it is ready."""
        self.kill()
        self.start()
        await self.ready()

    async def ready(self) -> None:
        """Waits until it has all that it should have, so that it can be elected and vote."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(self.is_ready):  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(_LOOK_SECONDS)

    def is_ready(self) -> bool:
        """Whether it says so of itself; that of a cluster needs a leader.

        Raises:
            PortTakenError: It has ended, as another program has its port.
        """
        if not self.is_running:
            if "address already in use" in self.log:
                raise PortTakenError(self.name)
            raise AssertionError(f"{self.name} has ended:\n{self.log[-2_000:]}")
        return self.look("healthz").get("status") == "ok"

    def look(self, page: str) -> dict[str, Any]:
        """Returns a page of its monitor, such as ``jsz``; an empty one if it gives none."""
        try:
            with urlopen(f"http://{_HOST}:{self._monitor}/{page}", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
        except (URLError, OSError, ValueError):
            return {}
        return found


class NatsNodes:
    """The nodes of a cluster."""

    def __init__(self, nodes: Sequence[NatsNode]) -> None:
        self.nodes = tuple(nodes)

    def __iter__(self) -> Iterator[NatsNode]:
        return iter(self.nodes)

    def __getitem__(self, index: int) -> NatsNode:
        return self.nodes[index]

    @property
    def url(self) -> str:
        """The URL that names them all."""
        return f"nats://{','.join(f'{_HOST}:{node.port}' for node in self.nodes)}"

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def is_whole(self) -> bool:
        """Whether all are ready, and the leader of the cluster hears from each of the others."""
        if not all(node.is_ready() for node in self.nodes):
            return False
        for node in self.nodes:
            meta = node.look("jsz").get("meta_cluster", {})
            if meta.get("leader") == node.name:
                peers = meta.get("replicas", ())
                return len(peers) == len(self.nodes) - 1 and all(
                    peer.get("current") and not peer.get("offline") for peer in peers
                )
        return False

    async def whole(self) -> None:
        """Waits until all nodes are back and know of each other."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(self.is_whole):  # noqa: ASYNC110 - other processes have no event
                await asyncio.sleep(_LOOK_SECONDS)

    async def leader(self, stream: str) -> NatsNode:
        """Waits until a stream has a leader that runs; returns that node."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if found := await asyncio.to_thread(self._leader, stream):
                    return found
                await asyncio.sleep(_LOOK_SECONDS)

    def _leader(self, stream: str) -> NatsNode | None:
        # Each node that holds the stream says whom it takes for the leader; the leader itself must say so.
        for node in self.nodes:
            if node.is_running and _stream_leader(node, stream) == node.name:
                return node
        return None


def _stream_leader(node: NatsNode, stream: str) -> str | None:
    for account in node.look("jsz?streams=true").get("account_details", ()):
        for detail in account.get("stream_detail", ()):
            if detail["name"] == stream:
                leader: str | None = detail.get("cluster", {}).get("leader")
                return leader
    return None


@contextlib.contextmanager
def one_node(config: str = "") -> Iterator[NatsNode]:
    """Runs a node that stands alone, until the end of the block.

    Args:
        config: More of its config, such as users or TLS.
    """
    with (
        tempfile.TemporaryDirectory(prefix="nats-") as folder,
        _started(lambda: [NatsNode("one", Path(folder), config)]) as nodes,
    ):
        yield nodes[0]


@contextlib.contextmanager
def three_nodes(config: str = "") -> Iterator[NatsNodes]:
    """Runs a cluster of three nodes ``n1``, ``n2`` and ``n3``, which can make streams of three replicas.

    Args:
        config: More of each node's config.
    """
    with tempfile.TemporaryDirectory(prefix="nats-") as folder, _started(lambda: _three(Path(folder), config)) as nodes:
        yield NatsNodes(nodes)


def _three(folder: Path, config: str) -> list[NatsNode]:
    nodes = [NatsNode(f"n{number}", folder / f"n{number}") for number in (1, 2, 3)]
    routes = ", ".join(f"nats-route://{_HOST}:{node.route_port}" for node in nodes)
    for node in nodes:
        node.more = f"cluster {{ name: c1, listen: {_HOST}:{node.route_port}, routes: [{routes}] }}\n{config}"
    return nodes


@contextlib.contextmanager
def _started(make: Callable[[], list[NatsNode]]) -> Iterator[list[NatsNode]]:
    for attempt in range(1, _ATTEMPTS + 1):
        nodes = make()
        try:
            _start(nodes)
        except PortTakenError:
            _end(nodes)
            if attempt == _ATTEMPTS:
                raise
            continue
        except BaseException:
            _end(nodes)
            raise
        try:
            yield nodes
        finally:
            _end(nodes)
        return


def _start(nodes: list[NatsNode]) -> None:
    for node in nodes:
        node.start()
    is_up = nodes[0].is_ready if len(nodes) == 1 else NatsNodes(nodes).is_whole
    end = time.monotonic() + PATIENCE
    while not is_up():
        assert time.monotonic() < end, "\n".join(node.log[-2_000:] for node in nodes)
        time.sleep(_LOOK_SECONDS)


def _end(nodes: list[NatsNode]) -> None:
    for node in nodes:
        node.kill()
        shutil.rmtree(node.folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Finds ports where nobody listens; another program may still take one."""
    with contextlib.ExitStack() as taken:
        found: list[int] = []
        while len(found) < count:
            port = random.choice(_PORTS)
            with contextlib.suppress(OSError):
                taken.enter_context(socket.create_server((_HOST, port)))
                found.append(port)
        return found
