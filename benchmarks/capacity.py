"""Where one hub ends: ``python -m benchmarks.capacity``.

Each load is made by processes that cost little, so that the hub's event loop is full. The loop has no time left when it
runs, or waits for a processor, all the time: the rate then is the most that one hub does on this machine while others
use it, and the loop's own time for one thing says what it would do with a processor for itself.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import in_words, machine
from benchmarks.processes import ServerProcess, filling, running

# Until caches are warm, and all links are open.
_WARM_UP_SECONDS = 1.0
# Of everything for one load, beyond what is measured.
_LIMIT_SECONDS = 120.0
_MARKED = re.compile(r"(<!-- capacity -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of load.

    Attributes:
        name: For the command line.
        title: What is counted.
        load: As ``benchmarks.load_process`` has it.
        server: "hub", "gRPC hub" (without a unix socket), "worker" (a hub with the tools of two) or "gateway".
        megabytes: Of each thing that is counted.
    """

    name: str
    title: str
    load: str
    server: str = "hub"
    megabytes: float = 0.0


KINDS = (
    Kind("calls", "calls of a tool of the hub, same machine", "calls"),
    Kind("grpc-calls", "the same over gRPC, as from another machine", "calls", "gRPC hub"),
    Kind("client-calls", "calls by the package's own client, same machine", "client-calls"),
    Kind("worker-calls", "calls of a worker's tool, same machine", "calls", "worker"),
    Kind("streams", "streams opened, read and ended", "streams"),
    Kind("small-chunks", "chunks of a stream, an integer each", "small-chunks"),
    Kind("large-chunks", "chunks of a stream, 64 KiB each", "large-chunks", megabytes=0.065536),
    Kind("progress", "progress events of a call", "progress"),
    Kind("updates", "updates of a variable, to 50 watchers each", "updates"),
    Kind("sessions", "sessions opened and closed", "sessions"),
    Kind("connections", "connections opened, with a session, and closed", "connections"),
    Kind("http-calls", "calls by HTTP", "http-calls", "gateway"),
    Kind("http-events", "server-sent events, an integer each", "http-events", "gateway"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a hub did.

    Attributes:
        kind: The name of the load.
        per_second: How much it did.
        full: The part of the time in which the event loop ran or waited for a processor; 1 is all of it.
        loop_us: Time of the event loop's thread for each, in µs.
        cpu_us: Processor time of the hub for each, in µs, with all of its threads.
        clients: How many processors all clients used.
    """

    kind: str
    per_second: float
    full: float
    loop_us: float
    cpu_us: float
    clients: float

    @property
    def ceiling(self) -> float:
        """How much an event loop does each second that has a processor for itself."""
        return 1e6 / self.loop_us


async def measure(kind: Kind, *, clients: int, links: int, seconds: float) -> Measured:
    """Fills a hub with a load.

    Args:
        kind: The load.
        clients: How many processes make it.
        links: How many connections each has.
        seconds: How long it is measured.

    Raises:
        RuntimeError: A process has failed; its error is on the standard error.
        TimeoutError: A process does not answer.
    """
    async with asyncio.timeout(_LIMIT_SECONDS + seconds), contextlib.AsyncExitStack() as started:
        hub = await started.enter_async_context(_serving(kind.server))
        loads = [
            await started.enter_async_context(filling(kind.load, hub.address, sources=links)) for _ in range(clients)
        ]
        await asyncio.sleep(_WARM_UP_SECONDS)
        begun = await _marks(hub, loads)
        await asyncio.sleep(seconds)
        ended = await _marks(hub, loads)
    (elapsed, cpu, loop, waited), *done = [
        [after - before for before, after in zip(*marks, strict=True)] for marks in zip(begun, ended, strict=True)
    ]
    per_second = sum(count / time for count, time, _ in done)
    each = per_second * elapsed
    if not each:
        raise RuntimeError(f"{kind.name}: the hub did nothing")
    return Measured(
        kind=kind.name,
        per_second=per_second,
        full=(loop + waited) / elapsed,
        loop_us=loop / each * 1e6,
        cpu_us=cpu / each * 1e6,
        clients=sum(used / time for _, time, used in done),
    )


async def _marks(hub: ServerProcess, loads: Sequence[ServerProcess]) -> list[list[float]]:
    return list(await asyncio.gather(hub.ask("times"), *(load.ask("count") for load in loads)))


@contextlib.asynccontextmanager
async def _serving(server: str) -> AsyncGenerator[ServerProcess, None]:
    async with contextlib.AsyncExitStack() as started:
        kind = "gateway" if server == "gateway" else "hub"
        tools = 0 if server == "worker" else 1
        hub = await started.enter_async_context(running(kind, tools=tools, local_socket=server != "gRPC hub"))
        if server == "worker":
            for _ in range(2):
                await started.enter_async_context(running("worker", hub=hub.address))
        yield hub


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns 0, or 1 if a load could not be measured."""
    options = _parse(arguments)
    kinds = [kind for kind in KINDS if not options.only or kind.name in options.only]
    console, progress = Console(), Console(stderr=True)
    found: list[Measured] = []
    for kind in kinds:
        with progress.status(f"filling a hub: {kind.title}"):
            try:
                one = asyncio.run(measure(kind, clients=options.clients, links=options.links, seconds=options.seconds))
            except (RuntimeError, TimeoutError) as error:
                progress.print(f"{kind.name}: {str(error) or 'a process did not answer'}", style="red", markup=False)
                continue
            found.append(one)
    about = (
        f"{options.clients} client processes with {options.links} connections each; {in_words(machine(), peers=False)}."
    )
    _print(found, about, console)
    if options.json:
        report = {"machine": machine(), "loads": [dataclasses.asdict(one) for one in found]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.write and found:
        _write(options.write, f"{_as_markdown(found)}\n\n{about}")
    return int(len(found) < len(kinds))


def _parse(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description="Find where one hub ends.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", choices=[kind.name for kind in KINDS])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load is measured (5)")
    parser.add_argument("--clients", type=int, default=2, metavar="N", help="processes that make a load (2)")
    parser.add_argument("--links", type=int, default=2, metavar="N", help="connections of each (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in this page")
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.clients < 1 or options.links < 1:
        parser.error("--seconds is above 0; --clients and --links are 1 or more")
    if options.write and not _MARKED.search(options.write.read_text(encoding="utf-8")):
        parser.error(f"{options.write} has no lines <!-- capacity --> and <!-- end --> with a table between them")
    return options


_HEADINGS = ("what one hub does", "measured, 1/s", "full", "loop, µs", "CPU, µs", "one loop, 1/s")


def _print(found: Sequence[Measured], about: str, console: Console) -> None:
    table = Table(title="Where one hub ends", title_justify="left")
    table.add_column("load", no_wrap=True, min_width=max(len(kind.name) for kind in KINDS))
    for heading in (*_HEADINGS[1:], "clients' cores"):
        table.add_column(heading, justify="right")
    for one in found:
        table.add_row(one.kind, *_row(one)[1:], f"{one.clients:.2f}")
    console.print(table)
    console.print(about, style="dim", markup=False)


def _row(one: Measured) -> tuple[str, ...]:
    kind = next(kind for kind in KINDS if kind.name == one.kind)
    ceiling = f"{_rounded(one.ceiling):,}"
    if kind.megabytes:
        ceiling += f" ({one.ceiling * kind.megabytes:,.0f} MB/s)"
    return (
        kind.title,
        f"{_rounded(one.per_second):,}",
        f"{one.full:.0%}",
        f"{one.loop_us:,.1f}",
        f"{one.cpu_us:,.1f}",
        ceiling,
    )


def _rounded(number: float) -> int:
    """Rounds to two digits, or three where the first is 1: a second run differs by more."""
    digits = len(f"{number:.0f}")
    kept = 3 if f"{number:.0f}".startswith("1") else 2
    return int(round(number, kept - digits))


def _as_markdown(found: Sequence[Measured]) -> str:
    rows = [_HEADINGS, ("---", *["---:"] * (len(_HEADINGS) - 1)), *map(_row, found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _write(page: Path, text: str) -> None:
    marked = _MARKED.sub(lambda found: found[1] + text + found[3], page.read_text(encoding="utf-8"))
    page.write_text(marked, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
