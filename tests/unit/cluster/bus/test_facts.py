"""Facts that hubs share: made once, and revisions that none gives again."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.facts import EPOCH, REVISION, SharedRevisions, make_once
from grpc_tool_bridge.errors import StoreError
from support.faulty_bus import REFUSED, UNHEARD, FaultyBus
from support.waiting import soon


@pytest.fixture
async def tasks() -> AsyncIterator[TaskSet]:
    found = TaskSet()
    yield found
    await found.aclose()


def faulty(bus: Bus, *fates: str) -> Bus:
    found = FaultyBus(bus)
    found.fates.extend(fates)
    return found  # type: ignore[return-value]


async def reserved(bus: Bus, tasks: TaskSet) -> int:
    return await SharedRevisions(bus, tasks).read()


async def test_a_fact_is_made_by_the_first_that_asks_and_told_to_all(bus: Bus) -> None:
    made = [partial("of {}".format, number) for number in range(5)]
    found = await soon(asyncio.gather(*(make_once(bus, EPOCH, make) for make in made)))
    assert len(set(found)) == 1
    assert await make_once(bus, EPOCH, lambda: "another") == found[0]


@pytest.mark.parametrize("fate", [REFUSED, UNHEARD])
async def test_a_fact_is_made_though_nats_fails_once(bus: Bus, fate: str) -> None:
    assert await soon(make_once(faulty(bus, fate), EPOCH, lambda: "it")) == "it"


async def test_the_highest_reservation_counts_and_only_its_hub_may_give_it_back(bus: Bus, tasks: TaskSet) -> None:
    one, two = SharedRevisions(bus, tasks), SharedRevisions(bus, tasks)
    assert await one.read() == 0
    await soon(one.reserve(100))
    await soon(two.reserve(50))
    await soon(two.reserve(20))
    assert await reserved(bus, tasks) == 100
    await soon(one.reserve(30))
    assert await reserved(bus, tasks) == 30
    await soon(two.reserve(200))
    await soon(one.reserve(10))
    assert await reserved(bus, tasks) == 200


async def test_a_hub_that_stands_alone_may_give_back_what_its_earlier_life_reserved(bus: Bus, tasks: TaskSet) -> None:
    await soon(SharedRevisions(bus, tasks).reserve(100))
    later = SharedRevisions(bus, tasks)
    assert await later.inherit() == 100
    await soon(later.reserve(8))
    assert await reserved(bus, tasks) == 8


@pytest.mark.parametrize("fate", [REFUSED, UNHEARD])
async def test_a_reservation_is_stored_though_nats_fails_once(bus: Bus, tasks: TaskSet, fate: str) -> None:
    revisions = SharedRevisions(faulty(bus, fate), tasks)
    await soon(revisions.reserve(100))
    assert await reserved(bus, tasks) == 100


async def test_of_reservations_at_once_the_last_is_stored_before_it_closes(bus: Bus, tasks: TaskSet) -> None:
    revisions = SharedRevisions(bus, tasks)
    writes = [revisions.reserve(number) for number in (10, 30, 20)]
    await soon(revisions.idle())
    assert all(write.is_settled for write in writes)
    assert await reserved(bus, tasks) == 20
    await soon(revisions.idle())


@pytest.mark.parametrize("data", [b"", b"many", b"-5", b"1" * 30, b"\xff\xfe", b"x" * 1_000_000])
async def test_a_revision_that_no_hub_has_written_is_an_error(bus: Bus, tasks: TaskSet, data: bytes) -> None:
    await bus.nc.request(bus.names.fact(REVISION), data)
    with pytest.raises(StoreError, match="'revision' of the cluster in NATS is damaged"):
        await reserved(bus, tasks)


@pytest.mark.parametrize("data", [b"", b"\x1b[2J", b"x" * 1_000_000])
async def test_a_fact_that_no_hub_has_written_is_an_error_at_once(bus: Bus, data: bytes) -> None:
    await bus.nc.request(bus.names.fact(EPOCH), data)
    with pytest.raises(StoreError, match="'epoch' of the cluster in NATS is damaged"):
        await soon(make_once(bus, EPOCH, lambda: "made"))


async def test_a_reservation_waits_while_its_fact_is_damaged_and_is_stored_once_that_is_mended(
    bus: Bus, tasks: TaskSet
) -> None:
    revisions = SharedRevisions(bus, tasks)
    await bus.nc.request(bus.names.fact(REVISION), b"garbage")
    write = revisions.reserve(7)
    with pytest.raises(StoreError):
        await revisions.read()
    await bus.purge(bus.names.fact(REVISION), 0)
    await soon(write)
    assert await reserved(bus, tasks) == 7
