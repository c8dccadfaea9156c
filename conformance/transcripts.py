"""The transcripts of links."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from conformance.scripts import (
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
    ended,
    errors,
    event,
    event_act,
    hello_of,
    part,
    replied,
    reply,
    send,
    streamed,
    told,
)
from conformance.sessions import sessions
from conformance.violations import violations
from grpc_tool_bridge.link.status import Code
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Answer,
    Ask,
    Envelope,
    LinkDrain,
    LinkEvent,
    LinkFrame,
    LogRecord,
    Progress,
)
from grpc_tool_bridge.rpc.asks import ASK_FEATURE, ASKS_KEY

_KIB, _MIB = 1024, 1024 * 1024
_PIECE = bytes(128 * _KIB)
_LARGE = 700_000
_CANCELLED = int(Code.CANCELLED)
_REFUSED = int(Code.RESOURCE_EXHAUSTED)
_LATE = int(Code.DEADLINE_EXCEEDED)


def transcript_vectors() -> list[dict[str, Any]]:
    """Returns every transcript, each of which this bridge's own link plays as expected."""
    groups = (_hellos(), _calls(), _streams(), _cancellations(), _parts(), _rest(), _events(), sessions(), violations())
    return [script.vector() for group in groups for script in group]


def _hellos() -> Iterator[Script]:
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


def _calls() -> Iterator[Script]:
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
    failure = errors("ToolNotFound", "session 's' sees no tool 't'")
    yield (
        Script("error: a call ends with an error")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(end(1, 5, failure.message, failure), events=[ended(1, 5, failure.message, failure)])
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
        .acts(end_act(2, 5, failure.message, failure), sends=[end(2, 5, failure.message, failure)])
    )
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


def _streams() -> Iterator[Script]:
    stream = call_act(b"s", "StreamTool", streaming=True)
    yield (
        Script("stream: messages and an end")
        .greeted()
        .acts(stream, sends=[call(1, b"s", "StreamTool")])
        .feed(chunk(1, b"a"), chunk(1), events=[streamed(1, b"a"), streamed(1)])
        .feed(chunk(1, b"b"), end(1), events=[streamed(1, b"b"), ended(1)])
    )
    yield (
        Script("stream: an end without a message")
        .greeted()
        .acts(stream, sends=[call(1, b"s", "StreamTool")])
        .feed(end(1), events=[ended(1)])
    )
    failure = errors("ValueError", "no", {"origin": "tool"})
    yield (
        Script("stream: an end with an error")
        .greeted()
        .acts(stream, sends=[call(1, b"s", "StreamTool")])
        .feed(chunk(1, b"a"), end(1, 2, "no", failure), events=[streamed(1, b"a"), ended(1, 2, "no", failure)])
    )
    small = call_act(b"s", "StreamTool", streaming=True, initial_credit=10)
    yield (
        Script("stream: a reader grants what it has read")
        .greeted()
        .acts(small, sends=[call(1, b"s", "StreamTool", initial_credit=10)])
        .feed(chunk(1, b"123456"), chunk(1, b"7890"), events=[streamed(1, b"123456"), streamed(1, b"7890")])
        .acts(act("consume", 1, bytes=10), sends=[credit(1, 10)])
        .feed(chunk(1, b"more"), events=[streamed(1, b"more")])
        .feed(end(1), events=[ended(1)])
    )
    yield (
        Script("stream: a message that is larger than the credit, which becomes negative")
        .greeted()
        .acts(small, sends=[call(1, b"s", "StreamTool", initial_credit=10)])
        .feed(chunk(1, bytes(25)), events=[streamed(1, bytes(25))])
        .acts(act("consume", 1, bytes=25), sends=[credit(1, 25)])
        .feed(chunk(1, bytes(3)), end(1), events=[streamed(1, bytes(3)), ended(1)])
    )
    wide = called(2, b"s", "StreamTool", initial_credit=10)
    tight = call(2, b"s", "StreamTool", initial_credit=10)
    yield (
        Script("stream: a worker sends within its credit", role="worker")
        .greeted()
        .feed(tight, events=[wide])
        .acts(send("chunk", 2, b"123456"), sends=[chunk(2, b"123456")])
        .acts(send("chunk", 2, b"abcdef"), sends=[chunk(2, b"abcdef")])
        .acts(send("chunk", 2, b"x"), send("chunk", 2, b"y"))
        .feed(credit(2, 2))
        .feed(credit(2, 1), sends=[chunk(2, b"x")])
        .feed(credit(2, 100), sends=[chunk(2, b"y")])
        .acts(end_act(2), sends=[end(2)])
    )
    yield (
        Script("stream: the end waits for the messages before it", role="worker")
        .greeted()
        .feed(tight, events=[wide])
        .acts(send("chunk", 2, bytes(10)), sends=[chunk(2, bytes(10))])
        .acts(send("chunk", 2, b"x"), end_act(2))
        .feed(credit(2, 10), sends=[chunk(2, b"x"), end(2)])
    )
    yield (
        Script("stream: credit that comes before the first message counts", role="worker")
        .greeted()
        .feed(tight, events=[wide])
        .feed(credit(2, 10))
        .acts(send("chunk", 2, bytes(15)), send("chunk", 2, b"x"), sends=[chunk(2, bytes(15)), chunk(2, b"x")])
        .acts(end_act(2), sends=[end(2)])
    )
    yield (
        Script("stream: without an initial credit it is 1 MiB", role="worker")
        .greeted()
        .feed(call(2, b"s", "StreamTool"), events=[called(2, b"s", "StreamTool")])
        .acts(act("chunk", 2, zeros=_MIB - 1), sends=[chunk(2, bytes(_MIB - 1))])
        .acts(act("chunk", 2, zeros=1), act("chunk", 2, zeros=1), sends=[chunk(2, bytes(1))])
        .feed(credit(2, 1), sends=[chunk(2, bytes(1))])
        .acts(end_act(2), sends=[end(2)])
    )
    yield (
        Script("stream: credit of one does not hold up another", role="worker")
        .greeted()
        .feed(tight, call(4, b"t", "StreamTool"), events=[wide, called(4, b"t", "StreamTool")])
        .acts(send("chunk", 2, bytes(10)), send("chunk", 2, b"x"), sends=[chunk(2, bytes(10))])
        .acts(send("chunk", 4, b"y"), end_act(4), sends=[chunk(4, b"y"), end(4)])
        .feed(credit(2, 10), sends=[chunk(2, b"x")])
    )
    yield (
        Script("stream: credit for a stream that is over is ignored", role="worker")
        .greeted()
        .feed(tight, events=[wide])
        .acts(send("chunk", 2, b"x"), end_act(2), sends=[chunk(2, b"x"), end(2)])
        .feed(credit(2, 10))
    )


def _cancellations() -> Iterator[Script]:
    cancelled = {"event": "cancel", "id": 2, "reason": "enough"}
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
    yield (
        Script("cancel: a worker's call", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .feed(cancel(2, "enough"), events=[cancelled])
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
        .feed(cancel(2, "enough"), events=[cancelled])
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
        .feed(cancel(2, "enough"), events=[cancelled])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")], or_sends=[[end(2, _CANCELLED)]])
        .feed(call(4, b"r"), events=[called(4, b"r")])
    )
    progress = LinkEvent(progress=Progress(current=1))
    yield (
        Script("cancel: events of a cancelled call are not sent", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .feed(cancel(2, "enough"), events=[cancelled])
        .acts(event_act(2, progress))
        .acts(end_act(2, _CANCELLED), sends=[end(2, _CANCELLED)])
    )
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
    yield (
        Script("deadline: the time that is left goes with the call, and a late answer is dropped")
        .greeted()
        .acts(call_act(b"q", timeout_ms=250), sends=[call(1, b"q", timeout_ms=250)])
        .acts(act("cancel", 1, reason="the deadline passed"), sends=[cancel(1, "the deadline passed")])
        .feed(reply(1, b"late"))
    )
    late = errors("TimeoutError", "the tool timed out")
    yield (
        Script("deadline: a worker ends a call whose time is over", role="worker")
        .greeted()
        .feed(call(2, b"q", timeout_ms=250), events=[called(2, b"q", timeout_ms=250)])
        .acts(end_act(2, _LATE, late.message, late), sends=[end(2, _LATE, late.message, late)])
        .feed(cancel(2))
    )


def _parts() -> Iterator[Script]:
    yield (
        Script("parts: of a reply")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(part(1, b"ab"), part(1, b"cd"))
        .feed(reply(1, b"ef"), events=[replied(1, b"abcdef")])
    )
    yield (
        Script("parts: of a reply whose last piece is empty")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(part(1, b"ab"), reply(1), events=[replied(1, b"ab")])
    )
    yield (
        Script("parts: of two replies, with a small one between")
        .greeted()
        .acts(call_act(b"a"), call_act(b"b"), call_act(b"c"), sends=[call(1, b"a"), call(3, b"b"), call(5, b"c")])
        .feed(part(1, b"a1"), part(3, b"b1"), reply(5, b"C"), part(1, b"a2"), events=[replied(5, b"C")])
        .feed(reply(3, b"b2"), reply(1, b"a3"), events=[replied(3, b"b1b2"), replied(1, b"a1a2a3")])
    )
    yield (
        Script("parts: of a call", role="worker")
        .greeted()
        .feed(part(2, b"ab"), call(4, b"small"), part(2, b"cd"), events=[called(4, b"small")])
        .feed(call(2, b"ef", timeout_ms=9), events=[called(2, b"abcdef", timeout_ms=9)])
        .acts(send("reply", 2, b"x"), sends=[reply(2, b"x")])
    )
    yield (
        Script("parts: of a message of a stream, counted as a whole")
        .greeted()
        .acts(
            call_act(b"s", "StreamTool", streaming=True, initial_credit=4),
            sends=[call(1, b"s", "StreamTool", initial_credit=4)],
        )
        .feed(part(1, b"abc"), part(1, b"def"), chunk(1, b"g"), events=[streamed(1, b"abcdefg")])
        .acts(act("consume", 1, bytes=7), sends=[credit(1, 7)])
        .feed(chunk(1, b"h"), end(1), events=[streamed(1, b"h"), ended(1)])
    )
    yield (
        Script("parts: an error ends a call of which parts came")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(part(1, b"ab"), end(1, 2, "no"), events=[ended(1, 2, "no")])
    )
    yield (
        Script("parts: a large call is sent whole, whatever the pieces")
        .greeted()
        .acts(call_act(zeros=_LARGE), sends=[call(1, bytes(_LARGE))])
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
    )
    yield (
        Script("parts: a large reply is sent whole, whatever the pieces", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .acts(act("reply", 2, zeros=_LARGE), sends=[reply(2, bytes(_LARGE))])
    )
    yield (
        Script("parts: a large message of a stream takes its whole size of the credit", role="worker")
        .greeted()
        .feed(call(2, b"s", "StreamTool"), events=[called(2, b"s", "StreamTool")])
        .acts(act("chunk", 2, zeros=_LARGE), sends=[chunk(2, bytes(_LARGE))])
        .acts(act("chunk", 2, zeros=_LARGE), sends=[chunk(2, bytes(_LARGE))])
        .acts(act("chunk", 2, zeros=1))
        .feed(credit(2, 2 * _LARGE), sends=[chunk(2, bytes(1))])
    )
    yield (
        Script("parts: small calls go on while a large one waits for its parts", role="worker")
        .greeted()
        .feed(part(2, b"ab"))
        .feed(call(4, b"x"), events=[called(4, b"x")])
        .acts(send("reply", 4, b"y"), sends=[reply(4, b"y")])
        .feed(part(6, b"cd"), part(2, b"cd"), call(6, b"ef"), events=[called(6, b"cdef")])
        .feed(call(2), events=[called(2, b"abcd")])
        .acts(send("reply", 2, b"1"), send("reply", 6, b"2"), sends=[reply(2, b"1"), reply(6, b"2")])
    )
    yield (
        Script("parts: room in reassembly is free again once a payload is whole")
        .greeted()
        .acts(call_act(b"a"), call_act(b"b"), sends=[call(1, b"a"), call(3, b"b")])
        .feed(part(1, _PIECE), times=300)
        .feed(reply(1), events=[replied(1, bytes(300 * len(_PIECE)))])
        .feed(part(3, _PIECE), times=300)
        .feed(reply(3), events=[replied(3, bytes(300 * len(_PIECE)))])
    )
    yield (
        Script("parts: 64 MiB in reassembly are taken")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(part(1, _PIECE), times=512)
        .feed(reply(1, b"x"), events=[replied(1, bytes(64 * _MIB) + b"x")])
    )
    yield (
        Script("parts: a request of more than 64 MiB is refused where it is made")
        .greeted()
        .acts(call_act(zeros=64 * _MIB + 1), raised="MessageTooLarge")
        .acts(call_act(b"q"), sends=[call(1, b"q")])
    )


def _rest() -> Iterator[Script]:
    yield (
        Script("drain: the other end drains, calls in flight go on")
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(Envelope(drain=LinkDrain(grace_ms=5_000)), events=[{"event": "drain", "grace_ms": 5_000}])
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
    )
    yield (
        Script("drain: a worker drains, and answers what it has", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .acts({"do": "drain", "grace_ms": 10_000}, sends=[Envelope(drain=LinkDrain(grace_ms=10_000))])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")])
        .feed(Envelope(drain=LinkDrain()), events=[{"event": "drain", "grace_ms": 0}])
    )
    yield (
        Script("ping: is answered with its number")
        .greeted()
        .feed(Envelope(ping=7), Envelope(ping=2**64 - 1), sends=[Envelope(pong=7), Envelope(pong=2**64 - 1)])
        .feed(Envelope(ping=0), sends=[Envelope(pong=0)])
    )
    yield (
        Script("ping: of this end")
        .greeted()
        .acts({"do": "ping", "number": 1}, sends=[Envelope(ping=1)])
        .feed(Envelope(pong=1), events=[{"event": "pong", "number": 1}])
    )
    frame = LinkFrame(envelopes=[Envelope(ping=7)]).SerializeToString()
    yield Script("frame: empty").greeted().feed(frame=b"")
    yield (
        Script("frame: an unknown field beside the envelopes")
        .greeted()
        .feed(frame=frame + b"\x7a\x01x", sends=[Envelope(pong=7)])
    )
    yield (
        Script("frame: an unknown field in an envelope")
        .greeted()
        .feed(frame=b"\x0a\x06\x48\x07\xfa\x01\x01x", sends=[Envelope(pong=7)])
    )


def _events() -> Iterator[Script]:
    progress = LinkEvent(progress=Progress(current=1, total=2.5, message="half"))
    log = LinkEvent(log=LogRecord(level="info", logger="tools", message="é", fields={"a": "1"}))
    defaults = LogRecord(
        level="debug", logger="tool-bridge.trailing-metadata", fields={"tool-bridge-call-timeout-ms": "30000"}
    )
    trailing = LinkEvent(log=defaults)
    yield (
        Script("event: before the reply")
        .greeted()
        .acts(call_act(b"q", "InitializeSession"), sends=[call(1, b"q", "InitializeSession")])
        .feed(event(1, trailing), reply(1, b"a"), events=[told(1, trailing), replied(1, b"a")])
    )
    yield (
        Script("event: progress and a log line of a worker's call", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .acts(event_act(2, progress), event_act(2, log), sends=[event(2, progress), event(2, log)])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")])
        .acts(event_act(2, progress))
    )
    question = LinkEvent(ask=Ask(id="1", message="Sure?", schema='{"type": "object"}'))
    content = Struct(fields={"sure": Value(bool_value=True)})
    answer = LinkEvent(answer=Answer(id="1", action="accept", content=content))
    yield (
        Script("event: a client that can answer is asked", features=[ASK_FEATURE])
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(event(1, question), events=[told(1, question)])
        .acts(event_act(1, answer), sends=[event(1, answer)])
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
    )
    asks = {ASKS_KEY: "1"}
    yield (
        Script("event: a worker's tool asks", role="worker")
        .greeted()
        .feed(call(2, b"q", metadata=asks), events=[called(2, b"q", metadata=asks)])
        .acts(event_act(2, question), sends=[event(2, question)])
        .feed(event(2, answer), events=[told(2, answer)])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")])
        .feed(event(2, answer))
    )
