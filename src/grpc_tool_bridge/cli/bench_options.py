"""The options of ``bench``."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import JsonOption, OptionGroup, SessionOption, check_timeout
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.load.arrivals import ARRIVALS

MAX_CLIENTS = 10_000

TRANSPORTS: tuple[Literal["link", "socket", "rpc"], ...] = ("link", "socket", "rpc")


@dataclass(frozen=True, kw_only=True)
class BenchOptions(OptionGroup):
    """What is called, how often, and what is an error."""

    tool: Annotated[
        str | None,
        Option("--tool", metavar="NAME", help="The tool to call. Default: none, only heartbeats.", complete="tool"),
    ] = None
    args: Annotated[
        list[str] | None,
        Option("--args", metavar="JSON", help="An argument by position; others may follow it. Repeatable."),
    ] = None
    kwarg: Annotated[
        list[str] | None,
        Option("--kwarg", metavar="NAME=VALUE", help="An argument by name. Repeatable.", complete="kwarg"),
    ] = None
    stream: Annotated[bool, Option("--stream", help="Read a stream of the tool; streaming tools imply it.")] = False
    batch: Annotated[
        int | None, Option("--batch", min=1, metavar="N", help="Send calls in batches of N. Each batch is timed.")
    ] = None
    timeout: Annotated[
        float | None,
        Option("--timeout", metavar="SECONDS", help="Deadline of each call. Default: the tool's own."),
    ] = None
    clients: Annotated[
        int,
        Option("--clients", min=1, max=MAX_CLIENTS, metavar="N", help="Clients, each with a connection and a session."),
    ] = 10
    duration: Annotated[float, Option("--duration", min=0.1, metavar="SECONDS", help="How long to measure.")] = 10.0
    warmup: Annotated[
        float, Option("--warmup", min=0.0, metavar="SECONDS", help="Calls before that, which are not counted.")
    ] = 1.0
    concurrency: Annotated[
        int,
        Option(
            "--concurrency", min=1, max=10_000, metavar="N", help="Closed loop: calls of each client at the same time."
        ),
    ] = 1
    rate: Annotated[
        float | None,
        Option(
            "--rate",
            min=0.001,
            max=1e6,
            metavar="CALLS",
            help="Open loop: calls per second of all clients together, made whether or not others have ended. Times "
            "count from when a call was due.",
        ),
    ] = None
    arrivals: Annotated[
        str, Option("--arrivals", metavar="|".join(ARRIVALS), help="How an open loop spaces its calls.")
    ] = "constant"
    seed: Annotated[int, Option("--seed", min=0, metavar="N", help="Seed of poisson arrivals.")] = 0
    max_in_flight: Annotated[
        int,
        Option("--max-in-flight", min=1, max=100_000, metavar="N", help="Open loop: beyond this, calls are dropped."),
    ] = 10_000
    transport: Annotated[
        str, Option("--transport", metavar="|".join(TRANSPORTS), help="How the clients make their calls.")
    ] = "link"
    fail_on_error: Annotated[bool, Option("--fail-on-error", help="Exit with 1 if a call failed.")] = False
    max_p99: Annotated[
        float | None,
        Option(
            "--max-p99", min=0.0, metavar="SECONDS", help="Exit with 1 if over 1 % of the calls took longer than this."
        ),
    ] = None
    min_rate: Annotated[
        float | None,
        Option("--min-rate", min=0.0, metavar="CALLS", help="Exit with 1 if fewer calls per second succeeded."),
    ] = None
    out: Annotated[Path | None, Option("--out", metavar="FILE", help="Write the results as JSON, too.")] = None
    session: SessionOption = None
    as_json: JsonOption = False

    def check(self) -> None:
        """Checks the options that do not need the hub; raises ArgumentError."""
        for flag, value, known in (
            ("--arrivals", self.arrivals, ARRIVALS),
            ("--transport", self.transport, TRANSPORTS),
        ):
            if value not in known:
                raise ArgumentError(f"{flag} is {', '.join(known[:-1])} or {known[-1]}, not {value[:60]}")
        given = {"--duration": self.duration, "--warmup": self.warmup, "--max-p99": self.max_p99}
        given |= {"--rate": self.rate, "--min-rate": self.min_rate}
        for flag, number in given.items():
            if number is not None and not math.isfinite(number):
                raise ArgumentError(f"{flag} must be a finite number, not {number}")
        self._check_loop()
        if self.batch is not None and self.stream:
            raise ArgumentError("--batch and --stream exclude each other")
        if self.tool is None and (self.args or self.kwarg or self.stream or self.batch is not None):
            raise ArgumentError("--args, --kwarg, --stream and --batch need --tool NAME")
        check_timeout(self.timeout, "bench")

    def _check_loop(self) -> None:
        if self.rate is not None and self.concurrency != 1:
            raise ArgumentError("--concurrency is for a closed loop; with --rate, calls are made when they are due")
        if self.rate is None and self.arrivals != ARRIVALS[0]:
            raise ArgumentError(f"--arrivals {self.arrivals} is for an open loop; give --rate CALLS, too")


def cannot_write(path: Path, error: OSError) -> str:
    """Says that the file of ``--out`` cannot be written."""
    return f"--out: cannot write {path}: {error.strerror or error}"
