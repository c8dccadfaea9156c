"""Three hubs that are one bridge, over three nodes of NATS: one of each is killed under load, and nothing is lost.

This script starts a process for each node, hub and worker, and is the client itself. It kills the hub that has its
session, then the node of NATS that leads the stream, both with ``kill -9``, while it writes variables and calls tools.
Then it counts.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from demo import HERE, DemoError, Part, console, say, start, start_program, start_worker, wait_for_worker
from grpc_tool_bridge import GRPCToolBridge
from ledger_load import Load

NATS_SERVER = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
ACCOUNTS = HERE.parent / "deploy" / "nats" / "accounts.conf"
STREAM = "TOOL_BRIDGE"
LOCAL = "127.0.0.1"
READY_SECONDS = 30.0
# How much is acknowledged before each kill, and after the last.
STEP = 300


class Node:
    """A node of NATS.

    Args:
        name: Of the node.
        folder: Where its store and its config are.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.config, self.store = folder / f"{name}.conf", folder / name
        self.port, self.routes, self.monitor = free_ports(3)
        self.process: Part | None = None

    def start(self, stack: ExitStack, routes: Sequence[int]) -> None:
        """Starts it, with the accounts of deploy/nats."""
        others = ", ".join(f"nats-route://{LOCAL}:{port}" for port in routes)
        self.config.write_text(
            f"server_name: {self.name}\nlisten: {LOCAL}:{self.port}\nhttp: {LOCAL}:{self.monitor}\n"
            f'jetstream {{ store_dir: "{self.store}" }}\ninclude ./accounts.conf\nlog_file: "{self.store}.log"\n'
            f"cluster {{ name: demo, listen: {LOCAL}:{self.routes}, routes: [{others}] }}\n",
            encoding="utf-8",
        )
        self.process = start_program(stack, "nats", str(NATS_SERVER), "--config", str(self.config))

    def look(self, page: str) -> dict[str, Any]:
        """Returns what it says of itself; nothing while it does not answer."""
        try:
            with urlopen(f"http://{LOCAL}:{self.monitor}/{page}", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return {}
        return found

    def leads(self) -> bool:
        """Whether it leads the stream of the hubs."""
        return any(
            stream["name"] == STREAM and stream.get("cluster", {}).get("leader") == self.name
            for account in self.look("jsz?streams=true").get("account_details", ())
            for stream in account.get("stream_detail", ())
        )


def free_ports(count: int) -> list[int]:
    """Finds ports where nobody listens."""
    with ExitStack() as taken:
        return [taken.enter_context(socket.create_server((LOCAL, 0))).getsockname()[1] for _ in range(count)]


def start_nats(stack: ExitStack, folder: Path) -> tuple[list[Node], str]:
    """Starts three nodes; returns them, and the URL of a store in them."""
    password = secrets.token_urlsafe(16)
    accounts = ACCOUNTS.read_text(encoding="utf-8").replace('user: "hub"', f'user: "hub", password: "{password}"')
    (folder / "accounts.conf").write_text(accounts, encoding="utf-8")
    nodes = [Node(f"n{number}", folder) for number in (1, 2, 3)]
    for node in nodes:
        node.start(stack, [node.routes for node in nodes])
    end = time.monotonic() + READY_SECONDS
    while not all(node.look("healthz").get("status") == "ok" for node in nodes):
        if time.monotonic() > end:
            raise DemoError(f"NATS did not start; {folder} has its logs")
        time.sleep(0.05)
    pids = ", ".join(f"{node.name} {node.process.pid}" for node in nodes if node.process is not None)
    say("nats", f"processes {pids}; hubs may use the subjects tool-bridge.> and the stream {STREAM}, and nothing else")
    return nodes, f"nats://hub:{password}@{','.join(f'{LOCAL}:{node.port}' for node in nodes)}"


def start_hubs(stack: ExitStack, store: str) -> dict[str, tuple[Part, str]]:
    """Starts three hubs at once; returns each with its address."""
    hubs = {}
    for name in ("h1", "h2", "h3"):
        # What they log of lost connections is left out.
        words = ("serve", "--address", f"{LOCAL}:0", "--json", "--log-level", "error")
        # The URL has a password, which other users of the machine must not see.
        named = {"TOOL_BRIDGE_STORE": store, "TOOL_BRIDGE_HUB_NAME": name}
        hubs[name] = start(stack, name, "-m", "grpc_tool_bridge.cli", *words, **named)
    found = {}
    for name, hub in hubs.items():
        address = json.loads(hub.first_line())["address"]
        say(name, f"process {hub.pid} listens on {address}")
        hub.relay()
        found[name] = hub, address
    return found


async def settle_in(hubs: dict[str, tuple[Part, str]]) -> None:
    """Waits until every hub offers the tools of all workers."""
    for name, (_, address) in hubs.items():
        async with GRPCToolBridge(address) as bridge, asyncio.timeout(READY_SECONDS):
            await bridge.initialize()
            while not {"pay", "count_primes"} <= set(bridge.tools):  # noqa: ASYNC110 - tools come from another process
                await asyncio.sleep(0.05)
        say(name, "offers count_primes and pay, which workers of other hubs have, too")


async def kill_under_load(nodes: Sequence[Node], hubs: dict[str, tuple[Part, str]], ledger: Path) -> bool:
    """Uses the hubs, kills one of each, and says what was lost; returns whether nothing was."""
    await settle_in(hubs)
    # Its session is at the first hub; the client goes on to the next ones when that is gone.
    addresses = ",".join(address for _, address in hubs.values())
    async with GRPCToolBridge(addresses, keep_session=True) as bridge:
        await bridge.initialize("demo")
        console.print("\n[bold]1. Load: 8 writers of variables, 8 payers, 2 that count primes, and a watch[/bold]")
        async with Load(bridge, ledger) as load:
            say("client", f"{await load.acknowledged(STEP):,} writes and calls were acknowledged")

            console.print("\n[bold]2. kill -9 of the hub that has the session[/bold]")
            hub, _ = hubs["h1"]
            begun = load.kill(hub.pid)
            say("client", f"h1, process {hub.pid}, was killed")
            first = await load.first_write_after(begun)
            say("client", f"the next write was acknowledged {first:.1f} s later, by another hub")
            say("client", f"{await load.acknowledged(STEP):,} more writes and calls were acknowledged")

            console.print("\n[bold]3. kill -9 of the node of NATS that leads the stream[/bold]")
            leader = next(node for node in nodes if node.leads())
            assert leader.process is not None
            begun = load.kill(leader.process.pid)
            say("client", f"{leader.name}, process {leader.process.pid}, was killed")
            first = await load.first_write_after(begun)
            say("client", f"the next write was acknowledged {first:.1f} s later, when another node led")
            say("client", f"{await load.acknowledged(STEP):,} more writes and calls were acknowledged")
        console.print("\n[bold]4. What was lost[/bold]")
        return await load.count(lambda line: say("client", line))


def run() -> int:
    """Runs the demo; returns 0 if nothing was lost."""
    if NATS_SERVER is None:
        raise DemoError("nats-server is not installed; make install does it")
    with tempfile.TemporaryDirectory(prefix="demo-cluster-") as made, ExitStack() as stack:
        folder, ledger = Path(made), Path(made) / "ledger"
        ledger.touch()
        nodes, store = start_nats(stack, folder)
        hubs = start_hubs(stack, store)
        addresses = [address for _, address in hubs.values()]
        # Each begins at another hub; neither at the one that has the session.
        workers = [
            start_worker(
                stack,
                name,
                ",".join([*addresses[first:], *addresses[:first]]),
                str(HERE / "worker_tools.py"),
                str(HERE / "ledger_tools.py"),
                "--log-level",
                "error",
                DEMO_LEDGER=str(ledger),
            )
            for name, first in (("left", 1), ("right", 2))
        ]
        for worker in workers:
            wait_for_worker(worker)
        return 0 if asyncio.run(kill_under_load(nodes, hubs, ledger)) else 1


def main() -> int:
    """Runs the demo; its processes have ended when it returns."""
    # As at Ctrl-C: all that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = run()
    except DemoError as failure:
        console.print(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130
    console.print("\ndone: every process has ended" if code == 0 else "\nfailed: something was lost")
    return code


if __name__ == "__main__":
    sys.exit(main())
