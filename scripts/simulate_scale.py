"""Simulates hubs that are one bridge: how much they do together, which wall comes first, and how long calls take.

``scripts/simulate_scale.py --hubs 100 --workers 100000`` places sessions, workers and their clients, adds up what each
hub, its memory and the store have to do, and then follows single calls through the queues of the hubs' event loops.
``--check FILE`` compares the model with what ``python -m benchmarks.hubs_together`` measured of 1, 2 and 3 hubs, and
``--costs FILE`` takes the costs that it measured.

The model: a hub is one event loop that does one thing at a time, each in a fixed time (``Costs``, measured). A call is
served by the hub that its client is connected to, or forwarded to the hub that owns its session (one hop); its tool
runs on a worker of that hub, or of another (one hop). The store is one stream, whose leader takes one record at a time.
"""

import argparse
import heapq
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# Calls that are followed through the queues; more make the percentiles steadier, not different.
FOLLOWED_CALLS = 100_000
# Load at which the calls are followed, as a part of the most that the hubs can do.
FOLLOWED_LOAD = 0.7
# How far the model may be off what was measured before the check fails, as a part of it.
TOLERANCE = 0.3


@dataclass(frozen=True)
class Costs:
    """What one thing costs, as ``benchmarks/hubs_together.json`` has it (docs/scale.md says how it was measured).

    Attributes:
        call_us: A call of a tool at the hub of its session, of its event loop.
        worker_call_us: A call of a worker's tool, the worker being at that hub.
        peer_call_us, peer_run_us: A call of a tool at another hub: at the hub that calls, and at the hub that runs it.
        forward_us, forwarded_us: A request that is forwarded: at the hub where it enters, besides what its owner does;
            and at its owner, besides what it does for any request.
        write_us: A write of a variable, at the owner of its session.
        record_us: A record of the store, at the hub that writes it.
        update_us: An update of a variable, for each of its watchers.
        idle_us: What a hub does each second by itself, with its own lease.
        renewal_us: A renewal of another hub's lease, at each hub that reads it, and its part of the link to that hub.
        hop_us: The time of a message from one hub to another, by NATS, without the time of the hubs.
        store_us: The time until a record is stored by its quorum.
        store_records: Records a second that the leader of the stream takes, of all hubs, with a processor for itself.
        session_bytes: Memory of an idle session at its owner.
        tool_bytes: Memory of a tool, at each hub.
        offer_bytes: Memory of a tool that one more hub offers, at each hub.
        mixed: How many times as much a thing costs a hub that does other things, too, than alone, where more of them
            share a message.
    """

    call_us: float = 18.4
    worker_call_us: float = 30.3
    peer_call_us: float = 48.2
    peer_run_us: float = 56.8
    forward_us: float = 47.7
    forwarded_us: float = 8.62
    write_us: float = 62.7
    record_us: float = 103.0
    update_us: float = 17.5
    idle_us: float = 7_880.0
    renewal_us: float = 1_036.0
    hop_us: float = 132.0
    store_us: float = 591.0
    store_records: float = 74_074.0
    session_bytes: float = 2_645.0
    tool_bytes: float = 5_306.0
    offer_bytes: float = 2_738.0
    mixed: float = 1.46


# What a mix makes dearer.
_SHARED = (
    "call_us",
    "worker_call_us",
    "peer_call_us",
    "peer_run_us",
    "forward_us",
    "forwarded_us",
    "write_us",
    "record_us",
    "update_us",
)


def in_a_mix(costs: Costs) -> Costs:
    """Returns what things cost in a mix of them."""
    return replace(costs, mixed=1.0, **{name: getattr(costs, name) * costs.mixed for name in _SHARED})


@dataclass(frozen=True)
class Plan:
    """What is simulated.

    Attributes:
        hubs, workers, sessions, tools: How many there are; ``tools`` is the number of different ones.
        worker_tools: How many tools each worker offers.
        near: Part of the calls whose session's hub has a worker for them; below 0: as the workers are placed.
        away: Part of the requests whose session belongs to another hub than the one that their client is connected to.
        writes: Writes of variables for each call, each a request of its own.
        grouped: Writes that one record carries, on the average.
        watchers: Watchers of each variable.
        renewals: Renewals of each lease, a second.
        memory: Bytes that each hub may use.
        seed: Of the placing.
    """

    hubs: int = 100
    workers: int = 100_000
    sessions: int = 1_000_000
    tools: int = 2_000
    worker_tools: int = 5
    near: float = -1.0
    away: float = 0.02
    writes: float = 0.1
    grouped: float = 1.5
    watchers: int = 1
    renewals: float = 3.3
    memory: float = 8e9
    seed: int = 0


@dataclass(frozen=True)
class Placed:
    """Where things are.

    Attributes:
        sessions: How many sessions each hub owns.
        near: For each hub, the part of its calls that find a worker of its own.
    """

    sessions: Sequence[int]
    near: Sequence[float]

    @property
    def busiest(self) -> float:
        """How uneven the sessions are: those of the busiest hub by those of an average one."""
        return max(self.sessions) * len(self.sessions) / max(1, sum(self.sessions))


@dataclass(frozen=True)
class Wall:
    """What bounds the hubs.

    Attributes:
        what: In words.
        calls: Calls a second of all hubs at which it is reached; infinite: never by calls.
        used: The part of it that is used with no calls at all.
    """

    what: str
    calls: float
    used: float = 0.0


def place(plan: Plan) -> Placed:
    """Places sessions and workers at hubs, each at random, as clients and workers do that choose for themselves."""
    chance = random.Random(plan.seed)
    sessions = _spread(chance, plan.sessions, plan.hubs)
    workers = _spread(chance, plan.workers, plan.hubs)
    if plan.near >= 0:
        return Placed(sessions, [plan.near] * plan.hubs)
    if not plan.workers:
        # The tools are functions of every hub.
        return Placed(sessions, [1.0] * plan.hubs)
    # Of a tool that is asked for at random, the chance that at least one of a hub's workers offers it.
    offered = min(1.0, plan.worker_tools / plan.tools)
    return Placed(sessions, [1.0 - (1.0 - offered) ** there for there in workers])


def _spread(chance: random.Random, things: int, places: int) -> list[int]:
    """Returns how many of so many things are at each place: the normal approximation of throwing them one by one."""
    mean = things / places
    deviation = math.sqrt(mean * (1.0 - 1.0 / places))
    found = [max(0, round(chance.gauss(mean, deviation))) for _ in range(places)]
    found[0] = max(0, found[0] + things - sum(found))
    return found


def call_loads(plan: Plan, costs: Costs, near: float) -> tuple[float, float]:
    """Returns what one call costs the event loops, in µs: at the hub of its session, and at other hubs together."""
    of_worker = costs.worker_call_us if plan.workers else costs.call_us
    own = near * of_worker + (1.0 - near) * costs.peer_call_us
    other = (1.0 - near) * costs.peer_run_us
    requests = 1.0 + plan.writes
    own += requests * plan.away * costs.forwarded_us
    other += requests * plan.away * costs.forward_us
    own += plan.writes * (costs.write_us + costs.record_us / plan.grouped + plan.watchers * costs.update_us)
    return own, other


def standing_load(plan: Plan, costs: Costs) -> float:
    """Returns the part of each hub's event loop that keeps the hubs together, with no calls at all."""
    return (costs.idle_us + (plan.hubs - 1) * plan.renewals * costs.renewal_us) / 1e6


def walls(plan: Plan, costs: Costs, placed: Placed) -> list[Wall]:
    """Returns what bounds the hubs, the first one first."""
    standing = standing_load(plan, costs)
    total = max(1, sum(placed.sessions))
    rates = []
    elsewhere = sum(
        here / total * call_loads(plan, costs, near)[1] for here, near in zip(placed.sessions, placed.near, strict=True)
    )
    for here, near in zip(placed.sessions, placed.near, strict=True):
        # A call costs this hub what it does for its own sessions, and its part of what all do for others.
        load = here / total * call_loads(plan, costs, near)[0] + elsewhere / plan.hubs
        rates.append(max(0.0, 1.0 - standing) * 1e6 / load if load else math.inf)
    held = max(placed.sessions) * costs.session_bytes
    held += plan.tools * (costs.tool_bytes + min(plan.hubs, _offering(plan)) * costs.offer_bytes)
    renewals = plan.hubs * plan.renewals
    room = max(0.0, costs.store_records - renewals)
    found = [
        Wall("the event loop of the busiest hub", min(rates), standing),
        Wall(
            "the leader of the stream, by records",
            room * plan.grouped / plan.writes if plan.writes else math.inf,
            renewals / costs.store_records,
        ),
        Wall("the memory of the busiest hub", math.inf if held <= plan.memory else 0.0, held / plan.memory),
    ]
    return sorted(found, key=lambda wall: (wall.calls, -wall.used))


def _offering(plan: Plan) -> float:
    """Returns how many workers offer each tool."""
    return plan.workers * plan.worker_tools / plan.tools


def follow(plan: Plan, costs: Costs, placed: Placed, per_second: float, calls: int = FOLLOWED_CALLS) -> list[float]:
    """Follows calls through the queues of the hubs' event loops.

    Args:
        plan: What is simulated.
        costs: What each thing costs.
        placed: Where things are.
        per_second: Calls a second of all hubs; they come at random.
        calls: How many are followed.

    Returns:
        How long each took, in µs, ascending, without the time of its tool.
    """
    chance = random.Random(plan.seed + 1)
    hubs = range(plan.hubs)
    owners = chance.choices(hubs, weights=placed.sessions, k=calls)
    free = [0.0] * plan.hubs
    order = count()
    queue: list[tuple[float, int, float, Iterator[tuple[int, float, float]]]] = []
    now = 0.0
    for owner in owners:
        now += chance.expovariate(per_second / 1e6)
        steps = _steps(plan, costs, placed, owner, chance)
        heapq.heappush(queue, (now, next(order), now, steps))
    # Half of a call's time at a hub is on its way there, and half on its way back.
    took = []
    while queue:
        at, _, began, steps = heapq.heappop(queue)
        step = next(steps, None)
        if step is None:
            took.append(at - began)
            continue
        hub, busy, travel = step
        free[hub] = max(free[hub], at) + busy
        heapq.heappush(queue, (free[hub] + travel, next(order), began, steps))
    return sorted(took)


def _steps(
    plan: Plan, costs: Costs, placed: Placed, owner: int, chance: random.Random
) -> Iterator[tuple[int, float, float]]:
    """Yields where a call goes: the hub, the time of its event loop, and of the way from there, in µs."""
    entry = owner
    if plan.hubs > 1 and chance.random() < plan.away:
        entry = _other(plan, owner, chance)
    yield from _passed(costs, entry, owner, _call_steps(plan, costs, placed, owner, chance))
    if chance.random() < plan.writes:
        yield from _passed(costs, entry, owner, _write_steps(plan, costs, owner))


def _passed(
    costs: Costs, entry: int, owner: int, steps: Iterator[tuple[int, float, float]]
) -> Iterator[tuple[int, float, float]]:
    """Yields the steps of a request, and those of passing it on if it enters at another hub than its owner."""
    if entry != owner:
        yield entry, costs.forward_us / 2, costs.hop_us
        yield owner, costs.forwarded_us / 2, 0.0
    yield from steps
    if entry != owner:
        yield owner, costs.forwarded_us / 2, costs.hop_us
        yield entry, costs.forward_us / 2, 0.0


def _call_steps(
    plan: Plan, costs: Costs, placed: Placed, owner: int, chance: random.Random
) -> Iterator[tuple[int, float, float]]:
    if chance.random() < placed.near[owner]:
        yield owner, costs.worker_call_us if plan.workers else costs.call_us, 0.0
    elif plan.hubs > 1:
        yield owner, costs.peer_call_us / 2, costs.hop_us
        yield _other(plan, owner, chance), costs.peer_run_us, costs.hop_us
        yield owner, costs.peer_call_us / 2, 0.0


def _write_steps(plan: Plan, costs: Costs, owner: int) -> Iterator[tuple[int, float, float]]:
    yield owner, costs.write_us + costs.record_us / plan.grouped, costs.store_us
    yield owner, plan.watchers * costs.update_us, 0.0


def _other(plan: Plan, hub: int, chance: random.Random) -> int:
    return (hub + 1 + chance.randrange(plan.hubs - 1)) % plan.hubs


# ------------------------------------------------------------------------------------------------------- the check


def predicted(plan: Plan, costs: Costs) -> float:
    """Returns the processor time of all hubs together for one call, in µs, without what stands still."""
    placed, costs = place(plan), in_a_mix(costs)
    total = max(1, sum(placed.sessions))
    return sum(
        here / total * sum(call_loads(plan, costs, near))
        for here, near in zip(placed.sessions, placed.near, strict=True)
    )


def check(path: Path, costs: Costs, console: Console) -> bool:
    """Compares the model with measured runs; returns whether it is within ``TOLERANCE`` of each.

    Raises:
        ValueError: The file has no runs.
    """
    runs = json.loads(path.read_text(encoding="utf-8")).get("runs", [])
    if not runs:
        raise ValueError(f"{path} has no runs; write it with: python -m benchmarks.hubs_together --json {path}")
    table = Table("hubs", "what", "measured, µs of all hubs a call", "simulated", "off")
    is_close = True
    for run in runs:
        plan = Plan(**run["plan"])
        found, meant = predicted(plan, costs), float(run["cpu_us"])
        off = found / meant - 1.0
        is_close = is_close and abs(off) <= TOLERANCE
        table.add_row(str(plan.hubs), run["name"], f"{meant:.1f}", f"{found:.1f}", f"{off:+.0%}")
    console.print(table)
    return is_close


# ------------------------------------------------------------------------------------------------ the command line


def main(words: Sequence[str] | None = None) -> int:
    """Runs the simulation; returns 0, 1 if the model is too far off, or 2 if a parameter is wrong."""
    parser = _parser()
    options = parser.parse_args(words)
    plan = _read(Plan, options)
    try:
        costs = _costs(options)
    except (OSError, ValueError, TypeError, KeyError) as error:
        parser.error(f"--costs: {error}")
    wrong = _wrong(plan, costs)
    if wrong:
        parser.error(wrong)
    console = Console()
    if options.check is not None:
        try:
            return 0 if check(options.check, costs, console) else 1
        except (OSError, ValueError, TypeError, KeyError) as error:
            parser.error(f"--check: {error}")
    placed, costs = place(plan), in_a_mix(costs)
    found = walls(plan, costs, placed)
    most = found[0].calls
    if options.json:
        json.dump(_report(plan, costs, placed, found, most), sys.stdout, indent=2)
        print()
        return 0
    _show(plan, costs, placed, found, console)
    if 0.0 < most < math.inf:
        _show_times(follow(plan, costs, placed, FOLLOWED_LOAD * most, options.calls), console)
    return 0


def _report(plan: Plan, costs: Costs, placed: Placed, found: list[Wall], most: float) -> dict[str, Any]:
    times = follow(plan, costs, placed, FOLLOWED_LOAD * most) if 0.0 < most < math.inf else []
    return {
        "hubs": plan.hubs,
        "calls_per_second": most if most < math.inf else None,
        "walls": [
            {"what": wall.what, "calls_per_second": wall.calls if wall.calls < math.inf else None, "used": wall.used}
            for wall in found
        ],
        "busiest": placed.busiest,
        "near": sum(placed.near) / len(placed.near),
        "times_us": {str(percent): percentile(times, percent) for percent in (50, 99)} if times else {},
    }


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Returns the value that so many of a hundred are at most."""
    return ascending[min(len(ascending) - 1, math.ceil(len(ascending) * percent / 100) - 1)]


def _show(plan: Plan, costs: Costs, placed: Placed, found: list[Wall], console: Console) -> None:
    own, other = call_loads(plan, costs, sum(placed.near) / len(placed.near))
    console.print(
        f"{plan.hubs:,} hubs, {plan.workers:,} workers, {plan.sessions:,} sessions, {plan.tools:,} tools\n"
        f"a call costs {own:.1f} µs at the hub of its session and {other:.1f} µs at others; "
        f"{sum(placed.near) / len(placed.near):.0%} find a worker of the same hub\n"
        f"the busiest hub has {placed.busiest:.2f} times the sessions of an average one"
    )
    table = Table("wall", "calls a second of all hubs", "used by no calls")
    for wall in found:
        table.add_row(wall.what, "never" if wall.calls == math.inf else f"{wall.calls:,.0f}", f"{wall.used:.1%}")
    console.print(table)


def _show_times(times: Sequence[float], console: Console) -> None:
    shown = ", ".join(f"p{percent:g} {percentile(times, percent):,.0f} µs" for percent in (50, 90, 99, 99.9))
    console.print(f"at {FOLLOWED_LOAD:.0%} of that, a call takes {shown}, without its tool")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Simulates hubs that are one bridge.")
    for kind in (Plan, Costs):
        group = parser.add_argument_group(kind.__name__.lower())
        for field in fields(kind):
            convert: Callable[[str], Any] = type(field.default)
            # A cost that is not given may come from a file.
            default = field.default if kind is Plan else None
            group.add_argument(f"--{field.name.replace('_', '-')}", type=convert, default=default)
    parser.add_argument("--calls", type=int, default=FOLLOWED_CALLS, help="how many calls are followed")
    parser.add_argument("--costs", type=Path, metavar="FILE", help="take the costs that are not given from there")
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare the model with measured runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _read(kind: type[Any], options: argparse.Namespace) -> Any:
    return kind(**{field.name: getattr(options, field.name) for field in fields(kind)})


def _costs(options: argparse.Namespace) -> Costs:
    """Returns the costs: as given, else as in a file, else as measured once."""
    found = {} if options.costs is None else json.loads(options.costs.read_text(encoding="utf-8"))["costs"]
    given = {field.name: getattr(options, field.name) for field in fields(Costs)}
    return Costs(**{**found, **{name: value for name, value in given.items() if value is not None}})


def _wrong(plan: Plan, costs: Costs) -> str:
    """Returns which parameter is wrong, and why; empty if none is."""
    for name in ("hubs", "sessions", "tools", "worker_tools"):
        if getattr(plan, name) < 1:
            return f"--{name.replace('_', '-')} must be 1 or more, not {getattr(plan, name)}"
    if wrong := _not_numbers(plan, costs):
        return wrong
    above = [name for name in ("away", "near") if getattr(plan, name) > 1]
    if above:
        return f"--{above[0]} is a part of 1, not {getattr(plan, above[0])}"
    if plan.grouped < 1:
        return f"--grouped must be 1 or more, not {plan.grouped}"
    if not costs.store_records or not plan.memory:
        return "--store-records and --memory must be more than 0"
    if not costs.call_us or not costs.worker_call_us or not costs.mixed:
        return "--call-us, --worker-call-us and --mixed must be more than 0"
    return ""


def _not_numbers(*things: Plan | Costs) -> str:
    for thing in things:
        for field in fields(thing):
            value = getattr(thing, field.name)
            # Below 0, that one means something.
            if not math.isfinite(value) or (value < 0 and field.name != "near"):
                return f"--{field.name.replace('_', '-')} must be a number of 0 or more, not {value}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
