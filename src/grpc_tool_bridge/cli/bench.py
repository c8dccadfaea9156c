"""``bench``: calls a hub for some time, and prints how long the calls took."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from grpc_tool_bridge.cli import bench_text
from grpc_tool_bridge.cli.arguments import parse_arguments
from grpc_tool_bridge.cli.call import WordsArgument
from grpc_tool_bridge.cli.connection import open_bridge
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.open_files import allow_open_files
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, OptionGroup, SessionOption
from grpc_tool_bridge.cli.output import console, print_json
from grpc_tool_bridge.cli.tools import find_tool
from grpc_tool_bridge.client.bridge import GRPCToolBridge, ToolBridge
from grpc_tool_bridge.client.options import to_milliseconds
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.load.arrivals import ARRIVALS, Arrivals
from grpc_tool_bridge.load.exchanges import Call, Target
from grpc_tool_bridge.load.generator import LoadGenerator, Plan
from grpc_tool_bridge.load.results import Results
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType

MAX_CLIENTS = 10_000
# Connections that are opened at the same time.
_OPENING = 32
# The hub refuses a call it cannot make sooner than this.
_TRIAL_SECONDS = 1.0

# With these the first call says that no call can succeed.
_HOPELESS = frozenset(
    {"ToolNotFound", "ValidationError", "SerializationError", "MessageTooLarge", "PermissionDenied", "Unauthenticated"}
)

_TRANSPORTS: tuple[Literal["link", "socket", "rpc"], ...] = ("link", "socket", "rpc")


@dataclass(frozen=True, kw_only=True)
class BenchOptions(OptionGroup):
    """What is called, how often, and what is an error."""

    tool: Annotated[
        str | None,
        typer.Option("--tool", metavar="NAME", help="The tool to call. Default: none, only heartbeats."),
    ] = None
    args: Annotated[
        list[str] | None,
        typer.Option("--args", metavar="JSON", help="An argument by position; others may follow it. Repeatable."),
    ] = None
    kwarg: Annotated[
        list[str] | None, typer.Option("--kwarg", metavar="NAME=VALUE", help="An argument by name. Repeatable.")
    ] = None
    stream: Annotated[bool, typer.Option("--stream", help="Read a stream of the tool; streaming tools imply it.")] = (
        False
    )
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, metavar="N", help="Send calls in batches of N. Each batch is timed.")
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="Deadline of each call. Default: the tool's own."),
    ] = None
    clients: Annotated[
        int,
        typer.Option(
            "--clients", min=1, max=MAX_CLIENTS, metavar="N", help="Clients, each with a connection and a session."
        ),
    ] = 10
    duration: Annotated[float, typer.Option("--duration", min=0.1, metavar="SECONDS", help="How long to measure.")] = (
        10.0
    )
    warmup: Annotated[
        float, typer.Option("--warmup", min=0.0, metavar="SECONDS", help="Calls before that, which are not counted.")
    ] = 1.0
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", min=1, max=10_000, metavar="N", help="Closed loop: calls of each client at the same time."
        ),
    ] = 1
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0.001,
            max=1e6,
            metavar="CALLS",
            help="Open loop: calls per second of all clients together, made whether or not others have ended. Times "
            "count from when a call was due.",
        ),
    ] = None
    arrivals: Annotated[
        str, typer.Option("--arrivals", metavar="|".join(ARRIVALS), help="How an open loop spaces its calls.")
    ] = "constant"
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of poisson arrivals.")] = 0
    max_in_flight: Annotated[
        int,
        typer.Option(
            "--max-in-flight", min=1, max=100_000, metavar="N", help="Open loop: beyond this, calls are dropped."
        ),
    ] = 10_000
    transport: Annotated[
        str, typer.Option("--transport", metavar="|".join(_TRANSPORTS), help="How the clients make their calls.")
    ] = "link"
    fail_on_error: Annotated[bool, typer.Option("--fail-on-error", help="Exit with 1 if a call failed.")] = False
    max_p99: Annotated[
        float | None,
        typer.Option(
            "--max-p99", min=0.0, metavar="SECONDS", help="Exit with 1 if over 1 % of the calls took longer than this."
        ),
    ] = None
    min_rate: Annotated[
        float | None,
        typer.Option("--min-rate", min=0.0, metavar="CALLS", help="Exit with 1 if fewer calls per second succeeded."),
    ] = None
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the results as JSON, too.")] = None
    session: SessionOption = None
    as_json: JsonOption = False

    def check(self) -> None:
        """Checks the options that do not need the hub; raises ArgumentError."""
        for flag, value, known in (
            ("--arrivals", self.arrivals, ARRIVALS),
            ("--transport", self.transport, _TRANSPORTS),
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
        if self.timeout is not None:
            try:
                to_milliseconds(self.timeout, "bench")
            except ValidationError as error:
                raise ArgumentError(f"--timeout: {error.message}") from None

    def _check_loop(self) -> None:
        if self.rate is not None and self.concurrency != 1:
            raise ArgumentError("--concurrency is for a closed loop; with --rate, calls are made when they are due")
        if self.rate is None and self.arrivals != ARRIVALS[0]:
            raise ArgumentError(f"--arrivals {self.arrivals} is for an open loop; give --rate CALLS, too")

    def plan(self) -> Plan:
        """Returns how many calls are made, and when."""
        arrivals: Arrivals = "poisson" if self.arrivals == "poisson" else "constant"
        return Plan(
            duration=self.duration,
            warmup=self.warmup,
            concurrency=self.concurrency,
            rate=self.rate,
            arrivals=arrivals,
            seed=self.seed,
            max_in_flight=self.max_in_flight,
        )


async def bench(hub: HubOptions, more: WordsArgument = None, *, options: BenchOptions) -> None:
    """Call a hub for some time, and print how long the calls took.

    Each client makes its next call when the previous one has ended; with --rate, calls are made at fixed times.
    """
    words = [*(options.args or ()), *(more or ())]
    if words and options.tool is None:
        raise ArgumentError("arguments need --tool NAME, the tool that takes them")
    if options.out is not None:
        _check_writable(options.out)
    allow_open_files(options.clients)
    plan = options.plan()
    async with AsyncExitStack() as stack:
        bridges = await _open_clients(stack, hub, options)
        target = _target_of(bridges[0], words, options)
        calls = [target.call_of(bridge.client.caller) for bridge in bridges]
        await _try(calls[0])
        generator = LoadGenerator(plan, calls)
        try:
            async with _shown(generator, plan):
                await generator.run()
        finally:
            # After Ctrl-C too.
            _print(generator.results, target, plan, options)
    _judge(generator.results, options)


async def _open_clients(stack: AsyncExitStack, hub: HubOptions, options: BenchOptions) -> list[GRPCToolBridge]:
    turns = asyncio.Semaphore(_OPENING)
    transport = next(name for name in _TRANSPORTS if name == options.transport)

    async def open_client() -> GRPCToolBridge:
        async with turns:
            return await stack.enter_async_context(open_bridge(hub, options.session, transport=transport))

    # Alone, so that an unreachable hub is one error.
    first = await open_client()
    try:
        async with asyncio.TaskGroup() as group:
            opening = [group.create_task(open_client()) for _ in range(options.clients - 1)]
    except* (CommandError, ToolBridgeError) as errors:
        raise _first_of(errors) from None
    return [first, *(task.result() for task in opening)]


def _first_of(errors: BaseExceptionGroup[Exception]) -> Exception:
    first = errors.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def _target_of(bridge: ToolBridge, words: list[str], options: BenchOptions) -> Target:
    if options.tool is None:
        return Target(timeout=options.timeout)
    spec = find_tool([proxy.spec for proxy in bridge.tools.values()], options.tool)
    streams = options.stream or (spec.type == ToolType.STREAMING and options.batch is None)
    args, kwargs = parse_arguments(spec, words, options.kwarg or ())
    return Target(tool=spec, args=args, kwargs=kwargs, stream=streams, batch=options.batch, timeout=options.timeout)


async def _try(call: Call) -> None:
    """Makes one call, so that wrong arguments are one error and not thousands; a slow one is cancelled."""
    try:
        async with asyncio.timeout(_TRIAL_SECONDS):
            await call()
    except TimeoutError:
        # Of the trial, or of the tool, whose errors are counted.
        return
    except ToolBridgeError as error:
        if error.error_type in _HOPELESS and error.details.get("origin", "bridge") == "bridge":
            raise CommandError(str(error)) from error


@asynccontextmanager
async def _shown(generator: LoadGenerator, plan: Plan) -> AsyncIterator[None]:
    """Shows on stderr, if that is a terminal, what has been measured so far."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield
        return
    showing = asyncio.create_task(bench_text.show(err, generator, plan), name="bench view")
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait([showing])


def _print(results: Results, target: Target, plan: Plan, options: BenchOptions) -> None:
    facts = bench_text.facts(results, target, plan, clients=options.clients, transport=options.transport)
    if options.out is not None:
        try:
            options.out.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(_cannot_write(options.out, error)) from None
    if options.as_json:
        print_json(facts)
    else:
        bench_text.print_results(console(), results, target, plan, clients=options.clients)


def _check_writable(path: Path) -> None:
    """Fails before anything is measured; keeps an earlier result until there is another."""
    try:
        path.open("a").close()
    except OSError as error:
        raise ArgumentError(_cannot_write(path, error)) from None


def _cannot_write(path: Path, error: OSError) -> str:
    return f"--out: cannot write {path}: {error.strerror or error}"


def _judge(results: Results, options: BenchOptions) -> None:
    """Raises CommandError if the results are not what the options ask for."""
    problems = []
    p99, rate = results.latency.percentile(99), results.success_rate
    if options.fail_on_error and results.failed:
        problems.append(f"{results.failed:,} of {results.calls:,} calls failed")
    if options.fail_on_error and results.dropped:
        problems.append(f"{results.dropped:,} calls were not made, since too many were in flight")
    if options.max_p99 is not None and p99 > options.max_p99:
        problems.append(f"p99 is {p99:.4g} s, which is over the {options.max_p99:g} s of --max-p99")
    if options.min_rate is not None and rate < options.min_rate:
        problems.append(
            f"{rate:,.1f} calls per second succeeded, fewer than the {options.min_rate:,.10g} of --min-rate"
        )
    if problems:
        raise CommandError("; ".join(problems), error_type="ThresholdMissed")
    if not results.calls:
        raise CommandError("no call has ended while it was measured; measure longer with --duration")
