"""Frames of a link, at the hub's end and at a client's or worker's."""

from collections.abc import Iterator

from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ResourceExhaustedError
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import CallReceived, Event, MessageReceived
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.status import Code
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkFrame, LinkHello, LinkStatus
from grpc_tool_bridge.rpc.budgets import Budget

REFUSALS = (ProtocolError,)

_ROOM = 256 * 1024
# Calls of this end, which the peer may answer; each second one is a stream.
_CALLS = 4


def fuzz(data: bytes) -> None:
    """Reads frames, each with its length before it (2 bytes); the first byte says which end reads them."""
    dialer = bool(data[:1] and data[0] % 2)
    budget = Budget(_ROOM, owner="the hub", setting="max_hub_bytes")
    hello = LinkHello(peer="fuzz", features=["ask"], capacity=8)
    link = Link(dialer=dialer, hello=hello, max_incoming_bytes=_ROOM, budget=budget)
    for number in range(_CALLS):
        call = OutgoingCall(call_prefix("StreamTool" if number % 2 else "ExecuteTool"))
        if number % 2:
            call.open_window(_ROOM)
        link.call(call, b"request")
    try:
        for frame in _frames(data[1:]):
            for event in link.receive(frame):
                _act(link, event)
            link.settle()
            while link.has_output:
                LinkFrame.FromString(link.next_frame())
        assert budget.used <= 2 * _ROOM
    finally:
        link.release()
    assert not budget.used


def _frames(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + size]
        data = data[2 + size :]


def _act(link: Link, event: Event) -> None:
    """Does what an end does with an event: answers every second call, and reads its streams."""
    if isinstance(event, MessageReceived):
        link.grant(event.call, len(event.payload))
    elif isinstance(event, CallReceived):
        if event.call.id % 4 < 2:
            _answer(link, event)
        else:
            link.end(event.call, LinkStatus(code=Code.UNIMPLEMENTED))


def _answer(link: Link, event: CallReceived) -> None:
    try:
        if event.call.method == "StreamTool":
            link.chunk(event.call, event.call.payload)
            link.end(event.call, LinkStatus())
        else:
            link.reply(event.call, event.call.payload)
    except (ResourceExhaustedError, MessageTooLargeError):
        link.end(event.call, LinkStatus(code=Code.RESOURCE_EXHAUSTED))
