"""The events that ``Link.receive`` returns."""

from typing import Any, NamedTuple

from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LinkHello, LinkStatus
from grpc_tool_bridge.rpc.buffers import Payload


class HelloReceived(NamedTuple):
    """The peer's hello; the first event of a link."""

    hello: LinkHello


class CallReceived(NamedTuple):
    """The peer made a call."""

    call: IncomingCall


class Cancelled(NamedTuple):
    """The peer cancelled one of its calls; it waits for the call's end."""

    call: IncomingCall
    reason: str


# In the events below, ``call`` is the OutgoingCall that was sent.


class Replied(NamedTuple):
    """A unary call was answered."""

    call: Any
    payload: Payload


class MessageReceived(NamedTuple):
    """A message of a stream; pass its size to ``Link.grant`` once it was consumed."""

    call: Any
    payload: Payload


class Ended(NamedTuple):
    """A call ended: a stream with its status, a unary call with an error."""

    call: Any
    status: LinkStatus


class EventReceived(NamedTuple):
    """The peer sent an event of an open call."""

    call: Any
    event: LinkEvent


class PongReceived(NamedTuple):
    """A ping was answered."""

    number: int


class Draining(NamedTuple):
    """The peer takes no new calls and will end the link."""

    grace_ms: int


Event = (
    HelloReceived
    | CallReceived
    | Cancelled
    | Replied
    | MessageReceived
    | Ended
    | EventReceived
    | PongReceived
    | Draining
)
