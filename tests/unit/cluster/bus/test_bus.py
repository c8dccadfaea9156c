"""The hub's connection to NATS: what is stored and read, and what a caller learns when it is not."""

import asyncio
from contextlib import aclosing

import pytest
from nats.aio.msg import Msg

from grpc_tool_bridge.cluster.bus import stream
from grpc_tool_bridge.cluster.bus.bus import Bus, new_message_id
from grpc_tool_bridge.cluster.bus.message import ROLLUP, Message, keep_for
from grpc_tool_bridge.cluster.errors import GapError, MaybeStoredError, NotStoredError, WrongSequenceError
from grpc_tool_bridge.errors import StoreError
from support.buses import open_bus
from support.nats_nodes import NatsNode, one_node, three_nodes
from support.waiting import soon, until


async def read(bus: Bus, subject: str, after: int = 0) -> list[Message]:
    return [message async for message in bus.read(subject, after)]


async def chain(bus: Bus, subject: str, count: int, size: int = 1) -> list[int]:
    """Appends so many messages; returns their sequences."""
    found = [0]
    for number in range(count):
        found.append(await bus.append(subject, bytes([number % 256]) * size, last=found[-1]))
    return found[1:]


async def test_a_message_is_stored_after_the_one_that_it_expects_and_read_as_the_last(bus: Bus) -> None:
    subject = bus.names.session("s")
    first = await bus.append(subject, b"one", last=0, headers={"Kind": "take"})
    second = await bus.append(subject, b"\x00two", last=first)
    for direct in (False, True):
        found = await bus.last(subject, direct=direct)
        assert found is not None
        assert (found.subject, found.sequence, found.data, found.previous) == (subject, second, b"\x00two", first)
    assert [message.headers.get("Kind") for message in await read(bus, subject)] == ["take", None]


async def test_a_subject_without_messages_has_no_last_one(bus: Bus) -> None:
    assert await bus.last(bus.names.session("none")) is None
    assert await bus.last(bus.names.session("none"), direct=True) is None
    assert await read(bus, bus.names.session("none")) == []


async def test_a_node_that_does_not_have_what_was_acknowledged_is_not_believed_that_something_is_not_there(
    bus: Bus,
) -> None:
    await bus.append(bus.names.session("one"), b"one", last=0)
    await bus.append(bus.names.session("two"), b"two", last=0)
    assert await bus.last(bus.names.session("none")) is None
    # Then a node answers that has stayed behind.
    await bus.api(f"STREAM.DELETE.{bus.names.stream}", {})
    await stream.ensure(bus, bus.names, 1)
    with pytest.raises(StoreError, match="no longer leads the stream"):
        await bus.last(bus.names.session("none"))
    # It is the one that stores.
    await bus.append(bus.names.session("one"), b"one", last=0)
    assert await bus.last(bus.names.session("none")) is None


async def test_a_message_that_expects_another_last_one_is_refused_with_the_real_last_one(bus: Bus) -> None:
    subject = bus.names.session("s")
    first = await bus.append(subject, b"one", last=0)
    with pytest.raises(WrongSequenceError) as caught:
        await bus.append(subject, b"late", last=0)
    assert caught.value.last == first
    assert [message.data for message in await read(bus, subject)] == [b"one"]


async def test_of_many_that_expect_the_same_last_message_one_is_stored(bus: Bus) -> None:
    subject = bus.names.session("s")
    tried = [bus.append_surely(subject, b"%d" % number, last=0) for number in range(50)]
    outcomes = await asyncio.gather(*tried, return_exceptions=True)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, WrongSequenceError) for outcome in outcomes) == 49


async def test_a_long_chain_is_read_in_order_in_batches_and_from_any_message_on(bus: Bus) -> None:
    subject, other = bus.names.session("s"), bus.names.session("other")
    sequences = await chain(bus, subject, 600)
    await chain(bus, other, 1)
    assert [message.sequence for message in await read(bus, subject)] == sequences
    assert [message.sequence for message in await read(bus, subject, sequences[299])] == sequences[300:]
    assert await read(bus, subject, sequences[-1]) == []


async def test_large_messages_are_read_whole(bus: Bus) -> None:
    subject = bus.names.session("s")
    await chain(bus, subject, 12, size=900 * 1024)
    found = await read(bus, subject)
    assert [(message.data[0], len(message.data)) for message in found] == [(n, 900 * 1024) for n in range(12)]


async def test_a_chain_that_was_purged_begins_later_and_who_reads_on_from_before_learns_of_the_gap(bus: Bus) -> None:
    subject = bus.names.session("s")
    sequences = await chain(bus, subject, 5)
    assert await bus.purge(subject, sequences[3]) == 3
    assert [message.sequence for message in await read(bus, subject)] == sequences[3:]
    with pytest.raises(GapError, match="have been purged"):
        await read(bus, subject, sequences[1])


async def test_a_chain_that_is_purged_while_it_is_read_is_no_whole_one(bus: Bus) -> None:
    subject = bus.names.session("s")
    sequences = await chain(bus, subject, 600)
    async with aclosing(bus.read(subject)) as messages:
        assert (await anext(messages)).sequence == sequences[0]
        await bus.purge(subject, sequences[-1])
        with pytest.raises(GapError):
            [message async for message in messages]


async def test_a_rollup_replaces_all_before_it_and_is_deleted_after_its_time(bus: Bus) -> None:
    subject = bus.names.hub("h")
    first = await bus.append(subject, b"1", last=0, headers=ROLLUP)
    second = await bus.append(subject, b"2", last=first, headers=ROLLUP)
    assert [message.data for message in await read(bus, subject)] == [b"2"]
    await bus.append(subject, b"closed", last=second, headers={**ROLLUP, **keep_for(1)})
    assert await soon(append_when_empty(bus, subject, b"new"))


async def append_when_empty(bus: Bus, subject: str, data: bytes) -> int:
    while True:
        try:
            return await bus.append(subject, data, last=0)
        except WrongSequenceError:
            await asyncio.sleep(0.02)


async def test_subjects_are_listed_with_their_counts_and_last_messages_of_many_at_once(bus: Bus) -> None:
    for name, count in (("a", 1), ("b", 3)):
        await chain(bus, bus.names.session(name), count)
    await chain(bus, bus.names.hub("h"), 2)
    found = {subject: count async for subject, count in bus.subjects(bus.names.sessions)}
    assert found == {bus.names.session("a"): 1, bus.names.session("b"): 3}
    assert [message.data for message in await bus.last_of([bus.names.hubs])] == [b"\x01"]
    assert await bus.last_of([bus.names.facts]) == []


async def test_a_message_over_the_servers_limit_is_not_stored(bus: Bus) -> None:
    # With its headers it is.
    with pytest.raises(NotStoredError, match="over NATS' max_payload"):
        await bus.append(bus.names.session("s"), bytes(bus.max_payload), last=0)
    assert await bus.append(bus.names.session("s"), bytes(bus.max_payload - 200), last=0)


async def test_a_message_outside_of_the_stream_is_not_stored(bus: Bus) -> None:
    with pytest.raises(NotStoredError, match="nobody in NATS takes this"):
        await bus.append(f"{bus.names.cluster}.x.y", b"", last=0)


async def test_what_became_of_a_message_is_settled_by_its_id(bus: Bus) -> None:
    subject, mine = bus.names.session("s"), new_message_id()
    assert await bus.settle(subject, 0, mine) is None
    stored = await bus.append(subject, b"", last=0, message_id=mine)
    later = await bus.append(subject, b"", last=stored)
    assert await bus.settle(subject, 0, mine) == stored
    with pytest.raises(WrongSequenceError):
        await bus.settle(subject, 0, new_message_id())
    await bus.append(subject, b"", last=later)
    await bus.purge(subject, later)
    with pytest.raises(MaybeStoredError, match="has been purged"):
        await bus.settle(subject, 0, mine)


async def test_an_acknowledgement_that_does_not_come_leaves_the_outcome_open_and_one_message_is_stored() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            subject, mine = bus.names.session("s"), new_message_id()
            node.pause()
            with pytest.raises(MaybeStoredError) as caught:
                await bus.append(subject, b"", last=0, timeout=0.1, message_id=mine)
            assert caught.value.message_id == mine
            surely = asyncio.ensure_future(bus.append_surely(subject, b"sure", last=0))
            await asyncio.sleep(0)
            node.resume()
            (outcome,) = await asyncio.gather(surely, return_exceptions=True)
            (stored,) = await read(bus, subject)
            if stored.message_id == mine:
                assert isinstance(outcome, WrongSequenceError)
                assert await bus.settle(subject, 0, mine) == stored.sequence
            else:
                assert outcome == stored.sequence


async def test_a_connection_that_was_lost_refuses_at_once_and_comes_back_by_itself_with_all_that_was_stored() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            states: list[bool] = []
            bus.on_state(states.append)
            subject = bus.names.session("s")
            first = await bus.append(subject, b"1", last=0)
            node.kill()
            await until(lambda: states == [False])
            assert not bus.is_connected
            with pytest.raises(NotStoredError, match="not connected"):
                await bus.append(subject, b"2", last=first)
            with pytest.raises(StoreError, match="not connected"):
                await bus.last(subject)
            surely = asyncio.ensure_future(bus.append_surely(subject, b"3", last=first))
            await node.restart()
            await soon(surely)
            assert [message.data for message in await read(bus, subject)] == [b"1", b"3"]
            assert states == [False, True]


async def test_what_waits_for_an_answer_ends_when_the_connection_is_lost() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            node.pause()
            waiting = asyncio.ensure_future(bus.append(bus.names.session("s"), b"", last=0, timeout=1_000))
            asked = asyncio.ensure_future(bus.last(bus.names.session("s")))
            await asyncio.sleep(0)
            node.kill()
            with pytest.raises(MaybeStoredError, match="connection to NATS was lost"):
                await soon(waiting)
            with pytest.raises(StoreError):
                await soon(asked)


async def test_a_write_waits_for_the_new_leader_when_the_streams_leader_is_killed_and_is_stored_once() -> None:
    with three_nodes() as nodes:
        async with aclosing(await open_bus(nodes.url)) as bus:
            subject = bus.names.session("s")
            at = await bus.append_surely(subject, b"0", last=0)
            leader = await nodes.leader(bus.names.stream)
            leader.kill()
            for number in range(1, 20):
                at = await bus.append_surely(subject, b"%d" % number, last=at)
            assert [message.data for message in await read(bus, subject)] == [b"%d" % n for n in range(20)]


async def test_a_node_that_is_left_is_not_the_next_one_and_all_goes_on() -> None:
    with three_nodes() as nodes:
        async with aclosing(await open_bus(nodes.url)) as bus:
            subject = bus.names.session("s")
            at = await bus.append_surely(subject, b"0", last=0)
            for number in range(1, 4):
                left = bus.nc.connected_url
                await bus.leave_node()
                at = await bus.append_surely(subject, b"%d" % number, last=at)
                assert bus.nc.connected_url != left
            assert [message.data for message in await read(bus, subject)] == [b"0", b"1", b"2", b"3"]


async def test_the_only_node_is_not_left(node: NatsNode, bus: Bus) -> None:
    states: list[bool] = []
    bus.on_state(states.append)
    await bus.leave_node()
    await bus.append(bus.names.session("s"), b"", last=0)
    assert (states, bus.is_connected) == ([], True)


async def test_a_bus_that_is_not_open_says_so(node: NatsNode) -> None:
    bus = await open_bus(node.url)
    await bus.aclose()
    with pytest.raises(NotStoredError, match="not connected"):
        await bus.append(bus.names.session("s"), b"", last=0)


@pytest.mark.parametrize("answer", [b"", b"no", b"[]", b"{}", b"[" * 100_000, b'{"seq": "x"}', b'{"error": 1}'])
async def test_an_answer_of_somebody_else_to_a_message_leaves_open_whether_it_is_stored(
    bus: Bus, answer: bytes
) -> None:
    async def answered(*_: object) -> Msg:
        return Msg(bus.nc, data=answer)

    requests = bus._requests
    assert requests is not None
    requests.ask = answered  # type: ignore[assignment, method-assign]
    with pytest.raises(MaybeStoredError, match="none of JetStream"):
        await bus.append(bus.names.session("s"), b"x", last=0)
    if answer not in {b"{}", b'{"seq": "x"}', b'{"error": 1}'}:
        with pytest.raises(StoreError, match="none of JetStream"):
            await bus.api("INFO", {})
