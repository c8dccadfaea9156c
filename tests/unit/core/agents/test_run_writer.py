"""What is written of a run, and in which order its readers are shown it."""

from typing import Any, cast

import pytest

from grpc_tool_bridge.core.agents.run_writer import RunWriter
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.stored import StoredRun
from grpc_tool_bridge.errors import StoreError
from support.waiting import turns
from unit.core.agents.held_store import HeldStore


class Desk:
    """A writer, and what it says."""

    def __init__(self) -> None:
        self.store = HeldStore()
        self.said: list[Any] = []
        self.writer = RunWriter(
            cast("DurableStore", self.store),
            "s",
            "mine",
            on_stored=lambda data, is_last: self.said.append((data, is_last)),
            on_failed=lambda error: self.said.append(error.message),
        )

    def add(self, *sequences: int) -> None:
        for sequence in sequences:
            self.writer.add(sequence, b"%d" % sequence, is_last=sequence == 9)


async def test_chunks_are_on_their_way_together_and_shown_in_order_when_they_are_stored() -> None:
    desk = Desk()
    desk.add(0, 1, 9)
    assert desk.store.names() == ["chunk"] * 3
    assert not desk.said
    desk.store.store(2)
    assert desk.said == [(b"0", False), (b"1", False)]
    desk.store.store()
    assert desk.said[2:] == [(b"9", True)]
    assert [what[3:] for what in desk.store.done] == [(0, b"0", False), (1, b"1", False), (9, b"9", True)]


async def test_a_chunk_that_cannot_be_stored_is_said_once_and_takes_those_after_it_along() -> None:
    desk = Desk()
    desk.add(0, 1, 2, 3)
    desk.store.store(1)
    desk.store.fail()
    assert desk.said == [(b"0", False), "the disk is full"]
    assert desk.writer.stopped
    desk.add(4)
    assert not desk.store.taken


async def test_a_failure_is_said_only_when_the_chunks_before_are_stored() -> None:
    desk = Desk()
    desk.add(0, 1, 2)
    # A store may find out before it has stored what came earlier.
    desk.store.taken.pop(1)[1].settle(StoreError("no"))
    assert (desk.said, desk.writer.stopped) == ([], False)
    desk.add(2)
    assert desk.store.names() == ["chunk"] * 2
    desk.store.store()
    assert desk.said == [(b"0", False), "no"]


async def test_a_store_that_refuses_at_once_is_said_to_have_failed() -> None:
    desk = Desk()
    desk.store.close()
    desk.add(0)
    assert desk.said == ["the store is closed"]


async def test_a_run_whose_beginning_cannot_be_stored_is_not_written_at_all() -> None:
    desk = Desk()
    run = StoredRun("mine", "agent", b"", 1.5)
    desk.writer.begin(run)
    assert [what for what, _ in desk.store.taken] == [("run", "s", run)]
    desk.store.fail()
    with pytest.raises(StoreError):
        await desk.writer.begun()
    assert desk.writer.stopped


async def test_chunks_that_are_dropped_in_one_turn_are_dropped_together() -> None:
    desk = Desk()
    for sequence in (1, 2, 3):
        desk.writer.drop_before(sequence)
    assert not desk.store.taken
    await turns(1)
    desk.writer.drop_before(4)
    await turns(1)
    assert [what for what, _ in desk.store.taken] == [("drop chunks", "s", "mine", 3), ("drop chunks", "s", "mine", 4)]


async def test_of_a_run_that_is_dropped_nothing_more_is_written_or_shown() -> None:
    desk = Desk()
    desk.add(0)
    desk.writer.drop_before(1)
    desk.writer.drop()
    await turns(2)
    desk.writer.drop_before(2)
    await turns(2)
    assert desk.store.names() == ["chunk", "drop run"]
    desk.store.store()
    assert not desk.said


async def test_what_is_settled_after_the_end_is_not_shown() -> None:
    for settle in (HeldStore.store, HeldStore.fail):
        desk = Desk()
        desk.add(0, 1)
        desk.writer.stop()
        settle(desk.store)
        assert not desk.said
