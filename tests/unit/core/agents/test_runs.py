"""One run of an agent: what is kept of it, who reads it, and what becomes of it without a reader."""

import asyncio
from typing import Any, cast

import pytest

from grpc_tool_bridge.core.agents import run_writer, runs
from grpc_tool_bridge.core.agents.runs import Run, RunMemory, RunReader
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.stored import StoredRun
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ProtocolError,
    StoreError,
    ValidationError,
    error_from_info,
    error_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import AgentExecutionChunk, ResultChunk, ThoughtChunk
from support.waiting import soon, turns, until
from unit.core.agents.held_store import HeldStore


class FakeCall:
    def __init__(self) -> None:
        self.cause: Any = None

    def cancel(self, cause: Any) -> None:
        self.cause = cause


class Desk:
    """A run, and who is told of its end."""

    def __init__(
        self,
        *,
        max_bytes: int = 1_000_000,
        ttl: float = 3_600,
        memory: RunMemory | None = None,
        store: HeldStore | None = None,
        is_restored: bool = False,
    ) -> None:
        self.call = FakeCall()
        self.forgotten: list[Run] = []
        self.run = Run(
            "mine",
            "agent",
            "s",
            None if is_restored else cast("HubCall", self.call),
            started_at=1.5,
            digest=b"",
            max_bytes=max_bytes,
            memory=memory or RunMemory(1_000_000),
            ttl=ttl,
            on_evicted=self.forgotten.append,
            durable=cast("DurableStore", store),
        )

    def think(self, count: int = 1) -> None:
        for _ in range(count):
            self.run.put(thought(self.run._next))

    def finish(self) -> None:
        self.run.put(AgentExecutionChunk(sequence=self.run._next, result=ResultChunk()).SerializeToString())

    async def read(self, sequence: int = 0, *, steps: bool = True) -> list[AgentExecutionChunk]:
        return [AgentExecutionChunk.FromString(data) async for data in self.run.read(sequence, steps=steps)]


def thought(sequence: int) -> bytes:
    return AgentExecutionChunk(sequence=sequence, thought=ThoughtChunk(text="x" * 50)).SerializeToString()


async def test_readers_get_what_was_there_and_what_comes() -> None:
    desk = Desk()
    desk.think(2)
    first, second = asyncio.create_task(desk.read()), asyncio.create_task(desk.read(1))
    await until(lambda: desk.run.readers == 2)
    desk.think()
    desk.finish()
    chunks = await soon(first)
    assert [(chunk.sequence, chunk.run_id, chunk.agent_id) for chunk in chunks] == [
        (number, "mine", "agent") for number in range(4)
    ]
    assert await soon(second) == chunks[1:]
    assert desk.run.is_evictable
    assert await desk.read(4) == []
    desk.run.evict()


async def test_without_steps_only_the_end_is_read() -> None:
    desk = Desk()
    desk.think(3)
    desk.finish()
    (last,) = await desk.read(steps=False)
    assert last.sequence == 3
    desk.run.evict()


async def test_a_failure_is_the_last_chunk_and_only_of_a_run_that_is_not_over() -> None:
    desk = Desk()
    desk.think()
    desk.run.fail(error_info(ValidationError("no")))
    desk.run.fail(error_info(ValidationError("again")))
    assert [chunk.WhichOneof("content") for chunk in await desk.read()] == ["thought", "error"]
    assert desk.run.due == 2
    desk.run.cancel(CallCancelledError("too late"))
    assert desk.call.cause is None
    desk.run.evict()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff", "cannot be read"),
        (AgentExecutionChunk().SerializeToString(), "is empty"),
        (thought(1), "chunk 1 came where 0 was due"),
        (thought(-1), "chunk -1 came where 0 was due"),
    ],
)
async def test_what_is_not_the_next_chunk_is_refused(data: bytes, text: str) -> None:
    desk = Desk()
    with pytest.raises(ProtocolError, match=text):
        desk.run.put(data)
    assert desk.run.due == 0


async def test_the_oldest_chunks_give_way_by_bytes_and_the_end_stays() -> None:
    desk = Desk(max_bytes=1)
    desk.think(3)
    desk.finish()
    with pytest.raises(ValidationError, match="the oldest kept chunk is 3") as caught:
        await desk.read()
    # It will not come back.
    assert not caught.value.retryable
    assert len(await desk.read(3)) == 1
    assert len(await desk.read(steps=False)) == 1
    desk.run.evict()


async def test_the_oldest_chunks_give_way_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_CHUNKS", 2)
    desk = Desk()
    desk.think(3)
    desk.finish()
    assert [chunk.sequence for chunk in await desk.read(2)] == [2, 3]
    with pytest.raises(ValidationError, match="the oldest kept chunk is 2"):
        await desk.read(1)
    desk.run.evict()


async def test_as_many_chunks_are_kept_as_there_is_room_for() -> None:
    desk = Desk(max_bytes=200)
    desk.think(20)
    desk.finish()
    assert [chunk.sequence for chunk in await desk.read(19)] == [19, 20]
    desk.run.evict()


@pytest.mark.parametrize("sequence", [-1, 2])
async def test_a_chunk_that_cannot_be_there_is_refused(sequence: int) -> None:
    desk = Desk()
    desk.think()
    with pytest.raises(ValidationError, match="has 1 chunks so far"):
        await desk.read(sequence)


async def test_a_run_without_a_reader_is_cancelled_and_once_over_forgotten() -> None:
    desk = Desk(ttl=0.01)
    desk.run.begin()
    await until(lambda: desk.call.cause)
    assert "it had no reader for" in str(desk.call.cause)
    assert not desk.forgotten
    desk.run.fail(error_info(desk.call.cause))
    await until(lambda: desk.forgotten == [desk.run])


async def test_a_reader_stops_the_clock_and_its_going_starts_it_anew() -> None:
    desk = Desk(ttl=0.01)
    desk.run.begin()
    reading = asyncio.create_task(desk.read())
    await until(lambda: desk.run.readers)
    assert desk.run._timer is None
    reading.cancel()
    await asyncio.wait((reading,))
    await until(lambda: desk.call.cause)


async def test_a_run_has_no_clock_and_gives_no_room_while_somebody_reads_it() -> None:
    desk = Desk()
    desk.think()
    reading = desk.run.read(0, steps=True)
    await anext(reading)
    also_reading = desk.run.read(0, steps=True)
    await anext(also_reading)
    desk.finish()
    assert (desk.run._timer, desk.run.is_evictable) == (None, False)
    await also_reading.aclose()
    assert (desk.run._timer, desk.run.is_evictable) == (None, False)
    await reading.aclose()
    assert desk.run._timer is not None
    assert desk.run.is_evictable
    desk.run.evict()
    assert desk.run._timer is None


async def test_a_run_that_is_forgotten_has_no_clock_whoever_reads_it_still() -> None:
    desk = Desk()
    desk.think()
    desk.finish()
    reading = desk.run.read(0, steps=True)
    await anext(reading)
    desk.run.evict()
    await reading.aclose()
    assert desk.run._timer is None


async def test_a_reader_that_is_closed_says_nothing_and_one_that_cancels_does() -> None:
    said: list[str] = []
    desk = Desk()
    desk.think()
    reader = RunReader(desk.run.read(0, steps=True), lambda: said.append("cancelled"), named=True)
    await anext(reader)
    assert desk.run.readers == 1
    await reader.aclose()
    assert (desk.run.readers, said) == (0, [])
    reader.cancel()
    assert said == ["cancelled"]
    desk.run.evict()


@pytest.mark.parametrize(("named", "ended"), [(True, []), (False, ["cancelled"])])
async def test_of_a_reader_that_has_gone_the_run_ends_unless_it_was_named(named: bool, ended: list[str]) -> None:
    said: list[str] = []
    desk = Desk()
    RunReader(desk.run.read(0, steps=True), lambda: said.append("cancelled"), named=named).gone()
    assert said == ended


# ------------------------------------------------------------------------------------------------ what all runs hold


async def test_the_runs_that_are_over_make_room_for_others_the_oldest_first() -> None:
    memory = RunMemory(1_000)
    first, second, third = (Desk(memory=memory) for _ in range(3))
    for desk in (first, second):
        desk.think(4)
        desk.finish()
    held = memory.held
    third.think(8)
    assert (len(first.forgotten), len(second.forgotten)) == (1, 0)
    assert memory.held == held - held // 2 + held_by(third)
    third.think(8)
    assert len(second.forgotten) == 1
    assert memory.held == held_by(third) <= 1_000
    third.finish()
    third.run.evict()
    assert memory.held == 0


async def test_of_runs_that_are_under_way_the_largest_gives_way_and_not_the_one_that_grows() -> None:
    memory = RunMemory(2_000)
    small, large = Desk(memory=memory), Desk(memory=memory)
    large.think(40)
    reading = asyncio.create_task(small.read())
    await until(lambda: small.run.readers)
    for _ in range(8):
        small.think()
        assert memory.held <= 2_000
    small.finish()
    assert [chunk.sequence for chunk in await soon(reading)] == list(range(9))
    with pytest.raises(ValidationError, match=r"was evicted; the oldest kept chunk is .*max_agent_run_bytes"):
        await soon(large.read())
    large.finish()
    for desk in (small, large):
        desk.run.evict()
    assert memory.held == 0


async def test_a_run_that_is_over_and_still_read_is_not_forgotten() -> None:
    memory = RunMemory(1_000)
    read, growing = Desk(memory=memory), Desk(memory=memory)
    read.think(2)
    reading = read.run.read(0, steps=True)
    await soon(anext(reading))
    read.finish()
    growing.think(30)
    assert not read.forgotten
    assert len([data async for data in reading]) == 2
    growing.think()
    growing.run.evict()
    read.run.evict()
    assert memory.held == 0


async def test_one_chunk_stays_however_large_it_is() -> None:
    memory = RunMemory(10)
    desk = Desk(memory=memory)
    desk.think()
    assert memory.held == held_by(desk) > 10
    desk.finish()
    assert len(desk.run._chunks) == 1
    desk.run.evict()


async def test_what_comes_after_a_run_was_forgotten_counts_no_more() -> None:
    memory = RunMemory(1_000)
    desk = Desk(memory=memory)
    desk.think(2)
    desk.run.evict()
    desk.think(2)
    desk.finish()
    assert memory.held == 0
    desk.run.evict()
    assert memory.held == 0


# ------------------------------------------------------------------------------------------------- a durable store


def kinds(chunks: list[AgentExecutionChunk]) -> list[str | None]:
    return [chunk.WhichOneof("content") for chunk in chunks]


def stored(store: HeldStore) -> list[tuple[bytes, bool]]:
    """Lists the chunks that a store has, as a hub begins with them."""
    return [what[4:6] for what in store.done if what[0] == "chunk"]


async def test_a_reader_gets_a_chunk_when_it_is_stored_and_the_runtime_goes_on_meanwhile() -> None:
    store = HeldStore()
    desk = Desk(store=store)
    desk.run.begin()
    reading = asyncio.create_task(desk.read())
    desk.think(2)
    desk.finish()
    desk.run.fail(error_info(ValidationError("too late")))
    assert store.taken[0][0] == ("run", "s", StoredRun("mine", "agent", b"", 1.5))
    await turns()
    assert (desk.run.due, desk.run.ended, desk.run.over) == (0, True, False)
    store.store(3)
    await turns()
    assert (desk.run.due, desk.run.over) == (2, False)
    with pytest.raises(ValidationError, match="has 2 chunks so far"):
        await desk.read(3)
    settled = asyncio.create_task(desk.run.settled())
    await turns()
    assert not settled.done()
    store.store()
    await soon(settled)
    chunks = await soon(reading)
    assert kinds(chunks) == ["thought", "thought", "result"]
    assert [chunk.SerializeToString() for chunk in chunks] == [data for data, _ in stored(store)]
    desk.run.evict()
    assert store.names() == ["drop run"]


async def test_a_runtime_waits_while_too_much_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MAX_UNSTORED", 2), ("MAX_UNSTORED_BYTES", 150)):
        monkeypatch.setattr(runs, name, most)
        store = HeldStore()
        desk = Desk(store=store)
        desk.think(2)
        await soon(desk.run.room())
        desk.think()
        waiting = asyncio.create_task(desk.run.room())
        await turns()
        assert not waiting.done()
        store.store(1)
        await soon(waiting)
        monkeypatch.undo()
        desk.run.close()


async def test_a_chunk_that_cannot_be_stored_ends_the_run_with_one_error_in_memory() -> None:
    store, memory = HeldStore(), RunMemory(1_000_000)
    desk = Desk(store=store, memory=memory)
    desk.think(3)
    desk.finish()
    store.store(1)
    store.fail("the disk is full")
    chunks = await desk.read()
    assert kinds(chunks) == ["thought", "error"]
    assert [chunk.sequence for chunk in chunks] == [0, 1]
    error = error_from_info(chunks[1].error)
    assert "could not be stored (the disk is full)" in error.message
    assert (error.error_type, error.retryable) == ("RunInterrupted", False), "its tools may have had effects"
    assert isinstance(desk.call.cause, StoreError)
    assert (desk.run.over, desk.run.succeeded, desk.run.error_type) == (True, False, "RunInterrupted")
    assert desk.run.held == memory.held == held_by(desk)
    desk.run.fail(error_info(desk.call.cause))
    assert desk.run.due == 2
    assert not store.taken
    desk.run.evict()
    assert store.names() == ["drop run"]
    assert memory.held == 0


async def test_a_run_that_other_hubs_may_know_more_of_ends_once_its_end_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_writer, "RETRY_SECONDS", 0.01)
    store = HeldStore(is_shared=True)
    desk = Desk(store=store)
    desk.think(3)
    store.store(1)
    store.fail("NATS was not reached", outcome="unknown")
    assert isinstance(desk.call.cause, StoreError)
    reading = asyncio.create_task(desk.read())
    # It is known of the next tries that they changed nothing, and still not of the first.
    for text in ("NATS was not reached", "the stream has no leader"):
        await until(lambda: bool(store.taken))
        assert (desk.run.over, reading.done()) == (False, False)
        store.fail(text)
    await until(lambda: bool(store.taken))
    store.store()
    chunks = await soon(reading)
    assert kinds(chunks) == ["thought", "error"]
    assert [what[3] for what in store.done] == [0, 1]
    assert "could not be stored (NATS was not reached)" in chunks[1].error.message
    assert (desk.run.over, desk.run.error_type) == (True, "RunInterrupted")
    desk.run.evict()


async def test_a_run_that_is_not_known_to_be_stored_is_not_written_once_its_session_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_writer, "RETRY_SECONDS", 0)
    store = HeldStore(is_shared=True)
    desk = Desk(store=store)
    desk.think()
    store.fail("NATS was not reached", outcome="unknown")
    desk.run.close()
    await turns()
    assert not store.taken
    assert not desk.run.over
    assert desk.run.held == 0


async def test_an_error_that_cannot_be_stored_still_says_why_the_run_ended() -> None:
    store = HeldStore()
    desk = Desk(store=store)
    desk.think()
    desk.run.fail(error_info(CallCancelledError("it took too long")))
    store.store(1)
    store.fail()
    (_, last) = await desk.read()
    assert (last.error.type, last.error.message) == ("Cancelled", "it took too long")
    desk.run.evict()


async def test_a_run_that_could_not_begin_ends_in_memory_only() -> None:
    store = HeldStore()
    desk = Desk(store=store)
    desk.run.begin()
    assert desk.run.writer is not None
    beginning = asyncio.create_task(desk.run.writer.begun())
    await turns()
    store.fail("no")
    (failure,) = await asyncio.gather(beginning, return_exceptions=True)
    assert isinstance(failure, StoreError)
    desk.run.fail(error_info(failure))
    assert kinds(await desk.read()) == ["error"]
    assert not store.taken
    desk.run.evict()


async def test_chunks_that_give_way_are_dropped_in_the_store_too() -> None:
    store = HeldStore()
    desk = Desk(store=store, max_bytes=200)
    desk.think(6)
    store.store()
    await turns(1)
    (dropped,) = [what for what, _ in store.taken]
    assert dropped == ("drop chunks", "s", "mine", desk.run._first)
    assert desk.run._first > 1
    desk.run.evict()


async def test_what_is_on_its_way_counts_as_held() -> None:
    store, memory = HeldStore(), RunMemory(250)
    over, desk = Desk(memory=memory), Desk(store=store, memory=memory)
    over.finish()
    desk.think(4)
    assert memory.held > 250
    assert not over.forgotten
    store.store(1)
    assert over.forgotten
    store.store()
    assert memory.held == held_by(desk) <= 250
    desk.run.evict()
    assert memory.held == 0


async def test_a_run_whose_session_ends_gives_up_what_is_on_its_way_and_writes_no_more() -> None:
    store, memory = HeldStore(), RunMemory(1_000_000)
    desk = Desk(store=store, memory=memory)
    desk.think()
    store.store()
    reading = asyncio.create_task(desk.read())
    desk.finish()
    settled = asyncio.create_task(desk.run.settled())
    await turns()
    desk.run.close()
    await soon(settled)
    desk.run.fail(error_info(CallCancelledError("the session has ended")))
    assert kinds(await soon(reading)) == ["thought", "error"]
    assert store.names() == ["chunk"]
    store.store()
    assert (desk.run.due, memory.held) == (2, 0)


async def test_a_run_that_is_over_comes_back_as_it_was_for_its_ttl() -> None:
    store = HeldStore()
    before = Desk(store=store)
    before.think(2)
    before.finish()
    store.store()
    chunks = await before.read()
    before.run.close()
    after = Desk(store=store, is_restored=True, ttl=0.01)
    reading = after.run.read(1, steps=True)
    after.run.restore(0, stored(store))
    assert not store.taken
    assert (after.run.over, after.run.succeeded, after.run.is_evictable) == (True, True, True)
    # The reader stops the clock, which would end the run.
    assert [AgentExecutionChunk.FromString(data) async for data in reading] == chunks[1:]
    await until(lambda: after.forgotten == [after.run])
    assert store.names() == ["drop run"]


async def test_a_run_that_was_going_on_comes_back_and_ends_with_one_error_once_it_is_stored() -> None:
    store = HeldStore()
    before = Desk(store=store)
    before.think(2)
    store.store()
    before.run.close()
    kept = stored(store)
    after = Desk(store=store, is_restored=True)
    after.run.restore(0, kept)
    reading = asyncio.create_task(after.read(1))
    await turns()
    assert (after.run.due, after.run.over, reading.done()) == (2, False, False)
    after.run.cancel(CallCancelledError("nobody runs it"))
    store.store()
    chunks = await soon(reading)
    assert kinds(chunks) == ["thought", "error"]
    error = error_from_info(chunks[1].error)
    assert error.message.startswith("the hub ended while the run was going on")
    assert (error.error_type, error.retryable, error.details["outcome"]) == ("RunInterrupted", False, "unknown")
    after.run.close()
    # Another life adds nothing.
    third = Desk(store=store, is_restored=True)
    third.run.restore(0, stored(store))
    assert not store.taken
    assert (await third.read())[1:] == chunks
    assert (third.run.succeeded, third.run.error_type) == (False, "RunInterrupted")
    third.run.evict()


async def test_a_run_comes_back_from_its_first_kept_chunk_on_within_the_present_limits() -> None:
    store, memory = HeldStore(), RunMemory(1_000_000)
    kept = [(thought(number), False) for number in range(7, 10)]
    desk = Desk(store=store, is_restored=True, memory=memory, max_bytes=150)
    desk.run.restore(7, kept)
    store.store()
    assert desk.run.due == 11
    with pytest.raises(ValidationError, match=f"the oldest kept chunk is {desk.run._first}"):
        await desk.read(7)
    assert desk.run._first > 7
    await turns(1)
    assert store.names() == ["drop chunks"]
    assert memory.held == held_by(desk)
    desk.run.evict()


def held_by(desk: Desk) -> int:
    return sum(len(data) for data, _ in desk.run._chunks)
