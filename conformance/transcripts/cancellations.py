"""Transcripts of cancellations and deadlines."""

from collections.abc import Iterator

from conformance.transcripts.scripts import (
    Script,
    act,
    call,
    call_act,
    called,
    cancel,
    chunk,
    credit,
    end,
    end_act,
    errors,
    event,
    event_act,
    part,
    replied,
    reply,
    send,
    streamed,
)
from grpc_tool_bridge.link.status import Code
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Envelope,
    LinkEvent,
    Progress,
)

_CANCELLED = int(Code.CANCELLED)
_LATE = int(Code.DEADLINE_EXCEEDED)
_REFUSED = int(Code.RESOURCE_EXHAUSTED)

_CANCELLATION = {"event": "cancel", "id": 2, "reason": "enough"}
_PROGRESS = LinkEvent(progress=Progress(current=1))
_TOO_LATE = errors("TimeoutError", "the tool timed out")


def cancellations() -> Iterator[Script]:
    """Yields the scripts."""
    yield from _of_this_end()
    yield from _of_the_other_end()
    yield from _after_it()
    yield from _deadline()


def _of_this_end() -> Iterator[Script]:
    yield (
        Script("cancel: before it was sent")
        .greeted()
        .acts(call_act(b"q"), act("cancel", 1), or_sends=[[call(1, b"q"), cancel(1)]])
    )
    yield (
        Script("cancel: a call, which is open until its end")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .acts(act("cancel", 1, reason="enough"), sends=[cancel(1, "enough")])
        .feed(end(1, _CANCELLED))
        .acts(call_act(b"r"), sends=[call(3, b"r")])
        .feed(reply(3, b"R"), events=[replied(3, b"R")])
    )
    yield (
        Script("cancel: a reply that was already sent is dropped, and so is an end after it")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .acts(act("cancel", 1), sends=[cancel(1)])
        .feed(reply(1, b"late"))
        .feed(end(1, _CANCELLED))
    )
    yield (
        Script("cancel: messages of a cancelled stream are dropped")
        .greeted()
        .acts(call_act(b"s", "StreamTool", streaming=True), sends=[call(1, b"s", "StreamTool")])
        .feed(chunk(1, b"a"), events=[streamed(1, b"a")])
        .acts(act("cancel", 1), sends=[cancel(1)])
        .feed(chunk(1, b"b"), part(1, b"c"), chunk(1, b"d"))
        .feed(event(1, LinkEvent(progress=Progress(current=1))))
        .feed(end(1, _CANCELLED))
    )
    yield (
        Script("cancel: after the answer nothing is sent")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
        .acts(act("cancel", 1))
    )


def _of_the_other_end() -> Iterator[Script]:
    yield (
        Script("cancel: a worker's call", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .feed(cancel(2, "enough"), events=[_CANCELLATION])
        .feed(cancel(2, "enough"))
        .acts(end_act(2, _CANCELLED, "the call was cancelled"), sends=[end(2, _CANCELLED, "the call was cancelled")])
    )
    yield (
        Script("cancel: a worker's call that was answered", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")])
        .feed(cancel(2))
    )
    yield (
        Script("cancel: messages that wait for credit are not sent", role="worker")
        .greeted()
        .feed(call(2, b"s", "StreamTool", initial_credit=1), events=[called(2, b"s", "StreamTool", initial_credit=1)])
        .acts(send("chunk", 2, b"ab"), send("chunk", 2, b"cd"), sends=[chunk(2, b"ab")])
        .feed(cancel(2, "enough"), events=[_CANCELLATION])
        .acts(send("chunk", 2, b"ef"), end_act(2, _CANCELLED), sends=[end(2, _CANCELLED)])
        .feed(credit(2, 100))
    )
    yield (
        Script("cancel: a stream whose end waits for credit is ended by the link", role="worker")
        .greeted()
        .feed(call(2, b"s", "StreamTool", initial_credit=1), events=[called(2, b"s", "StreamTool", initial_credit=1)])
        .acts(send("chunk", 2, b"ab"), send("chunk", 2, b"cd"), end_act(2), sends=[chunk(2, b"ab")])
        .feed(cancel(2), sends=[end(2, _CANCELLED)])
    )
    yield (
        Script("cancel: a call of which only parts came is ended by the link", role="worker")
        .greeted()
        .feed(part(2, b"ab"))
        .feed(cancel(2), sends=[end(2, _CANCELLED)])
        .feed(call(4, b"q"), events=[called(4, b"q")])
    )
    yield (
        Script("cancel: a reply that crosses it may be sent", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .feed(cancel(2, "enough"), events=[_CANCELLATION])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")], or_sends=[[end(2, _CANCELLED)]])
        .feed(call(4, b"r"), events=[called(4, b"r")])
    )
    yield (
        Script("cancel: events of a cancelled call are not sent", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .feed(cancel(2, "enough"), events=[_CANCELLATION])
        .acts(event_act(2, _PROGRESS))
        .acts(end_act(2, _CANCELLED), sends=[end(2, _CANCELLED)])
    )


def _after_it() -> Iterator[Script]:
    yield (
        Script("cancel: no credit is granted to a cancelled stream")
        .greeted()
        .acts(
            call_act(b"s", "StreamTool", streaming=True, initial_credit=10),
            sends=[call(1, b"s", "StreamTool", initial_credit=10)],
        )
        .feed(chunk(1, bytes(10)), events=[streamed(1, bytes(10))])
        .acts(act("cancel", 1), sends=[cancel(1)])
        .acts(act("consume", 1, bytes=10))
        .feed(end(1, _CANCELLED))
    )
    yield (
        Script("cancel: a call that is refused meanwhile")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .acts(act("cancel", 1), sends=[cancel(1)])
        .feed(end(1, _REFUSED, "too much"))
        .feed(Envelope(ping=1), sends=[Envelope(pong=1)])
    )


def _deadline() -> Iterator[Script]:
    yield (
        Script("deadline: the time that is left goes with the call, and a late answer is dropped")
        .greeted()
        .acts(call_act(b"q", timeout_ms=250), sends=[call(1, b"q", timeout_ms=250)])
        .acts(act("cancel", 1, reason="the deadline passed"), sends=[cancel(1, "the deadline passed")])
        .feed(reply(1, b"late"))
    )
    yield (
        Script("deadline: a worker ends a call whose time is over", role="worker")
        .greeted()
        .feed(call(2, b"q", timeout_ms=250), events=[called(2, b"q", timeout_ms=250)])
        .acts(
            end_act(2, _LATE, _TOO_LATE.message, _TOO_LATE),
            sends=[end(2, _LATE, _TOO_LATE.message, _TOO_LATE)],
        )
        .feed(cancel(2))
    )
