"""A hub that is cut off tries other nodes, and sends its clients and workers to other hubs until it is back."""

from typing import Any

import pytest

from grpc_tool_bridge.cluster.members import cut_off
from grpc_tool_bridge.cluster.members.certainty import Certainty
from grpc_tool_bridge.cluster.members.cut_off import CutOff


class World:
    """A hub that is cut off, or not."""

    def __init__(self) -> None:
        self.certain = self.is_connected = True
        self.failure = "NATS is not reached"
        self.done: list[str] = []
        self.now = 0.0
        self.left_nodes = 0
        self.cut_off = CutOff(Certainty(self), self, self)

    def is_certain(self) -> bool:
        return self.certain

    def pause_links(self, why: str, grace: float) -> None:
        assert self.failure in why
        assert grace > 0
        self.done.append("pause")

    def resume_links(self) -> None:
        self.done.append("resume")

    async def leave_node(self) -> None:
        self.left_nodes += 1

    def monotonic(self) -> float:
        return self.now

    async def after(self, seconds: float) -> list[str]:
        self.now += seconds
        await self.cut_off.look()
        return self.done


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    time: Any = made
    monkeypatch.setattr(cut_off, "time", time)
    return made


async def test_a_hub_that_is_certain_keeps_its_links(world: World) -> None:
    assert await world.after(1_000) == []


async def test_a_hub_that_is_alone_without_a_connection_sends_its_links_away_soon_and_once(world: World) -> None:
    world.certain = world.is_connected = False
    assert await world.after(0) == []
    assert await world.after(cut_off.UNCONNECTED_SECONDS - 0.1) == []
    assert await world.after(0.2) == ["pause"]
    assert await world.after(100) == ["pause"]


async def test_while_a_stream_gets_its_next_leader_no_link_is_sent_away(world: World) -> None:
    world.certain = False
    await world.after(0)
    assert await world.after(cut_off.PATIENCE_SECONDS - 0.1) == []
    world.certain = True
    assert await world.after(0.2) == []


async def test_a_hub_that_is_back_takes_links_again_and_begins_to_count_anew(world: World) -> None:
    world.certain = False
    await world.after(0)
    await world.after(cut_off.PATIENCE_SECONDS + 0.1)
    world.certain = True
    assert await world.after(0.1) == ["pause", "resume"]
    assert not world.cut_off.is_paused
    world.certain = False
    assert await world.after(0.1) == ["pause", "resume"]
    assert await world.after(cut_off.PATIENCE_SECONDS + 0.1) == ["pause", "resume", "pause"]


async def test_a_node_that_does_not_make_the_hub_certain_is_left_for_the_next_one_again_and_again(world: World) -> None:
    world.certain = False
    await world.after(0)
    await world.after(cut_off.NODE_SECONDS - 0.1)
    assert world.left_nodes == 0
    await world.after(0.2)
    assert world.left_nodes == 1
    await world.after(cut_off.NODE_SECONDS - 0.1)
    assert world.left_nodes == 1
    await world.after(0.2)
    assert world.left_nodes == 2
    world.certain = True
    await world.after(100)
    world.certain = False
    await world.after(0)
    assert world.left_nodes == 2


async def test_a_node_has_its_time_from_when_it_is_reached(world: World) -> None:
    world.certain = world.is_connected = False
    await world.after(0)
    await world.after(100)
    world.is_connected = True
    await world.after(cut_off.NODE_SECONDS - 0.1)
    assert world.left_nodes == 0
    await world.after(0.2)
    assert world.left_nodes == 1
