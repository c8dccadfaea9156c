"""Transcripts of hellos, unary calls, errors and capacity."""

from collections.abc import Iterator

from conformance.transcripts.scripts import (
    Script,
    call,
    call_act,
    called,
    cancel,
    end,
    end_act,
    ended,
    errors,
    hello_of,
    replied,
    reply,
    send,
)
from grpc_tool_bridge.link.status import Code

_CANCELLED = int(Code.CANCELLED)
_REFUSED = int(Code.RESOURCE_EXHAUSTED)

_FAILURE = errors("ToolNotFound", "session 's' sees no tool 't'")


def calls() -> Iterator[Script]:
    """Yields the scripts."""
    yield from _hello()
    yield from _unary()
    yield from _error()
    yield from _capacity()


def _hello() -> Iterator[Script]:
    yield Script("hello: a client").greeted()
    yield Script(
        "hello: a client with features and metadata", features=["ask"], metadata={"authorization": "Bearer x"}
    ).greeted(features=["a", "b"], metadata={"address": "é"})
    yield Script("hello: a worker with a capacity", role="worker", capacity=7).greeted()
    yield Script("hello: a hub", role="hub", capacity=20_000).greeted(peer="client", capacity=0)
    yield Script("hello: with a call in the same frame", role="worker").feed(
        hello_of(peer="hub"),
        call(2, b"q"),
        events=[{"event": "hello", "peer": "hub", "capacity": 0}, called(2, b"q")],
    )


def _unary() -> Iterator[Script]:
    for role, own, other in (("dialler", 1, 2), ("hub", 2, 1)):
        yield (
            Script(f"unary: a call and its reply, as the {role}", role=role)
            .greeted()
            .acts(call_act(b"question"), sends=[call(own, b"question")])
            .feed(reply(own, b"answer"), events=[replied(own, b"answer")])
        )
        yield (
            Script(f"unary: a call of the other end, as the {role}", role=role)
            .greeted()
            .feed(call(other, b"question"), events=[called(other, b"question")])
            .acts(send("reply", other, b"answer"), sends=[reply(other, b"answer")])
        )
    yield (
        Script("unary: numbers rise by two, answers come in any order")
        .greeted()
        .acts(call_act(b"a"), call_act(b"b"), sends=[call(1, b"a"), call(3, b"b")])
        .acts(call_act(b"c"), sends=[call(5, b"c")])
        .feed(reply(5, b"C"), reply(1, b"A"), events=[replied(5, b"C"), replied(1, b"A")])
        .feed(reply(3, b"B"), events=[replied(3, b"B")])
    )
    yield (
        Script("unary: an empty request and an empty reply")
        .greeted()
        .acts(call_act(), sends=[call(1)])
        .feed(reply(1), events=[replied(1)])
    )
    yield (
        Script("unary: a worker takes calls with gaps in their numbers", role="worker")
        .greeted()
        .feed(call(2, b"a"), call(10, b"b"), events=[called(2, b"a"), called(10, b"b")])
        .acts(send("reply", 10, b"B"), send("reply", 2, b""), sends=[reply(10, b"B"), reply(2)])
    )
    yield (
        Script("unary: metadata and a nested call", role="worker")
        .greeted()
        .feed(
            call(2, b"q", metadata={"tool-bridge-depth": "1"}),
            events=[called(2, b"q", metadata={"tool-bridge-depth": "1"})],
        )
        .acts(
            call_act(b"n", metadata={"tool-bridge-origin": "2"}, timeout_ms=500),
            sends=[call(1, b"n", metadata={"tool-bridge-origin": "2"}, timeout_ms=500)],
        )
        .feed(reply(1, b"N"), events=[replied(1, b"N")])
        .acts(send("reply", 2, b"A"), sends=[reply(2, b"A")])
    )


def _error() -> Iterator[Script]:
    yield (
        Script("error: a call ends with an error")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(end(1, 5, _FAILURE.message, _FAILURE), events=[ended(1, 5, _FAILURE.message, _FAILURE)])
    )
    yield (
        Script("error: an end without an ErrorInfo")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(end(1, 14, "gone"), events=[ended(1, 14, "gone")])
    )
    yield (
        Script("error: a worker ends a call with an error", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .acts(end_act(2, 5, _FAILURE.message, _FAILURE), sends=[end(2, 5, _FAILURE.message, _FAILURE)])
    )


def _capacity() -> Iterator[Script]:
    yield (
        Script(
            "capacity: a call beyond it is refused, and a cancelled one counts until its end", role="worker", capacity=1
        )
        .greeted()
        .feed(call(2, b"a"), events=[called(2, b"a")])
        .feed(call(4, b"b"), sends=[end(4, _REFUSED)])
        .feed(cancel(2), events=[{"event": "cancel", "id": 2, "reason": ""}])
        .feed(call(6, b"c"), sends=[end(6, _REFUSED)])
        .acts(end_act(2, _CANCELLED), sends=[end(2, _CANCELLED)])
        .feed(call(8, b"d"), events=[called(8, b"d")])
    )
