"""Appends that wait for NATS, and what is known of those that were given up."""

import asyncio
import time
from typing import Any

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.errors import WrongSequenceError
from grpc_tool_bridge.cluster.journal import appending
from grpc_tool_bridge.cluster.journal.appending import Appender, BehindError, NotAppendedError
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from support.faulty_bus import LATE, REFUSED, UNHEARD, FaultyBus, no_second_try
from support.waiting import soon, turns


@pytest.fixture
def faulty(bus: Bus) -> FaultyBus:
    return FaultyBus(bus)


@pytest.fixture
def subject(bus: Bus) -> str:
    return bus.names.session("s")


class Hub:
    """A hub that may lose its certainty."""

    def __init__(self, bus: FaultyBus) -> None:
        self.is_certain = True
        self.metrics = CommitMetrics()
        self.appender = Appender(bus, "one", lambda: self.is_certain, Settings(), self.metrics)  # type: ignore[arg-type]

    async def append(self, subject: str, last: int = 0) -> int:
        return await self.appender.append(subject, b"data", last=last, until=time.monotonic() + 60.0)


@pytest.fixture
def hub(faulty: FaultyBus) -> Hub:
    return Hub(faulty)


async def test_what_may_have_been_stored_is_found_and_counted_once(hub: Hub, faulty: FaultyBus, subject: str) -> None:
    faulty.fates.extend([REFUSED, UNHEARD])
    sequence = await soon(hub.append(subject))
    message = await faulty.last(subject)
    assert message.sequence == sequence
    assert (hub.metrics.commits, hub.metrics.failures) == (1, 0)


async def test_a_message_that_another_came_before_is_surely_not_stored(
    hub: Hub, faulty: FaultyBus, subject: str
) -> None:
    first = await faulty.append(subject, b"other", last=0)
    with pytest.raises(BehindError) as caught:
        await soon(hub.append(subject))
    assert not caught.value.is_unsure
    faulty.fates.append(LATE)
    pending = asyncio.ensure_future(hub.append(subject, first))
    await turns()
    await faulty.append(subject, b"other", last=first)
    with pytest.raises(BehindError) as caught:
        await soon(pending)
    assert not caught.value.is_unsure


async def test_a_node_that_knows_less_than_what_is_stored_is_not_believed(
    hub: Hub, faulty: FaultyBus, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await soon(hub.append(subject))
    append = faulty.append
    answers: list[int] = []

    async def of_former_leader(*given: Any, **how: Any) -> int:
        if not answers:
            answers.append(1)
            raise WrongSequenceError(subject, 0)
        return await append(*given, **how)

    monkeypatch.setattr(faulty, "append", of_former_leader)
    second = await soon(hub.append(subject, first))
    assert second > first
    assert answers


@pytest.mark.parametrize(("fate", "is_unsure"), [(REFUSED, False), (LATE, True)])
async def test_what_is_given_up_says_whether_it_may_be_stored(
    hub: Hub, faulty: FaultyBus, subject: str, fate: str, is_unsure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_second_try(monkeypatch)
    faulty.fates.append(fate)
    with pytest.raises(NotAppendedError) as caught:
        await soon(hub.append(subject))
    assert bool(caught.value.message_id) is is_unsure
    assert ("not known" in caught.value.error().message) is is_unsure
    assert hub.appender.failure
    assert hub.metrics.failures == 1
    await soon(hub.append(subject))
    assert hub.appender.failure == ""


async def test_nothing_is_sent_by_a_life_that_is_over(hub: Hub, faulty: FaultyBus, subject: str) -> None:
    hub.is_certain = False
    pending = asyncio.ensure_future(hub.append(subject))
    await turns()
    hub.appender.lose("another hub has closed its lease")
    with pytest.raises(NotAppendedError, match="another hub has closed its lease"):
        await soon(pending)
    hub.is_certain = True
    with pytest.raises(NotAppendedError):
        await soon(hub.append(subject))
    assert faulty.appended == []


async def test_no_more_than_so_many_messages_are_on_their_way(
    faulty: FaultyBus, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "MAX_ON_THEIR_WAY", 3)
    hub = Hub(faulty)
    going = most = 0
    append = faulty.append

    async def counted(*args: object, **options: object) -> int:
        nonlocal going, most
        going += 1
        most = max(most, going)
        try:
            return await append(*args, **options)  # type: ignore[arg-type]
        finally:
            going -= 1

    faulty.append = counted  # type: ignore[method-assign]
    await soon(asyncio.gather(*(hub.append(bus.names.session(f"s{number}")) for number in range(20))))
    assert most == 3


async def test_the_last_message_is_read_once_the_hub_is_certain(hub: Hub, faulty: FaultyBus, subject: str) -> None:
    assert await hub.appender.last(subject, time.monotonic() + 5) is None
    hub.is_certain = False
    with pytest.raises(NotAppendedError, match="NATS was not reached in time"):
        await hub.appender.last(subject, time.monotonic())
