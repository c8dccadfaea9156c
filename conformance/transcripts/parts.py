"""Transcripts of payloads in parts."""

from collections.abc import Iterator

from conformance.transcripts.scripts import (
    Script,
    act,
    call,
    call_act,
    called,
    chunk,
    credit,
    end,
    ended,
    part,
    replied,
    reply,
    send,
    streamed,
)

_MIB = 1024 * 1024
_PIECE = bytes(128 * 1024)
_SIZE = 700_000


def parts() -> Iterator[Script]:
    """Yields the scripts."""
    yield from _pieces()
    yield from _large()


def _pieces() -> Iterator[Script]:
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


def _large() -> Iterator[Script]:
    yield (
        Script("parts: a large call is sent whole, whatever the pieces")
        .greeted()
        .acts(call_act(zeros=_SIZE), sends=[call(1, bytes(_SIZE))])
        .feed(reply(1, b"a"), events=[replied(1, b"a")])
    )
    yield (
        Script("parts: a large reply is sent whole, whatever the pieces", role="worker")
        .greeted()
        .feed(call(2, b"q"), events=[called(2, b"q")])
        .acts(act("reply", 2, zeros=_SIZE), sends=[reply(2, bytes(_SIZE))])
    )
    yield (
        Script("parts: a large message of a stream takes its whole size of the credit", role="worker")
        .greeted()
        .feed(call(2, b"s", "StreamTool"), events=[called(2, b"s", "StreamTool")])
        .acts(act("chunk", 2, zeros=_SIZE), sends=[chunk(2, bytes(_SIZE))])
        .acts(act("chunk", 2, zeros=_SIZE), sends=[chunk(2, bytes(_SIZE))])
        .acts(act("chunk", 2, zeros=1))
        .feed(credit(2, 2 * _SIZE), sends=[chunk(2, bytes(1))])
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
