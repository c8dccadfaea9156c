"""When frames leave: the policy that the links of one end share."""

import asyncio

from grpc_tool_bridge.link.flushing import FlushPolicy
from support.loops import tells_whether_it_is_idle
from support.waiting import turns


class Sender:
    """Counts how often it was flushed."""

    def __init__(self) -> None:
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


async def test_what_is_alone_leaves_at_once_if_nothing_else_is_about_to_run() -> None:
    sender = Sender()
    FlushPolicy().schedule_alone(sender)
    assert sender.flushed == tells_whether_it_is_idle()
    await turns()
    assert sender.flushed == 1


async def test_what_is_alone_waits_for_the_callbacks_that_are_about_to_run() -> None:
    sender = Sender()
    asyncio.get_running_loop().call_soon(lambda: None)
    FlushPolicy().schedule_alone(sender)
    assert sender.flushed == 0
    await turns()
    assert sender.flushed == 1


async def test_what_is_alone_leaves_after_the_frame_that_is_being_read() -> None:
    policy, senders = FlushPolicy(), [Sender(), Sender()]
    policy.begin_reading()
    for sender in senders:
        policy.schedule_alone(sender)
    assert [sender.flushed for sender in senders] == [0, 0]
    policy.end_reading()
    assert [sender.flushed for sender in senders] == [1, 1]
    policy.end_reading()
    assert [sender.flushed for sender in senders] == [1, 1]
