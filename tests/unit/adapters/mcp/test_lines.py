import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.adapters.mcp.lines import EndlessLineError, Lines, TooLong, answered_id


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))), st.integers(1, 9))
def test_lines_are_the_same_however_they_arrive(whole: list[bytes], size: int) -> None:
    lines, data = Lines(1_000), b"".join(line + b"\n" for line in whole)
    found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
    assert found == whole


@pytest.mark.parametrize("first", [True, False], ids=["id first", "id last"])
@pytest.mark.parametrize("request_id", [7, "seven"])
def test_a_line_that_is_too_long_tells_which_request_it_answers(first: bool, request_id: int | str) -> None:
    text = "x" * 50_000 + '"id": 3, "id": "no"'
    answer = {"jsonrpc": "2.0", "id": request_id, "result": {"id": 9, "text": text}}
    if not first:
        answer = {"result": answer["result"], "jsonrpc": "2.0", "id": request_id}
    data = json.dumps(answer).encode()
    lines = Lines(10_000)
    found = [line for at in range(0, len(data), 999) for line in lines.feed(data[at : at + 999])]
    assert found == []
    assert list(lines.feed(b"\nnext\n")) == [TooLong(len(data), request_id), b"next"]
    # Nothing of it is kept.
    assert list(lines.feed(b"again\n")) == [b"again"]


def test_a_line_without_an_id_belongs_to_nobody() -> None:
    assert list(Lines(10).feed(b'{"method": "notifications/message"}\n')) == [TooLong(35, None)]


def test_a_line_without_an_end_is_given_up() -> None:
    lines = Lines(10, patience=4)
    assert [list(lines.feed(b"x" * 10)) for _ in range(4)] == [[]] * 4
    with pytest.raises(EndlessLineError):
        list(lines.feed(b"x"))


@pytest.mark.parametrize(
    ("line", "found"),
    [(b'{"jsonrpc": "2.0", "id": 4, "result": [', 4), (b'{"id": 4, "method": "x"', None), (b"{}", None)],
)
def test_only_an_answer_is_one(line: bytes, found: int | None) -> None:
    assert answered_id(line) == found
