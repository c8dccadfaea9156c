"""What a stream has written is sent in the next turn, together, and a quiet stream is kept open."""

import asyncio

from grpc_tool_bridge.gateway.outbox import FULL_BYTES, Outbox
from support.patience import PATIENCE
from support.waiting import soon, turns


def make(*, opens_after: float = PATIENCE, again_after: float = PATIENCE) -> Outbox:
    return Outbox(b":", opens_after=opens_after, again_after=again_after)


async def test_what_is_written_in_one_turn_is_sent_in_one_part() -> None:
    outbox = make()
    sending = asyncio.ensure_future(outbox.wait())
    await turns()
    assert not sending.done()
    outbox.put(b"a")
    outbox.put(b"b")
    assert await soon(sending)
    assert outbox.take() == b"ab"
    outbox.close()


async def test_who_writes_waits_until_what_there_is_is_being_sent() -> None:
    outbox = make()
    outbox.put(b"x" * FULL_BYTES)
    assert outbox.is_full
    waiting = asyncio.ensure_future(outbox.taken())
    await turns()
    assert not waiting.done()
    assert len(outbox.take()) == FULL_BYTES
    await soon(waiting)
    assert not outbox.is_full
    await soon(outbox.taken())
    outbox.close()


async def test_what_was_written_before_the_end_is_sent_and_then_there_is_no_more() -> None:
    outbox = make()
    outbox.put(b"last")
    outbox.close()
    assert await soon(outbox.wait())
    assert outbox.take() == b"last"
    assert not await soon(outbox.wait())


async def test_who_waits_to_send_is_told_of_the_end() -> None:
    outbox = make()
    sending = asyncio.ensure_future(outbox.wait())
    await turns()
    outbox.close()
    assert not await soon(sending)
    assert not outbox.is_open


async def test_a_quiet_stream_is_opened_and_kept_open() -> None:
    outbox = make(opens_after=0.01, again_after=0.01)
    for _ in range(2):
        assert await soon(outbox.wait())
        assert outbox.take() == b":"
    assert outbox.is_open
    outbox.close()
