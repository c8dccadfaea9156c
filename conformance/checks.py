"""What the runner checks of a peer, vector by vector."""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from conformance.descriptions import describe, holds_opaque, same_meaning, typed
from conformance.errors import meaning_of, read_info
from conformance.fields import fields_of, new_message
from conformance.link_checks import problem_of
from conformance.payloads import expand
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from grpc_tool_bridge.values.serialization import deserialize_value

Entry = dict[str, Any]

# The error type that the runner gives a peer that ended or hung: it has refused nothing.
PEER_FAILED = "PeerFailed"

PASSED, OPAQUE, UNSUPPORTED, FAILED = "passed", "opaque", "unsupported", "failed"

# What a step of a transcript gives to a peer; the rest is what it must do.
_ASKED = ("acts", "feed", "times")

# Of both sides, in what a failure shows.
_SHOWN = 400


class Peer(Protocol):
    """What answers requests."""

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Returns the answer to a request."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one check.

    Attributes:
        section: Of the vectors.
        action: What the peer was asked to do.
        name: Of the vector.
        outcome: PASSED; OPAQUE if the peer passed the value on without a form of its own; UNSUPPORTED; FAILED.
        row: Of the table of values, for a value.
        detail: What was wrong.
    """

    section: str
    action: str
    name: str
    outcome: str
    row: str = ""
    detail: str = ""


def check_value(peer: Peer, vector: Entry) -> Iterator[Outcome]:
    """Checks a value: decoding, encoding and the round trip."""
    outcome = _outcomes("values", vector)
    decoded = peer.ask("decode_value", any=vector["any"])
    found = _meaning(decoded)
    opaque = found.get("kind") == "opaque"
    good = _accepts(lambda: same_meaning(vector["meaning"], found))
    yield outcome("decode_value", decoded, good, vector["meaning"], opaque=opaque)
    if not holds_opaque(found):
        encoded = peer.ask("encode_value", meaning=vector["meaning"])
        yield outcome("encode_value", encoded, _sends(encoded, vector), vector["any"])
    returned = peer.ask("round_trip", any=vector["any"])
    yield outcome("round_trip", returned, _sends(returned, vector), vector["any"], opaque=opaque)


def check_refusal(peer: Peer, vector: Entry) -> Iterator[Outcome]:
    """Checks that a malformed value is refused, by the type of the error."""
    outcome = _outcomes("refusals", vector)
    for action in ("decode_value", "round_trip"):
        answer = peer.ask(action, any=vector["any"])
        refused = answer.get("error", {}).get("type") == vector["error"]
        kept = vector["opaque_allowed"] and _passes_on(action, answer, vector)
        yield outcome(action, answer, refused or kept, vector["error"], opaque=kept)


def check_error(peer: Peer, vector: Entry) -> Iterator[Outcome]:
    """Checks an error: reading and, if it has a timestamp, writing it as an ErrorInfo."""
    outcome = _outcomes("errors", vector)
    carrier = {key: vector[key] for key in ("info", "status", "trailers") if key in vector}
    read = peer.ask("decode_error", **carrier)
    found = _meaning(read)
    good = _accepts(lambda: _same_error(vector["meaning"], found))
    yield outcome("decode_error", read, good, vector["meaning"])
    if "timestamp" not in vector:
        return
    written = peer.ask("encode_error", meaning=vector["meaning"], timestamp=vector["timestamp"])
    yield outcome("encode_error", written, _accepts(lambda: _writes_error(written["ok"], vector)), vector["meaning"])


def check_message(peer: Peer, vector: Entry) -> Iterator[Outcome]:
    """Checks a message: reading and writing it, or refusing it."""
    outcome = _outcomes("messages", vector)
    name, fields = vector["message"], vector.get("fields")
    read = peer.ask("decode_message", message=name, bytes=vector["bytes"])
    if fields is None:
        refused = read.get("error", {}).get("type") not in (None, PEER_FAILED)
        yield outcome("decode_message", read, refused, "an error")
        return
    yield outcome("decode_message", read, _accepts(lambda: read["ok"]["fields"] == fields), fields)
    written = peer.ask("encode_message", message=name, fields=fields)
    yield outcome("encode_message", written, _accepts(lambda: _writes_message(written["ok"], name, fields)), fields)


def check_transcript(peer: Peer, vector: Entry, roles: frozenset[str]) -> Iterator[Outcome]:
    """Checks that a peer's link does what a transcript says."""
    if vector["role"] not in roles:
        yield Outcome("transcripts", "link", vector["name"], UNSUPPORTED)
        return
    steps = [{key: step[key] for key in _ASKED if key in step} for step in vector["steps"]]
    answer = peer.ask("link", role=vector["role"], hello=vector["hello"], steps=steps)
    problem = "" if "error" in answer else _problem_of_steps(vector["steps"], answer["ok"])
    yield _outcomes("transcripts", vector)("link", answer, "ok" in answer and not problem, problem)


def check_all(peer: Peer, vectors: Mapping[str, list[Entry]]) -> Iterator[Outcome]:
    """Checks all vectors, by section."""
    hello = peer.ask("hello").get("ok", {})
    roles = frozenset(hello.get("roles", ("dialler", "worker")))
    checks: Mapping[str, Callable[[Peer, Entry], Iterator[Outcome]]] = {
        "values": check_value,
        "refusals": check_refusal,
        "errors": check_error,
        "messages": check_message,
        "transcripts": lambda peer, vector: check_transcript(peer, vector, roles),
    }
    for section, check in checks.items():
        for vector in vectors[section]:
            yield from check(peer, expand(vector))


SECTIONS = ("values", "refusals", "errors", "messages", "transcripts")


def _outcomes(section: str, vector: Entry) -> Callable[..., Outcome]:
    """Returns what makes the outcome of an action on a vector."""

    def outcome(action: str, answer: Entry, good: bool, expected: Any, *, opaque: bool = False) -> Outcome:
        row = vector.get("row", "")
        if good:
            return Outcome(section, action, vector["name"], OPAQUE if opaque else PASSED, row)
        if answer.get("error", {}).get("type") == "Unimplemented":
            return Outcome(section, action, vector["name"], UNSUPPORTED, row)
        found = answer.get("ok", answer.get("error"))
        detail = f"{_cut(expected)}" if section == "transcripts" else f"expected {_cut(expected)}, got {_cut(found)}"
        return Outcome(section, action, vector["name"], FAILED, row, detail)

    return outcome


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _accepts(check: Callable[[], bool]) -> bool:
    """Runs a check of what a peer sent, which may be anything."""
    try:
        return check()
    except (ToolBridgeError, DecodeError, ValueError, TypeError, LookupError, AttributeError):
        return False


def _sends(answer: Entry, vector: Entry) -> bool:
    """Returns whether a peer sent the vector's value: the same bytes, or another form of it if that may be."""
    if _sent(answer) == vector["any"]:
        return True
    return vector["peer"] != "same" and _accepts(lambda: _means(answer["ok"]["any"], vector["meaning"]))


def _meaning(answer: Entry) -> Entry:
    """Returns the meaning in an answer; empty if there is none."""
    ok = answer.get("ok")
    meaning = ok.get("meaning") if isinstance(ok, dict) else None
    return meaning if isinstance(meaning, dict) else {}


def _sent(answer: Entry) -> Any:
    ok = answer.get("ok")
    return ok.get("any") if isinstance(ok, dict) else None


def _means(sent: str, meaning: Entry) -> bool:
    message = AnyMessage.FromString(base64.b64decode(sent, validate=True))
    if meaning["kind"] == "typed":
        return same_meaning(meaning, typed(message))
    return same_meaning(meaning, describe(deserialize_value(message)))


def _passes_on(action: str, answer: Entry, vector: Entry) -> bool:
    if action == "round_trip":
        return bool(_sent(answer) == vector["any"])
    return holds_opaque(_meaning(answer))


def _same_error(expected: Entry, found: Entry) -> bool:
    return _bare_error(expected) == _bare_error(found)


def _bare_error(meaning: Entry) -> Entry:
    # ``origin`` is compared by itself; a peer may write the default into the details.
    details = {name: text for name, text in (meaning.get("details") or {}).items() if name != "origin"}
    return {name: value for name, value in (meaning | {"details": details}).items() if value not in ("", {}, None)}


def _writes_error(written: Entry, vector: Entry) -> bool:
    payload = base64.b64decode(written["info"], validate=True)
    moment = ErrorInfo.FromString(payload).timestamp
    timestamp = {"seconds": str(moment.seconds), "nanos": moment.nanos}
    same = _same_error(vector["meaning"], meaning_of(read_info(payload)))
    return same and timestamp == vector["timestamp"] and written["code"] == vector["code"]


def _writes_message(written: Entry, name: str, fields: Entry) -> bool:
    message = new_message(name)
    message.ParseFromString(base64.b64decode(written["bytes"], validate=True))
    return fields_of(message) == fields


def _problem_of_steps(steps: list[Entry], played: Any) -> str:
    results = played.get("steps") if isinstance(played, dict) else None
    if not isinstance(results, list):
        return "the answer has no list of steps"
    for number, (step, result) in enumerate(zip(steps, results, strict=False)):
        try:
            problem = problem_of(step, result)
        except (DecodeError, ValueError, TypeError, LookupError, AttributeError) as failure:
            problem = f"its result cannot be read: {failure!r}"
        if problem:
            return f"step {number}: {problem}"
    return "" if len(results) == len(steps) else f"{len(results)} results came for {len(steps)} steps"
