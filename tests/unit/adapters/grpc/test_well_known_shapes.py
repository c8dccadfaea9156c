from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc.well_known_shapes import DESCRIPTORS, form_of, is_like
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
