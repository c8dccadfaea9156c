"""Transcripts of events, pings, drains and frames."""

from collections.abc import Iterator

from google.protobuf.struct_pb2 import Struct, Value

from conformance.transcripts.scripts import (
    Script,
    call,
    call_act,
    called,
    event,
    event_act,
    replied,
    reply,
    send,
    told,
)
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

_FRAME = LinkFrame(envelopes=[Envelope(ping=7)]).SerializeToString()
_PROGRESS = LinkEvent(progress=Progress(current=1, total=2.5, message="half"))
_LOG = LinkEvent(log=LogRecord(level="info", logger="tools", message="é", fields={"a": "1"}))
_DEFAULTS = LogRecord(
    level="debug", logger="tool-bridge.trailing-metadata", fields={"tool-bridge-call-timeout-ms": "30000"}
)
_TRAILING = LinkEvent(log=_DEFAULTS)
_QUESTION = LinkEvent(ask=Ask(id="1", message="Sure?", schema='{"type": "object"}'))
_CONTENT = Struct(fields={"sure": Value(bool_value=True)})
_ANSWER = LinkEvent(answer=Answer(id="1", action="accept", content=_CONTENT))
_ASKS = {ASKS_KEY: "1"}


def events() -> Iterator[Script]:
    """Yields the scripts."""
    yield from _drain()
    yield from _ping()
    yield from _frame()
    yield from _event()


def _drain() -> Iterator[Script]:
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


def _ping() -> Iterator[Script]:
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


def _frame() -> Iterator[Script]:
    yield Script("frame: empty").greeted().feed(frame=b"")
    yield (
        Script("frame: an unknown field beside the envelopes")
        .greeted()
        .feed(frame=_FRAME + b"\x7a\x01x", sends=[Envelope(pong=7)])
    )
    yield (
        Script("frame: an unknown field in an envelope")
        .greeted()
        .feed(frame=b"\x0a\x06\x48\x07\xfa\x01\x01x", sends=[Envelope(pong=7)])
    )


def _event() -> Iterator[Script]:
    yield (
        Script("event: before the reply")
        .greeted()
        .acts(call_act(b"q", "InitializeSession"), sends=[call(1, b"q", "InitializeSession")])
        .feed(event(1, _TRAILING), reply(1, b"a"), events=[told(1, _TRAILING), replied(1, b"a")])
    )
    yield (
        Script("event: progress and a log line of a worker's call", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .acts(event_act(2, _PROGRESS), event_act(2, _LOG), sends=[event(2, _PROGRESS), event(2, _LOG)])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")])
        .acts(event_act(2, _PROGRESS))
    )
    yield (
        Script("event: a client that can answer is asked", features=[ASK_FEATURE])
        .greeted()
        .acts(call_act(b"q"), sends=[call(1, b"q")])
        .feed(event(1, _QUESTION), events=[told(1, _QUESTION)])
        .acts(event_act(1, _ANSWER), sends=[event(1, _ANSWER)])
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
    )
    yield (
        Script("event: a worker's tool asks", role="worker")
        .greeted()
        .feed(call(2, b"q", metadata=_ASKS), events=[called(2, b"q", metadata=_ASKS)])
        .acts(event_act(2, _QUESTION), sends=[event(2, _QUESTION)])
        .feed(event(2, _ANSWER), events=[told(2, _ANSWER)])
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")])
        .feed(event(2, _ANSWER))
    )
