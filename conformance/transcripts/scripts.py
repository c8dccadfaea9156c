"""Transcripts of links as they are written: what arrives, what the application does, and what must come of it."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Self

from google.protobuf.message import Message

from conformance.fields import fields_of
from conformance.link_checks import problem_of, whole_envelopes
from conformance.link_player import LinkPlayer, shortened
from conformance.payloads import expand, write_bytes
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Envelope,
    ErrorInfo,
    LinkCall,
    LinkCancel,
    LinkEvent,
    LinkFrame,
    LinkHello,
    LinkStatus,
)

Step = dict[str, Any]
Entry = dict[str, Any]


class Script:
    """One transcript.

    Args:
        name: What it shows.
        role: Of the end that is tested: "dialler", "worker" or "hub".
        hello: What this end says first.
    """

    def __init__(self, name: str, role: str = "dialler", **hello: Any) -> None:
        self.name = name
        self.role = role
        self.hello: dict[str, Any] = {"peer": "conformance", **hello}
        self.steps: list[Step] = []
        self.acts(sends=[hello_of(**self.hello)])

    def greeted(self, **hello: Any) -> Self:
        """Lets the hello of the other end arrive."""
        other: dict[str, Any] = {"peer": "hub", "capacity": 20_000} | hello
        return self.feed(hello_of(**other), events=[{"event": "hello", **other}])

    def acts(
        self,
        *acts: Step,
        sends: Sequence[Envelope] = (),
        or_sends: Sequence[Sequence[Envelope]] = (),
        raised: str = "",
    ) -> Self:
        """Lets the application act."""
        step: Step = {"acts": [*acts], "sends": whole_envelopes(sends), "events": []}
        if or_sends:
            step["or_sends"] = [whole_envelopes(other) for other in or_sends]
        self.steps.append(step | ({"raised": raised} if raised else {}))
        return self

    def feed(
        self,
        *envelopes: Envelope,
        frame: bytes | None = None,
        times: int = 1,
        sends: Sequence[Envelope] = (),
        events: Sequence[Entry] = (),
        failed: bool = False,
    ) -> Self:
        """Lets a frame arrive: of these envelopes, or as given."""
        data = LinkFrame(envelopes=envelopes).SerializeToString(deterministic=True) if frame is None else frame
        step = {
            "feed": write_bytes(data),
            "times": times,
            "reads": whole_envelopes(envelopes),
            "sends": whole_envelopes(sends),
            "events": [*events],
        }
        self.steps.append(step | ({"failed": "ProtocolError"} if failed else {}))
        return self

    def says(self, *messages: Message) -> Self:
        """Shows a reader the messages in the payloads of the last step."""
        self.steps[-1]["messages"] = [
            {"message": message.DESCRIPTOR.full_name, "fields": fields_of(message)} for message in messages
        ]
        return self

    def vector(self) -> Entry:
        """Returns the transcript, with the frames that this bridge sends in each step.

        Raises:
            AssertionError: The bridge does something else.
        """
        steps = [expand(step) for step in self.steps]
        results = LinkPlayer(self.role, self.hello).play(steps)
        assert len(results) == len(steps), f"{self.name}: the link ended early, with {results[-1]}"
        written = []
        for number, (step, result) in enumerate(zip(self.steps, results, strict=True)):
            problem = problem_of(step, result)
            assert not problem, f"{self.name}, step {number}: {problem}"
            frames = [write_bytes(_timeless(base64.b64decode(frame))) for frame in result["frames"]]
            written.append(step | {"frames": frames})
        return {"name": self.name, "role": self.role, "hello": self.hello, "steps": written}


def _timeless(frame: bytes) -> bytes:
    """Returns a frame without the time at which the link made an error, which would differ from run to run."""
    message = LinkFrame.FromString(frame)
    errors_made = [one.end.error for one in message.envelopes if one.end.error.HasField("timestamp")]
    for error in errors_made:
        error.ClearField("timestamp")
    return message.SerializeToString(deterministic=True) if errors_made else frame


def hello_of(*, protocol: int = 1, **fields: Any) -> Envelope:
    """Returns the envelope of a hello."""
    return Envelope(hello=LinkHello(protocol=protocol, **fields))


def call_act(payload: bytes = b"", method: str = "ExecuteTool", **fields: Any) -> Step:
    """Returns an act that makes a call."""
    return {"do": "call", "method": method, **({"payload": text(payload)} if payload else {}), **fields}


def call(number: int, payload: bytes = b"", method: str = "ExecuteTool", **fields: Any) -> Envelope:
    """Returns the envelope of a call."""
    return Envelope(id=number, call=LinkCall(method=method, payload=payload, **fields))


def called(number: int, payload: bytes = b"", method: str = "ExecuteTool", **fields: Any) -> Entry:
    """Returns the event of a call that came."""
    event = {"event": "call", "id": number, "method": method, "payload": shortened(payload), "timeout_ms": 0}
    return event | {"metadata": {}, "initial_credit": 1024 * 1024} | fields


def reply(number: int, payload: bytes = b"") -> Envelope:
    """Returns the envelope of a reply."""
    return Envelope(id=number, reply=payload)


def replied(number: int, payload: bytes = b"") -> Entry:
    """Returns the event of a reply that came."""
    return {"event": "reply", "id": number, "payload": shortened(payload)}


def chunk(number: int, payload: bytes = b"") -> Envelope:
    """Returns the envelope of a message of a stream."""
    return Envelope(id=number, chunk=payload)


def streamed(number: int, payload: bytes = b"") -> Entry:
    """Returns the event of a message of a stream that came."""
    return {"event": "chunk", "id": number, "payload": shortened(payload)}


def part(number: int, payload: bytes) -> Envelope:
    """Returns the envelope of a piece of a payload."""
    return Envelope(id=number, part=payload)


def end(number: int, code: int = 0, message: str = "", error: ErrorInfo | None = None) -> Envelope:
    """Returns the envelope of an end."""
    return Envelope(id=number, end=LinkStatus(code=code, message=message, error=error))


def end_act(number: int, code: int = 0, message: str = "", error: ErrorInfo | None = None) -> Step:
    """Returns an act that ends a call."""
    act = {"do": "end", "id": number, "code": code, "message": message}
    return act | ({"error": text(serialized(error))} if error is not None else {})


def ended(number: int, code: int = 0, message: str = "", error: ErrorInfo | None = None) -> Entry:
    """Returns the event of an end that came."""
    payload = text(serialized(error)) if error is not None else ""
    return {"event": "end", "id": number, "code": code, "message": message, "error": payload}


def cancel(number: int, reason: str = "") -> Envelope:
    """Returns the envelope of a cancellation."""
    return Envelope(id=number, cancel=LinkCancel(reason=reason))


def credit(number: int, size: int) -> Envelope:
    """Returns the envelope that grants credit."""
    return Envelope(id=number, credit=size)


def event(number: int, message: LinkEvent) -> Envelope:
    """Returns the envelope of an event of a call."""
    return Envelope(id=number, event=message)


def event_act(number: int, message: LinkEvent) -> Step:
    """Returns an act that sends an event of a call."""
    return {"do": "event", "id": number, "event_message": text(serialized(message))}


def told(number: int, message: LinkEvent) -> Entry:
    """Returns the event of a LinkEvent that came."""
    return {"event": "event", "id": number, "event_message": text(serialized(message))}


def act(what: str, number: int, **fields: Any) -> Step:
    """Returns another act of a call."""
    return {"do": what, "id": number, **fields}


def send(what: str, number: int, payload: bytes) -> Step:
    """Returns the act of a reply or a chunk."""
    return {"do": what, "id": number, "payload": text(payload)}


def text(data: bytes) -> str:
    """Returns base64."""
    return base64.b64encode(data).decode()


def serialized(message: ErrorInfo | LinkEvent) -> bytes:
    """Returns the bytes of a message, the same each time."""
    return message.SerializeToString(deterministic=True)


def errors(error_type: str, message: str, details: Mapping[str, str] | None = None) -> ErrorInfo:
    """Returns an error of the bridge."""
    return ErrorInfo(type=error_type, message=message, details=details or {"origin": "bridge"})
