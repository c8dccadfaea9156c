"""How the requests of RPCs are read, without gRPC."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest

from grpc_tool_bridge.errors import (
    DeadlineExceededError,
    MessageTooLargeError,
    ResourceExhaustedError,
    ToolBridgeError,
    ValidationError,
)
from grpc_tool_bridge.rpc.budgets import MIB, Budget
from grpc_tool_bridge.rpc.peers import Peers
from grpc_tool_bridge.transport.reads import RPC_BYTES, Reads

MOST = 2 * MIB


class FakeContext:
    """An RPC whose request comes when the test says so."""

    def __init__(self, peer: str = "ipv4:127.0.0.1:1") -> None:
        self._peer = peer
        self._arrives: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._done: list[Callable[[Any], None]] = []
        self.is_read = asyncio.Event()

    def peer(self) -> str:
        return self._peer

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._done.append(callback)

    async def read(self) -> Any:
        self.is_read.set()
        return await self._arrives

    def arrive(self, data: Any) -> None:
        self._arrives.set_result(data)

    def end(self) -> None:
        for callback in self._done:
            callback(self)


class World:
    """A hub's memory, its connections and what reads their requests."""

    def __init__(self, *, hub: int = 64 * MIB, peer: int = 8 * MIB, **options: Any) -> None:
        self.memory = Budget(hub, owner="the hub", setting="max_hub_bytes")
        self.peers = Peers(self.memory, peer, owner="this connection", setting="max_peer_bytes")
        self.reads = Reads(self.peers, MOST, **{"seconds": 30.0, "grace": 0.01, **options})
        self.memory.make_room = self.reads.make_room

    def start(self, context: FakeContext, **options: Any) -> "asyncio.Task[bytes]":
        rpc = self.reads.enter(context, "Echo")
        return asyncio.create_task(self.reads.request(context, rpc, **options))


async def ended(task: "asyncio.Task[bytes]") -> ToolBridgeError:
    await asyncio.wait_for(asyncio.wait((task,)), 20)
    error = task.exception()
    assert isinstance(error, ToolBridgeError)
    return error


async def test_a_request_is_charged_until_its_rpc_is_over() -> None:
    world, context = World(), FakeContext()
    task = world.start(context)
    context.arrive(b"x" * 1_000)
    assert await task == b"x" * 1_000
    assert world.memory.used == RPC_BYTES + 1_000
    assert len(world.peers) == 1
    context.end()
    assert world.memory.used == 0
    assert len(world.peers) == 0


async def test_a_large_request_is_charged_twice_once_it_is_worked_on() -> None:
    world, context = World(), FakeContext()
    task = world.start(context)
    context.arrive(bytes(MIB))
    await task
    assert world.memory.used == RPC_BYTES + 2 * MIB
    context.end()
    assert world.memory.used == 0


async def test_an_answer_takes_the_place_of_the_request() -> None:
    world, context = World(), FakeContext()
    rpc = world.reads.enter(context, "Echo")
    context.arrive(bytes(MIB))
    await world.reads.request(context, rpc)
    assert rpc.answer(b"x" * 10) == b"x" * 10
    assert world.memory.used == RPC_BYTES + 20
    with pytest.raises(ResourceExhaustedError, match="the answer of Echo of 12,582,892 bytes"):
        rpc.answer(bytes(6 * MIB))
    context.end()
    assert world.memory.used == 0


async def test_only_so_many_requests_of_one_connection_are_read_at_once_in_order() -> None:
    world = World()
    contexts = [FakeContext() for _ in range(6)]
    tasks = [world.start(context) for context in contexts]
    other = FakeContext("ipv4:127.0.0.1:2")
    served = world.start(other)
    await other.is_read.wait()
    other.arrive(b"x")
    assert await served == b"x"
    # Four of 2 MiB fit into the 8 MiB of a connection.
    assert [context.is_read.is_set() for context in contexts] == [True] * 4 + [False] * 2
    contexts[2].arrive(b"")
    await contexts[4].is_read.wait()
    assert not contexts[5].is_read.is_set()
    tasks[5].cancel()
    await asyncio.wait((tasks[5],))
    for number in (0, 1, 3, 4):
        contexts[number].arrive(b"")
    await asyncio.gather(*tasks[:5])
    again = FakeContext()
    task = world.start(again)
    again.arrive(b"y")
    assert await task == b"y"


async def test_a_request_that_stalls_counts_as_the_largest_and_ends_in_time() -> None:
    world, context = World(seconds=0.05), FakeContext()
    error = await ended(world.start(context))
    assert isinstance(error, DeadlineExceededError)
    assert error.message == "the request did not arrive whole within 0.05 s"
    assert world.memory.peak == MOST
    assert world.memory.used == 0
    context.end()


async def test_a_request_that_waits_for_its_turn_ends_in_time() -> None:
    world = World(seconds=0.1, peer=2 * MIB + MIB)
    tasks = [world.start(FakeContext()) for _ in range(2)]
    first, second = [await ended(task) for task in tasks]
    assert type(first) is DeadlineExceededError
    # Its turn may come just before its time is over, when the first one ends.
    assert type(second) in (ResourceExhaustedError, DeadlineExceededError)


async def test_the_time_of_a_request_includes_the_wait_for_its_turn() -> None:
    world = World(peer=2 * MIB + MIB)
    first, second = FakeContext(), FakeContext()
    one, two = world.start(first), world.start(second)
    await first.is_read.wait()
    came = asyncio.get_running_loop().time()
    one.cancel()
    await second.is_read.wait()
    (read,) = world.reads._open
    assert read.began <= came
    two.cancel()
    await asyncio.wait([one, two])


async def test_requests_that_stall_give_way_to_what_has_arrived_those_of_the_largest_first() -> None:
    world = World(hub=8 * MIB)
    many = [FakeContext() for _ in range(3)]
    stalled = [world.start(context) for context in many]
    await asyncio.wait_for(_reserved(world, 3 * MOST), 20)
    small = FakeContext("ipv4:127.0.0.1:2")
    task = world.start(small)
    small.arrive(bytes(MIB))
    assert len(await task) == MIB
    await asyncio.wait(stalled, return_when=asyncio.FIRST_COMPLETED)
    over = [one for one in stalled if one.done()]
    assert {type(one.exception()) for one in over} == {ResourceExhaustedError}
    # The newest go first.
    assert stalled[2] in over
    for one in stalled:
        one.cancel()
    await asyncio.wait(stalled)


async def _reserved(world: World, size: int) -> None:
    while world.memory.used < size:  # noqa: ASYNC110 - a budget tells nobody
        await asyncio.sleep(0)


async def test_a_large_request_waits_until_others_of_its_connection_are_answered() -> None:
    world = World(peer=4 * MIB)
    first, second = FakeContext(), FakeContext()
    one = world.start(first)
    first.arrive(bytes(MIB))
    await one
    two = world.start(second)
    second.arrive(bytes(MIB))
    await second.is_read.wait()
    await asyncio.wait_for(_reserved(world, 3 * MIB), 20)
    assert not two.done()
    first.end()
    assert len(await two) == MIB
    second.end()
    assert world.memory.used == 0


async def test_what_is_no_request_is_refused() -> None:
    world = World()
    none, large = FakeContext(), FakeContext()
    task = world.start(none)
    none.arrive(grpc.aio.EOF)
    assert isinstance(await ended(task), ValidationError)
    task = world.start(large, most=100)
    large.arrive(b"x" * 101)
    assert isinstance(await ended(task), MessageTooLargeError)


async def test_so_many_requests_of_all_connections_are_read_at_once() -> None:
    world = World(max_concurrent=3)
    contexts = [FakeContext(f"ipv4:127.0.0.1:{number % 3}") for number in range(6)]
    tasks = [world.start(context) for context in contexts]
    await contexts[2].is_read.wait()
    assert [context.is_read.is_set() for context in contexts] == [True] * 3 + [False] * 3
    for context in contexts:
        context.arrive(b"x")
    assert await asyncio.gather(*tasks) == [b"x"] * 6
