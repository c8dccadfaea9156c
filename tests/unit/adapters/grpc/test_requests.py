from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc.requests import takes_request
from support.made_protos import add, made
from support.protos_corpus import corpus, message


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
