"""Figures of a hub with a durable store.

The files are below the working directory, since a temporary one may be in memory. Before anything is measured, the logs
of the store and of its peer have been carried over once: from then on they are overwritten, which costs less than to
let them grow.
"""

import asyncio
import contextlib
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from benchmarks.callers import Crowds, in_microseconds, per_second, rates
from benchmarks.peers.raw_sqlite import Disk, RawSqlite
from benchmarks.processes import ServerProcess, link_bridge, running
from benchmarks.resources import SESSIONS, for_each, open_session
from benchmarks.timing import TURNS, Plan, Sample, Stretch, in_rounds, ratios
from benchmarks.work import WrongAnswerError
from grpc_tool_bridge import LocalToolBridge, ToolBridge

WRITERS = 100
VARIABLES = 100_000

# Commits after which a log is carried over.
_ROUND_OF_LOG = 1_200

# Does something with the next number.
Write = Callable[[int], Awaitable[None]]


async def writes(plan: Plan) -> dict[str, Sample]:
    """Variables that are set in a durable store, against rows that are committed to a bare file; less in memory."""
    with _files() as folder:
        async with (
            LocalToolBridge(store=_url(folder)) as durable,
            LocalToolBridge() as memory,
            running("hub", store=_url(folder, "linked")) as hub,
            link_bridge(hub.address) as link,
        ):
            for bridge in (durable, memory):
                await bridge.initialize()
            with _peers(folder) as (raw, threaded, flush):
                for write in (_one_writer(durable), _one_writer(link), raw, threaded):
                    await _each(write, itertools.count(), _ROUND_OF_LOG)
                one = await _one_at_a_time(
                    plan,
                    {
                        "durable": _one_writer(durable),
                        "memory": _one_writer(memory),
                        "sqlite3": raw,
                        "sqlite3 in a thread": threaded,
                        "fsync": flush,
                    },
                )
                many = await _at_once(plan, {"durable": durable, "memory": memory, "over the link": link}, raw)
    extra = [above - below for above, below in zip(one["durable"], one["memory"], strict=True)]
    return {
        "durable-write": Sample(ratios(extra, one["sqlite3"]), in_microseconds(one)),
        "durable-writes-100": Sample(
            ratios(many["durable"], many["sqlite3"]),
            {f"{name}, /s": statistics.median(rate) for name, rate in many.items()}
            | {"fsync, µs": statistics.median(one["fsync"]) * 1e6},
        ),
    }


async def call(plan: Plan) -> dict[str, Sample]:
    """Calls without a key at a hub with a store, against those at a hub without; 100 at once over the link."""
    with _files() as folder:
        async with (
            running("hub", store=_url(folder)) as durable,
            running("hub") as memory,
            link_bridge(durable.address) as durable_link,
            link_bridge(memory.address) as memory_link,
        ):
            calls = plan.amount(3_000, 1_500)
            ways: Crowds = {
                "with a store": (itertools.repeat(durable_link.tools["add"]), calls),
                "without": (itertools.repeat(memory_link.tools["add"]), calls),
            }
            taken = await rates(plan, ways, width=WRITERS)
    return {"durable-call": Sample(ratios(taken["with a store"], taken["without"]), per_second(taken))}


async def restart(plan: Plan) -> dict[str, Sample]:
    """Seconds from the start of a process until a hub serves, whose store has 10,000 sessions, 100,000 variables."""
    started: dict[str, list[float]] = {"process": [], "empty": [], "reading": []}
    with _files() as folder:
        async with running("hub", store=_url(folder)) as hub:
            await hub.ask("open sessions", SESSIONS)
            await hub.ask("set variables", VARIABLES)
            held = await hub.ask("rss")
        restored = 0
        for _ in range(plan.amount(5, 3)):
            begun = time.perf_counter()
            async with running("hub", store=_url(folder)) as hub:
                started["process"].append(time.perf_counter() - begun)
                started["reading"].append(await hub.ask("restoring"))
                _check(await hub.ask("variables"), VARIABLES)
                restored = await hub.ask("rss")
            begun = time.perf_counter()
            async with running("hub"):
                started["empty"].append(time.perf_counter() - begun)
    details = {
        "without a store, s": statistics.median(started["empty"]),
        "reading it, s": statistics.median(started["reading"]),
        "memory when all was set, MB": held / 1e6,
        "memory when all was read, MB": restored / 1e6,
    }
    return {"durable-restart": Sample(started["process"], details)}


async def memory(plan: Plan) -> dict[str, Sample]:
    """Memory for each idle session of a hub with a store, against one without; see ``resources.session_memory``."""
    taken: dict[str, list[float]] = {"with a store": [], "without": []}
    for _ in range(plan.amount(5, 3)):
        with _files() as folder:
            async with running("hub", store=_url(folder)) as durable, running("hub") as plain:
                for name, hub in (("with a store", durable), ("without", plain)):
                    taken[name].append(await _bytes_of_a_session(hub))
    details = {f"{name}, bytes": statistics.median(sizes) for name, sizes in taken.items()}
    return {"durable-memory": Sample(ratios(taken["with a store"], taken["without"]), details)}


async def _bytes_of_a_session(hub: ServerProcess) -> float:
    async with link_bridge(hub.address) as bridge:
        await hub.ask("open sessions", SESSIONS)
        before = await hub.ask("rss")
        await for_each(SESSIONS, lambda index: open_session(bridge, SESSIONS + index))
        after = await hub.ask("rss")
    return float(after - before) / SESSIONS


# --------------------------------------------------------------------------------------------------- ways to write


def _one_writer(bridge: ToolBridge, name: str = "name") -> Write:
    context = bridge.session_context

    async def write(number: int) -> None:
        await context.set_variable(name, number)

    return write


@contextlib.contextmanager
def _peers(folder: Path) -> Generator[tuple[Write, Write, Write], None, None]:
    """Makes ways to commit to bare files, in this thread and by a thread that waits for it; and to flush the disk."""
    bare, other, disk = RawSqlite(folder / "raw.db"), RawSqlite(folder / "threaded.db"), Disk(folder / "disk")
    with contextlib.closing(bare), contextlib.closing(other), contextlib.closing(disk), _Thread(other.commit) as thread:
        yield _at_this_thread(bare.commit), thread.do, _at_this_thread(disk.flush)


def _at_this_thread(do: Callable[[int], None]) -> Write:
    async def write(number: int) -> None:
        do(number)

    return write


class _Thread:
    """Does something in a thread of its own, and says so in the event loop: what no commit beside a loop can avoid.

    Args:
        do: Called with each number.
    """

    def __init__(self, do: Callable[[int], None]) -> None:
        self._do = do
        self._loop = asyncio.get_running_loop()
        self._numbers: SimpleQueue[tuple[int, asyncio.Future[None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work)

    async def do(self, number: int) -> None:
        """Returns when it was done."""
        done = self._loop.create_future()
        self._numbers.put((number, done))
        await done

    def _work(self) -> None:
        while (asked := self._numbers.get()) is not None:
            number, done = asked
            self._do(number)
            self._loop.call_soon_threadsafe(done.set_result, None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._numbers.put(None)
        self._thread.join()


# --------------------------------------------------------------------------------------------------------- measuring


async def _one_at_a_time(plan: Plan, ways: dict[str, Write]) -> dict[str, list[float]]:
    """Returns, for each way and round, the median of single writes in seconds."""
    numbers = itertools.count()
    calls = plan.amount(400, 100) // TURNS

    def stretch(write: Write) -> Stretch:
        return lambda: _each(write, numbers, calls)

    taken = await in_rounds(plan, {name: stretch(write) for name, write in ways.items()})
    return {name: [statistics.median(seconds) for seconds in rounds] for name, rounds in taken.items()}


async def _at_once(plan: Plan, bridges: dict[str, ToolBridge], raw: Write) -> dict[str, list[float]]:
    """Returns, for each bridge and round, the writes a second of 100 writers at once; and of the peer's one."""
    numbers = itertools.count()
    amounts = dict.fromkeys(bridges, plan.amount(3_000, 1_500)) | {"sqlite3": plan.amount(300, 150)}

    def stretch(write: Sequence[Write], amount: int) -> Stretch:
        async def measure() -> Sequence[float]:
            return [await _seconds_of(write, numbers, amount)]

        return measure

    ways = {name: [_one_writer(bridge, f"n{index}") for index in range(WRITERS)] for name, bridge in bridges.items()}
    ways["sqlite3"] = [raw]
    taken = await in_rounds(plan, {name: stretch(writers, amounts[name]) for name, writers in ways.items()})
    return {name: [TURNS * amounts[name] / sum(seconds) for seconds in rounds] for name, rounds in taken.items()}


async def _each(write: Write, numbers: Iterator[int], amount: int) -> list[float]:
    seconds = []
    for number in itertools.islice(numbers, amount):
        begun = time.perf_counter()
        await write(number)
        seconds.append(time.perf_counter() - begun)
    return seconds


async def _seconds_of(writers: Sequence[Write], numbers: Iterator[int], amount: int) -> float:
    """Returns the seconds that so many writes took together, where each writer waits before it writes again."""
    work = itertools.islice(numbers, amount)

    async def writer(write: Write) -> None:
        for number in work:
            await write(number)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for write in writers:
            tasks.create_task(writer(write))
    return time.perf_counter() - begun


@contextlib.contextmanager
def _files() -> Generator[Path, None, None]:
    results = Path("benchmarks") / "results"
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results) as folder:
        yield Path(folder).resolve()


def _url(folder: Path, name: str = "hub") -> str:
    return f"sqlite:///{folder / name}.db"


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise WrongAnswerError(f"{found:,} variables were there again instead of {expected:,}")
