"""Runs the load test: a hub that serves over HTTP, its tools in workers, and locust's users who call them.

``scripts/load.py --users 10 --seconds 30 --report build/load`` prints a table of the routes, and writes locust's page
and the logs into the folder. It exits with 1 where a request failed.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
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

PERCENTS = (50, 95, 99)
# Where locust writes its statistics, in the folder of the report; it adds .json.
STATISTICS = "statistics"


@dataclass(frozen=True)
class Row:
    """What was measured of one route, or of all together.

    Attributes:
        method, route: Which; empty and "all" for all together.
        requests: How many were made.
        failed: How many of them failed.
        rate: Requests per second of the whole test.
        times: How many took so many milliseconds.
    """

    method: str
    route: str
    requests: int
    failed: int
    rate: float
    times: Counter[int]

    def percentile(self, percent: int) -> int:
        """Returns the milliseconds that so many of a hundred requests took at most."""
        wanted, seen = math.ceil(self.requests * percent / 100), 0
        for time in sorted(self.times):
            seen += self.times[time]
            if seen >= wanted:
                return time
        return 0


class Stop:
    """Ends the program on SIGTERM; while a process is being started, right after that."""

    def __init__(self) -> None:
        self._held = False
        self._number = 0

    def handle(self, number: int, _: FrameType | None) -> None:
        """Handles the signal."""
        self._number = number
        if not self._held:
            sys.exit(128 + number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Waits with it: a process that nobody knows of yet would be left behind."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._number:
                sys.exit(128 + self._number)


_stop = Stop()


class LoadError(Exception):
    """The load test could not be run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the load test; returns 0, or 1 where a request failed or there was none."""
    options = _parse(arguments)
    # Locust runs in it.
    report = options.report.resolve()
    report.mkdir(parents=True, exist_ok=True)
    try:
        rows = _measure(options.users, options.seconds, report)
    except LoadError as error:
        print(f"load: {error}; see the logs in {report}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _print_table(rows)
    print(f"The report is {report / 'report.html'}")
    failed, made = rows[-1].failed, rows[-1].requests
    if failed or not made:
        print(f"load: {failed:,} of {made:,} requests failed; see {report}", file=sys.stderr)
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


def _measure(users: int, seconds: int, report: Path) -> list[Row]:
    """Runs all processes, and ends them; returns what was measured of each route, and of all together last."""
    with ExitStack() as stack:
        nowhere = ("--address", "127.0.0.1:0", "--http", "127.0.0.1:0")
        hub = _start(stack, "hub", report, "serve", *nowhere)
        for number in range(WORKERS):
            source = str(LOAD / "load_tools.py")
            _start(stack, f"worker-{number}", report, "worker", source, "--address", hub["address"])
        code = _run_locust(stack, f"http://{hub['http_address']}", users, seconds, report)
    rows = read_rows(report / f"{STATISTICS}.json")
    if code and not rows[-1].failed:
        raise LoadError("a user of locust failed outside its requests")
    return rows


def read_rows(path: Path) -> list[Row]:
    """Reads locust's statistics; returns those of each route, and of all together last.

    Raises:
        LoadError: Locust wrote none.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"locust wrote no statistics ({error})") from None
    start = min((entry["start_time"] for entry in entries), default=0.0)
    end = max((entry["last_request_timestamp"] for entry in entries), default=0.0)
    seconds = max(end - start, 0.001)
    rows = [_row(entry, seconds) for entry in sorted(entries, key=lambda entry: entry["name"])]
    requests, failed = sum(row.requests for row in rows), sum(row.failed for row in rows)
    times = sum((row.times for row in rows), Counter[int]())
    return [*rows, Row("", "all", requests, failed, requests / seconds, times)]


def _row(entry: dict[str, Any], seconds: float) -> Row:
    times = Counter({int(float(time)): count for time, count in entry["response_times"].items()})
    requests = entry["num_requests"]
    return Row(entry["method"], entry["name"], requests, entry["num_failures"], requests / seconds, times)


def _start(stack: ExitStack, name: str, report: Path, command: str, *words: str) -> dict[str, Any]:
    """Starts a command of the bridge, and waits for it; returns what it says that it is."""
    log = stack.enter_context((report / f"{name}.log").open("w", encoding="utf-8"))
    with _stop.held():
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


def _run_locust(stack: ExitStack, host: str, users: int, seconds: int, report: Path) -> int:
    """Runs locust; returns its exit code."""
    files = ",".join(str(LOAD / name) for name in ("fast_http.py", "locustfile.py"))
    # All users are there after the first tenth of the time.
    rate = max(1.0, users * 10 / seconds)
    log = stack.enter_context((report / "locust.log").open("w", encoding="utf-8"))
    command = [sys.executable, "-m", "locust", "-f", files, "--headless", "--host", host]
    command += ["--users", str(users), "--spawn-rate", f"{rate:g}", "--run-time", f"{seconds}s", "--stop-timeout", "30"]
    command += ["--json-file", str(report / STATISTICS), "--html", str(report / "report.html"), "--only-summary"]
    with _stop.held():
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(), cwd=report)
        stack.callback(_end, process)
    try:
        return process.wait(seconds + READY_SECONDS + END_SECONDS)
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


def _print_table(rows: list[Row]) -> None:
    table = Table()
    for title in ("method", "route"):
        table.add_column(title, no_wrap=True)
    for title in ("requests", "failed", "requests/s", *(f"p{percent} ms" for percent in PERCENTS)):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        times = (f"{row.percentile(percent):,}" for percent in PERCENTS)
        table.add_row(row.method, row.route, f"{row.requests:,}", f"{row.failed:,}", f"{row.rate:,.1f}", *times)
    Console(width=max(Console().width, 120)).print(table)


if __name__ == "__main__":
    # Else its processes would be left behind.
    signal.signal(signal.SIGTERM, _stop.handle)
    sys.exit(main())
