"""Lines become messages, and what is none is answered."""

import json
import os
from typing import Any

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest

from grpc_tool_bridge.aio.descriptors import DescriptorReader, DescriptorWriter
from grpc_tool_bridge.gateway.mcp.stdio import MessageReader, MessageWriter, refusal_of
from support.waiting import turns


@pytest.mark.parametrize(
    ("line", "code", "request_id", "text"),
    [
        (b"{", -32700, None, "Parse error: "),
        (b"\xff", -32700, None, "Parse error: "),
        (b"[" * 100_000, -32700, None, "nested too deep"),
        (b"[]", -32600, None, "a batch"),
        (b"1", -32600, None, "a message is a JSON object"),
        (b'{"id": 3}', -32600, 3, '"jsonrpc": "2.0"'),
        (b'{"id": "three"}', -32600, "three", '"jsonrpc": "2.0"'),
        (b'{"id": true}', -32600, None, '"jsonrpc": "2.0"'),
        (b'{"id": {}}', -32600, None, '"jsonrpc": "2.0"'),
    ],
)
def test_a_refusal_says_what_is_wrong(line: bytes, code: int, request_id: Any, text: str) -> None:
    refusal = json.loads(refusal_of(line))
    assert (refusal["id"], refusal["error"]["code"]) == (request_id, code)
    assert text in refusal["error"]["message"]


class Taken:
    """Takes one kind of line."""

    is_closed = False

    def take(self, line: bytes) -> bool:
        return line == b"taken"

    async def aclose(self) -> None:
        self.is_closed = True


async def test_messages_are_read_and_written() -> None:
    (reads, theirs), (our_answers, writes) = os.pipe(), os.pipe()
    reader, writer = DescriptorReader(reads), DescriptorWriter(writes)
    incoming, outgoing = (
        MessageReader(reader, writer, 1_000, taken := Taken()),
        MessageWriter(writer, reader),
    )
    os.write(theirs, b'{"jsonrpc":"2.0","id":1,"method":"m"}\nwrong\n\ntaken\n{"jsonrpc":"2.0","method":"n"}')
    os.close(theirs)
    found = [item.message async for item in incoming]
    assert found == [JSONRPCRequest(jsonrpc="2.0", id=1, method="m"), JSONRPCNotification(jsonrpc="2.0", method="n")]
    assert taken.is_closed
    await outgoing.send(SessionMessage(found[1]))
    await writer.drain(0)
    refusal, sent, rest = os.read(our_answers, 10_000).split(b"\n")
    assert json.loads(refusal)["error"]["code"] == -32700
    assert json.loads(sent) == {"jsonrpc": "2.0", "method": "n"}
    assert rest == b""
    os.close(our_answers)
    await outgoing.send(SessionMessage(found[1]))
    await turns()
    with pytest.raises(anyio.BrokenResourceError):
        await outgoing.send(SessionMessage(found[1]))
    os.close(reads)
    os.close(writes)
