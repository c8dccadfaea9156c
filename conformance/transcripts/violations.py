"""The transcripts of what ends a link: a peer that breaks a rule loses it."""

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
    event,
    hello_of,
    part,
    replied,
    reply,
    send,
    streamed,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask, Envelope, LinkEvent, Progress

_KIB = 1024
_PIECE = bytes(128 * _KIB)
_MAX_PIECES = 64 * _KIB


def violations() -> Iterator[Script]:
    """Yields a script for each violation."""
    yield from _hellos()
    yield from _answers()
    yield from _numbers()
    yield from _sizes()
    yield from _events()
    yield from _frames()


def _called(name: str) -> Script:
    """Begins with an open unary call."""
    return Script(f"violation: {name}").greeted().acts(call_act(b"q"), sends=[call(1, b"q")])


def _streaming(name: str, initial_credit: int = 10) -> Script:
    """Begins with an open stream."""
    return (
        Script(f"violation: {name}")
        .greeted()
        .acts(
            call_act(b"s", "StreamTool", streaming=True, initial_credit=initial_credit),
            sends=[call(1, b"s", "StreamTool", initial_credit=initial_credit)],
        )
    )


def _worker(name: str) -> Script:
    """Begins with an open call of the hub."""
    return Script(f"violation: {name}", role="worker").greeted().feed(call(2, b"q"), events=[called(2, b"q")])


def _hellos() -> Iterator[Script]:
    yield Script("violation: the first envelope is not the hello").feed(Envelope(ping=1), failed=True)
    yield Script("violation: a second hello").greeted().feed(hello_of(), failed=True)
    yield Script("violation: another version of the protocol").feed(hello_of(protocol=2), failed=True)
    yield Script("violation: a hello without a version").feed(hello_of(protocol=0, peer="x"), failed=True)


def _answers() -> Iterator[Script]:
    yield Script("violation: a reply to no call").greeted().feed(reply(1, b"a"), failed=True)
    yield _called("a reply to a call above the last one").feed(reply(3, b"a"), failed=True)
    yield _called("a reply with the number of the other end").feed(reply(2, b"a"), failed=True)
    yield _called("a reply with the number 0").feed(reply(0, b"a"), failed=True)
    yield _called("a second reply").feed(reply(1, b"a"), events=[replied(1, b"a")]).feed(reply(1, b"b"), failed=True)
    yield _called("an end after the reply").feed(reply(1, b"a"), events=[replied(1, b"a")]).feed(end(1, 2), failed=True)
    yield _called("an end of a unary call with code 0").feed(end(1), failed=True)
    yield _called("a message of a stream for a unary call").feed(chunk(1, b"a"), failed=True)
    yield _streaming("a reply to a stream").feed(reply(1, b"a"), failed=True)
    yield (
        _streaming("a message after the end")
        .feed(chunk(1, b"a"), events=[streamed(1, b"a")])
        .feed(end(1, 2), events=[{"event": "end", "id": 1, "code": 2}])
        .feed(chunk(1, b"b"), failed=True)
    )
    yield (
        _streaming("a message of a stream beyond its credit")
        .feed(chunk(1, bytes(10)), events=[streamed(1, bytes(10))])
        .feed(chunk(1, b"x"), failed=True)
    )
    yield (
        _streaming("a part of a message beyond its credit")
        .feed(chunk(1, bytes(10)), events=[streamed(1, bytes(10))])
        .feed(part(1, b"x"), failed=True)
    )
    yield (
        _called("a second answer to a cancelled call")
        .acts(act("cancel", 1), sends=[cancel(1)])
        .feed(end(1, 1))
        .feed(end(1, 1), failed=True)
    )


def _numbers() -> Iterator[Script]:
    yield (
        Script("violation: a call with an odd number, to a dialler", role="worker")
        .greeted()
        .feed(call(1, b"q"), failed=True)
    )
    yield (
        Script("violation: a call with an even number, to a hub", role="hub").greeted().feed(call(2, b"q"), failed=True)
    )
    yield Script("violation: a call with the number 0", role="worker").greeted().feed(call(0, b"q"), failed=True)
    yield _worker("a call with the number of another").feed(call(2, b"r"), failed=True)
    yield (
        _worker("a call with the number of one that was answered")
        .acts(send("reply", 2, b"a"), sends=[reply(2, b"a")])
        .feed(call(2, b"r"), failed=True)
    )
    yield (
        Script("violation: a call with a lower number", role="worker")
        .greeted()
        .feed(call(6, b"q"), events=[called(6, b"q")])
        .feed(call(4, b"r"), failed=True)
    )
    yield (
        Script("violation: a call with a lower number than one in parts", role="worker")
        .greeted()
        .feed(part(6, b"q"))
        .feed(call(4, b"r"), failed=True)
    )
    yield _worker("a cancel for a call that was never made").feed(cancel(4), failed=True)
    yield _worker("credit for a call that was never made").feed(credit(4, 10), failed=True)
    yield Script("violation: a part of an answer to no call").greeted().feed(part(1, b"a"), failed=True)
    yield (
        _called("a part of an answer that was given")
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
        .feed(part(1, b"a"), failed=True)
    )


def _sizes() -> Iterator[Script]:
    yield _called("more than 64 MiB in reassembly").feed(part(1, _PIECE), times=512).feed(part(1, b"x"), failed=True)
    yield (
        Script("violation: more than 64 MiB in reassembly, of two calls", role="worker")
        .greeted()
        .feed(part(2, _PIECE), times=256)
        .feed(part(4, _PIECE), times=256)
        .feed(part(2, b"x"), failed=True)
    )
    yield (
        _called("more than 65,536 pieces in reassembly")
        .feed(part(1, b"x"), times=_MAX_PIECES)
        .feed(part(1, b"x"), failed=True)
    )


def _events() -> Iterator[Script]:
    progress, answer = LinkEvent(progress=Progress(current=1)), LinkEvent(answer=Answer(id="1", action="decline"))
    yield (
        _called("an event of an answered call")
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
        .feed(event(1, progress), failed=True)
    )
    yield Script("violation: an event of no call").greeted().feed(event(1, progress), failed=True)
    yield _called("a question to a client that cannot answer").feed(
        event(1, LinkEvent(ask=Ask(id="1", message="Sure?"))), failed=True
    )
    yield _called("an answer in the wrong direction").feed(event(1, answer), failed=True)
    yield _worker("an answer for a call that was never made").feed(event(4, answer), failed=True)


def _frames() -> Iterator[Script]:
    yield Script("violation: a frame that is not a message").greeted().feed(frame=b"GET / HTTP/1.1\r\n", failed=True)
    yield Script("violation: a frame that is cut off").greeted().feed(frame=b"\x0a\x04\x48", failed=True)
    yield Script("violation: an envelope of nothing").greeted().feed(Envelope(id=2), failed=True)
    yield (
        Script("violation: an envelope of a kind that is not known")
        .greeted()
        .feed(frame=b"\x0a\x06\x08\x02\xfa\x01\x01x", failed=True)
    )
    yield (
        Script("violation: a text that is not UTF-8")
        .greeted()
        .feed(frame=b"\x0a\x07\x08\x02\x12\x03\x0a\x01\xff", failed=True)
    )
