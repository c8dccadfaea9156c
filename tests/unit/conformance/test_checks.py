"""The runner finds what a peer does wrong, and takes what it may do otherwise."""

import base64
import json
from typing import Any

import pytest
from conformance.checks import (
    FAILED,
    OPAQUE,
    PASSED,
    PEER_FAILED,
    SECTIONS,
    UNSUPPORTED,
    Outcome,
    check_all,
    check_message,
    check_refusal,
    check_transcript,
    check_value,
)
from conformance.make import VECTORS
from conformance.payloads import expand

from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkFrame
from grpc_tool_bridge.values.serialization import serialize_value
from unit.conformance.fakes import Altered, Answer

VECTORS_BY_SECTION = json.loads(VECTORS.read_text(encoding="utf-8"))
ROLES = frozenset({"dialler", "worker", "hub"})


def vector(section: str, name: str) -> Any:
    (found,) = (one for one in VECTORS_BY_SECTION[section] if one["name"] == name)
    return expand(found)


def outcomes(checks: Any) -> dict[str, str]:
    return {one.action: one.outcome for one in checks}


def keeps(request: Answer, _: Answer) -> Answer:
    """Answers as a peer whose language has no form for the value."""
    message = VALUES_BY_ANY[request["any"]]
    return {"ok": {"meaning": {"kind": "opaque", "type_url": message["type_url"], "base64": message["value"]}}}


VALUES_BY_ANY = {one["any"]: one for one in VECTORS_BY_SECTION["values"] if isinstance(one["any"], str)}


def test_an_integer_that_becomes_a_float_is_found() -> None:
    def as_float(request: Answer, _: Answer) -> Answer:
        return {"ok": {"meaning": {"kind": "float", "bits": "3ff0000000000000"}}}

    found = outcomes(check_value(Altered("decode_value", as_float), vector("values", "integer: 1")))
    assert found == {"decode_value": FAILED, "encode_value": PASSED, "round_trip": PASSED}


def test_a_scalar_in_another_form_of_the_same_meaning_is_found() -> None:
    def as_json(_: Answer, __: Answer) -> Answer:
        return {"ok": {"any": base64.b64encode(serialize_value([1]).SerializeToString()).decode()}}

    found = outcomes(check_value(Altered("encode_value", as_json), vector("values", "integer: 1")))
    assert found["encode_value"] == FAILED


def test_a_list_may_have_another_form() -> None:
    def as_rich(_: Answer, __: Answer) -> Answer:
        # RichValue { list { integer 1 … } } is made by Python where a tuple is in it; here by hand.
        items = b"".join(b"\x0a" + bytes((len(item),)) + item for item in (b"\x18\x02", b"\x18\x04"))
        rich = b"\x42" + bytes((len(items),)) + items
        url = b"type.googleapis.com/dspex.bridge.RichValue"
        whole = b"\x0a" + bytes((len(url),)) + url + b"\x12" + bytes((len(rich),)) + rich
        return {"ok": {"any": base64.b64encode(whole).decode()}}

    two = {
        "name": "two",
        "any": base64.b64encode(serialize_value([1, 2]).SerializeToString()).decode(),
        "meaning": {"kind": "list", "items": [{"kind": "integer", "text": "1"}, {"kind": "integer", "text": "2"}]},
        "peer": "equal",
    }
    assert outcomes(check_value(Altered("encode_value", as_rich), two))["encode_value"] == PASSED


def test_a_decimal_may_be_kept_as_it_came() -> None:
    peer = Altered("decode_value", keeps)
    found = outcomes(check_value(peer, vector("values", "decimal: 1.10")))
    assert found == {"decode_value": OPAQUE, "round_trip": OPAQUE}
    # A peer that has no form for a value cannot make one.
    assert "encode_value" not in peer.asked


def test_an_integer_may_not_be_kept_as_it_came() -> None:
    assert (
        outcomes(check_value(Altered("decode_value", keeps), vector("values", "integer: 1")))["decode_value"] == FAILED
    )


def test_another_order_of_keys_is_found() -> None:
    def sorts(_: Answer, given: Answer) -> Answer:
        entries = sorted(given["ok"]["meaning"]["entries"], key=json.dumps)
        return {"ok": {"meaning": {"kind": "dict", "entries": entries}}}

    found = outcomes(check_value(Altered("decode_value", sorts), vector("values", "dict: key order")))
    assert found["decode_value"] == FAILED


def test_a_set_may_come_in_any_order() -> None:
    def turns(_: Answer, given: Answer) -> Answer:
        return {"ok": {"meaning": given["ok"]["meaning"] | {"items": given["ok"]["meaning"]["items"][::-1]}}}

    value = {1, 2, 3}
    three = {
        "name": "three",
        "any": base64.b64encode(serialize_value(value).SerializeToString()).decode(),
        "meaning": {"kind": "set", "items": [{"kind": "integer", "text": str(number)} for number in value]},
        "peer": "keep",
    }
    assert outcomes(check_value(Altered("decode_value", turns), three))["decode_value"] == PASSED


@pytest.mark.parametrize(
    "meaning",
    [{}, {"kind": "integer"}, {"kind": "none of these"}, {"kind": "list", "items": 3}, [], None, "text", 7],
    ids=repr,
)
def test_an_answer_that_is_no_meaning_is_a_failure(meaning: Any) -> None:
    peer = Altered("decode_value", lambda _, __: {"ok": {"meaning": meaning}})
    assert outcomes(check_value(peer, vector("values", "list: nested")))["decode_value"] == FAILED


@pytest.mark.parametrize("whole", ["", "!", "CgA=", 7, None], ids=repr)
def test_an_answer_that_is_no_any_is_a_failure(whole: Any) -> None:
    peer = Altered("round_trip", lambda _, __: {"ok": {"any": whole}})
    assert outcomes(check_value(peer, vector("values", "list: nested")))["round_trip"] == FAILED


def test_an_action_that_a_peer_does_not_have_is_not_a_failure() -> None:
    peer = Altered("round_trip", lambda _, __: {"error": {"type": "Unimplemented", "message": "not yet"}})
    assert outcomes(check_value(peer, vector("values", "list: nested")))["round_trip"] == UNSUPPORTED


def test_a_malformed_value_that_is_taken_is_found() -> None:
    peer = Altered("decode_value", lambda _, __: {"ok": {"meaning": {"kind": "text", "text": "\ufffd("}}})
    found = outcomes(check_refusal(peer, vector("refusals", "text that is not UTF-8")))
    assert found == {"decode_value": FAILED, "round_trip": PASSED}


def test_a_malformed_value_that_is_refused_by_another_error_is_found() -> None:
    peer = Altered("decode_value", lambda _, __: {"error": {"type": "InternalError", "message": "crashed"}})
    assert outcomes(check_refusal(peer, vector("refusals", "unknown type")))["decode_value"] == FAILED


def test_a_malformed_decimal_may_be_kept_as_it_came() -> None:
    def keep(request: Answer, _: Answer) -> Answer:
        return {"ok": {"meaning": {"kind": "opaque", "type_url": "x", "base64": request["any"]}}}

    peer = Altered("decode_value", keep)
    assert outcomes(check_refusal(peer, vector("refusals", "decimal of a word")))["decode_value"] == OPAQUE
    assert outcomes(check_refusal(peer, vector("refusals", "Json of a word")))["decode_value"] == FAILED


def test_a_message_whose_default_is_reported_is_found() -> None:
    def with_default(_: Answer, given: Answer) -> Answer:
        return {"ok": {"fields": {"enable_telemetry": False, **given["ok"]["fields"]}}}

    peer = Altered("decode_message", with_default)
    found = outcomes(check_message(peer, vector("messages", "dspex.bridge.SessionConfig: nothing set")))
    assert found == {"decode_message": FAILED, "encode_message": PASSED}


def test_a_malformed_message_that_is_taken_is_found() -> None:
    peer = Altered("decode_message", lambda _, __: {"ok": {"fields": {}}})
    name = "dspex.bridge.ToolCallRequest: a text that is not UTF-8"
    assert outcomes(check_message(peer, vector("messages", name))) == {"decode_message": FAILED}


# ---------------------------------------------------------------------------------------------------------------- links


def played(name: str, alter: Any) -> Outcome:
    (outcome,) = check_transcript(Altered("link", alter), vector("transcripts", name), ROLES)
    return outcome


def altered_step(number: int, **changes: Any) -> Any:
    def alter(_: Answer, given: Answer) -> Answer:
        given["ok"]["steps"][number] |= changes
        return given

    return alter


def frame(*envelopes: Envelope) -> str:
    return base64.b64encode(LinkFrame(envelopes=envelopes).SerializeToString()).decode()


REPLY = "unary: a call of the other end, as the dialler"


def test_frames_may_be_divided_otherwise() -> None:
    pieces = [frame(Envelope(id=2, part=b"ans")), frame(), frame(Envelope(id=2, reply=b"wer"))]
    assert played(REPLY, altered_step(3, frames=pieces)).outcome == PASSED


def test_another_payload_is_found() -> None:
    found = played(REPLY, altered_step(3, frames=[frame(Envelope(id=2, reply=b"other"))]))
    assert found.outcome == FAILED
    assert "step 3: for the call 2" in found.detail


def test_an_envelope_too_many_is_found() -> None:
    sent = frame(Envelope(id=2, reply=b"answer"), Envelope(id=2, end={"code": 0}))  # type: ignore[arg-type] # as dicts
    assert played(REPLY, altered_step(3, frames=[sent])).outcome == FAILED


def test_an_event_that_is_missing_is_found() -> None:
    assert "expected is" in played(REPLY, altered_step(2, events=[])).detail


def test_a_frame_over_1_mib_is_found() -> None:
    sent = frame(Envelope(id=2, reply=bytes(1024 * 1024 + 1)))
    assert "the limit is 1,048,576" in played(REPLY, altered_step(3, frames=[sent])).detail


def test_a_violation_that_is_not_noticed_is_found() -> None:
    def overlooks(_: Answer, given: Answer) -> Answer:
        given["ok"]["steps"][-1] = {"frames": [], "events": []}
        return given

    assert "must end with 'ProtocolError'" in played("violation: a second hello", overlooks).detail


def test_a_link_that_ends_early_is_found() -> None:
    found = played(REPLY, altered_step(2, failed="ProtocolError"))
    assert found.outcome == FAILED


@pytest.mark.parametrize("size", [1, 10])
def test_credit_may_be_renewed_in_part(size: int) -> None:
    sent = [frame(Envelope(id=1, credit=size))]
    assert played("stream: a reader grants what it has read", altered_step(4, frames=sent)).outcome == PASSED


@pytest.mark.parametrize("sizes", [[], [11], [6, 5]])
def test_credit_for_more_than_was_read_or_for_nothing_is_found(sizes: list[int]) -> None:
    sent = [frame(Envelope(id=1, credit=size)) for size in sizes]
    assert played("stream: a reader grants what it has read", altered_step(4, frames=sent)).outcome == FAILED


@pytest.mark.parametrize(
    "steps", [[], [7], "none", [{"frames": "x"}], [{"frames": ["!"]}], [{"events": [{"error": "!"}]}]]
)
def test_results_that_cannot_be_read_are_a_failure(steps: Any) -> None:
    assert played(REPLY, lambda _, __: {"ok": {"steps": steps}}).outcome == FAILED


def test_a_role_that_a_peer_does_not_play_is_not_a_failure() -> None:
    (found,) = check_transcript(Altered(), vector("transcripts", "hello: a hub"), frozenset({"dialler", "worker"}))
    assert found.outcome == UNSUPPORTED


@pytest.mark.slow
def test_pythons_own_peer_passes_everything() -> None:
    sections = {name: VECTORS_BY_SECTION[name] for name in SECTIONS}
    assert {one.outcome for one in check_all(Altered(), sections)} == {PASSED}


def test_a_peer_that_crashes_at_a_malformed_message_has_not_refused_it() -> None:
    peer = Altered("decode_message", lambda _, __: {"error": {"type": PEER_FAILED, "message": "it ended"}})
    name = "dspex.bridge.SessionConfig: groups that are nested without end"
    assert outcomes(check_message(peer, vector("messages", name))) == {"decode_message": FAILED}
