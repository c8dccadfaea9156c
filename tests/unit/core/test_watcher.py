"""The events that wait for one watcher of a hub."""

import pytest

from grpc_tool_bridge.core import watcher as module
from grpc_tool_bridge.core.sample import Sample
from grpc_tool_bridge.core.watcher import Watcher
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

GONE = UnavailableError("gone")


def event(name: str) -> pb.AdminEvent:
    return pb.AdminEvent(call=pb.CallInfo(call_id=name))


async def test_a_slow_watcher_loses_the_oldest_and_is_told_how_many() -> None:
    watcher = Watcher(pb.WatchEventsRequest())
    for number in range(module.MAX_EVENTS + 3):
        watcher.put(event(str(number)), 1)
    first, second = await watcher.next(), await watcher.next()
    assert (first.call.call_id, first.sequence, first.dropped) == ("3", 4, 3)
    assert (second.call.call_id, second.sequence, second.dropped) == ("4", 5, 0)
    watcher.skip(2)
    watcher.put(event("late"), 1)
    while (last := await watcher.next()).call.call_id != "late":
        assert last.dropped == 0
    assert last.dropped == 2


async def test_large_events_give_way_by_their_bytes() -> None:
    watcher = Watcher(pb.WatchEventsRequest())
    for number in range(3):
        watcher.put(event(str(number)), module.MAX_EVENT_BYTES)
    last = await watcher.next()
    assert (last.call.call_id, last.dropped) == ("2", 2)
    assert watcher._bytes == 0


async def test_what_waits_is_told_before_the_end() -> None:
    watcher = Watcher(pb.WatchEventsRequest())
    watcher.put(event("1"), 1)
    watcher.close(GONE)
    assert (await watcher.next()).call.call_id == "1"
    with pytest.raises(UnavailableError, match="gone"):
        await watcher.next()


async def test_what_others_have_too_is_copied() -> None:
    watchers = [Watcher(pb.WatchEventsRequest()) for _ in range(2)]
    shared = event("shared")
    watchers[0].skip(1)
    for watcher in watchers:
        watcher.put(shared, 1)
    assert [(await watcher.next()).sequence for watcher in watchers] == [2, 1]
    assert not shared.sequence
    own = event("own")
    watchers[0].put(own, 1, is_own=True)
    assert (await watchers[0].next()) is own
    assert own.sequence == 3


async def test_calls_that_a_sample_left_out_are_counted_from_the_event_before() -> None:
    sample, watcher = Sample(), Watcher(pb.WatchEventsRequest(calls_per_second=5))
    sample.omit("s")
    watcher.count_omitted(sample)
    sample.omit("s")
    sample.omit("s")
    for name in ("1", "2"):
        watcher.put(event(name), 1)
    assert [(await watcher.next()).omitted_calls for _ in range(2)] == [2, 0]
