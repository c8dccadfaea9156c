"""Runs the load test: a hub that serves over HTTP, its tools in workers, and locust's users who call them.

``scripts/load.py --users 10 --seconds 30 --report build/load`` prints a table of the routes, and writes locust's page and
the logs into the folder. Exits with 1 where a request failed.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
LOAD = ROOT / "tests" / "load"
BRIDGE = (sys.executable, "-m", "grpc_tool_bridge.cli")

WORKERS = 2
# Seconds that a program has to be ready, and to end once it was told to.
READY_SECONDS = 60.0
END_SECONDS = 30.0

# Of locust's statistics: what the table calls them.
COLUMNS = {
    "Type": "method",
    "Name": "route",
    "Request Count": "requests",
    "Failure Count": "failed",
    "Requests/s": "requests/s",
    "50%": "p50 ms",
    "95%": "p95 ms",
    "99%": "p99 ms",
}
_TEXTS = ("Type", "Name")


class LoadError(Exception):
    """The load test could not be run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the load test; returns 0, or 1 where a request failed or there was none."""
    options = _parse(arguments)
    options.report.mkdir(parents=True, exist_ok=True)
    try:
        rows = _measure(options.users, options.seconds, options.report)
    except LoadError as error:
        print(f"load: {error}; see the logs in {options.report}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _print_table(rows)
    print(f"The report is {options.report / 'report.html'}")
    total = rows[-1]
    failed, made = int(total["Failure Count"]), int(total["Request Count"])
    if failed or not made:
        print(f"load: {failed:,} of {made:,} requests failed; see {options.report}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Call the tools of a hub over HTTP, as many users at once.")
    parser.add_argument("--users", type=int, default=10, metavar="N", help="users at once (default 10)")
    parser.add_argument("--seconds", type=int, default=30, metavar="N", help="how long (default 30)")
    parser.add_argument(
        "--report", type=Path, default=ROOT / "build" / "load", metavar="DIR", help="folder (default build/load)"
    )
    return parser.parse_args(arguments)


def _measure(users: int, seconds: int, report: Path) -> list[dict[str, str]]:
    """Runs all processes, and ends them; returns locust's statistics by route, the sum of all last."""
    with ExitStack() as stack:
        nowhere = ("--address", "127.0.0.1:0", "--http", "127.0.0.1:0")
        hub = _start(stack, "hub", report, "serve", *nowhere)
        for number in range(WORKERS):
            _start(stack, f"worker-{number}", report, "worker", str(LOAD / "tools.py"), "--address", hub["address"])
        _run_locust(stack, f"http://{hub['http_address']}", users, seconds, report)
    try:
        with (report / "load_stats.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise LoadError(f"locust wrote no statistics: {error}") from None


def _start(stack: ExitStack, name: str, report: Path, command: str, *words: str) -> dict[str, Any]:
    """Starts a command of the bridge, and waits for it; returns what it says that it is."""
    log = stack.enter_context((report / f"{name}.log").open("w", encoding="utf-8"))
    process = subprocess.Popen(
        [*BRIDGE, command, *words, "--json"], stdout=subprocess.PIPE, stderr=log, env=_environment(), text=True
    )
    stack.callback(_end, process)
    timer = threading.Timer(READY_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
    finally:
        timer.cancel()
    if not line:
        raise LoadError(f"{name} did not start")
    facts: dict[str, Any] = json.loads(line)
    return facts


def _run_locust(stack: ExitStack, host: str, users: int, seconds: int, report: Path) -> None:
    files = ",".join(str(LOAD / name) for name in ("fast_http.py", "locustfile.py"))
    # All users are there after the first tenth of the time.
    rate = max(1.0, users * 10 / seconds)
    log = stack.enter_context((report / "locust.log").open("w", encoding="utf-8"))
    command = [sys.executable, "-m", "locust", "-f", files, "--headless", "--host", host]
    command += ["--users", str(users), "--spawn-rate", f"{rate:g}", "--run-time", f"{seconds}s", "--stop-timeout", "30"]
    command += ["--csv", str(report / "load"), "--html", str(report / "report.html"), "--only-summary"]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(), cwd=report)
    stack.callback(_end, process)
    try:
        process.wait(seconds + READY_SECONDS + END_SECONDS)
    except subprocess.TimeoutExpired:
        raise LoadError("locust did not end in time") from None


def _environment() -> dict[str, str]:
    """Returns the environment without what others have set for programs of the bridge, or for locust."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("TOOL_BRIDGE_", "LOCUST_"))}


def _end(process: "subprocess.Popen[Any]") -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _print_table(rows: list[dict[str, str]]) -> None:
    table = Table()
    for name, title in COLUMNS.items():
        table.add_column(title, justify="left" if name in _TEXTS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] if name in _TEXTS else f"{float(row[name] or 0):,.0f}" for name in COLUMNS))
    Console(width=max(Console().width, 120)).print(table)


if __name__ == "__main__":
    sys.exit(main())
