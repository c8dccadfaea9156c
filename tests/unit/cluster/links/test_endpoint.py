"""A dial over NATS: the two hubs prove that they are of one cluster, and nobody else gets a link."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.links import endpoint
from grpc_tool_bridge.cluster.links.endpoint import HubName, PeerEndpoint, PeerListener, PeerPrincipal
from grpc_tool_bridge.cluster.links.frames import NatsStream
from grpc_tool_bridge.cluster.links.mailbox import Mailbox
from grpc_tool_bridge.cluster.links.sealing import SECRET_BYTES, ClusterKey
from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError
from grpc_tool_bridge.link.status import Code, code_of
from support.waiting import soon, until
from unit.cluster.links.test_frames import Taken

KEY = ClusterKey(b"k" * SECRET_BYTES)
A, B = HubName("ia", "hub-a"), HubName("ib", "hub-b")


class Served:
    """What is served at the end that was dialled.

    Attributes:
        principals: Of the links.
        taken: What came over the last link.
        error: Ends each link as soon as its first frame came.
    """

    def __init__(self) -> None:
        self.principals: list[Any] = []
        self.taken = Taken()
        self.error: Exception | None = None

    async def serve(self, stream: Any, principal: Any) -> None:
        self.principals.append(principal)
        self.taken = taken = Taken()
        stream.attach(taken)
        if self.error is not None:
            raise self.error
        await until(lambda: taken.end != "not yet")
        if taken.end is not None:
            raise taken.end


# A function with attributes.
Dial = Any


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
async def dial(bus: Bus, served: Served) -> AsyncIterator[Dial]:
    """Dials "hub-b" from "hub-a"; the fixture's attributes are its parts."""
    async with AsyncExitStack() as stack:
        ours, theirs = (Mailbox(bus.nc, bus.names, hub.incarnation) for hub in (A, B))
        for mailbox in (ours, theirs):
            await mailbox.open()
            stack.push_async_callback(mailbox.aclose)
        refused: dict[str, str] = {}
        listener = PeerListener(theirs, KEY, B, served.serve, refusal=refused.get)
        stack.push_async_callback(listener.aclose)

        async def dial(*, key: ClusterKey = KEY, to: HubName = B) -> NatsStream:
            return await PeerEndpoint(ours, key, A, to).open().dial()

        made: Any = dial
        made.ours, made.theirs, made.listener, made.refused = ours, theirs, listener, refused
        yield made


async def test_the_hub_that_was_dialled_knows_who_it_is_and_frames_pass(dial: Dial, served: Served) -> None:
    stream = await soon(dial())
    taken = Taken()
    stream.attach(taken)
    stream.send(b"hello")
    await until(lambda: served.taken.frames)
    assert served.principals == [PeerPrincipal("hub:hub-a", method="hub", incarnation="ia")]
    assert served.taken.frames == [b"hello"]
    assert stream.peer == "hub:ib"
    stream.close()
    await until(lambda: served.taken.end is None)
    await until(lambda: not len(dial.listener))
    assert (len(dial.ours), len(dial.theirs)) == (0, 0)


async def test_the_reason_why_a_link_is_not_served_reaches_the_dialler(dial: Dial, served: Served) -> None:
    served.error = NotFoundError("not you")
    stream = await soon(dial())
    taken = Taken()
    stream.attach(taken)
    stream.send(b"hello")
    await until(lambda: taken.end is None)
    failure = await soon(stream.failure(None))
    assert isinstance(failure, NotFoundError)
    assert failure.message == "not you"


async def test_a_fault_is_logged_and_not_shown(dial: Dial, served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.error = LookupError("a secret")
    stream = await soon(dial())
    stream.attach(taken := Taken())
    stream.send(b"hello")
    await until(lambda: taken.end is None)
    failure = await soon(stream.failure(None))
    assert "a secret" not in failure.message
    assert "fault in a link" in caplog.text


async def test_hubs_of_other_secrets_tell_each_other_and_no_link_comes(
    dial: Dial, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ToolBridgeError, match="another cluster_secret") as caught:
        await soon(dial(key=ClusterKey(b"k" * SECRET_BYTES, b"another")))
    assert code_of(caught.value) is Code.UNAVAILABLE
    assert "a hub with another key tried to dial this hub" in caplog.text
    assert "hub hub-b has another key than this hub" in caplog.text
    assert dial.theirs.counts == {"forged": 1}
    assert not served.principals


async def test_a_hub_that_may_not_dial_is_told_why(dial: Dial) -> None:
    dial.refused["ia"] = "its lease is closed"
    with pytest.raises(ToolBridgeError, match="it refused the link: its lease is closed"):
        await soon(dial())


async def test_a_hub_that_does_not_listen_is_unavailable(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolBridgeError, match="nobody listens there"):
        await soon(dial(to=HubName("ic", "hub-c")))
    dial.listener.stop_listening()
    monkeypatch.setattr(endpoint, "DIAL_SECONDS", 0.05)
    with pytest.raises(ToolBridgeError, match="no answer in time"):
        await soon(dial())


async def greet(dial: Dial, *, key: ClusterKey = KEY, **more: Any) -> dict[str, Any]:
    """Sends a greeting, and returns the answer without its seal."""
    said = {"version": 1, "incarnation": "ia", "name": "n", "to": "ib", "token": "t"} | more
    greeting = json.dumps(said).encode()
    answer = await soon(
        dial.ours.request(dial.ours.subject("ib", "dial"), key.seal(b"greeting", greeting) + greeting, 5)
    )
    found: dict[str, Any] = json.loads(answer[16:])
    return found


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"version": 2}, "it speaks version 1 of links between hubs, not 2"),
        ({"to": "another"}, "not for this hub"),
        ({"token": "a.b"}, "not for this hub"),
        ({"token": "a b\r\nPUB x 0"}, "not for this hub"),
        ({"incarnation": ">"}, "not for this hub"),
        ({"incarnation": None}, "not for this hub"),
    ],
)
async def test_a_greeting_that_is_not_as_it_should_be_is_refused(dial: Dial, more: dict[str, Any], text: str) -> None:
    assert text in (await greet(dial, **more))["refused"]
    assert not len(dial.theirs)


async def test_what_is_no_greeting_is_dropped(dial: Dial, bus: Bus) -> None:
    subject = dial.theirs.subject("ib", "dial")
    await bus.nc.publish(subject, b"x" * 100)
    inbox = bus.nc.new_inbox()
    await bus.nc.publish(subject, b"short", reply=inbox)
    await bus.nc.publish(subject, b"x" * 10_000, reply=inbox)
    await until(lambda: dial.theirs.counts == {"malformed": 3})
    sealed = KEY.seal(b"greeting", b"[]") + b"[]"
    assert b"not for this hub" in await soon(dial.ours.request(subject, sealed, 5))


async def test_a_greeting_that_is_repeated_is_refused_and_drives_no_link_out(dial: Dial, served: Served) -> None:
    genuine = await soon(dial())
    await greet(dial)
    for _ in range(endpoint.MAX_UNCONFIRMED + 10):
        assert (await greet(dial))["refused"] == "the greeting was used before"
    assert len(dial.theirs) == 2
    genuine.attach(Taken())
    genuine.send(b"hello")
    await until(lambda: served.taken.frames == [b"hello"])


async def test_greetings_beyond_the_limit_are_forgotten(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_GREETED", 2)
    for token in ("a", "b", "c", "a"):
        assert "refused" not in await greet(dial, token=token)


async def test_of_many_greetings_without_a_message_the_oldest_links_are_dropped(dial: Dial, served: Served) -> None:
    stream = await soon(dial())
    stream.attach(Taken())
    stream.send(b"hello")
    await until(lambda: served.taken.frames)
    for number in range(endpoint.MAX_UNCONFIRMED + 10):
        await greet(dial, token=f"t{number}")
    assert len(dial.theirs) == endpoint.MAX_UNCONFIRMED + 1
    assert len(served.principals) == 1
    # The link that is there goes on.
    stream.send(b"on")
    await until(lambda: served.taken.frames == [b"hello", b"on"])


async def test_a_hub_that_dials_again_has_given_up_its_former_link(dial: Dial, served: Served) -> None:
    first = await soon(dial())
    first.attach(taken := Taken())
    first.send(b"one")
    await until(lambda: served.taken.frames == [b"one"])
    former = served.taken
    second = await soon(dial())
    assert former.end == "not yet"
    second.attach(Taken())
    second.send(b"two")
    await until(lambda: taken.end is None)
    assert "dialled again" in str(former.end)


async def test_closing_the_listener_ends_its_links(dial: Dial, served: Served) -> None:
    stream = await soon(dial())
    stream.attach(taken := Taken())
    stream.send(b"hello")
    await until(lambda: served.taken.frames)
    await soon(dial())
    await soon(dial.listener.aclose())
    await until(lambda: taken.end is None)
    assert not len(dial.theirs)


async def test_dials_at_once_have_links_of_their_own(dial: Dial) -> None:
    streams = await soon(asyncio.gather(*(dial() for _ in range(10))))
    assert len({stream.token for stream in streams}) == 10


async def test_nobody_can_have_a_hub_write_where_it_wants_by_a_greeting(dial: Dial, bus: Bus) -> None:
    victims = [bus.names.session("s"), bus.names.hub("ia"), bus.names.fact("epoch"), dial.ours.subject("ia", "dial")]
    for victim in [*victims, "$JS.API.INFO", "elsewhere"]:
        await bus.nc.publish(dial.theirs.subject("ib", "dial"), b"x" * 100, reply=victim)
    await until(lambda: dial.theirs.counts["malformed"] == len(victims) + 2)
    await bus.nc.flush()
    assert [await bus.last(victim) for victim in victims[:3]] == [None, None, None]


async def test_a_flood_of_forged_greetings_is_not_answered_and_keeps_no_hub_out(
    dial: Dial, served: Served, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "MAX_REFUSED", 3)
    monkeypatch.setattr(endpoint, "REFUSING_SECONDS", 1e9)
    inbox, answers = bus.nc.new_inbox(), []

    async def take(message: Any) -> None:
        answers.append(message.data)

    await bus.nc.subscribe(inbox, cb=take)
    for _ in range(500):
        await bus.nc.publish(dial.theirs.subject("ib", "dial"), b"x" * 100, reply=inbox)
    stream = await soon(dial())
    stream.attach(Taken())
    stream.send(b"hello")
    await until(lambda: served.taken.frames == [b"hello"])
    assert dial.theirs.counts["forged"] == 500
    await bus.nc.flush()
    assert len(answers) == 3
