"""The whole job in one go: a hub with tools, two workers with another one, a client, a second client that watches.

Five processes: this script starts them, passes their lines on with the name of who wrote them, and ends them.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
STARTUP_SECONDS = 30.0
DEMO_SECONDS = 180.0
COLOURS = {"hub": "green", "left": "yellow", "right": "blue", "client": "cyan", "watcher": "magenta"}

console = Console(highlight=False, soft_wrap=True)


def say(who: str, line: str) -> None:
    """Prints one line with the name of its writer."""
    console.print(Text(f"{who:>8} │ ", style=COLOURS[who]) + Text.from_ansi(line.rstrip("\n")))


def relay(who: str, stream: IO[str]) -> threading.Thread:
    """Passes on what a process prints until it closes its end."""

    def run() -> None:
        for line in stream:
            say(who, line)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def start(who: str, *command: str) -> "subprocess.Popen[str]":
    """Starts a process of the demo; its errors are passed on as they come."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "FORCE_COLOR": "1" if console.is_terminal else ""}
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    relay(who, process.stderr)
    return process


def start_worker(name: str, address: str) -> "subprocess.Popen[str]":
    """Starts a worker; returns when its tools can be called."""
    source = str(HERE / "worker_tools.py")
    command = ("-m", "grpc_tool_bridge.cli", "worker", source, "--address", address, "--worker-id", name, "--json")
    process = start(name, *command)
    assert process.stdout is not None
    announced = json.loads(process.stdout.readline() or '{"tools": []}')
    say(name, f"process {process.pid} dialled the hub; its tools: {', '.join(announced['tools'])}")
    relay(name, process.stdout)
    return process


def stop(process: "subprocess.Popen[str]") -> None:
    """Asks a process to end, and ends it where it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    """Runs the demo and returns the client's exit code."""
    hub = start(
        "hub",
        "-m",
        "grpc_tool_bridge.cli",
        "serve",
        "--address",
        "127.0.0.1:0",
        "--tools",
        str(HERE / "tools.py"),
        "--json",
    )
    processes = [hub]
    try:
        assert hub.stdout is not None
        announced = json.loads(hub.stdout.readline() or "{}")
        if "address" not in announced:
            console.print("the hub did not start; its words are above")
            return 1
        address = announced["address"]
        say("hub", f"process {hub.pid} listens at {address}; its tools: {', '.join(announced['tools'])}")
        relay("hub", hub.stdout)

        workers = [start_worker(name, address) for name in ("left", "right")]
        processes.extend(workers)

        watcher = start("watcher", str(HERE / "demo_watcher.py"), address)
        processes.append(watcher)
        assert watcher.stdout is not None
        say("watcher", watcher.stdout.readline())
        relayed = relay("watcher", watcher.stdout)

        client = start("client", str(HERE / "demo_client.py"), address, str(workers[0].pid))
        processes.append(client)
        assert client.stdout is not None
        relay("client", client.stdout)
        code = client.wait(DEMO_SECONDS)
        watcher.wait(STARTUP_SECONDS)
        relayed.join(STARTUP_SECONDS)
    finally:
        for process in reversed(processes):
            stop(process)
    console.print("done: every process has ended" if code == 0 else f"the client failed with exit code {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
