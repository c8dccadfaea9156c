"""Compares what an end of a link did in a step with what its transcript expects."""

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from conformance.fields import fields_of
from conformance.link_player import MAX_PAYLOAD, shortened
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, ErrorInfo, LinkEvent, LinkFrame

Step = dict[str, Any]
Result = dict[str, Any]

# A frame over a socket may have no more.
MAX_FRAME_BYTES = 1024 * 1024

_PAYLOADS = ("reply", "chunk")


def problem_of(step: Step, result: Result) -> str:
    """Returns what is wrong with the result of a step; empty if nothing is."""
    failed = result.get("failed", "")
    if failed != step.get("failed", ""):
        return f"the link ended with {failed!r}" if failed else f"the link must end with {step['failed']!r}"
    if failed:
        return ""
    raised = result.get("raised", "")
    if raised != step.get("raised", ""):
        return f"an act raised {raised!r} instead of {step.get('raised', '')!r}"
    return _problem_of_frames(step, result.get("frames", [])) or _problem_of_events(
        step.get("events", []), result.get("events", [])
    )


def whole_envelopes(envelopes: Iterable[Envelope]) -> list[Result]:
    """Returns envelopes as fields, with the parts of each payload joined, and long payloads by size and hash."""
    parts: dict[int, list[bytes]] = defaultdict(list)
    written: list[Result] = []
    for envelope in envelopes:
        kind = envelope.WhichOneof("kind")
        if kind == "part":
            parts[envelope.id].append(envelope.part)
            continue
        fields = fields_of(envelope)
        if kind in _PAYLOADS:
            fields[kind] = shortened(b"".join((*parts.pop(envelope.id, ()), getattr(envelope, kind))))
        elif kind == "call":
            payload = b"".join((*parts.pop(envelope.id, ()), envelope.call.payload))
            fields["call"] |= {"payload": shortened(payload)} if payload else {}
        elif kind == "credit" and written and "credit" in written[-1] and written[-1].get("id") == fields["id"]:
            written[-1]["credit"] += envelope.credit
            continue
        written.append(fields)
    written += [{"id": str(call), "part": shortened(b"".join(pieces))} for call, pieces in parts.items()]
    return written


def _problem_of_frames(step: Step, frames: list[str]) -> str:
    envelopes: list[Envelope] = []
    for text in frames:
        data = base64.b64decode(text, validate=True)
        if len(data) > MAX_FRAME_BYTES:
            return f"a frame has {len(data):,} bytes; the limit is {MAX_FRAME_BYTES:,}"
        try:
            envelopes += LinkFrame.FromString(data).envelopes
        except DecodeError as error:
            return f"a frame that was sent cannot be read: {error}"
    sent = _by_call(whole_envelopes(envelopes))
    problems = [_difference(_by_call(expected), sent) for expected in [step["sends"], *step.get("or_sends", [])]]
    return "" if "" in problems else problems[0]


def _by_call(envelopes: Iterable[Result]) -> dict[str, list[Result]]:
    calls: dict[str, list[Result]] = defaultdict(list)
    for envelope in envelopes:
        calls[envelope.get("id", "0")].append(envelope)
    return calls


def _difference(expected: Mapping[str, list[Result]], sent: Mapping[str, list[Result]]) -> str:
    for call in sorted(expected.keys() | sent.keys(), key=int):
        wanted, found = expected.get(call, []), sent.get(call, [])
        if len(wanted) != len(found) or not all(map(_fits, wanted, found)):
            return f"for the call {call} it sent {found}, expected is {wanted}"
    return ""


def _fits(wanted: Result, found: Result) -> bool:
    if "credit" in wanted:
        # How soon credit is renewed is up to the reader, but not for more than it has read.
        return "credit" in found and 0 < found["credit"] <= wanted["credit"]
    if "end" in wanted and "end" in found:
        # A text that the transcript does not give is free.
        return all(found["end"].get(name) == value for name, value in wanted["end"].items())
    return wanted == found


def _problem_of_events(expected: list[Result], found: list[Result]) -> str:
    wanted = [_canonical(event) for event in expected]
    came = [_canonical(event) for event in found]
    return "" if wanted == came else f"it reported {came}, expected is {wanted}"


def _canonical(event: Result) -> Result:
    """Returns an event without what is empty, so that a peer may leave that out."""
    kept = {name: value for name, value in event.items() if value not in ("", 0, [], {}, None)}
    payload = kept.get("payload")
    if isinstance(payload, str) and len(payload) > MAX_PAYLOAD:
        kept["payload"] = shortened(base64.b64decode(payload, validate=True))
    if "error" in kept:
        kept["error"] = fields_of(ErrorInfo.FromString(base64.b64decode(kept["error"], validate=True)))
    if "event_message" in kept:
        kept["event_message"] = fields_of(LinkEvent.FromString(base64.b64decode(kept["event_message"], validate=True)))
    return kept
