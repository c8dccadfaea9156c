"""What several hubs do together: ``python -m benchmarks.hubs_together``.

It runs 1, 2 and 3 hubs over NATS on this machine, and takes the processor time of each hub for what it does, which
hardly depends on what else runs here. From runs with one purpose each come the costs of ``scripts/simulate_scale.py``,
and from mixed runs, of which no cost was taken, how far its model is off: ``scripts/simulate_scale.py --check FILE``.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nats
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.loads import Updates
from benchmarks.machine import in_words, machine
from benchmarks.mixed_traffic import Mix, session_of, tool_of, traffic
from benchmarks.nats_nodes import Nodes, some_nodes, three_nodes
from benchmarks.processes import ServerProcess, link_bridge, running
from benchmarks.raw_link import RawLink
from benchmarks.resources import for_each, open_session
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

# The most hubs of a run. These are for the comparison alone.
MOST = 3
_MODEL = Path(__file__).parents[1] / "scripts" / "simulate_scale.py"
# Renewals of a lease, a second; see ``cluster/members/lease.py``.
RENEWALS = 3.3
_WARM_UP_SECONDS = 1.5
_SETTLE_SECONDS = 3.0
# How many times longer hubs that idle are measured than those that work.
_IDLE_WINDOWS = 8
_TOOLS = 2_000
# Records that are published at once, and their size, about that of a variable's.
_AT_ONCE = 500
_RECORD = b"r" * 200
_WATCHERS = 50


@dataclass(frozen=True)
class Run:
    """A mixed run, with which the model is compared.

    Attributes:
        name: What it does.
        hubs: How many.
        mix: What their clients do.
    """

    name: str
    hubs: int
    mix: Mix


CHECKS = (
    Run("calls of its worker, a write for each 5", 1, Mix(writes=0.2)),
    Run("each for itself", 2, Mix()),
    Run("half of the sessions at the other hub, a write for each 10", 2, Mix(functions=True, away=0.5, writes=0.1)),
    Run("half of the tools at the other hub", 2, Mix(far=0.5)),
    Run("half of the sessions and of the tools, a write for each 5", 2, Mix(away=0.5, far=0.5, writes=0.2)),
    Run("a third of the tools at other hubs", 3, Mix(far=1 / 3)),
    Run("two thirds of sessions and tools, a write for each 10", 3, Mix(away=2 / 3, far=2 / 3, writes=0.1)),
)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        windows: How many times each run is measured; the median counts.
        seconds: Each time.
        sessions: Of which the memory is measured.
        records: That are published to measure the store.
    """

    windows: int = 3
    seconds: float = 1.5
    sessions: int = 5_000
    records: int = 20_000


QUICK = Effort(windows=1, seconds=0.5, sessions=500, records=500)


@dataclass(frozen=True)
class Used:
    """What a run took.

    Attributes:
        hubs_us: For each hub, its processor time for each call, in µs, or for each write if there are no calls.
        grouped: How many writes a record of the store has carried, on the average.
    """

    hubs_us: Sequence[float]
    grouped: float = 1.0

    @property
    def all_us(self) -> float:
        """Processor time of all hubs together."""
        return sum(self.hubs_us)


class Together:
    """Measures hubs over one NATS.

    Args:
        nodes: NATS.
        effort: How much is measured.
    """

    def __init__(self, nodes: Nodes, effort: Effort) -> None:
        self._nodes = nodes
        self._effort = effort
        self._clusters = 0
        # By the number of hubs: the processor time of each that idles, and the records of all, for each second.
        self._idle: dict[int, tuple[float, float]] = {}

    @contextlib.asynccontextmanager
    async def hubs(
        self, number: int, *, tools: int = 0, workers: bool = True
    ) -> AsyncGenerator[Sequence[ServerProcess], None]:
        """Runs hubs of a new cluster, with so many functions and, if wanted, a worker each."""
        self._clusters += 1
        async with contextlib.AsyncExitStack() as started:
            hubs = [await started.enter_async_context(self._hub(f"h{index}", tools)) for index in range(number)]
            for index, hub in enumerate(hubs):
                if workers:
                    await started.enter_async_context(running("worker", hub=hub.address, name=tool_of(index)))
            yield hubs

    @property
    def _cluster(self) -> str:
        return f"together-{self._clusters}"

    async def _records(self) -> int:
        return await asyncio.to_thread(self._nodes.last_record, self._cluster.upper().replace("-", "_"))

    async def idle(self, number: int) -> float:
        """Returns the processor time of a hub among so many that idle, in µs a second."""
        if number not in self._idle:
            async with self.hubs(number) as hubs:
                await asyncio.sleep(_SETTLE_SECONDS)
                records, before, begun = await self._records(), await _seconds(hubs), time.perf_counter()
                await asyncio.sleep(_IDLE_WINDOWS * self._effort.seconds)
                elapsed = time.perf_counter() - begun
                used = sum(await _seconds(hubs)) - sum(before)
                stored = await self._records() - records
            self._idle[number] = used * 1e6 / elapsed / number, stored / elapsed
        return self._idle[number][0]

    async def used(self, number: int, mix: Mix, *, entries: Sequence[int] | None = None) -> Used:
        """Measures a mix.

        Args:
            number: How many hubs.
            mix: What is done.
            entries: The hubs that clients are connected to; None: all.
        """
        idle = await self.idle(number)
        async with (
            self.hubs(number, tools=int(mix.functions), workers=mix.calls and not mix.functions) as hubs,
            traffic([hub.address for hub in hubs], mix, range(number) if entries is None else entries) as loads,
        ):
            await asyncio.sleep(_WARM_UP_SECONDS)
            found = [await self._window(hubs, loads, number, idle) for _ in range(self._effort.windows)]
        each = zip(*(used.hubs_us for used in found), strict=True)
        return Used([statistics.median(one) for one in each], statistics.median(used.grouped for used in found))

    async def _window(self, hubs: Sequence[ServerProcess], loads: Sequence[Any], number: int, idle: float) -> Used:
        records, begun, before = await self._records(), time.perf_counter(), await _seconds(hubs)
        calls, writes = (sum(getattr(load, kind) for load in loads) for kind in ("calls", "writes"))
        await asyncio.sleep(self._effort.seconds)
        calls = sum(load.calls for load in loads) - calls
        writes = sum(load.writes for load in loads) - writes
        after, elapsed = await _seconds(hubs), time.perf_counter() - begun
        stored = await self._records() - records - elapsed * self._idle[number][1]
        done = calls or writes
        if not done:
            raise RuntimeError("the hubs did nothing")
        used = [max(0.0, (end - start) * 1e6 - idle * elapsed) / done for start, end in zip(before, after, strict=True)]
        return Used(used, max(1.0, writes / stored) if writes and stored > 0 else 1.0)

    async def update_us(self, write_us: float) -> float:
        """Measures what an update costs for each of its watchers, given what its write costs."""
        idle = await self.idle(1)
        load = Updates()
        async with self.hubs(1, workers=False) as (hub,), RawLink.open(hub.address) as link:
            await link.ask("InitializeSession", pb.InitializeSessionRequest(session_id=session_of(0, 0)))
            await load.begin(link, session_of(0, 0))
            found = []
            for _ in range(self._effort.windows + 1):
                begun, before, count = time.perf_counter(), await _seconds([hub]), load.count
                while time.perf_counter() - begun < self._effort.seconds:
                    await link.flush()
                    for envelope in await link.receive():
                        load.take(link, envelope)
                used = ((await _seconds([hub]))[0] - before[0]) * 1e6 - idle * (time.perf_counter() - begun)
                found.append(used / max(1, load.count - count))
        # The first one warms up.
        return max(0.0, statistics.median(found[1:]) - write_us / _WATCHERS)

    async def memory(self) -> Mapping[str, float]:
        """Measures the bytes of a session, of a tool, and of a tool that one more hub offers."""
        sessions = self._effort.sessions
        async with self.hubs(1) as (hub,), link_bridge(hub.address) as bridge:
            await for_each(sessions, lambda index: open_session(bridge, index))
            before = await hub.ask("rss")
            await for_each(sessions, lambda index: open_session(bridge, sessions + index))
            session = (await hub.ask("rss") - before) / sessions
        self._clusters += 1
        async with contextlib.AsyncExitStack() as started:
            sizes = []
            hub = await started.enter_async_context(self._hub("h0", 0))
            for name in ("", "h1", "h2"):
                if name:
                    await started.enter_async_context(self._hub(name, _TOOLS))
                await asyncio.sleep(_SETTLE_SECONDS)
                sizes.append(await hub.ask("rss"))
        return {
            "session_bytes": session,
            "tool_bytes": (sizes[1] - sizes[0]) / _TOOLS,
            "offer_bytes": max(0.0, (sizes[2] - sizes[1]) / _TOOLS),
        }

    def _hub(self, name: str, tools: int) -> contextlib.AbstractAsyncContextManager[ServerProcess]:
        return running("hub", tools=tools, store=self._nodes.store(self._cluster), name=name)


async def _seconds(hubs: Sequence[ServerProcess]) -> list[float]:
    """Returns the processor time that each hub has used."""
    return [await hub.ask("cpu") for hub in hubs]


# --------------------------------------------------------------------------------------------------------- the costs


async def costs_of(together: Together) -> dict[str, float]:
    """Measures what single things cost the hubs; the names are those of ``Costs`` in ``scripts/simulate_scale.py``."""
    # What goes to one place at once shares a message. In a mix there are several kinds and places, so each thing is
    # measured with a quarter of the requests at once that the mixed runs have.
    call = await together.used(1, Mix(functions=True, links=1))
    worker = await together.used(1, Mix(links=1))
    peer = await together.used(2, Mix(far=1.0, links=1), entries=(0,))
    away = await together.used(2, Mix(functions=True, away=1.0, links=1), entries=(0,))
    # Writes of one session share records; those of many sessions do less. Two equations give both costs.
    alone = [Mix(calls=False, writes=1.0, sessions=sessions, links=1) for sessions in (1, 60)]
    writes = [await together.used(1, mix) for mix in alone]
    record_us, write_us = split_writes(writes)
    idle = [await together.idle(number) for number in range(1, MOST + 1)]
    return {
        "call_us": call.all_us,
        "worker_call_us": worker.all_us,
        "peer_call_us": peer.hubs_us[0],
        "peer_run_us": peer.hubs_us[1],
        "forward_us": away.hubs_us[0],
        "forwarded_us": max(0.0, away.hubs_us[1] - call.all_us),
        "write_us": write_us,
        "record_us": record_us,
        "update_us": await together.update_us(write_us + record_us),
        "idle_us": idle[0],
        "renewal_us": max(0.0, (idle[-1] - idle[0]) / (MOST - 1) / RENEWALS),
        **await together.memory(),
    }


def split_writes(writes: Sequence[Used]) -> tuple[float, float]:
    """Returns what a record and what a write costs, from two runs that put different numbers of writes in a record."""
    first, second = writes
    by_record = 1.0 / second.grouped - 1.0 / first.grouped
    record_us = max(0.0, (second.all_us - first.all_us) / by_record) if by_record else 0.0
    return record_us, max(0.0, first.all_us - record_us / first.grouped)


async def store_costs(effort: Effort) -> dict[str, float]:
    """Measures three nodes of NATS without hubs: a message, and records that are stored by two of them at least."""
    async with three_nodes() as nodes:
        connection = await nats.connect(nodes.urls)
        try:
            stream = connection.jetstream(publish_async_max_pending=_AT_ONCE)
            await stream.add_stream(name="RECORDS", subjects=["records.*"], num_replicas=3)
            leader = psutil.Process((await nodes.leader("RECORDS")).pid)
            hops, stored = [], []
            for _ in range(effort.records // 20):
                hops.append(await _timed(connection.flush()))
                stored.append(await _timed(stream.publish("records.one", _RECORD)))
            before = sum(leader.cpu_times()[:2])
            for start in range(0, effort.records, _AT_ONCE):
                there = range(start, min(start + _AT_ONCE, effort.records))
                sent = [await stream.publish_async(f"records.{number}", _RECORD) for number in there]
                await asyncio.gather(*sent)
            used = sum(leader.cpu_times()[:2]) - before
        finally:
            await connection.close()
    return {
        "hop_us": statistics.median(hops) * 1e6,
        "store_us": statistics.median(stored) * 1e6,
        # Of a leader with a processor for itself, whatever else runs on this machine.
        "store_records": effort.records / max(used, 0.01),
    }


async def _timed(waited: Any) -> float:
    begun = time.perf_counter()
    await waited
    return time.perf_counter() - begun


# ------------------------------------------------------------------------------------------------------- the command


async def measure(effort: Effort, console: Console) -> dict[str, Any]:
    """Measures everything; returns what the file has."""
    async with some_nodes(1) as nodes:
        together = Together(nodes, effort)
        with console.status("the cost of each thing"):
            costs = await costs_of(together)
        runs = []
        for run in CHECKS:
            with console.status(f"{run.hubs} hubs: {run.name}"):
                used = await together.used(run.hubs, run.mix)
            runs.append({"name": run.name, "plan": plan_of(run, used.grouped), "cpu_us": _rounded(used.all_us)})
    with console.status("NATS alone"):
        costs |= await store_costs(effort)
    costs = {name: _rounded(cost) for name, cost in costs.items()}
    return {"machine": machine(), "costs": {**costs, "mixed": mixed(costs, runs)}, "runs": runs}


def mixed(costs: Mapping[str, float], runs: Sequence[Mapping[str, Any]]) -> float:
    """Returns how many times as much a thing costs in a mix than alone: the median of the runs of fewer than ``MOST``.

    Args:
        costs: Of things alone.
        runs: As in the file.
    """
    model = _model()
    alone = model.Costs(**costs, mixed=1.0)
    few = [run for run in runs if run["plan"]["hubs"] < MOST]
    return _rounded(statistics.median(run["cpu_us"] / model.predicted(model.Plan(**run["plan"]), alone) for run in few))


def _model() -> ModuleType:
    """Returns the script that has the model, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("simulate_scale", _MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plan_of(run: Run, grouped: float) -> dict[str, Any]:
    """Returns a run as ``Plan`` of ``scripts/simulate_scale.py`` has it, with so many writes in a record."""
    mix = run.mix
    return {
        "hubs": run.hubs,
        "workers": 0 if mix.functions else run.hubs,
        "sessions": run.hubs * mix.sessions,
        "tools": run.hubs,
        "worker_tools": 1,
        "near": round(1.0 - mix.far, 4),
        "away": round(mix.away, 4),
        "writes": mix.writes,
        "grouped": _rounded(grouped),
        "watchers": 0,
    }


def _rounded(number: float) -> float:
    """Rounds to three digits, or whole numbers: a second measurement differs by more."""
    return float(f"{number:.3g}") if number < 1_000 else float(round(number))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and prints what was found; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hubs_together", description="Measure what several hubs do together."
    )
    parser.add_argument("--quick", action="store_true", help="measure each thing once, for a moment")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    options = parser.parse_args(arguments)
    console = Console()
    found = asyncio.run(measure(QUICK if options.quick else Effort(), Console(stderr=True)))
    for title, rows in (
        ("costs", found["costs"].items()),
        (
            "runs, µs of all hubs a call",
            [(f"{run['plan']['hubs']}: {run['name']}", run["cpu_us"]) for run in found["runs"]],
        ),
    ):
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows:
            table.add_row(name, f"{value:,}")
        console.print(table)
    console.print(in_words(found["machine"]), style="dim", markup=False)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
