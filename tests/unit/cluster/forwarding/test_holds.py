"""The links of a hub hold sessions wherever they are."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster.forwarding.holds import Holds
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import UnavailableError
from support.waiting import until


class Elsewhere:
    """The sessions at other hubs."""

    def __init__(self) -> None:
        self.beats: list[str] = []
        self.gone: set[str] = set()
        self.unreachable: set[str] = set()

    async def beat(self, session_id: str) -> bool:
        self.beats.append(session_id)
        if session_id in self.unreachable:
            raise UnavailableError("its hub cannot be reached")
        return session_id not in self.gone


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
async def holds(elsewhere: Elsewhere) -> AsyncIterator[Holds]:
    made = Holds(Hub(Settings(session_idle_timeout=0.06)), elsewhere.beat)
    beating = asyncio.ensure_future(made.beat_forever())
    yield made
    beating.cancel()
    await asyncio.wait([beating])


async def test_a_session_of_this_hub_is_held_as_without_a_cluster(holds: Holds, elsewhere: Elsewhere) -> None:
    session = await holds._hub.store.create_session("s")
    hold = holds.hold("s")
    assert session.links == 1
    hold.release()
    assert (session.links, len(holds)) == (0, 0)
    assert elsewhere.beats == []


async def test_a_session_elsewhere_gets_heartbeats_until_it_is_released(holds: Holds, elsewhere: Elsewhere) -> None:
    holds_of_s = [holds.hold("s"), holds.hold("s")]
    await until(lambda: elsewhere.beats.count("s") >= 2)
    for hold in holds_of_s:
        hold.release()
    assert len(holds) == 0


async def test_a_session_that_has_ended_needs_no_hold(holds: Holds, elsewhere: Elsewhere) -> None:
    elsewhere.gone.add("s")
    hold = holds.hold("s")
    await until(lambda: not hold.is_needed)
    assert len(holds) == 0
    hold.release()


async def test_a_hub_that_cannot_be_reached_keeps_no_other_session_from_its_heartbeats(
    holds: Holds, elsewhere: Elsewhere
) -> None:
    elsewhere.unreachable.add("s")
    hold, _ = holds.hold("s"), holds.hold("t")
    await until(lambda: elsewhere.beats.count("t") >= 2 and elsewhere.beats.count("s") >= 2)
    assert hold.is_needed


async def test_a_session_that_comes_here_is_held_here_and_one_that_leaves_no_more(holds: Holds) -> None:
    hold = holds.hold("s")
    session = await holds._hub.store.create_session("s")
    holds.adopted("s")
    assert session.links == 1
    holds.forgotten("s")
    assert hold.here is None
    hold.release()
    assert session.links == 1


async def test_a_session_of_this_hub_that_has_ended_needs_no_hold(holds: Holds) -> None:
    await holds._hub.store.create_session("s")
    hold = holds.hold("s")
    assert hold.is_needed
    await holds._hub.store.cleanup_session("s")
    gc.collect()
    assert not hold.is_needed
