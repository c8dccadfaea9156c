"""How ``bench`` shows what it has measured: as a table, as one line while it runs, and as JSON."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from grpc_tool_bridge.cli.consoles import rich_table
from grpc_tool_bridge.load.exchanges import Target
from grpc_tool_bridge.load.generator import LoadGenerator, Plan
from grpc_tool_bridge.load.histogram import Histogram
from grpc_tool_bridge.load.results import Results

PERCENTILES = (50, 90, 99, 99.9)
_VIEW_SECONDS = 0.5
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KIB = 1024


def facts(results: Results, target: Target, plan: Plan, *, clients: int, transport: str) -> dict[str, Any]:
    """Describes results for programs; all times are in seconds, all sizes in bytes."""
    unfinished = results.unfinished
    return {
        "target": _target_facts(target),
        "plan": {
            "loop": "closed" if plan.rate is None else "open",
            "clients": clients,
            "transport": transport,
            "concurrency": plan.concurrency if plan.rate is None else None,
            "rate": plan.rate,
            "arrivals": None if plan.rate is None else plan.arrivals,
            "seed": None if plan.rate is None else plan.seed,
            "duration": plan.duration,
            "warmup": plan.warmup,
        },
        "seconds": results.seconds,
        "calls": results.calls,
        "failed": results.failed,
        "dropped": results.dropped,
        "rate": results.rate,
        "success_rate": results.success_rate,
        "values": results.values,
        "value_rate": results.value_rate,
        "bytes_sent": results.sent,
        "bytes_received": results.received,
        "latency": times(results.latency),
        "outcomes": {name: times(histogram) for name, histogram in results.outcomes.items()},
        "first_value": times(results.first_values) if results.first_values.count else None,
        "histogram": [[upper, count] for upper, count in results.latency.buckets()],
        "generator": {"busy": results.busy, "lag": times(results.lag)},
        "warnings": [*results.doubts()],
        "interrupted": unfinished is not None,
        "unfinished": None if unfinished is None else {"calls": unfinished.calls, "oldest": unfinished.oldest},
    }


def times(histogram: Histogram) -> dict[str, Any]:
    """Describes durations for programs."""
    percentiles = {f"p{percent:g}": histogram.percentile(percent) for percent in PERCENTILES}
    named = {"count": histogram.count, "mean": histogram.mean, "min": histogram.least}
    return {**named, **percentiles, "max": histogram.most}


def print_results(out: Console, results: Results, target: Target, plan: Plan, *, clients: int) -> None:
    """Prints results for people."""
    out.print(Text(_title(target, plan, clients), style="bold"))
    rows = [_row(name, histogram, results.calls) for name, histogram in _by_outcome(results)]
    if results.first_values.count:
        rows.append(_row("first value", results.first_values, results.calls))
    columns = ["", "calls", "share", *(f"p{percent:g} ms" for percent in PERCENTILES), "max ms"]
    out.print(rich_table(columns, rows))
    out.print(_summary(results), soft_wrap=True)
    if (unfinished := results.unfinished) is not None:
        text = f"{unfinished.calls:,} calls had not ended when it was interrupted"
        out.print(f"{text}, the oldest since {unfinished.oldest:.3g} s" if unfinished.calls else text, soft_wrap=True)
    for doubt in results.doubts():
        out.print(Text(f"warning: {doubt}", style="yellow"), soft_wrap=True)


async def show(err: Console, generator: LoadGenerator, plan: Plan) -> None:
    """Shows what has been measured so far until it is cancelled: one line that changes, or lines where none can."""
    if err.is_dumb_terminal:
        async for line in _lines(generator, plan):
            err.print(line, soft_wrap=True)
    with Live(console=err, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False) as live:
        async for line in _lines(generator, plan):
            live.update(Text(line), refresh=True)


async def _lines(generator: LoadGenerator, plan: Plan) -> AsyncIterator[str]:
    before = 0
    while True:
        ended = generator.results.ended_within
        yield _line(generator, plan, (ended - before) / _VIEW_SECONDS)
        before = ended
        await asyncio.sleep(_VIEW_SECONDS)


def _line(generator: LoadGenerator, plan: Plan, rate: float) -> str:
    results, passed = generator.results, generator.progress
    if passed < 0:
        return f"warming up, {-passed:.0f} s left"
    if passed >= plan.duration:
        return f"waiting for the last {generator.in_flight:,} calls"
    latency = results.latency
    p50, p99 = (f"{latency.percentile(percent) * 1e3:,.2f} ms" for percent in (50, 99))
    return (
        f"{passed:.0f}/{plan.duration:g} s · {results.calls:,} calls · {rate:,.0f}/s · {results.failed:,} failed · "
        f"p50 {p50} · p99 {p99} · {generator.in_flight:,} in flight"
    )


def _by_outcome(results: Results) -> list[tuple[str, Histogram]]:
    found = sorted(results.outcomes.items(), key=lambda item: -item[1].count)
    return found if len(found) == 1 else [*found, ("all", results.latency)]


def _row(name: str, histogram: Histogram, calls: int) -> list[Any]:
    if not histogram.count:
        return [name, "0", *["-"] * (len(PERCENTILES) + 2)]
    cells = [f"{1e3 * histogram.percentile(percent):,.3f}" for percent in PERCENTILES]
    return [name, f"{histogram.count:,}", f"{histogram.count / calls:.2%}", *cells, f"{1e3 * histogram.most:,.3f}"]


def _title(target: Target, plan: Plan, clients: int) -> str:
    what = {
        "ping": "heartbeats, no tool",
        "call": "calls of {}",
        "stream": "streams of {}",
        "batch": "batches of {} calls of {}",
    }[target.shape]
    name = target.tool.name if target.tool is not None else ""
    what = what.format(target.batch, name) if target.shape == "batch" else what.format(name)
    who = "1 client" if clients == 1 else f"{clients:,} clients"
    if plan.rate is None:
        return f"{what}: closed loop, {who}, {plan.concurrency:,} at a time each"
    return f"{what}: open loop, {who}, {plan.rate:,.10g} calls/s due ({plan.arrivals})"


def _summary(results: Results) -> str:
    parts = [
        f"{results.rate:,.1f} calls/s in {results.seconds:.1f} s",
        f"{results.failed:,} failed",
        f"sent {_size(results.sent)}, received {_size(results.received)}",
    ]
    if results.values > results.calls:
        parts.insert(1, f"{results.value_rate:,.1f} values/s")
    return " · ".join(parts)


def _size(count: float) -> str:
    unit = 0
    while count >= _KIB and unit < len(_UNITS) - 1:
        count, unit = count / _KIB, unit + 1
    return f"{count:,.1f} {_UNITS[unit]}" if unit else f"{count:,.0f} B"


def _target_facts(target: Target) -> dict[str, Any]:
    name = None if target.tool is None else target.tool.name
    return {"tool": name, "shape": target.shape, "batch": target.batch, "timeout": target.seconds}
