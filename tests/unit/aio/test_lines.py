"""Bytes become lines, however they arrive, and nothing over the limit is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.aio.lines import END_BYTES, EndlessLineError, LineSplitter, LongLine


def split(limit: int, *parts: bytes) -> list[bytes | LongLine]:
    splitter = LineSplitter(limit)
    return [line for part in parts for line in splitter.feed(part)] + list(splitter.end())


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))), st.integers(1, 9))
def test_lines_are_the_same_however_they_arrive(whole: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in whole)
    assert split(20, *(data[at : at + size] for at in range(0, len(data), size))) == [
        line if len(line) <= 20 else LongLine(len(line), line, line) for line in whole
    ]


def test_the_last_line_need_not_end() -> None:
    assert split(100, b"one\n\ntwo three\nla", b"st") == [b"one", b"", b"two three", b"last"]
    assert split(4, b"sev", b"en77") == [LongLine(7, b"seven77", b"seven77")]
    assert split(100) == []


def test_of_a_line_that_is_too_long_only_the_ends_are_kept() -> None:
    splitter, middle = LineSplitter(10), b"x" * 1_000
    for part in (b"head", *[middle] * 100, b"tail"):
        assert list(splitter.feed(part)) == []
        assert len(splitter._head) <= END_BYTES
        assert len(splitter._tail) <= END_BYTES
    assert splitter._parts == []
    line, following = splitter.feed(b"\nnext\n")
    assert isinstance(line, LongLine)
    assert (line.size, len(line.head), len(line.tail)) == (100_008, END_BYTES, END_BYTES)
    assert line.head.startswith(b"headx")
    assert line.tail.endswith(b"xtail")
    assert following == b"next"


def test_a_line_without_an_end_is_given_up() -> None:
    lines = LineSplitter(10, 40)
    assert [list(lines.feed(b"x" * 10)) for _ in range(4)] == [[]] * 4
    with pytest.raises(EndlessLineError):
        list(lines.feed(b"x"))
