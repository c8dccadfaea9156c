"""The chain of a session: changes are stored once and in order, or not at all, whatever NATS does."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.journal import chain, changes, pending
from grpc_tool_bridge.cluster.journal.appending import Appender
from grpc_tool_bridge.cluster.journal.chain import Chain
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.pending import PendingChange
from grpc_tool_bridge.cluster.journal.replay import image_of
from grpc_tool_bridge.cluster.sessions.taking import read_chain, take_chain
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.errors import AlreadyExistsError, StoreError, ToolBridgeError
from support.faulty_bus import DONE, LATE, REFUSED, UNHEARD, FaultyBus, no_second_try
from support.waiting import soon, turns, until

SETTINGS = Settings(watch_history=20)


class Owner:
    """A hub that owns one session.

    Attributes:
        is_certain: Whether it is certain of its lease.
        ended: With what its chains have ended.
    """

    def __init__(self, bus: FaultyBus, name: str, settings: Settings = SETTINGS) -> None:
        self.bus = bus
        self.is_certain = True
        self.ended: list[ToolBridgeError | None] = []
        self.appender = Appender(bus, name, lambda: self.is_certain, settings, CommitMetrics())  # type: ignore[arg-type]
        self.chain: Chain

    async def begin(self) -> None:
        """Begins the session "s"."""
        image = SessionImage(self.appender.settings, "s")
        self.chain = Chain(self.appender, image, token=1, on_end=self.end)
        await self.create()

    def create(self) -> PendingChange:
        return self.chain.submit(PendingChange(changes.create(StoredSession("s", 1.0, {"k": "v"}))))

    def end(self, chain: Chain, error: ToolBridgeError | None) -> None:
        self.ended.append(error)

    async def take(self) -> bool:
        """Takes the session "s" from whoever has it."""

        async def is_gone(owner: str) -> bool:
            return True

        found = await take_chain(self.appender, "s", is_gone=is_gone, on_end=self.end)
        if found is not None:
            self.chain = found
        return found is not None

    def set(self, name: str, revision: int, previous: int = 0, size: int = 1) -> PendingChange:
        """Sets a variable of the session."""
        value = AnyMessage(type_url="t", value=bytes([revision % 256]) * size)
        variable = Variable(name, value, "bytes", size, 1.0, 2.0, revision, size)
        return self.chain.submit(PendingChange(changes.set_variable(variable, previous, value)))

    def delete(self, name: str, revision: int, previous: int) -> PendingChange:
        change = Change("delete", name, None, revision, 3.0, 0, previous)
        return self.chain.submit(PendingChange(changes.delete_variable(change)))

    async def stored(self) -> SessionImage:
        """Returns what the chain says."""
        reader = await read_chain(self.bus, self.bus.names.session("s"))  # type: ignore[arg-type]
        return image_of("s", reader.bodies(), self.appender.settings)

    async def revisions(self) -> list[int]:
        """Returns the revisions of the session's variables, as they are stored."""
        image = await self.stored()
        assert image.to_stored() == self.chain.image.to_stored()
        return [variable.revision for variable in image.to_stored().variables]


@pytest.fixture
async def owner(bus: Bus) -> AsyncIterator[Owner]:
    owner = Owner(FaultyBus(bus), "one")
    await owner.begin()
    yield owner
    await owner.appender.tasks.aclose()


@pytest.fixture
async def other(owner: Owner) -> AsyncIterator[Owner]:
    other = Owner(owner.bus, "two")
    yield other
    await other.appender.tasks.aclose()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    no_second_try(monkeypatch)


async def error_of(write: PendingChange) -> ToolBridgeError:
    with pytest.raises(ToolBridgeError) as caught:
        await soon(write)
    return caught.value


async def test_changes_of_one_turn_go_into_one_record_and_those_that_come_meanwhile_into_the_next(owner: Owner) -> None:
    writes = [owner.set(f"x{number}", number) for number in range(1, 51)]
    await soon(writes[0])
    before = len(owner.bus.appended)
    more = [owner.set(f"y{number}", number) for number in range(51, 60)]
    await soon(asyncio.gather(*writes, *more))
    assert before == 2
    assert len(owner.bus.appended) == 3
    assert await owner.revisions() == list(range(1, 60))


async def test_what_comes_one_turn_after_several_changes_goes_into_their_record(owner: Owner) -> None:
    await soon(owner.set("x", 1))
    writes = [owner.set("x", 2, 1), owner.set("y", 3)]
    await asyncio.sleep(0)
    writes.append(owner.set("z", 4))
    await soon(asyncio.gather(*writes))
    assert len(owner.bus.appended) == 3
    assert await owner.revisions() == [2, 3, 4]


async def test_a_change_is_stored_before_it_is_answered_and_told_before_who_waits(owner: Owner) -> None:
    told: list[Any] = []
    variable = Variable("x", AnyMessage(), "t", 1, 1.0, 1.0, 7)
    write = owner.chain.submit(PendingChange(changes.set_variable(variable, 0, variable.value), settled=told.append))
    assert not write.is_settled
    await soon(write)
    assert told == [None]
    assert await owner.revisions() == [7]


async def on_its_way(owner: Owner, count: int) -> None:
    """Returns in the turn in which the message with this number is sent, and so before its answer can come."""
    async with asyncio.timeout(60):
        while len(owner.bus.appended) < count:  # noqa: ASYNC110 - a turn later would be too late
            await asyncio.sleep(0)


async def test_what_waits_is_sent_before_it_is_told_that_the_change_before_is_stored(owner: Owner) -> None:
    sent: list[tuple[str, int]] = []
    first = owner.set("x", 1)
    first.tell(lambda error: sent.append(("first", len(owner.bus.appended))))
    await on_its_way(owner, 2)
    second = owner.set("x", 2, 1)
    second.tell(lambda error: sent.append(("second", len(owner.bus.appended))))
    await soon(second)
    assert sent == [("first", 3), ("second", 3)]
    assert first.error is None
    assert await owner.revisions() == [2]


@pytest.mark.usefixtures("impatient")
async def test_a_change_that_is_stored_is_told_before_the_next_one_fails(owner: Owner) -> None:
    told: list[tuple[str, bool]] = []
    first = owner.set("x", 1)
    first.tell(lambda error: told.append(("first", error is None)))
    await on_its_way(owner, 2)
    owner.bus.fates.append(REFUSED)
    second = owner.set("x", 2, 1)
    second.tell(lambda error: told.append(("second", error is None)))
    await error_of(second)
    assert told == [("first", True), ("second", False)]
    assert await owner.revisions() == [1]


async def test_a_change_that_is_stored_is_told_so_though_the_session_is_lost_at_that_moment(owner: Owner) -> None:
    first = owner.set("x", 1)
    await on_its_way(owner, 2)
    second = owner.set("x", 2, 1)
    await on_its_way(owner, 3)
    owner.chain.lose(StoreError("another hub has it"))
    assert first.is_settled
    assert first.error is None
    await soon(second)


@pytest.mark.parametrize("fates", [[REFUSED], [UNHEARD], [LATE], [REFUSED, UNHEARD], [LATE, LATE, UNHEARD]])
async def test_a_change_waits_for_nats_and_is_stored_once(owner: Owner, fates: list[str]) -> None:
    owner.bus.fates.extend(fates)
    await soon(owner.set("x", 1))
    assert await owner.bus.arrive() == 0
    await soon(owner.set("y", 2))
    assert await owner.revisions() == [1, 2]
    assert owner.appender.failure == ""


async def test_a_change_that_arrives_late_is_found_and_not_stored_again(owner: Owner) -> None:
    owner.bus.fates.extend([LATE, REFUSED])
    write = owner.set("x", 1)
    await until(lambda: len(owner.bus.appended) == 3)
    assert await owner.bus.arrive() == 1
    await soon(write)
    image = await owner.stored()
    assert [change.revision for change in image.changes_after(0) or ()] == [1]


async def test_a_hub_that_is_not_certain_stores_nothing_until_it_is(owner: Owner) -> None:
    owner.is_certain = False
    write = owner.set("x", 1)
    tried = len(owner.bus.appended)
    await turns()
    assert len(owner.bus.appended) == tried
    assert not write.is_settled
    owner.is_certain = True
    owner.appender.changed.notify_all()
    await soon(write)
    assert await owner.revisions() == [1]


@pytest.mark.usefixtures("impatient")
async def test_what_waits_for_a_change_that_could_not_be_stored_fails_with_it_the_last_first(owner: Owner) -> None:
    owner.bus.fates.append(REFUSED)
    told: list[int] = []

    def settled(number: int) -> Callable[[ToolBridgeError | None], None]:
        return lambda error: told.append(number if error is not None else -number)

    writes = []
    for number in (1, 2, 3):
        variable = Variable("x", AnyMessage(), "t", 1, 1.0, 1.0, number)
        writes.append(
            PendingChange(changes.set_variable(variable, number - 1, variable.value), settled=settled(number))
        )
    owner.chain.submit(writes[0])
    owner.chain.submit(writes[1])
    await until(lambda: len(owner.bus.appended) == 2)
    owner.chain.submit(writes[2])
    errors = [await error_of(write) for write in writes]
    assert told == [3, 2, 1]
    assert all(isinstance(error, StoreError) and "nothing was changed" in error.message for error in errors)
    assert owner.appender.failure
    await soon(owner.set("x", 4))
    assert await owner.revisions() == [4]
    assert owner.appender.failure == ""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fate", [UNHEARD, LATE])
async def test_a_change_whose_caller_was_told_that_nobody_knows_does_not_count_after_all(
    owner: Owner, other: Owner, fate: str
) -> None:
    await soon(owner.set("x", 1))
    owner.bus.fates.append(fate)
    error = await error_of(owner.set("x", 2, 1))
    assert error.details == {"outcome": "unknown"}
    await owner.bus.arrive()
    # It is there until it is known that it is.
    assert [variable.revision for variable in (await owner.stored()).to_stored().variables] == [2]
    await soon(owner.set("y", 3))
    assert await owner.revisions() == [1, 3]
    assert await other.take()
    assert await other.revisions() == [1, 3]


@pytest.mark.usefixtures("impatient")
async def test_what_was_given_up_never_arrives_once_another_change_is_stored(owner: Owner) -> None:
    owner.bus.fates.extend([LATE])
    await error_of(owner.set("x", 1))
    await soon(owner.set("y", 2))
    assert await owner.bus.arrive() == 0
    assert await owner.revisions() == [2]


@pytest.mark.usefixtures("impatient")
async def test_of_many_that_were_given_up_the_one_that_is_stored_does_not_count(owner: Owner) -> None:
    owner.bus.fates.extend([LATE, LATE, UNHEARD])
    for number in (1, 2, 3):
        await error_of(owner.set("x", number))
    await soon(owner.set("y", 4))
    assert await owner.revisions() == [4]


@pytest.mark.usefixtures("impatient")
async def test_what_only_takes_away_is_tried_again_until_it_is_stored(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "RETRY_SECONDS", 0.01)
    beginning = owner.chain.submit(pending.PendingBeginning(pending.Beginning("k", b"d", again=False)))
    await soon(beginning)
    owner.bus.fates.extend([REFUSED, UNHEARD])
    await error_of(owner.chain.submit(pending.freed_call("k")))
    await until(lambda: owner.chain.image.call("k") is None)
    assert (await owner.stored()).call("k") is None


# ------------------------------------------------------------------------------------------------------- two hubs


async def test_who_uses_a_session_learns_that_it_has_moved_before_what_waits_for_it_fails(
    owner: Owner, other: Owner
) -> None:
    assert await other.take()
    ended_before: list[int] = []
    value = AnyMessage(type_url="t", value=b"x")
    for revision in (1, 2):
        variable = Variable("x", value, "bytes", 1, 1.0, 2.0, revision, 1)
        message = changes.set_variable(variable, 0, value)
        owner.chain.submit(PendingChange(message, settled=lambda _: ended_before.append(len(owner.ended))))
        # The first one is on its way when the second one comes.
        await turns()
    await until(lambda: len(ended_before) == 2)
    assert ended_before == [1, 1]


async def test_who_takes_a_session_has_all_of_it_and_its_former_owner_stores_nothing_more(
    owner: Owner, other: Owner
) -> None:
    await soon(owner.set("x", 1))
    assert await other.take()
    write, later = owner.set("x", 2, 1), owner.set("y", 3)
    assert "moved to another hub" in (await error_of(write)).message
    assert "moved to another hub" in (await error_of(later)).message
    assert [type(error) for error in owner.ended] == [StoreError]
    assert "moved" in (await error_of(owner.set("x", 4))).message
    await soon(other.set("x", 5, 1))
    assert await other.revisions() == [5]
    assert (owner.chain.token, other.chain.token) == (1, 2)


async def test_a_change_on_its_way_when_a_session_is_taken_is_either_taken_along_or_never_stored(
    owner: Owner, other: Owner
) -> None:
    owner.bus.fates.append(LATE)
    write = owner.set("x", 1)
    await until(lambda: len(owner.bus.appended) == 2)
    owner.bus.fates.extend([DONE])
    assert await other.take()
    assert await owner.bus.arrive() == 0
    assert (await error_of(write)).message
    assert await other.revisions() == []


async def test_of_two_that_take_a_session_at_once_one_writes(owner: Owner, other: Owner) -> None:
    third = Owner(owner.bus, "three")
    await soon(asyncio.gather(other.take(), third.take()))
    writes = [hub.set("x", number) for number, hub in enumerate((other, third), 1) if hasattr(hub, "chain")]
    outcomes = await soon(asyncio.gather(*writes, return_exceptions=True))
    assert outcomes.count(None) == 1
    await third.appender.tasks.aclose()


async def test_a_session_that_another_hub_has_cannot_begin(owner: Owner, other: Owner) -> None:
    image = SessionImage(SETTINGS, "s")
    other.chain = Chain(other.appender, image, token=1, on_end=other.end)
    with pytest.raises(AlreadyExistsError, match="'s' exists already"):
        await soon(other.create())
    await soon(owner.set("x", 1))
    assert await owner.revisions() == [1]


async def test_a_session_begins_again_with_nothing_after_its_end(owner: Owner, other: Owner) -> None:
    await soon(owner.set("x", 1))
    end = owner.chain.submit(PendingChange(changes.end("it was removed", 5.0)))
    late = owner.chain.submit(pending.freed_call("k"))
    refused = owner.set("x", 2, 1)
    await soon(end)
    await soon(late)
    assert "has ended" in (await error_of(refused)).message
    assert owner.ended == [None]
    assert not await other.take()
    assert (await owner.stored()).ended == "it was removed"
    await other.begin()
    assert await other.revisions() == []
    reader = await read_chain(owner.bus, owner.bus.names.session("s"))  # type: ignore[arg-type]
    assert reader.count == 1


@pytest.mark.usefixtures("impatient")
async def test_a_session_whose_end_is_stored_though_nobody_knew_has_ended(owner: Owner) -> None:
    owner.bus.fates.append(UNHEARD)
    error = await error_of(owner.chain.submit(PendingChange(changes.end("it was removed", 5.0))))
    assert error.details == {"outcome": "unknown"}
    assert (await error_of(owner.set("x", 1))).message
    assert (await owner.stored()).ended == "it was removed"
    assert len(owner.ended) == 1


# ------------------------------------------------------------------------------------------- long chains and parts


async def test_a_value_that_is_larger_than_a_message_is_in_several(owner: Owner, other: Owner) -> None:
    await soon(owner.set("x", 1, size=3_000_000))
    assert len(owner.bus.appended) == 5
    assert await other.take()
    assert await other.revisions() == [1]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fates", [[DONE, REFUSED], [DONE, LATE], [DONE, UNHEARD], [DONE, DONE, DONE, UNHEARD]])
async def test_a_value_of_which_a_part_could_not_be_stored_does_not_count(
    owner: Owner, other: Owner, fates: list[str]
) -> None:
    await soon(owner.set("x", 1))
    owner.bus.fates.extend(fates)
    await error_of(owner.set("x", 2, 1, size=3_000_000))
    await owner.bus.arrive()
    await soon(owner.set("y", 3))
    assert await owner.revisions() == [1, 3]
    assert await other.take()
    await soon(other.set("z", 4))
    assert await other.revisions() == [1, 3, 4]


async def test_a_long_chain_is_written_anew_and_its_beginning_is_removed(
    owner: Owner, other: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "LONG_COUNT", 20)
    for number in range(1, 61):
        await soon(owner.set(f"x{number % 3}", number, max(0, number - 3)))
    await until(lambda: bool(owner.bus.purged))
    await owner.chain.idle()
    await until(lambda: len(owner.appender.tasks) == 0)
    reader = await read_chain(owner.bus, owner.bus.names.session("s"))  # type: ignore[arg-type]
    assert reader.count <= 22
    assert await owner.revisions() == [58, 59, 60]
    assert await other.take()
    assert await other.revisions() == [58, 59, 60]
    assert [change.revision for change in other.chain.image.changes_after(40) or ()] == list(range(41, 61))
    assert other.chain.image.changes_after(39) is None


# ------------------------------------------------------------------------------------------------------ any order


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_what_was_answered_is_there_and_what_failed_is_not(
    bus: Bus, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(chain, "LONG_COUNT", rng.choice((5, 30, 1_000)))
    faulty = FaultyBus(bus)
    owner = Owner(faulty, "first")
    await owner.begin()
    expected: dict[str, int] = {}
    for revision in range(1, 80):
        faulty.fates.extend(rng.choices((DONE, REFUSED, UNHEARD, LATE), (12, 1, 1, 1), k=2))
        name = f"x{rng.randrange(4)}"
        if name in expected and rng.random() < 0.3:
            write = owner.delete(name, revision, expected[name])
            becomes = None
        else:
            write = owner.set(name, revision, expected.get(name, 0), size=rng.choice((1, 1, 1_000)))
            becomes = revision
        try:
            await soon(write)
        except StoreError:
            pass
        else:
            expected.pop(name, None)
            if becomes is not None:
                expected[name] = becomes
        if rng.random() < 0.1:
            await faulty.arrive()
        if rng.random() < 0.1:
            # What nobody knows of counts for who takes it now, so first it is made known.
            faulty.fates.clear()
            await soon(owner.chain.submit(pending.freed_call("k")))
            await soon(owner.set("known", 1_000 + revision))
            expected["known"] = 1_000 + revision
            former, owner = owner, Owner(faulty, f"after {revision}")
            assert await owner.take()
            await error_of(former.set("x0", 5_000))
            assert [type(error) for error in former.ended] == [StoreError]
    faulty.fates.clear()
    await soon(owner.set("known", 9_999))
    expected["known"] = 9_999
    assert await owner.revisions() == sorted(expected.values())
    await owner.appender.tasks.aclose()
