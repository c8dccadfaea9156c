"""What is known of a message that cannot be read."""

import json

import pytest

from grpc_tool_bridge.adapters.mcp.stdio import answered_id, request_id_of
from grpc_tool_bridge.aio.lines import LineSplitter, LongLine


@pytest.mark.parametrize("first", [True, False], ids=["id first", "id last"])
@pytest.mark.parametrize("request_id", [7, "seven"])
def test_a_line_that_is_too_long_tells_which_request_it_answers(first: bool, request_id: int | str) -> None:
    text = "x" * 50_000 + '"id": 3, "id": "no"'
    answer = {"jsonrpc": "2.0", "id": request_id, "result": {"id": 9, "text": text}}
    if not first:
        answer = {"result": answer["result"], "jsonrpc": "2.0", "id": request_id}
    data = json.dumps(answer).encode()
    lines = LineSplitter(10_000)
    found = [line for at in range(0, len(data), 999) for line in lines.feed(data[at : at + 999])]
    assert found == []
    long, following = lines.feed(b"\nnext\n")
    assert isinstance(long, LongLine)
    assert (long.size, request_id_of(long), following) == (len(data), request_id, b"next")


def test_a_line_without_an_id_belongs_to_nobody() -> None:
    (line,) = LineSplitter(10).feed(b'{"method": "notifications/message"}\n')
    assert isinstance(line, LongLine)
    assert request_id_of(line) is None


@pytest.mark.parametrize(
    ("line", "found"),
    [(b'{"jsonrpc": "2.0", "id": 4, "result": [', 4), (b'{"id": 4, "method": "x"', None), (b"{}", None)],
)
def test_only_an_answer_is_one(line: bytes, found: int | None) -> None:
    assert answered_id(line) == found
