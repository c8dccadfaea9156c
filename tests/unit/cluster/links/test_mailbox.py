"""The messages of a hub's links over a real NATS server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from nats.errors import NoRespondersError

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.links import mailbox as module
from grpc_tool_bridge.cluster.links.frames import LinkLostError, NatsStream
from grpc_tool_bridge.cluster.links.mailbox import Mailbox
from grpc_tool_bridge.cluster.links.sealing import SECRET_BYTES, ClusterKey
from grpc_tool_bridge.cluster.names import Names
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.link.socket import MAX_FRAME_BYTES
from grpc_tool_bridge.link.status import Code, code_of
from support.buses import open_bus
from support.nats_nodes import one_node
from support.patience import PATIENCE
from support.waiting import soon, turns, until
from unit.cluster.links.test_frames import Taken

KEY = ClusterKey(b"k" * SECRET_BYTES)


def add(mailbox: Mailbox, token: str, there: str, *, accepted: bool, incarnation: str = "other") -> tuple[Any, Taken]:
    stream = NatsStream(
        mailbox,
        mailbox.subject(mailbox.incarnation, there),
        KEY.link_seals(b"g", b"a", dialler=not accepted),
        token=token,
        incarnation=incarnation,
        peer="p",
        accepted=accepted,
    )
    taken = Taken()
    stream.attach(taken)
    mailbox.add(stream)
    return stream, taken


@pytest.fixture
async def mailbox(bus: Bus) -> AsyncIterator[Mailbox]:
    mailbox = Mailbox(bus.nc, bus.names, "me")
    bus.on_state(mailbox.on_state)
    await soon(mailbox.open())
    async with aclosing(mailbox):
        yield mailbox


async def test_each_link_gets_its_own_messages_in_order(mailbox: Mailbox) -> None:
    pairs = [
        (add(mailbox, f"a{n}", f"b{n}", accepted=False), add(mailbox, f"b{n}", f"a{n}", accepted=True))
        for n in range(3)
    ]
    for number in range(100):
        for (ours, _), _ in pairs:
            ours.send(b"%d" % number)
    for _, (_, taken) in pairs:
        await until(partial(lambda taken: len(taken.frames) == 100, taken))
        assert taken.frames == [b"%d" % number for number in range(100)]
    assert not mailbox.counts


async def test_what_is_foreign_is_counted_and_said_and_does_no_harm(
    mailbox: Mailbox, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    (ours, _), (_, taken) = add(mailbox, "a", "b", accepted=False), add(mailbox, "b", "a", accepted=True)
    with caplog.at_level(logging.WARNING):
        await bus.nc.publish(mailbox.subject("me", "b"), b"x" * 100)
        await bus.nc.publish(mailbox.subject("me", "b"), b"short")
        await bus.nc.publish(mailbox.subject("me", "nobody"), b"x" * 100)
        await bus.nc.publish(mailbox.subject("me", "dial"), b"x" * 100)
        ours.send(b"genuine")
        await until(lambda: taken.frames)
    assert taken.frames == [b"genuine"]
    assert mailbox.counts == {"forged": 1, "malformed": 1, "unknown": 2}
    assert "was not sealed by a hub of its cluster" in caplog.text


async def test_a_flood_of_one_link_waits_for_nats_and_all_of_it_arrives(
    mailbox: Mailbox, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HIGH_BYTES", 100_000)
    # As if the socket were always full.
    monkeypatch.setattr(bus.nc, "_socket", None)
    monkeypatch.setattr(bus.nc, "_free_writer", lambda: None)
    (ours, sender), (_, taken) = add(mailbox, "a", "b", accepted=False), add(mailbox, "b", "a", accepted=True)
    was_full = False
    for _ in range(200):
        await until(lambda: ours.is_writable)
        ours.send(b"x" * MAX_FRAME_BYTES)
        was_full = was_full or mailbox.is_full
    await until(lambda: len(taken.frames) == 200)
    assert was_full
    assert sender.rooms
    assert not mailbox.counts


async def test_all_links_end_with_the_connection_and_the_peers_are_told_when_it_is_back(
    mailbox: Mailbox, bus: Bus
) -> None:
    (ours, taken), (theirs, _) = add(mailbox, "a", "b", accepted=False), add(mailbox, "b", "a", accepted=True)
    told: list[str] = []

    async def note(message: Any) -> None:
        told.append(message.subject)

    await bus.nc.subscribe(mailbox.subject("me", "*"), cb=note)
    mailbox._nc = Disconnected()
    mailbox.on_state(False)
    assert str(taken.end) == "its connection to NATS was lost"
    assert (len(mailbox), mailbox.counts["disconnected"]) == (0, 2)
    with pytest.raises(LinkLostError, match="not connected to NATS"):
        mailbox.post("x", b"")
    mailbox._nc = bus.nc
    mailbox.on_state(True)
    await until(lambda: len(told) == 2)
    assert set(told) == {mailbox.subject("me", "a"), mailbox.subject("me", "b")}
    assert not (ours.is_writable)
    assert not (theirs.is_writable)


class Disconnected:
    """A connection that is lost."""

    is_connected = False
    max_payload = 1_000_000


class Broken(Disconnected):
    """A connection that was lost unnoticed."""

    is_connected = True

    def post(self, subject: str, message: bytes) -> None:
        raise ConnectionResetError


async def test_a_connection_that_was_lost_unnoticed_loses_the_link(mailbox: Mailbox, bus: Bus) -> None:
    ours, taken = add(mailbox, "a", "b", accepted=False)
    mailbox._nc = Broken()
    ours.send(b"x")
    assert str(taken.end) == "this hub is not connected to NATS (ConnectionResetError)"
    mailbox._nc = bus.nc


class Slow:
    """A connection whose socket does not take more."""

    is_connected = True
    max_payload = 1_000_000
    pending_data_size = module.HIGH_BYTES + 1

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.published: list[bytes] = []

    def post(self, subject: str, message: bytes) -> None:
        self.published.append(message)

    async def flush(self, timeout: float) -> None:
        await self.go.wait()


async def test_a_write_that_waits_for_the_socket_stops_all_links_until_it_has_ended(mailbox: Mailbox, bus: Bus) -> None:
    slow = Slow()
    mailbox._nc = slow
    (ours, taken), (other, _) = add(mailbox, "a", "b", accepted=False), add(mailbox, "c", "d", accepted=False)
    ours.send(b"one")
    assert len(slow.published) == 1
    assert (mailbox.is_full, ours.is_writable, other.is_writable) == (True, False, False)
    slow.go.set()
    await until(lambda: not mailbox.is_full)
    assert (ours.is_writable, other.is_writable, taken.rooms) == (True, True, 1)
    mailbox._nc = bus.nc


async def test_beats_come_by_themselves(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, _ = add(mailbox, "a", "b", accepted=False)
    beaten = asyncio.Event()
    monkeypatch.setattr(stream, "beat", beaten.set)
    await soon(beaten.wait())
    beaten.clear()
    await soon(beaten.wait())


async def test_the_links_of_one_hub_end_and_the_others_go_on(mailbox: Mailbox) -> None:
    _, gone = add(mailbox, "a", "b", accepted=False, incarnation="x")
    _, stays = add(mailbox, "c", "d", accepted=False, incarnation="y")
    mailbox.end_links("x", "it is gone")
    assert str(gone.end) == "it is gone"
    assert stays.end == "not yet"
    older, newer = (add(mailbox, token, "t", accepted=True, incarnation="y") for token in ("e", "f"))
    mailbox.end_older(newer[0])
    assert str(older[1].end) == "the other hub has dialled again"
    assert newer[1].end == stays.end == "not yet"


async def test_a_request_that_nobody_answers_says_so(mailbox: Mailbox, bus: Bus) -> None:
    with pytest.raises(ToolBridgeError, match="nobody listens there") as caught:
        await soon(mailbox.request(mailbox.subject("nobody", "dial"), b"x", 5))
    assert code_of(caught.value) is Code.UNAVAILABLE
    with pytest.raises(ToolBridgeError, match="there was no answer in time"):
        await soon(mailbox.request(mailbox.subject("me", "dial"), b"x", 0.05))
    mailbox._nc = Disconnected()
    with pytest.raises(ToolBridgeError, match="not connected"):
        await soon(mailbox.request("x", b"x", 5))
    mailbox._nc = bus.nc


async def test_a_server_of_small_messages_is_refused_and_one_of_64_kib_will_do() -> None:
    with one_node("max_payload: 64KB") as node:
        async with aclosing(await open_bus(node.url)) as bus:
            mailbox = Mailbox(bus.nc, bus.names, "me")
            await soon(mailbox.open())
            (ours, _), (_, taken) = add(mailbox, "a", "b", accepted=False), add(mailbox, "b", "a", accepted=True)
            ours.send(b"x" * MAX_FRAME_BYTES)
            await until(lambda: taken.frames)
            assert taken.frames == [b"x" * MAX_FRAME_BYTES]
            assert len(taken.partial) > 16
            await mailbox.aclose()

    class Small(Disconnected):
        max_payload = 100

    with pytest.raises(StoreError, match="carries messages of at most 100 bytes; set its max_payload"):
        await Mailbox(Small(), bus.names, "me").open()


async def test_a_closed_mailbox_receives_nothing_and_its_links_have_ended(mailbox: Mailbox, bus: Bus) -> None:
    _, taken = add(mailbox, "a", "b", accepted=False)
    await soon(mailbox.aclose())
    assert str(taken.end) == "the hub has closed its links"
    with pytest.raises(ToolBridgeError, match="nobody listens there"):
        await soon(Mailbox(bus.nc, bus.names, "you").request(mailbox.subject("me", "dial"), b"x", 5))


@pytest.mark.parametrize("error", [None, NoRespondersError()])
async def test_a_request_that_is_cancelled_as_its_answer_comes_is_cancelled(error: Exception | None) -> None:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def request(*_: object, timeout: float) -> Any:
        # As the library does.
        return await asyncio.wait_for(answer, timeout)

    connected: Any = SimpleNamespace(is_connected=True, request=request)
    box = Mailbox(connected, Names("t"), "a")
    asking = asyncio.ensure_future(box.request("t.l.b.dial", b"", PATIENCE))
    await turns()
    if error is None:
        answer.set_result(SimpleNamespace(data=b"yes"))
    else:
        answer.set_exception(error)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
