"""Transcripts of streams, and of the credit of their readers."""

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
    end_act,
    ended,
    errors,
    send,
    streamed,
)

_MIB = 1024 * 1024

_STREAM = call_act(b"s", "StreamTool", streaming=True)
_FAILURE = errors("ValueError", "no", {"origin": "tool"})
_SMALL = call_act(b"s", "StreamTool", streaming=True, initial_credit=10)
_WIDE = called(2, b"s", "StreamTool", initial_credit=10)
_TIGHT = call(2, b"s", "StreamTool", initial_credit=10)


def streams() -> Iterator[Script]:
    """Yields the scripts."""
    yield from _reading()
    yield from _writing()


def _reading() -> Iterator[Script]:
    yield (
        Script("stream: messages and an end")
        .greeted()
        .acts(_STREAM, sends=[call(1, b"s", "StreamTool")])
        .feed(chunk(1, b"a"), chunk(1), events=[streamed(1, b"a"), streamed(1)])
        .feed(chunk(1, b"b"), end(1), events=[streamed(1, b"b"), ended(1)])
    )
    yield (
        Script("stream: an end without a message")
        .greeted()
        .acts(_STREAM, sends=[call(1, b"s", "StreamTool")])
        .feed(end(1), events=[ended(1)])
    )
    yield (
        Script("stream: an end with an error")
        .greeted()
        .acts(_STREAM, sends=[call(1, b"s", "StreamTool")])
        .feed(chunk(1, b"a"), end(1, 2, "no", _FAILURE), events=[streamed(1, b"a"), ended(1, 2, "no", _FAILURE)])
    )
    yield (
        Script("stream: a reader grants what it has read")
        .greeted()
        .acts(_SMALL, sends=[call(1, b"s", "StreamTool", initial_credit=10)])
        .feed(chunk(1, b"123456"), chunk(1, b"7890"), events=[streamed(1, b"123456"), streamed(1, b"7890")])
        .acts(act("consume", 1, bytes=10), sends=[credit(1, 10)])
        .feed(chunk(1, b"more"), events=[streamed(1, b"more")])
        .feed(end(1), events=[ended(1)])
    )
    yield (
        Script("stream: a message that is larger than the credit, which becomes negative")
        .greeted()
        .acts(_SMALL, sends=[call(1, b"s", "StreamTool", initial_credit=10)])
        .feed(chunk(1, bytes(25)), events=[streamed(1, bytes(25))])
        .acts(act("consume", 1, bytes=25), sends=[credit(1, 25)])
        .feed(chunk(1, bytes(3)), end(1), events=[streamed(1, bytes(3)), ended(1)])
    )


def _writing() -> Iterator[Script]:
    yield (
        Script("stream: a worker sends within its credit", role="worker")
        .greeted()
        .feed(_TIGHT, events=[_WIDE])
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
        .feed(_TIGHT, events=[_WIDE])
        .acts(send("chunk", 2, bytes(10)), sends=[chunk(2, bytes(10))])
        .acts(send("chunk", 2, b"x"), end_act(2))
        .feed(credit(2, 10), sends=[chunk(2, b"x"), end(2)])
    )
    yield (
        Script("stream: credit that comes before the first message counts", role="worker")
        .greeted()
        .feed(_TIGHT, events=[_WIDE])
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
        .feed(_TIGHT, call(4, b"t", "StreamTool"), events=[_WIDE, called(4, b"t", "StreamTool")])
        .acts(send("chunk", 2, bytes(10)), send("chunk", 2, b"x"), sends=[chunk(2, bytes(10))])
        .acts(send("chunk", 4, b"y"), end_act(4), sends=[chunk(4, b"y"), end(4)])
        .feed(credit(2, 10), sends=[chunk(2, b"x")])
    )
    yield (
        Script("stream: credit for a stream that is over is ignored", role="worker")
        .greeted()
        .feed(_TIGHT, events=[_WIDE])
        .acts(send("chunk", 2, b"x"), end_act(2), sends=[chunk(2, b"x"), end(2)])
        .feed(credit(2, 10))
    )
