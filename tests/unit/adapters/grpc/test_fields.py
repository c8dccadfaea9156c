from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc import fields
from grpc_tool_bridge.adapters.grpc.fields import DESCRIPTORS, form_of, is_like, is_repeated, takes_request
from support.made_protos import MESSAGE, add, made
from support.protos_corpus import corpus, googles, message


def test_the_well_known_types_of_any_pool_are_found() -> None:
    for pool in (corpus(), googles()[0]):
        known: Any = pool
        for name, descriptor in DESCRIPTORS.items():
            found = known.FindMessageTypeByName(f"google.protobuf.{name}")
            assert found is not descriptor
            assert form_of(found) == name
            assert is_like(found, descriptor)


def test_other_types_have_no_form_of_their_own() -> None:
    assert form_of(message("every3.Node")) == ""
    known: Any = corpus()
    assert form_of(known.FindMessageTypeByName("google.protobuf.Empty")) == ""


@pytest.mark.parametrize("name", ["Timestamp", "Value"])
def test_a_type_that_only_has_the_name_is_no_well_known_one(name: str) -> None:
    def fill(file: Any) -> None:
        one = file.message_type.add(name=name)
        add(one, "seconds")
        add(one, "inner", MESSAGE, f".google.protobuf.{name}")

    assert form_of(made(fill, f"google.protobuf.{name}")) == ""


def test_a_type_of_the_same_name_in_another_package_is_none() -> None:
    assert form_of(made(lambda file: add(file.message_type.add(name="StringValue"), "value"), "made.StringValue")) == ""


def field(name: str) -> Any:
    owner, _, short = name.rpartition(".")
    return message(owner).fields_by_name[short]


def test_presence_is_that_of_the_field_in_every_syntax() -> None:
    optional = {
        "every3.Scalars.a_string": False, "every3.Optionals.a_string": True, "every3.Optionals.scalars": True,
        "every3.Choices.text": True, "every3.Lists.strings": False, "every3.Maps.by_int32": False,
        "every2.Fields.number": True, "every2.Fields.name": True, "edition2023.Fields.explicit": True,
        "edition2023.Fields.implicit": False,
    }  # fmt: skip
    assert {name: fields.has_presence(field(name)) for name in optional} == optional


def test_maps_lists_and_required_fields_are_told_apart() -> None:
    names = ["every3.Maps.by_int32", "every3.Lists.scalars", "every2.Fields.name", "edition2023.Fields.needed"]
    kinds = [(is_repeated(field(name)), fields.is_map(field(name)), fields.is_required(field(name))) for name in names]
    assert kinds == [(True, True, False), (True, False, False), (False, False, True), (False, False, True)]
    key, value = fields.entry_of(field("every3.Maps.by_int32"))
    assert (key.name, value.name) == ("key", "value")


def test_null_is_a_value_of_few_fields() -> None:
    names = ["every3.WellKnown.null", "every3.WellKnown.value", "every3.WellKnown.struct", "every3.Lists.nulls"]
    assert [fields.takes_null(field(name)) for name in names] == [True, True, False, False]


def test_an_optional_field_is_no_oneof() -> None:
    assert fields.oneofs_of(message("every3.Optionals")) == []
    found = {oneof.name: [item.name for item in items] for oneof, items in fields.oneofs_of(message("every3.Choices"))}
    assert found["other"] == ["yes"]
    assert len(found["choice"]) == 7


def test_json_names_are_those_that_differ() -> None:
    assert fields.json_names(message("every3.Names")) == {
        "snakeCase": "snake_case", "twoNames": "two_names", "@type": "other", 'any text, " too': "with_json",
    }  # fmt: skip


def test_an_extension_is_named_in_brackets() -> None:
    pool: Any = corpus()
    assert fields.label_of(pool.FindExtensionByName("every2.more")) == "[every2.more]"
    assert fields.label_of(field("every2.Fields.name")) == "name"


def test_the_class_of_a_type_that_refers_to_thousands_is_made() -> None:
    def fill(file: Any) -> None:
        for number in range(3_000):
            one = file.message_type.add(name=f"M{number}" if number else "M")
            add(one, "next", MESSAGE, f".made.M{number + 1}" if number < 2_999 else ".made.M")

    descriptor = made(fill)
    cls = fields.message_class(descriptor)
    assert cls.DESCRIPTOR is descriptor
    part = cls()
    for _ in range(2_999):
        part = part.next
    assert type(part).DESCRIPTOR.full_name == "made.M2999"
    assert fields.message_class(descriptor) is cls


def test_a_message_is_given_field_by_field() -> None:
    assert not takes_request(message("every3.Scalars"))
    known: Any = corpus()
    assert not takes_request(known.FindMessageTypeByName("google.protobuf.Empty"))
    assert takes_request(known.FindMessageTypeByName("google.protobuf.Struct"))


@pytest.mark.parametrize(("names", "whole"), [(256, False), (257, True)])
def test_a_message_of_too_many_fields_is_given_as_a_whole(names: int, whole: bool) -> None:
    def fill(file: Any) -> None:
        one = file.message_type.add(name="M")
        for number in range(names):
            add(one, f"field_{number}")

    assert takes_request(made(fill)) is whole


def test_a_message_with_a_name_that_is_too_long_is_given_as_a_whole() -> None:
    assert takes_request(made(lambda file: add(file.message_type.add(name="M"), "f" * 129)))
