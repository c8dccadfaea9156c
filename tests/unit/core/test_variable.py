"""A variable at one revision, and one change of it."""

import dataclasses

import pytest

from grpc_tool_bridge.core.variable import Change, Variable, type_name, wanted_tag
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableInfo, VariableMetadata

VARIABLE = Variable("x", "hidden", "str", 6, 1.5, 2.000001, 7, 9, "me", secret=True, tags={"k": "v"})


def test_its_messages_say_all_but_the_value() -> None:
    metadata = VARIABLE.metadata()
    assert (metadata.type, metadata.revision, metadata.created_by, metadata.secret) == ("str", 7, "me", True)
    assert dict(metadata.tags) == {"k": "v"}
    assert (metadata.created_at.ToNanoseconds(), metadata.updated_at.ToNanoseconds()) == (1_500_000_000, 2_000_001_000)
    info = VARIABLE.info()
    described = VariableInfo()
    VARIABLE.describe(described)
    assert info == described == VariableInfo(name="x", type="str", size_bytes=6, metadata=metadata)


def test_what_is_not_there_is_left_out_of_the_message() -> None:
    plain = Variable("x", 1, "", 0, 0.0, 0.0, 0).metadata()
    assert plain == VariableMetadata(created_at=plain.created_at, updated_at=plain.updated_at)


def test_neither_shows_its_value_and_a_change_cannot_be_changed() -> None:
    change = Change("set", "x", "hidden", 1, 1.0)
    for each in (VARIABLE, change):
        assert "hidden" not in repr(each)
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.revision = 8  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("text", "found"),
    [("k", True), ("k=v", True), ("k=", False), ("k=w", False), ("l", False), ("=", False), ("", False)],
)
def test_a_tag_is_a_key_or_a_key_and_its_value(text: str, found: bool) -> None:
    assert VARIABLE.has_tags([wanted_tag(text)]) is found
    assert VARIABLE.has_tags([])
    assert VARIABLE.has_tags([wanted_tag("k"), wanted_tag(text)]) is found


def test_the_value_of_a_tag_may_have_an_equals_sign() -> None:
    assert wanted_tag("k=a=b") == ("k", "a=b")


@pytest.mark.parametrize(
    ("type_url", "name"),
    [
        ("type.googleapis.com/google.protobuf.StringValue", "str"),
        ("type.googleapis.com/google.protobuf.Struct", "dict"),
        ("type.googleapis.com/pandas.DataFrame", "pandas.DataFrame"),
        ("odd", "odd"),
        ("", ""),
    ],
)
def test_a_type_is_named_as_python_names_it_or_by_its_url(type_url: str, name: str) -> None:
    assert type_name(type_url) == name
