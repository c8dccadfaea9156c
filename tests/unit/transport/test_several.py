"""Ways to several hubs: which one is dialled next, when there is a pause, and what is said when none serves."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, ToolCommunicationError, UnavailableError
from grpc_tool_bridge.link.keepalive import KeepAlive
from grpc_tool_bridge.link.status import Code, code_of, link_error
from grpc_tool_bridge.link.streams import Dialable, FrameStream, PushStream
from grpc_tool_bridge.transport.several import MAX_REASON_CHARS, SeveralEndpoints, SeveralWays, in_vain
from support.waiting import soon
from unit.link.fakes import FakeStream

REFUSED = link_error(Code.UNAVAILABLE, "Connection refused")
USUAL = KeepAlive(5.0, 3.0)
TOKEN = AccessError("the token is wrong", error_type="Unauthenticated")


class FakePushStream(PushStream):
    """A stream that nobody reads."""


class Way(Dialable):
    """A way to a hub, as the test says."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.silent = False
        self.otherwise = False
        self.dialled = 0
        self.closed: list[bool] = []
        self.stream: FrameStream | PushStream = FakeStream()

    def open(self) -> "Way":
        return self

    async def dial(self) -> FrameStream | PushStream:
        self.dialled += 1
        if self.silent:
            await asyncio.Event().wait()
        return self.stream

    def dial_otherwise(self, error: ToolBridgeError) -> bool:
        del error
        otherwise, self.otherwise = self.otherwise, False
        return otherwise

    def plain_calls(self, tasks: Any) -> Any:
        return self.where, tasks

    async def close(self, *, stranded: bool = False) -> None:
        self.closed.append(stranded)


def made(*names: str, keepalive: KeepAlive = USUAL) -> tuple[SeveralWays, dict[str, Way]]:
    ways = [Way(name) for name in names]
    return SeveralEndpoints(ways, keepalive).open(), {way.where: way for way in ways}


async def test_the_first_is_dialled_first_and_others_in_their_order_until_each_was() -> None:
    several, ways = made("a", "b", "c")
    assert several.where == "a"
    await several.dial()
    assert several.dial_otherwise(REFUSED)
    assert several.where == "b"
    assert several.dial_otherwise(REFUSED)
    await several.dial()
    assert [way.dialled for way in ways.values()] == [1, 0, 1]
    # A pause comes, and the next round begins at the first.
    assert not several.dial_otherwise(REFUSED)
    assert several.where == "a"
    assert several.dial_otherwise(REFUSED)


async def test_a_hub_is_dialled_otherwise_before_the_next_one() -> None:
    several, ways = made("a", "b")
    ways["a"].otherwise = True
    assert several.dial_otherwise(REFUSED)
    assert several.where == "a"
    assert several.dial_otherwise(REFUSED)
    assert several.where == "b"


async def test_a_hub_that_has_used_up_its_time_is_not_dialled_otherwise() -> None:
    several, ways = made("a", "b", keepalive=KeepAlive(5.0, 0.01))
    ways["a"].otherwise = ways["a"].silent = True
    with pytest.raises(ToolCommunicationError):
        await soon(several.dial())
    assert several.dial_otherwise(REFUSED)
    assert several.where == "b"


async def test_a_hub_that_does_not_support_links_gets_plain_rpcs() -> None:
    several, _ = made("a", "b")
    assert several.dial_otherwise(REFUSED)
    assert not several.dial_otherwise(link_error(Code.UNIMPLEMENTED, "no such method"))
    tasks = TaskSet()
    assert several.plain_calls(tasks) == ("b", tasks)
    assert several.sum_up(REFUSED) is REFUSED


async def test_after_a_link_that_lasted_each_of_the_others_is_dialled_at_once() -> None:
    several, _ = made("a", "b", "c")
    assert several.move_on(REFUSED, stable=True)
    assert several.where == "b"
    assert several.dial_otherwise(REFUSED)
    assert not several.dial_otherwise(REFUSED)
    assert several.where == "a"


async def test_hubs_that_take_links_only_to_end_them_are_dialled_with_pauses() -> None:
    several, _ = made("a", "b")
    assert [several.move_on(REFUSED, stable=False) for _ in range(6)] == [True, False] * 3
    assert [several.move_on(REFUSED, stable=True) for _ in range(4)] == [True] * 4


async def test_a_hub_that_does_not_answer_is_given_longer_after_each_round_in_vain() -> None:
    several, ways = made("a", "b", keepalive=KeepAlive(5.0, 0.01))
    said = []
    for way in ways.values():
        way.silent = True
    for _ in range(4):
        with pytest.raises(ToolCommunicationError) as caught:
            await soon(several.dial())
        said.append(caught.value.message)
        several.dial_otherwise(caught.value)
    assert said == ["nobody answered within 0.01 s"] * 2 + ["nobody answered within 0.02 s"] * 2


async def test_a_silent_hub_is_noticed_soon_and_over_grpc_a_little_later() -> None:
    several, ways = made("a", "b")
    assert (await several.dial()).keepalive == KeepAlive(5.0, 20.0)
    ways["a"].stream = FakePushStream()  # type: ignore[abstract]  # nothing is sent
    stream = await several.dial()
    assert (stream.keepalive, stream.greeting_seconds) == (KeepAlive(5.0, 3.0), 3.0)


async def test_every_way_is_closed() -> None:
    several, ways = made("a", "b")
    await several.close(stranded=True)
    assert [way.closed for way in ways.values()] == [[True], [True]]


async def test_a_round_in_vain_says_why_each_hub_does_not_serve() -> None:
    several, _ = made("a:1", "b:2")
    assert several.dial_otherwise(REFUSED)
    assert not several.dial_otherwise(TOKEN)
    error = several.sum_up(TOKEN)
    assert error.message == "none of the 2 hubs serves: a:1: Connection refused; b:2: the token is wrong"
    # It was said once; the next round has reasons of its own.
    assert several.sum_up(TOKEN) is TOKEN


def test_one_that_may_come_back_decides_the_status() -> None:
    assert code_of(in_vain({"a": TOKEN, "b": link_error(Code.INTERNAL, "x"), "c": REFUSED})) is Code.UNAVAILABLE
    assert code_of(in_vain({"a": TOKEN, "b": link_error(Code.INTERNAL, "x")})) is Code.INTERNAL
    assert isinstance(in_vain({"a": UnavailableError("shutting down"), "b": TOKEN}), ToolCommunicationError)


def test_if_all_refuse_for_good_the_error_is_the_first_ones() -> None:
    error = in_vain({"a": TOKEN, "b": link_error(Code.PERMISSION_DENIED, "no")})
    assert isinstance(error, AccessError)
    assert (code_of(error), error.message) == (
        Code.UNAUTHENTICATED,
        "none of the 2 hubs serves: a: the token is wrong; b: no",
    )
    assert code_of(in_vain({"a": link_error(Code.PERMISSION_DENIED, "no")})) is Code.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("grpcs", "shown"),
    [
        (
            (
                "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to "
                "remote host: connect: Connection refused (111)"
            ),
            "Failed to connect to remote host: connect: Connection refused (111)",
        ),
        (
            (
                "no answer from the hub at a:1: failed to connect to all addresses; last error: UNAVAILABLE: "
                "unix:/run/h.sock: Failed to connect"
            ),
            "Failed to connect",
        ),
        ("x" * (MAX_REASON_CHARS + 1), "x" * MAX_REASON_CHARS + "…"),
    ],
)
def test_reasons_are_brief(grpcs: str, shown: str) -> None:
    assert in_vain({"a:1": link_error(Code.UNAVAILABLE, grpcs)}).message == f"none of the 1 hubs serves: a:1: {shown}"


def test_of_many_hubs_a_few_are_named() -> None:
    message = in_vain({f"h:{port}": REFUSED for port in range(1, 8)}).message
    assert message.startswith("none of the 7 hubs serves: h:1: Connection refused; h:2")
    assert message.endswith("h:5: Connection refused; and 2 more")
