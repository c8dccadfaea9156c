"""Plays a transcript at one end of the bridge's own link; README.md tells the form of steps and results."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import (
    CallReceived,
    Cancelled,
    Draining,
    Ended,
    Event,
    EventReceived,
    HelloReceived,
    MessageReceived,
    PongReceived,
    Replied,
)
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, LinkEvent, LinkHello, LinkStatus
from grpc_tool_bridge.rpc.asks import ASKS_KEY
from grpc_tool_bridge.rpc.buffers import joined

Step = dict[str, Any]
Result = dict[str, Any]

# A longer payload is reported by its size and hash.
MAX_PAYLOAD = 4_096


class LinkPlayer:
    """One end of a link, driven by the steps of a transcript.

    Args:
        role: "dialler", "worker" or "hub".
        hello: Its fields, as in the transcript.
    """

    def __init__(self, role: str, hello: Mapping[str, Any]) -> None:
        self._link = Link(dialer=role != "hub", hello=LinkHello(**hello))
        # A reply or an end takes a call out of the link, yet a late act may name it.
        self._incoming: dict[int, IncomingCall] = {}
        self._outgoing: list[OutgoingCall] = []

    def play(self, steps: list[Step]) -> list[Result]:
        """Does each step; returns their results, the last of which may be the end of the link."""
        results = []
        for step in steps:
            result = self._feed(step) if "feed" in step else self._act(step["acts"])
            results.append(result)
            if "failed" in result:
                break
        return results

    def _feed(self, step: Step) -> Result:
        frame = base64.b64decode(step["feed"], validate=True)
        events: list[Result] = []
        try:
            for _ in range(step.get("times", 1)):
                events += map(self._report, self._link.receive(frame))
        except ProtocolError as error:
            return {"frames": [], "events": [], "failed": error.error_type}
        return {"frames": self._frames(), "events": events}

    def _act(self, acts: list[Step]) -> Result:
        result: Result = {}
        for act in acts:
            try:
                _ACTS[act["do"]](self, act)
            except ToolBridgeError as error:
                result["raised"] = error.error_type
        return {"frames": self._frames(), "events": [], **result}

    def _frames(self) -> list[str]:
        frames = []
        while self._link.has_output:
            frame = self._link.next_frame()
            # A lane that waits its turn gives an empty one.
            if frame:
                frames.append(_text(frame))
        return frames

    # ------------------------------------------------------------------------------------------------------- acts

    def _call(self, act: Step) -> None:
        credit = act.get("initial_credit", 0)
        call = OutgoingCall(
            call_prefix(
                act["method"],
                timeout_ms=act.get("timeout_ms", 0),
                metadata=act.get("metadata"),
                initial_credit=credit,
            )
        )
        if act.get("streaming"):
            call.open_window(credit)
        call.can_answer = ASKS_KEY in act.get("metadata", {})
        self._link.call(call, _payload(act))
        self._outgoing.append(call)

    def _cancel(self, act: Step) -> None:
        self._link.cancel(self._own(act), act.get("reason", ""))

    def _consume(self, act: Step) -> None:
        self._link.grant(self._own(act), act["bytes"])

    def _reply(self, act: Step) -> None:
        self._link.reply(self._incoming[act["id"]], _payload(act))

    def _chunk(self, act: Step) -> None:
        self._link.chunk(self._incoming[act["id"]], _payload(act))

    def _end(self, act: Step) -> None:
        status = LinkStatus(code=act["code"], message=act.get("message", ""))
        if act.get("error"):
            status.error.CopyFrom(ErrorInfo.FromString(base64.b64decode(act["error"])))
        self._link.end(self._incoming[act["id"]], status)

    def _event(self, act: Step) -> None:
        call = self._incoming.get(act["id"]) or self._own(act)
        self._link.tell(call, LinkEvent.FromString(base64.b64decode(act["event_message"])))

    def _ping(self, act: Step) -> None:
        number = self._link.ping()
        assert number == act["number"], "a transcript numbers its pings from 1"

    def _drain(self, act: Step) -> None:
        self._link.drain(act["grace_ms"])

    def _own(self, act: Step) -> OutgoingCall:
        # A call has no id until it is sent: then it is the latest.
        return next((call for call in self._outgoing if call.id == act["id"]), self._outgoing[-1])

    # ----------------------------------------------------------------------------------------------------- events

    def _report(self, event: Event) -> Result:
        match event:
            case CallReceived(call):
                return self._report_call(call)
            case Replied(call, payload):
                return {"event": "reply", "id": call.id, "payload": _text(joined(payload))}
            case MessageReceived(call, payload):
                return {"event": "chunk", "id": call.id, "payload": _text(joined(payload))}
            case Ended(call, status):
                error = _text(status.error.SerializeToString(deterministic=True))
                return {"event": "end", "id": call.id, "code": status.code, "message": status.message, "error": error}
            case Cancelled(call, reason):
                return {"event": "cancel", "id": call.id, "reason": reason}
            case EventReceived(call, message):
                return {"event": "event", "id": call.id, "event_message": _text(message.SerializeToString())}
            case _:
                return _report_of_link(event)

    def _report_call(self, call: IncomingCall) -> Result:
        self._incoming[call.id] = call
        if ASKS_KEY in call.metadata:
            call.asker = LinkAsker(lambda _: None)
        return {
            "event": "call",
            "id": call.id,
            "method": call.method,
            "payload": _text(joined(call.payload)),
            "timeout_ms": call.timeout_ms,
            "metadata": {**call.metadata},
            "initial_credit": call._credit,  # noqa: SLF001 - what the link's own code reads
        }


_ACTS: Mapping[str, Callable[[LinkPlayer, Step], None]] = {
    name: getattr(LinkPlayer, f"_{name}")
    for name in ("call", "cancel", "consume", "reply", "chunk", "end", "event", "ping", "drain")
}


def _report_of_link(event: HelloReceived | PongReceived | Draining) -> Result:
    match event:
        case HelloReceived(hello):
            lists = {"features": [*hello.features], "metadata": {**hello.metadata}}
            return {"event": "hello", "peer": hello.peer, "capacity": hello.capacity, **lists}
        case PongReceived(number):
            return {"event": "pong", "number": number}
        case Draining(grace_ms):
            return {"event": "drain", "grace_ms": grace_ms}


def shortened(payload: bytes) -> Any:
    """Returns a payload as base64, a long one by its size and hash."""
    if len(payload) <= MAX_PAYLOAD:
        return _text(joined(payload))
    return {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}


def _payload(act: Step) -> bytes:
    if "zeros" in act:
        return bytes(act["zeros"])
    return base64.b64decode(act.get("payload", ""), validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
