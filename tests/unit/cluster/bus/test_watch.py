"""Watching the stream."""

from contextlib import aclosing

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.message import Message
from grpc_tool_bridge.cluster.bus.watch import Watch
from support.waiting import until


async def test_it_begins_with_the_last_of_each_subject_and_goes_on_with_each_that_is_stored(bus: Bus) -> None:
    a, b = bus.names.fact("a"), bus.names.fact("b")
    first = await bus.append(a, b"a1", last=0)
    second = await bus.append(a, b"a2", last=first)
    await bus.append(b, b"b1", last=0)
    taken: list[Message] = []
    async with aclosing(Watch(bus, bus.names.facts, taken.append)) as watch:
        await watch.open()
        await until(lambda: len(taken) == 2)
        third = await bus.append(a, b"a3", last=second)
        await bus.append(bus.names.hub("h"), b"other", last=0)
        await bus.append(a, b"a4", last=third)
        await until(lambda: len(taken) == 4)
        assert [message.data for message in taken] == [b"a2", b"b1", b"a3", b"a4"]
        assert (taken[2].sequence, taken[2].previous, taken[2].subject) == (third, second, a)
        assert not watch.is_broken


async def test_a_message_that_was_lost_on_the_way_breaks_it(bus: Bus) -> None:
    taken: list[Message] = []
    async with aclosing(Watch(bus, bus.names.facts, taken.append)) as watch:
        await watch.open()
        at = await bus.append(bus.names.fact("a"), b"1", last=0)
        await until(lambda: taken)
        watch._next += 1
        await bus.append(bus.names.fact("a"), b"2", last=at)
        await until(lambda: watch.is_broken)
        assert [message.data for message in taken] == [b"1"]


async def test_nothing_more_is_taken_when_it_has_ended(bus: Bus) -> None:
    taken: list[Message] = []
    watch = Watch(bus, bus.names.facts, taken.append)
    await watch.open()
    await watch.aclose()
    await bus.append(bus.names.fact("a"), b"1", last=0)
    assert watch.is_broken
    assert taken == []
