"""Secrets, patterns and fractions are written only where their receiver declares them."""

import json
import re
from fractions import Fraction
from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from grpc_tool_bridge import SerializationError, serialize_value, tool
from grpc_tool_bridge.values.arguments import pack_argument
from grpc_tool_bridge.values.guarded import declared_in, format_of, plain_of

SECRETS = [SecretStr("pw"), SecretBytes(b"pw"), Secret[int](5), Secret[SecretStr](SecretStr("pw"))]


@pytest.mark.parametrize("value", SECRETS)
def test_a_secret_is_neither_shown_nor_sent(value: Any) -> None:
    for held in (value, [value], {"a": (value,)}, {"a": {value}}):
        with pytest.raises(SerializationError, match="get_secret_value") as caught:
            serialize_value(held)
        assert "pw" not in str(caught.value)
        assert "*" not in str(caught.value)


SCHEMA = {
    "type": "object",
    "properties": {
        "direct": {"type": "string", "format": "password"},
        "choice": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/Login"}]},
        "many": {"type": "array", "items": {"$ref": "#/$defs/Login"}},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"format": "regex"}], "items": False},
        "text": {"type": "string"},
        "circle": {"$ref": "#/$defs/Circle"},
        "lost": {"$ref": "#/$defs/Lost"},
        "odd": 5,
    },
    "additionalProperties": {"format": "fraction"},
    "$defs": {
        "Login": {"properties": {"password": {"allOf": [{"format": "password"}]}}},
        "Circle": {"properties": {"next": {"$ref": "#/$defs/Circle"}, "password": {"format": "password"}}},
    },
}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (["direct"], "password"),
        (["choice", "password"], "password"),
        (["many", 7, "password"], "password"),
        (["pair", 1], "regex"),
        (["pair", 0], ""),
        (["pair", 2], ""),
        (["text"], ""),
        (["circle", "next", "next", "password"], "password"),
        (["lost", "password"], ""),
        (["odd", "password"], ""),
        (["more"], "fraction"),
        ([], ""),
    ],
)
def test_what_is_declared_is_found_at_its_path(path: Any, wanted: str) -> None:
    declares = declared_in(json.dumps(SCHEMA))
    for format_ in ("password", "regex", "fraction"):
        assert declares(path, format_) is (format_ == wanted)
    assert declared_in(json.dumps(SCHEMA), within=path[:1])(path[1:], "password") is (wanted == "password")


@pytest.mark.parametrize("schema", ["", "no JSON", "[]", "null", '{"$ref": "#"}', '{"$ref": "#/$defs/a", "$defs": 5}'])
def test_a_schema_that_says_nothing_declares_nothing(schema: str) -> None:
    assert declared_in(schema)(["a"], "password") is False


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (re.compile("a+"), "a+"),
        (re.compile("a", re.IGNORECASE | re.MULTILINE), "(?im)a"),
        (re.compile("(?i)a", re.DOTALL), "(?s)(?i)a"),
        (re.compile(b"a", re.IGNORECASE), b"(?i)a"),
        (re.compile("a", re.ASCII), "(?a)a"),
    ],
)
def test_a_pattern_carries_its_flags(pattern: Any, text: Any) -> None:
    kind: Any = type(pattern)
    written = plain_of(pattern, format_of(kind))
    assert written == text
    assert re.compile(written).flags == pattern.flags


def test_an_argument_is_written_by_its_place_or_name() -> None:
    class Login(BaseModel):
        password: SecretStr

    @tool
    def offered(first: int, login: Login, *rest: SecretStr) -> None:
        """Takes secrets."""

    @tool
    def named(*, number: Secret[int], **others: Fraction) -> None:
        """Takes them by name."""

    given = Login(password=SecretStr("pw"))
    for spec, which in ((offered.spec, 1), (offered.spec, "login")):
        assert b"pw" in pack_argument(given, which, spec)[1]
    assert b"pw" in pack_argument(SecretStr("pw"), 2, offered.spec)[1]
    assert b"pw" in pack_argument(SecretStr("pw"), 9, offered.spec)[1]
    assert pack_argument(Secret[int](5), "number", named.spec)[1] == b"\x08\x05"
    assert b"1/3" in pack_argument(Fraction(1, 3), "any", named.spec)[1]
    for which in (0, "first", "unknown"):
        with pytest.raises(SerializationError, match=rf"argument {which!r}: a SecretStr"):
            pack_argument(SecretStr("pw"), which, offered.spec)
    with pytest.raises(SerializationError, match="declares"):
        pack_argument(SecretStr("pw"), 0, None)
