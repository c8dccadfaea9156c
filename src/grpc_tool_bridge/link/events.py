"""What happened on a link: what ``Link.receive`` makes of the frames that came."""

from typing import Any, NamedTuple

from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LinkHello, LinkStatus


class HelloReceived(NamedTuple):
    """The peer said who it is; the first event of a link."""

    hello: LinkHello


class CallReceived(NamedTuple):
    """The peer calls."""

    call: IncomingCall


class Cancelled(NamedTuple):
    """The peer wants one of its calls no more; it waits for the call's end."""

    call: IncomingCall
    reason: str


# Of the answers, ``call`` is the OutgoingCall that was given.


class Replied(NamedTuple):
    """A unary call was answered."""

    call: Any
    payload: bytes


class MessageReceived(NamedTuple):
    """A message of a stream came; ``Link.grant`` takes its size once it was used."""

    call: Any
    payload: bytes


class Ended(NamedTuple):
    """A call ended: a stream as its status says, a unary call with an error."""

    call: Any
    status: LinkStatus


class EventReceived(NamedTuple):
    """The peer told something of a call on its way."""

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
