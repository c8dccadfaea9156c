"""A cluster of real processes: three nodes of NATS, three hubs, and connections between them that can fail.

What is over wires can be cut: hubs reach each node, clients each hub, and nodes each other, by a wire of its own.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grpc_tool_bridge.transport.addresses import join_address
from support.nats_nodes import NatsNode, NatsNodes, free_ports, stop_process
from support.patience import PATIENCE
from support.programs import ROOT, environment
from support.wires import Wire, Wires, fail, making_wires, mend

_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.02
# A node has caught up within a few seconds, if it does.
_CATCH_UP_SECONDS = 30


class HubEndedError(Exception):
    """A hub has ended before it served."""


class HubProcess:
    """A process of ``grpc-tool-bridge serve``, which keeps its name and address over its lives.

    Args:
        name: Of the hub.
        folder: Where its log is.
        store: The URL of its store.
        options: More words of its command.
        env: Variables of its environment.

    Attributes:
        address: Where it listens.
        pid: Its process; the last one's while it is down.
        told: What it said when it was ready.
    """

    def __init__(self, name: str, folder: Path, store: str, options: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        (port,) = free_ports(1)
        self.address = f"{_HOST}:{port}"
        self.pid = 0
        self.told: dict[str, Any] = {}
        self._log = folder / f"{name}.log"
        self._said = folder / f"{name}.out"
        words = ["--store", store, "--address", self.address, "--http", f"{_HOST}:0", "--json"]
        self._command = ["grpc-tool-bridge", "serve", *words, *options]
        self._env = environment(**with_tests_on_path(), **env, TOOL_BRIDGE_HUB_NAME=name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that it has logged, in all of its lives."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def http(self) -> str:
        """The address of its gateway."""
        return str(self.told["http_address"])

    def start(self) -> None:
        """Starts it; it is soon ready."""
        assert not self.is_running, f"{self.name} runs already"
        self.told = {}
        with self._log.open("ab") as errors, self._said.open("wb") as said:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=said, stderr=errors, process_group=0
            )
        self.pid = self._process.pid

    def is_ready(self) -> bool:
        """Whether it has said that it serves.

        Raises:
            HubEndedError: It has ended.
        """
        line, newline, _ = self._said.read_text(encoding="utf-8").partition("\n")
        if newline:
            self.told = json.loads(line)
            return True
        if not self.is_running:
            raise HubEndedError(f"{self.name} ended with {self.returncode}:\n{self.log[-4_000:]}")
        return False

    async def ready(self) -> None:
        """Waits until it serves."""
        async with asyncio.timeout(PATIENCE):
            while not self.is_ready():  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(_LOOK_SECONDS)

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """Ends it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def terminate(self) -> None:
        """Tells it to end in order; it may still do so for a while."""
        assert self._process is not None
        self._process.terminate()

    async def ended(self) -> int:
        """Waits until it has ended; returns its exit code, or minus the signal that ended it."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, PATIENCE)

    def pause(self) -> None:
        """Stops it as it is (SIGSTOP)."""
        stop_process(self.pid)

    def resume(self) -> None:
        """Lets it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    async def restart(self) -> None:
        """Kills it if it runs, and starts it again at the same address."""
        self.kill()
        self.start()
        await self.ready()


class Cluster:
    """Three nodes and hubs.

    Args:
        folder: Where the logs of hubs are.
        nodes: The nodes.
        hubs: The hubs, not started.
        to_nodes: The wires of each hub to the nodes, by the name of the hub.
        to_hubs: The wire of clients to each hub, by its name; empty: clients reach hubs themselves.
        routes: The wires between nodes, by the names of both.
    """

    def __init__(
        self,
        folder: Path,
        nodes: NatsNodes,
        hubs: Sequence[HubProcess],
        to_nodes: Mapping[str, Sequence[Wire]],
        to_hubs: Mapping[str, Wire],
        routes: Mapping[tuple[str, str], Wire],
    ) -> None:
        self.folder = folder
        self.nodes = nodes
        self.hubs = tuple(hubs)
        self._to_nodes, self._to_hubs, self._routes = to_nodes, to_hubs, routes

    def addresses(self, first: int = 0) -> str:
        """Returns the addresses of all hubs for a client, which begins with that of hub ``first``."""
        hubs = [*self.hubs[first % len(self.hubs) :], *self.hubs[: first % len(self.hubs)]]
        return ",".join(self._to_hubs[hub.name].address if self._to_hubs else hub.address for hub in hubs)

    def between_hub_and_nats(self, hub: HubProcess) -> Sequence[Wire]:
        """Returns the wires of a hub to all nodes."""
        return self._to_nodes[hub.name]

    def between_clients_and_hub(self, hub: HubProcess) -> Sequence[Wire]:
        """Returns the wire of clients to a hub."""
        return [self._to_hubs[hub.name]]

    def around_node(self, node: NatsNode) -> Sequence[Wire]:
        """Returns the wires of a node to and from the others; hubs still reach it."""
        return [wire for pair, wire in self._routes.items() if node.name in pair]

    def wires(self) -> list[Wire]:
        """Returns all wires."""
        to_nodes = [wire for wires in self._to_nodes.values() for wire in wires]
        return [*to_nodes, *self._to_hubs.values(), *self._routes.values()]

    async def start(self) -> None:
        """Starts all hubs, and waits until they serve."""
        for hub in self.hubs:
            hub.start()
        for hub in self.hubs:
            await hub.ready()

    async def heal(self) -> None:
        """Undoes all that was done to them: mends wires, and brings back what is stopped or has ended."""
        mend(self.wires())
        for each in (*self.nodes, *self.hubs):
            if each.is_running:
                each.resume()
            else:
                each.start()
        for node in self.nodes:
            await _caught_up(node)
        for hub in self.hubs:
            await hub.ready()
        await self.nodes.whole()

    def end(self) -> None:
        """Kills all hubs."""
        for hub in self.hubs:
            hub.kill()

    def __str__(self) -> str:
        return "\n".join(f"--- {hub.name}, {hub.returncode}\n{hub.log[-6_000:]}" for hub in self.hubs)


async def _caught_up(node: NatsNode) -> None:
    """Waits until a node has all that it should have.

    Some nodes of NATS 2.15.1 that were killed under load stayed behind their stream for more than a minute once they
    were back. They are started another time, as an operator would.
    """
    try:
        async with asyncio.timeout(_CATCH_UP_SECONDS):
            await node.ready()
    except TimeoutError:
        await node.restart()


@contextlib.contextmanager
def three_hubs(
    nodes: NatsNodes,
    folder: Path,
    *,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    wires: Wires | None = None,
    routes: Mapping[tuple[str, str], Wire] | None = None,
) -> Iterator[Cluster]:
    """Makes three hubs, ``h1`` to ``h3``, which a test starts; at the end of the block they are killed.

    Args:
        nodes: Where their store is.
        folder: Where their logs are.
        options: More words of the command of each, such as tools.
        env: Variables of the environment of each.
        wires: Makes their connections such that they can fail; None: they reach the nodes, and clients them, directly.
        routes: The wires between the nodes.
    """
    given = dict(env or {})
    to_nodes: dict[str, list[Wire]] = {}
    to_hubs: dict[str, Wire] = {}
    hubs = []
    for name in ("h1", "h2", "h3"):
        addresses = [join_address(_HOST, node.port) for node in nodes]
        if wires is not None:
            to_nodes[name] = [wires.to(address) for address in addresses]
            addresses = [wire.address for wire in to_nodes[name]]
        hubs.append(HubProcess(name, folder, f"nats://{','.join(addresses)}", options, given))
        if wires is not None:
            to_hubs[name] = wires.to(hubs[-1].address)
    cluster = Cluster(folder, nodes, hubs, to_nodes, to_hubs, routes or {})
    try:
        yield cluster
    finally:
        cluster.end()


@contextlib.contextmanager
def wired_cluster(
    folder: Path, *, options: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Runs three nodes and makes three hubs, all of whose connections can fail; see ``three_hubs``."""
    with (
        making_wires() as wires,
        wired_nodes(folder, wires) as (nodes, routes),
        three_hubs(nodes, folder, options=options, env=env, wires=wires, routes=routes) as cluster,
    ):
        yield cluster


@contextlib.contextmanager
def wired_nodes(folder: Path, wires: Wires) -> Iterator[tuple[NatsNodes, dict[tuple[str, str], Wire]]]:
    """Runs three nodes that reach one another over wires; gives these by the names of their two ends, too."""
    nodes = NatsNodes([NatsNode(f"n{number}", folder / f"n{number}") for number in (1, 2, 3)])
    routes = {
        (one.name, other.name): wires.to(join_address(_HOST, other.route_port))
        for one in nodes
        for other in nodes
        if one is not other
    }
    for node in nodes:
        over = ", ".join(f"nats-route://{wire.address}" for (one, _), wire in routes.items() if one == node.name)
        # What they tell each other, and clients, of their addresses would lead around the wires.
        alone = f"no_advertise: true, advertise: {_HOST}:1"
        node.more = (
            f"cluster {{ name: c1, listen: {_HOST}:{node.route_port}, {alone}, pool_size: 1, routes: [{over}] }}"
        )
    try:
        for node in nodes:
            node.start()
        end = time.monotonic() + PATIENCE
        while not nodes.is_whole():
            assert time.monotonic() < end, "\n".join(node.log[-2_000:] for node in nodes)
            time.sleep(_LOOK_SECONDS)
        yield nodes, routes
    finally:
        for node in nodes:
            node.kill()


def with_tests_on_path() -> dict[str, str]:
    """Returns the variables with which a process imports what this one does."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(ROOT / "tests"), *(str(Path(path).resolve()) for path in given if path)]
    return {"PYTHONPATH": os.pathsep.join(paths)}


__all__ = ["Cluster", "HubEndedError", "HubProcess", "fail", "mend", "three_hubs", "wired_cluster", "wired_nodes"]
