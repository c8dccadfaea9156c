"""What ``bench`` does: opens its clients, makes the calls, and judges the results."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from grpc_tool_bridge.cli import bench_text
from grpc_tool_bridge.cli.arguments import parse_arguments
from grpc_tool_bridge.cli.bench_options import TRANSPORTS, BenchOptions, cannot_write
from grpc_tool_bridge.cli.connection import open_bridge
from grpc_tool_bridge.cli.consoles import console
from grpc_tool_bridge.cli.failures import CommandError
from grpc_tool_bridge.cli.find_tool import named_spec
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.client.bridge import GRPCToolBridge, ToolBridge
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.load.arrivals import Arrivals
from grpc_tool_bridge.load.exchanges import Call, Target
from grpc_tool_bridge.load.generator import LoadGenerator, Plan
from grpc_tool_bridge.load.results import Results
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType

# Connections that are opened at the same time.
_OPENING = 32
# The hub refuses a call it cannot make sooner than this.
_TRIAL_SECONDS = 1.0

# With these the first call says that no call can succeed.
_HOPELESS = frozenset(
    {"ToolNotFound", "ValidationError", "SerializationError", "MessageTooLarge", "PermissionDenied", "Unauthenticated"}
)


async def run(hub: HubOptions, words: list[str], options: BenchOptions) -> None:
    """Calls a hub as the options say, and prints the results.

    Args:
        hub: How the hub is reached.
        words: The tool's positional arguments.
        options: What is called, how often, and what is an error.

    Raises:
        CommandError: The hub cannot be reached, no call can succeed, or the results are not as the options ask for.
    """
    plan = _plan_of(options)
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


def _plan_of(options: BenchOptions) -> Plan:
    """Returns how many calls are made, and when."""
    arrivals: Arrivals = "poisson" if options.arrivals == "poisson" else "constant"
    return Plan(
        duration=options.duration,
        warmup=options.warmup,
        concurrency=options.concurrency,
        rate=options.rate,
        arrivals=arrivals,
        seed=options.seed,
        max_in_flight=options.max_in_flight,
    )


async def _open_clients(stack: AsyncExitStack, hub: HubOptions, options: BenchOptions) -> list[GRPCToolBridge]:
    turns = asyncio.Semaphore(_OPENING)
    transport = next(name for name in TRANSPORTS if name == options.transport)

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
    spec = named_spec(bridge, options.tool)
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
            raise CommandError(cannot_write(options.out, error)) from None
    if options.as_json:
        print_json(facts)
    else:
        bench_text.print_results(console(), results, target, plan, clients=options.clients)


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
