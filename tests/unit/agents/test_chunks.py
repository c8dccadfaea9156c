"""What a message holds of a value."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from grpc_tool_bridge.agents.chunks import struct_of


class Odd:
    def __str__(self) -> str:
        return "an odd one"


@dataclass
class Frame:
    rows: int

    def __str__(self) -> str:
        return f"a frame of {self.rows} rows"


def sent(value: Any) -> Any:
    """What a reader gets of a value."""
    return MessageToDict(Struct.FromString(struct_of({"value": value}).SerializeToString()))["value"]


def nested(levels: int, *, as_dict: bool) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = {"in": value} if as_dict else [value]
    return value


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (None, None),
        (True, True),
        (2, 2),
        (0.5, 0.5),
        ("ü", "ü"),
        ([1, {"a": [None, False]}], [1, {"a": [None, False]}]),
        ((1, 2), [1, 2]),
        (Odd(), "an odd one"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (10**400, str(10**400)),
        (-(2**1023), str(-(2**1023))),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_a_value_is_sent_as_json_or_as_its_text(value: Any, same: Any) -> None:
    made = sent(value)
    assert made == same
    assert type(made) is (float if type(same) is int else type(same))


def test_a_name_that_is_no_text_is_sent_as_its_text() -> None:
    assert sent({2: "two", None: "none"}) == {"2": "two", "None": "none"}


@pytest.mark.parametrize("as_dict", [True, False], ids=["dicts", "lists"])
def test_what_lies_too_deep_for_readers_of_messages_is_sent_as_text(as_dict: bool) -> None:
    assert sent(nested(29, as_dict=as_dict)) == nested(29, as_dict=as_dict)
    made, level = sent(nested(60, as_dict=as_dict)), 1
    while not isinstance(made, str):
        made, level = made["in"] if as_dict else made[0], level + 1
    assert level == 30
    assert made == str(nested(31, as_dict=as_dict))
