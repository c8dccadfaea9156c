"""Changes on their way into a durable store."""

import asyncio

import pytest

from grpc_tool_bridge.core.writes import STORED, Write
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from support.waiting import turns


async def test_who_awaits_a_write_goes_on_once_it_is_stored() -> None:
    write = Write()
    waiting = [asyncio.ensure_future(_awaited(write)) for _ in range(3)]
    await turns()
    assert not any(task.done() for task in waiting)
    write.settle(None)
    await asyncio.gather(*waiting)
    await write


async def test_all_who_await_one_that_could_not_be_stored_get_its_error_before_and_after() -> None:
    write = Write()
    waiting = [asyncio.ensure_future(_awaited(write)) for _ in range(3)]
    await turns()
    error = StoreError("the disk is gone")
    write.settle(error)
    assert await asyncio.gather(*waiting, return_exceptions=True) == [error] * 3
    with pytest.raises(StoreError):
        await write


async def test_it_is_told_before_those_who_wait_and_once() -> None:
    order: list[object] = []
    write = Write(order.append)

    async def wait() -> None:
        await write
        order.append("awaited")

    waiting = asyncio.ensure_future(wait())
    await turns()
    write.settle(None)
    write.settle(StoreError("too late"))
    assert order == [None]
    await waiting
    assert order == [None, "awaited"]
    assert write.error is None


@pytest.mark.parametrize("error", [None, StoreError("the disk is gone")])
async def test_those_who_are_told_are_so_in_order_and_later_ones_at_once(error: ToolBridgeError | None) -> None:
    order: list[object] = []
    write = Write(lambda error: order.append(("first", error)))
    for name in ("second", "third"):
        write.tell(lambda error, name=name: order.append((name, error)))  # type: ignore[misc]
    write.settle(error)
    write.tell(lambda error: order.append(("late", error)))
    assert order == [("first", error), ("second", error), ("third", error), ("late", error)]


async def test_one_who_leaves_does_not_keep_the_others_from_going_on() -> None:
    write = Write()
    leaving, staying = (asyncio.ensure_future(_awaited(write)) for _ in range(2))
    await turns()
    leaving.cancel()
    await turns()
    write.settle(None)
    await staying
    assert leaving.cancelled()


async def test_what_is_stored_already_is_awaited_without_a_turn() -> None:
    later: list[ToolBridgeError | None] = []
    asyncio.get_running_loop().call_soon(later.append, None)
    await STORED
    assert later == []


async def _awaited(write: Write) -> None:
    await write
