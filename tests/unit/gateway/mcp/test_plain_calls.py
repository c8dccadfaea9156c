"""What is a plain call, and how its answer is written."""

import json
import math
from typing import Any

import pytest
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from grpc_tool_bridge.gateway.mcp.plain_calls import complete, read_call, write, written

PLAIN: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add"}}


@pytest.mark.parametrize("request_id", [1, "one"])
@pytest.mark.parametrize("more", [{}, {"arguments": None}, {"arguments": {"a": 1}}, {"_meta": {"x": 1}}])
def test_a_plain_call_is_read(request_id: Any, more: dict[str, Any]) -> None:
    call = read_call(json.dumps({**PLAIN, "id": request_id, "params": {"name": "add", **more}}).encode())
    assert call is not None
    assert (call.request_id, call.params.name, call.params.arguments) == (request_id, "add", more.get("arguments"))
    assert call.meta == more.get("_meta")


@pytest.mark.parametrize(
    "changed",
    [
        {"jsonrpc": "1.0"}, {"id": None}, {"id": True}, {"id": 1.5}, {"method": "tools/list"}, {"params": []},
        {"more": 1}, {"params": {}}, {"params": {"name": 1}}, {"params": {"name": "add", "arguments": []}},
        {"params": {"name": "add", "_meta": None}}, {"params": {"name": "add", "_meta": []}},
        {"params": {"name": "add", "task": {}}},
    ],
)  # fmt: skip
def test_what_is_unusual_or_wrong_is_left_to_the_sdk(changed: dict[str, Any]) -> None:
    assert read_call(json.dumps({**PLAIN, **changed}).encode()) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_left_to_the_sdk(body: bytes) -> None:
    assert read_call(body) is None


def test_a_result_says_what_its_protocol_has() -> None:
    result = {"resultType": "complete", "content": [], "_meta": {"key": 1}}
    assert complete(result, LATEST_HANDSHAKE_VERSION, {"name": "s"}) == {"content": [], "_meta": {"key": 1}}
    newer = complete(result, LATEST_MODERN_VERSION, {"name": "s"})
    assert newer["resultType"] == "complete"
    assert newer["_meta"] == {"io.modelcontextprotocol/serverInfo": {"name": "s"}, "key": 1}


async def test_a_message_is_one_line_of_valid_json_whatever_is_in_it() -> None:
    message = {"text": "é\n\u2028", "half": "\ud800", "large": 2**100}
    assert json.loads(write(message)) == {**message, "half": "?"}
    assert b"\n" not in write(message)
    assert json.loads(write({"nan": math.nan})) == {"nan": None}
    large = {"text": "x" * 200_000}
    assert await written(large) == write(large)
