"""The book of hubs: who is there, and who may be given up, by nobody who could not know."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.members.hub_record import HubRecord
from grpc_tool_bridge.cluster.members.lease import TERMS, Lease
from grpc_tool_bridge.cluster.members.leases import Leases
from support.buses import open_bus
from support.nats_nodes import NatsNode, one_node, three_nodes
from support.waiting import soon, until


class Hub:
    """A lease and a book over a bus of its own, and what the book told."""

    def __init__(self, bus: Bus) -> None:
        self.bus, self.lease = bus, Lease(bus)
        self.book = Leases(bus, self.lease)
        self.told: list[tuple[str, str]] = []
        self.lost: list[str] = []
        self.book.on_change(lambda record, change: self.told.append((record.name, str(change))))
        self.lease.on_lost(self.lost.append)

    @property
    def names(self) -> list[str]:
        return [record.name for record in self.book.hubs()]

    async def stop_renewing(self) -> str:
        """Goes silent as a hub does that was killed; returns its incarnation."""
        await self.lease._tasks.aclose()
        return self.lease.incarnation


@asynccontextmanager
async def hubs(url: str, *names: str, cluster: str = "c") -> AsyncIterator[list[Hub]]:
    """Runs some hubs' leases and books, one cluster of its own per node."""
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            hub = Hub(await stack.enter_async_context(aclosing(await open_bus(url, cluster))))
            await hub.book.open()
            stack.push_async_callback(hub.lease.close)
            stack.push_async_callback(hub.book.aclose)
            await hub.lease.begin(name=name)
            found.append(hub)
        await until(lambda: all(hub.names == sorted(names) for hub in found), "for all to know all")
        yield found


async def test_a_hub_that_joins_and_one_that_stops_are_told_to_all_and_a_renewal_to_nobody(node: NatsNode) -> None:
    async with hubs(node.url, "a", "b", cluster="join") as (a, b):
        renewals = a.lease.renewals
        await until(lambda: a.lease.renewals > renewals + 1)
        assert (b.names, ("a", "changed") in b.told) == (["a", "b"], False)
        await a.lease.update(address="127.0.0.1:1", room=7)
        await until(lambda: ("a", "changed") in b.told)
        found = b.book.get(a.lease.incarnation)
        assert found is not None
        assert (found.address, found.room, found.name) == ("127.0.0.1:1", 7, "a")
        await a.lease.close()
        await until(lambda: ("a", "closed") in b.told)
        assert b.names == ["b"]
        closed = b.book.get(a.lease.incarnation)
        assert closed is not None
        assert closed.closed == "the hub has stopped"


async def test_a_hub_that_has_gone_silent_is_closed_by_another_and_can_never_renew_again(node: NatsNode) -> None:
    async with hubs(node.url, "a", "b", "c", cluster="dead") as (a, b, c):
        gone = await a.stop_renewing()
        await until(lambda: all(("a", "closed") in hub.told for hub in (b, c)))
        assert not a.lease.is_certain()
        # As one does that was stopped, and goes on.
        renewing = asyncio.ensure_future(a.lease._renew_always())
        await soon(renewing)
        assert len(a.lost) == 1
        assert "no longer renewed its lease" in a.lost[0]
        assert (await a.lease.begin()).incarnation != gone
        await until(lambda: b.names == ["a", "b", "c"])


async def test_a_hub_that_renews_is_not_closed_by_a_judge_whose_watch_is_silent(node: NatsNode) -> None:
    async with hubs(node.url, "a", "b", cluster="silent") as (a, b):
        assert a.book._watch is not None
        # As when the node of its consumer was killed: it stays there and nothing comes.
        silenced = a.book._watch
        silenced._take = lambda _: None
        await until(lambda: a.book.remade == 1 and a.book._watch is not None, "for another watch")
        assert a.book._watch is not silenced
        renewals = b.lease.renewals
        await until(lambda: b.lease.renewals > renewals + 5)
        assert (b.lost, a.names) == ([], ["a", "b"])


@asynccontextmanager
async def judge_of_a_silent_hub(bus: Bus) -> AsyncIterator[tuple[Leases, Lease]]:
    """A book that nothing looks after, and a hub in it that has been silent for long."""
    own, silent = Lease(bus), Lease(bus)
    book = Leases(bus, own)
    await own.begin(name="judge")
    await silent.begin(name="silent")
    await silent._tasks.aclose()
    await book._read()
    book._seen[silent.incarnation] = book._hearing_since = clock.now() - 100
    try:
        yield book, silent
    finally:
        await own.close()


async def test_who_hears_its_own_renewals_closes_a_hub_that_is_silent(bus: Bus) -> None:
    async with judge_of_a_silent_hub(bus) as (book, silent):
        await book.close_dead()
        assert [record.name for record in book.hubs()] == ["judge"]
        found = await book.find(silent.incarnation)
        assert found is not None
        assert "so hub judge has closed it" in found.closed


async def test_who_does_not_hear_its_own_renewals_closes_nobody(bus: Bus) -> None:
    async with judge_of_a_silent_hub(bus) as (book, _):
        book._heard_at = clock.now() - TERMS.term
        await book.close_dead()
        assert [record.name for record in book.hubs()] == ["judge", "silent"]


async def test_who_did_not_hear_its_own_renewals_for_a_while_gives_the_others_time_anew(bus: Bus) -> None:
    async with judge_of_a_silent_hub(bus) as (book, _):
        book._heard_at = clock.now() - TERMS.term
        book._hear()
        await book.close_dead()
        assert [record.name for record in book.hubs()] == ["judge", "silent"]


async def test_who_is_not_certain_of_its_own_lease_closes_nobody(bus: Bus) -> None:
    async with judge_of_a_silent_hub(bus) as (book, _):
        await book._lease._tasks.aclose()
        book._lease._certain_until = 0.0
        await book.close_dead()
        assert [record.name for record in book.hubs()] == ["judge", "silent"]


async def test_a_hub_that_was_renewed_just_before_is_not_closed_by_who_did_not_hear_of_it(node: NatsNode) -> None:
    async with hubs(node.url, "a", "b", cluster="just") as (a, b):
        known = a.book._hubs[b.lease.incarnation]
        renewals = b.lease.renewals
        await until(lambda: b.lease.renewals > renewals + 1)
        await a.book._close(known)
        assert b.lost == []
        assert a.names == ["a", "b"]


async def test_a_lease_that_is_not_in_the_book_is_found_or_was_closed_long_ago(node: NatsNode) -> None:
    async with hubs(node.url, "a", cluster="find") as (a,), aclosing(await open_bus(node.url, "find")) as other:
        lease = Lease(other)
        book = Leases(a.bus, a.lease)
        await lease.begin(name="new")
        found = await book.find(lease.incarnation)
        assert found is not None
        assert (found.name, found.closed) == ("new", "")
        assert await book.find("0" * 20) is None
        await lease.close()


async def test_a_lease_of_a_newer_format_is_a_hub_of_which_little_is_known(node: NatsNode) -> None:
    async with hubs(node.url, "a", cluster="newer") as (a,):
        subject = a.bus.names.hub("n" * 20)
        at = await a.bus.append(subject, b'{"format": 99, "name": 5}', last=0)
        await until(lambda: a.book.get("n" * 20) is not None)
        found = a.book.get("n" * 20)
        assert found == HubRecord("n" * 20, sequence=at, is_newer=True)


async def test_nobody_is_closed_by_an_outage_in_which_nobody_could_renew() -> None:
    with one_node() as node:
        async with hubs(node.url, "a", "b", "c") as found:
            lives = [hub.lease.incarnation for hub in found]
            node.pause()
            await until(lambda: not any(hub.lease.is_certain() for hub in found), "for all to be uncertain")
            # Well beyond the time in which a silent hub is closed.
            end = clock.now() + 3
            await until(lambda: clock.now() > end)
            node.resume()
            await until(lambda: all(hub.lease.is_certain() for hub in found), "for all to be certain")
            renewals = found[0].lease.renewals
            await until(lambda: found[0].lease.renewals > renewals + 5)
            assert [hub.lease.incarnation for hub in found] == lives
            assert [hub.lost for hub in found] == [[], [], []]
            assert all(hub.names == ["a", "b", "c"] for hub in found)


async def test_hubs_keep_their_leases_over_a_restart_of_their_only_node() -> None:
    with one_node() as node:
        async with hubs(node.url, "a", "b") as (a, b):
            node.kill()
            await until(lambda: not a.lease.is_certain() and not b.lease.is_certain())
            await node.restart()
            await until(lambda: a.lease.is_certain() and b.lease.is_certain())
            renewals = a.lease.renewals
            await until(lambda: a.lease.renewals > renewals + 5)
            assert (a.lost, b.lost) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_nobody_is_closed_when_the_streams_leader_is_gone_and_the_watch_of_each_comes_back(how: str) -> None:
    with three_nodes() as nodes:
        async with hubs(nodes.url, "a", "b", "c") as found:
            leader = await nodes.leader(found[0].bus.names.stream)
            # None is connected to it: who is, is cut off for longer than the others wait.
            others = [node for node in nodes if node is not leader]
            for hub in found:
                hub.bus.nc.set_server_pool([node.url for node in others])
                if hub.bus.nc.connected_url is None or hub.bus.nc.connected_url.port == leader.port:
                    await hub.bus.nc.force_reconnect()
            await until(lambda: all(hub.bus.is_connected for hub in found))
            getattr(leader, how)()
            await until(lambda: not any(hub.lease.is_certain() for hub in found), "for all to be uncertain")
            await until(lambda: all(hub.lease.is_certain() for hub in found), "for all to be certain")
            renewals = found[0].lease.renewals
            await until(lambda: found[0].lease.renewals > renewals + 8)
            assert [hub.lost for hub in found] == [[], [], []]
            await found[0].lease.update(address="here")
            for hub in found[1:]:
                await until(lambda hub=hub: ("a", "changed") in hub.told)  # type: ignore[misc]


async def put(bus: Bus, incarnation: str, data: bytes) -> None:
    await bus.nc.request(f"{bus.names.cluster}.h.{incarnation}", data)


async def test_leases_that_no_hub_has_written_disturb_nobody_and_are_closed(node: NatsNode) -> None:
    async with hubs(node.url, "a", "b", cluster="garbage") as (a, b):
        absurd = b'{"format": 1, "name": "x\\u001b[2J", "room": 1e999, "reserved": ' + b"9" * 30 + b"}"
        for number, data in enumerate((b"", b"\xff", b"[" * 100_000, absurd, b"x" * 1_000_000, b'{"format": 99}')):
            await put(a.bus, f"fake{number}", data)
        await put(a.bus, "\x1b[2J", b"{}")
        await until(lambda: all(len(hub.book._closed) == 6 for hub in (a, b)), "for all to be closed")
        assert (a.names, b.names, a.lost, b.lost) == (["a", "b"], ["a", "b"], [], [])


async def test_what_is_written_to_a_closed_lease_does_not_bring_its_hub_back(node: NatsNode) -> None:
    async with hubs(node.url, "a", "b", cluster="closed") as (a, b):
        gone = b.lease.incarnation
        await b.lease.close()
        await until(lambda: ("b", "closed") in a.told)
        await put(a.bus, gone, HubRecord(gone, "b").encoded())
        await put(a.bus, "after", HubRecord("after", "after").encoded())
        await until(lambda: ("after", "joined") in a.told)
        found = a.book.get(gone)
        assert found is not None
        assert found.closed
        assert [state for name, state in a.told if name == "b"].count("joined") == 1


async def test_whoever_is_told_of_hubs_cannot_end_the_watch_by_a_fault(
    node: NatsNode, caplog: pytest.LogCaptureFixture
) -> None:
    async with hubs(node.url, "a", cluster="fault") as (a,):

        def fails(record: HubRecord, change: str) -> None:
            raise LookupError(record.name + change)

        a.book.on_change(fails)
        a.book.on_change(lambda record, change: a.told.append((f"after {record.name}", str(change))))
        await put(a.bus, "fake", HubRecord("fake", "fake").encoded())
        await until(lambda: ("after fake", "closed") in a.told)
        assert "who is told of hubs has a fault" in caplog.text
