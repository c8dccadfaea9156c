"""On whose behalf a request is made, as a text."""

import json
from types import MappingProxyType
from typing import Any

import pytest

from grpc_tool_bridge.errors import ProtocolError, ValidationError
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.callers import (
    MAX_CALLER_CHARS,
    MAX_VIA,
    caller_text,
    drop_reserved,
    extended,
    read_caller,
    told_of,
    whole_caller_text,
    without_reserved,
)
from grpc_tool_bridge.rpc.context import RequestContext

CLAIMS = MappingProxyType({"email": "ada@example.com", "tenants": ["a", "b"], "age": 36, "odd": {1, 2}.__class__})
ADA = Principal("ada", frozenset({"staff", "analysts"}), CLAIMS, "jwt", expires_at=5.0)
VIA = ("agent:planner", "tool:report")


def test_what_is_written_is_read_again() -> None:
    principal, via = read_caller(caller_text(ADA, VIA, frozenset({"email", "tenants", "phone"})))
    assert (principal.name, principal.groups, principal.method) == ("ada", frozenset({"staff", "analysts"}), "jwt")
    assert principal.claims == {"email": "ada@example.com", "tenants": ["a", "b"]}
    assert via == VIA
    assert read_caller(caller_text(Principal("x"))) == (Principal("x"), ())


def test_without_a_list_of_claims_none_is_written_and_none_of_what_is_empty() -> None:
    assert json.loads(caller_text(ADA)) == {"name": "ada", "groups": ["analysts", "staff"], "method": "jwt"}
    assert caller_text(Principal("é")) == '{"name":"\\u00e9"}'


def test_all_claims_are_written_for_another_hub_and_what_is_no_json_is_a_text() -> None:
    for text in (caller_text(ADA, (), None), whole_caller_text(ADA, ())):
        claims = read_caller(text)[0].claims
        assert claims.keys() == CLAIMS.keys()
        assert claims["age"] == 36
        assert claims["odd"] == "<class 'set'>"


def test_a_claim_that_is_too_long_is_left_out_and_others_are_not() -> None:
    claims = {"first": "a", "long": "x" * MAX_CALLER_CHARS, "last": "z"}
    principal = Principal("ada", claims=claims)
    text = caller_text(principal, (), None)
    assert len(text) <= MAX_CALLER_CHARS
    assert read_caller(text)[0].claims == {"first": "a", "last": "z"}
    assert read_caller(whole_caller_text(principal, ()))[0].claims == claims


def test_too_many_groups_are_refused_rather_than_cut() -> None:
    many = Principal("ada", frozenset(f"group-{number:05}" for number in range(1_000)))
    with pytest.raises(ValidationError, match=r"take 14,\d+ characters, .* sent 7,000 at most; give .* fewer groups"):
        caller_text(many)


def test_the_text_of_a_caller_is_made_once() -> None:
    assert caller_text(ADA, VIA) is caller_text(ADA, VIA)
    assert caller_text(ADA, VIA) != caller_text(ADA)


@pytest.mark.parametrize(
    "text",
    [
        "", "no JSON", "[]", "null", "3", "{}", '{"name":3}', '{"name":null}', '{"name":"a","groups":"staff"}',
        '{"name":"a","groups":[1]}', '{"name":"a","method":[]}', '{"name":"a","claims":[]}', '{"name":"a","via":[{}]}',
        '{"name":"a","via":"agent:x"}', "[" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_not_read(text: str) -> None:
    with pytest.raises(ProtocolError, match="tool-bridge-principal"):
        read_caller(text)


def test_a_delegation_tells_who_began_and_who_acts() -> None:
    via = extended(extended((), "agent", "planner"), "tool", "report")
    assert via == VIA
    for number in range(100):
        via = extended(via, "tool", f"{number}")
        assert len(via) <= MAX_VIA
    assert via[:2] == VIA
    assert via[-1] == "tool:99"
    assert via.count("…") == 1
    assert len(extended((), "tool", "x" * 300)[0]) == len("tool:") + 100


def test_another_hub_is_told_of_a_caller_but_of_no_hub() -> None:
    assert told_of(RequestContext()) == ""
    assert told_of(RequestContext(principal=Principal("hub:a", method="hub"))) == ""
    assert read_caller(told_of(RequestContext(principal=ADA, via=VIA)))[1] == VIA


def test_what_a_client_says_under_names_of_the_bridge_is_left_out() -> None:
    given: dict[str, Any] = {"tool-bridge-principal": "x", "tool-bridge-": "y", "colour": "red", "tool-bridge": "z"}
    kept = {"colour": "red", "tool-bridge": "z"}
    assert without_reserved(given) == kept
    assert drop_reserved(given)
    assert given == kept
    assert not drop_reserved(given)
    assert without_reserved(given) is given
