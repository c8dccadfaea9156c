"""The whole system: a hub with tools, workers with another tool and with agents, a client, and a watcher.

This script starts a process for each, prints their output with the name of the process, and stops them. The hub has a
dashboard meanwhile; with ``--stay`` it is there until Ctrl-C, and so are the workers. The agent's model is set by
``TOOL_BRIDGE_AGENT_MODEL`` and ``TOOL_BRIDGE_AGENT_API_BASE``; by default, a process answers like a model server, from
a script.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
SDK = HERE.parent / "sdk"
# Importing DSPy is slow on a busy machine.
STARTUP_SECONDS = 60.0
DEMO_SECONDS = 180.0
COLOURS = {
    "hub": "green",
    "left": "yellow",
    "right": "blue",
    "model": "red",
    "agents": "bright_yellow",
    "client": "cyan",
    "watcher": "magenta",
    "elixir": "bright_magenta",
    "node": "bright_green",
    # Of demo_cluster.py.
    "nats": "bright_blue",
    "h1": "green",
    "h2": "bright_green",
    "h3": "bright_cyan",
}
# Of workers in other languages: what must be there, the folder, and the command. `make peers` builds them.
PEERS = {
    "elixir": (SDK / "elixir" / "_build" / "dev", SDK / "elixir", ("mix", "run", "--no-compile")),
    "node": (SDK / "node" / "dist" / "index.js", HERE.parent, ("node",)),
}
PROGRAMS = {"elixir": HERE / "elixir" / "worker.exs", "node": HERE / "node" / "demo_worker.js"}
MODEL = "TOOL_BRIDGE_AGENT_MODEL"

console = Console(highlight=False, soft_wrap=True)


def say(who: str, line: str) -> None:
    """Prints one line with the name of its writer."""
    console.print(Text(f"{who:>8} │ ", style=COLOURS[who]) + Text.from_ansi(line.rstrip("\n")))


def relay(who: str, stream: IO[str]) -> threading.Thread:
    """Prints the output of a process until it closes its end."""

    def run() -> None:
        for line in stream:
            say(who, line)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class DemoError(Exception):
    """A process of the demo failed."""


class Part:
    """A process of the demo, whose stderr is printed; it is stopped with the demo."""

    def __init__(self, who: str, *command: str, folder: Path | None = None, **environment: str) -> None:
        self.who = who
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "FORCE_COLOR": "1" if console.is_terminal else "",
                **environment,
            },
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._out = self._process.stdout
        relay(who, self._process.stderr)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def first_line(self) -> str:
        """Waits for the line that it prints when it is ready."""
        timer = threading.Timer(STARTUP_SECONDS, self._process.kill)
        timer.start()
        line = self._out.readline()
        timer.cancel()
        if not line:
            raise DemoError(f"{self.who} did not start; see its output above")
        return line

    def relay(self) -> threading.Thread:
        """Prints its further output."""
        return relay(self.who, self._out)

    def wait(self, seconds: float) -> int:
        """Waits for its end; returns its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{self.who} did not end within {seconds:g} s") from None

    def stop(self) -> None:
        """Asks it to exit, and kills it if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def start(stack: ExitStack, who: str, *command: str, **environment: str) -> Part:
    """Starts a process of Python that ends with the demo."""
    return start_program(stack, who, sys.executable, *command, folder=None, **environment)


def start_program(stack: ExitStack, who: str, *command: str, folder: Path | None = None, **environment: str) -> Part:
    """Starts a process that ends with the demo."""
    part = Part(who, *command, folder=folder, **environment)
    stack.callback(part.stop)
    return part


def start_peers(stack: ExitStack, address: str) -> list[Part]:
    """Starts the workers in other languages that are built here."""
    return [
        start_program(stack, who, *command, str(PROGRAMS[who]), address, folder=folder)
        for who, (built, folder, command) in PEERS.items()
        if built.exists() and shutil.which(command[0])
    ]


def start_model(stack: ExitStack) -> dict[str, str]:
    """Starts a scripted model, unless one is set; returns the environment for the agents."""
    if os.environ.get(MODEL):
        say("model", f"the agent asks {os.environ[MODEL]}, as {MODEL} says")
        return {}
    model = start(stack, "model", "-m", "grpc_tool_bridge.testing.model_server")
    url = model.first_line().strip()
    say("model", f"process {model.pid} answers at {url} from a script, as no model is named; {MODEL} names one")
    # Your API keys are not sent to it.
    return {MODEL: "openai/scripted", "TOOL_BRIDGE_AGENT_API_BASE": url, "OPENAI_API_KEY": ""}


def start_worker(stack: ExitStack, name: str, address: str, *offers: str, **environment: str) -> Part:
    """Starts a worker, which prints a line when it has connected to the hub."""
    command = ("-m", "grpc_tool_bridge.cli", "worker", *offers, "--address", address, "--worker-id", name, "--json")
    return start(stack, name, *command, **environment)


def wait_for_worker(worker: Part) -> None:
    """Waits until a worker's tools can be called."""
    announced = json.loads(worker.first_line())
    offers = ", ".join(announced["tools"]) or "none; it runs agents"
    say(worker.who, f"process {worker.pid} dialled the hub; its tools: {offers}")
    worker.relay()


def start_hub(stack: ExitStack) -> tuple[str, str]:
    """Starts the hub; returns its address, and the URL of its dashboard."""
    serve = ("serve", "--address", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tools", str(HERE / "tools.py"), "--json")
    hub = start(stack, "hub", "-m", "grpc_tool_bridge.cli", *serve)
    announced = json.loads(hub.first_line())
    dashboard = f"http://{announced['http_address']}/"
    say("hub", f"process {hub.pid} listens on {announced['address']}; its tools: {', '.join(announced['tools'])}")
    say("hub", f"its dashboard is at {dashboard}")
    hub.relay()
    return announced["address"], dashboard


def run(stack: ExitStack, *, stay: bool = False) -> int:
    """Runs the demo and returns the client's exit code."""
    address, dashboard = start_hub(stack)

    # Start all of them concurrently; the one for agents loads DSPy, which takes the longest.
    agents = start_worker(stack, "agents", address, "--agents", **start_model(stack))
    left, right = (start_worker(stack, name, address, str(HERE / "worker_tools.py")) for name in ("left", "right"))
    peers = start_peers(stack, address)
    for worker in (left, right, agents):
        wait_for_worker(worker)
    for peer in peers:
        say(peer.who, f"process {peer.pid} {peer.first_line()}")
        peer.relay()

    watcher = start(stack, "watcher", str(HERE / "demo_watcher.py"), address)
    say("watcher", watcher.first_line())
    watched = watcher.relay()

    client = start(stack, "client", str(HERE / "demo_client.py"), address, str(left.pid))
    told = client.relay()
    code = client.wait(DEMO_SECONDS)
    told.join(STARTUP_SECONDS)
    if code == 0:
        watcher.wait(STARTUP_SECONDS)
        watched.join(STARTUP_SECONDS)
    if code == 0 and stay:
        say("hub", f"stays until Ctrl-C: {dashboard}")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    return code


def main() -> int:
    """Runs the demo; its processes have ended when it returns."""
    options = argparse.ArgumentParser(description="A hub, workers, an agent, a client and a watcher.")
    options.add_argument("--stay", action="store_true", help="keep the hub and its dashboard until Ctrl-C")
    given = options.parse_args()
    try:
        with ExitStack() as stack:
            code = run(stack, stay=given.stay)
    except DemoError as failure:
        console.print(str(failure))
        return 1
    console.print("done: every process has ended" if code == 0 else f"the client failed with exit code {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
