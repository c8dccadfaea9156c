"""A hub's own lease: certain for as long as nobody else can own what it owns, and no longer."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.message import ROLLUP
from grpc_tool_bridge.cluster.members.hub_record import HubRecord, decoded
from grpc_tool_bridge.cluster.members.lease import TERMS, Lease
from grpc_tool_bridge.cluster.members.leases import Leases
from grpc_tool_bridge.errors import UnavailableError
from support.buses import open_bus
from support.nats_nodes import NatsNode, one_node
from support.patience import PATIENCE
from support.programs import environment
from support.waiting import soon, until

# A hub that says in each of its turns whether it is certain, and when.
PROGRAM = """
import asyncio, sys
from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.members.lease import Lease
from support.buses import open_bus

async def main(url, cluster):
    lease = Lease(await open_bus(url, cluster))
    await lease.begin(name="other")
    print(lease.incarnation, flush=True)
    while True:
        print(int(lease.is_certain()), clock.now(), lease.failure, flush=True)
        await asyncio.sleep(0.02)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def lease(bus: Bus) -> AsyncIterator[Lease]:
    made = Lease(bus)
    await made.begin(name="a")
    yield made
    await made.close()


async def stored(bus: Bus, incarnation: str) -> HubRecord:
    found = await bus.last(bus.names.hub(incarnation))
    assert found is not None
    return decoded(incarnation, found.data, found.sequence)


async def test_a_lease_that_was_begun_is_certain_and_stays_so_by_its_renewals(bus: Bus, lease: Lease) -> None:
    assert lease.is_certain()
    first = await stored(bus, lease.incarnation)
    assert (first.name, first.closed) == ("a", "")
    await until(lambda: lease.renewals > 5)
    assert lease.is_certain()
    assert (await stored(bus, lease.incarnation)).sequence > first.sequence
    assert [message.sequence async for message in bus.read(bus.names.hub(lease.incarnation))] == [lease._last]


async def test_what_was_updated_is_stored_before_that_returns_and_what_was_set_with_the_next_renewal(
    bus: Bus, lease: Lease
) -> None:
    await asyncio.gather(lease.update(reserved=500), lease.update(address="h:1"))
    found = await stored(bus, lease.incarnation)
    assert (found.reserved, found.address) == (500, "h:1")
    lease.set(room=3)
    renewals = lease.renewals
    await until(lambda: lease.renewals > renewals + 1)
    assert (await stored(bus, lease.incarnation)).room == 3


async def test_a_lease_is_not_certain_when_its_time_is_over_by_the_clock(
    lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = lease._certain_until
    assert last - clock.now() <= TERMS.term - TERMS.margin
    monkeypatch.setattr(clock, "now", lambda: last)
    assert not lease.is_certain()


async def test_certainty_runs_out_without_nats_and_comes_back_with_it_and_those_who_watch_are_told() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            lease, told = Lease(bus), []
            lease.watch(lambda: told.append(lease.is_certain()))
            await lease.begin()
            updating = asyncio.ensure_future(soon(lease.update(room=1)))
            await updating
            node.pause()
            await until(lambda: told == [True, False])
            updating = asyncio.ensure_future(lease.update(room=2))
            await until(lambda: lease.failures > 2)
            assert lease.failure
            node.resume()
            await soon(updating)
            assert told == [True, False, True]
            assert lease.failure == ""
            assert (await stored(bus, lease.incarnation)).room == 2
            await lease.close()


async def test_a_lease_that_another_has_closed_is_lost_for_good_and_the_next_one_is_another(
    bus: Bus, lease: Lease
) -> None:
    lost: list[str] = []
    lease.on_lost(lost.append)
    former = lease.incarnation
    record = HubRecord(former, closed="given up")
    await close_by_another(bus, record)
    await until(lambda: lost)
    assert lost == ["given up"]
    assert not lease.is_certain()
    assert "given up" in lease.failure
    with pytest.raises(UnavailableError, match="no lease"):
        await lease.update(room=1)
    assert (await lease.begin()).incarnation != former
    assert lease.is_certain()
    assert lease.record.name == "a"
    assert (await stored(bus, former)).closed == "given up"


async def close_by_another(bus: Bus, record: HubRecord) -> None:
    """Writes a lease as another hub does, between two renewals."""
    subject = bus.names.hub(record.incarnation)
    while True:
        found = await bus.last(subject)
        assert found is not None
        try:
            await bus.append(subject, record.encoded(), last=found.sequence, headers=ROLLUP)
        except Exception:
            continue
        return


async def test_who_waits_for_an_update_learns_that_the_lease_was_lost(bus: Bus, lease: Lease) -> None:
    await close_by_another(bus, HubRecord(lease.incarnation, closed="given up"))
    with pytest.raises(UnavailableError, match=r"given up|no lease"):
        await soon(lease.update(room=1))


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_lease_that_is_written_by_a_stranger_or_deleted_is_lost(
    bus: Bus, lease: Lease, is_deleted: bool
) -> None:
    lost: list[str] = []
    lease.on_lost(lost.append)
    if is_deleted:
        await bus.purge(bus.names.hub(lease.incarnation), lease._last + 1_000)
    else:
        await close_by_another(bus, HubRecord(lease.incarnation, name="stranger"))
    await until(lambda: lost)
    assert not lease.is_certain()


async def test_a_lease_that_is_closed_tells_why_and_is_not_certain(bus: Bus) -> None:
    lease = Lease(bus)
    await lease.begin(name="a")
    await lease.close("the hub has stopped")
    assert not lease.is_certain()
    assert (await stored(bus, lease.incarnation)).closed == "the hub has stopped"
    assert (await stored(bus, lease.incarnation)).name == "a"
    # It has no effect twice.
    await lease.close("again")
    assert (await stored(bus, lease.incarnation)).closed == "the hub has stopped"


async def test_a_lease_is_closed_even_while_a_renewal_is_on_its_way(bus: Bus) -> None:
    lease = Lease(bus)
    await lease.begin()
    for _ in range(20):
        lease.set(room=lease.record.room + 1)
        lease._changed.set()
        # It is sent in the next turn, and not acknowledged in this one.
        await asyncio.sleep(0)
        await lease.close()
        assert (await stored(bus, lease.incarnation)).closed
        await lease.begin()
    await lease.close()


async def test_a_renewal_whose_acknowledgement_did_not_come_is_recognised_as_ones_own(bus: Bus, lease: Lease) -> None:
    await lease._tasks.aclose()
    lost: list[str] = []
    lease.on_lost(lost.append)
    # The one that was on its way when the others were ended may be found first.
    while not await lease._renew(clock.now()):
        assert lost == []
    before = lease._last
    assert await lease._renew(clock.now())
    # As if that had got no answer.
    found = await bus.last(bus.names.hub(lease.incarnation))
    assert found is not None
    lease._last, begun = before, clock.now()
    lease._open[found.message_id or ""] = begun
    assert not await lease._renew(clock.now())
    assert lease._last == found.sequence
    assert lease._certain_until >= begun + TERMS.term - TERMS.margin
    assert await lease._renew(clock.now())
    assert lost == []


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_hub_that_is_stopped_is_closed_and_when_it_goes_on_it_is_not_certain_in_any_turn(
    node: NatsNode, how: signal.Signals
) -> None:
    cluster = f"proc{how.value}"
    async with aclosing(await open_bus(node.url, cluster)) as bus:
        lease = Lease(bus)
        book = Leases(bus, lease)
        await book.open()
        await lease.begin(name="judge")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PROGRAM, node.url, cluster),
            stdout=asyncio.subprocess.PIPE,
            env=environment(PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(PATIENCE):
                incarnation = (await process.stdout.readline()).decode().strip()
                assert (await process.stdout.readline()).startswith(b"1 ")
                process.send_signal(how)
                await until(lambda: any(record.incarnation == incarnation for record in book._closed.values()))
                closed_at = clock.now()
                if how == signal.SIGKILL:
                    return
                process.send_signal(signal.SIGCONT)
                turns = [line.decode().split(maxsplit=2) async for line in _until_lost(process.stdout)]
            certain_at = [float(when) for is_certain, when, *_ in turns if is_certain == "1"]
            # Those it had printed before it was stopped.
            assert all(when < closed_at for when in certain_at)
            assert "no longer renewed" in turns[-1][2]
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await book.aclose()
            await lease.close()


async def _until_lost(stdout: asyncio.StreamReader) -> AsyncIterator[bytes]:
    async for line in stdout:
        yield line
        if b"no longer renewed" in line:
            return
