from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from grpc_tool_bridge.adapters.grpc.problems import MAX_LEVELS
from grpc_tool_bridge.adapters.grpc.reading import Readers, reader_of
from grpc_tool_bridge.errors import SerializationError
from support.protos_corpus import class_of, corpus, message


def read(made: Any) -> Any:
    return reader_of(made.DESCRIPTOR, corpus())(made)


def test_fields_without_presence_are_always_there_and_the_others_if_they_are_set() -> None:
    assert list(read(class_of("every3.Scalars")())) == [field.name for field in message("every3.Scalars").fields]
    assert read(class_of("every3.Optionals")()) == {}
    assert read(class_of("every3.Optionals")(a_bool=False, a_string="", scalars={})).keys() == {
        "a_bool", "a_string", "scalars",
    }  # fmt: skip
    assert read(class_of("every3.Choices")(number=0)) == {"number": 0, "beside": ""}
    assert read(class_of("every3.Lists")())["values"] == []
    assert read(class_of("every3.Maps")())["by_bool"] == {}


def test_integers_of_64_bits_and_bytes_stay_what_they_are() -> None:
    found = read(class_of("every3.Scalars")(a_uint64=2**64 - 1, an_int64=-(2**63), a_bytes=b"\0\xff"))
    assert (found["a_uint64"], found["an_int64"], found["a_bytes"]) == (2**64 - 1, -(2**63), b"\0\xff")


def test_enums_are_names_and_unknown_ones_numbers() -> None:
    assert read(class_of("every3.Scalars")(sky=1, renamed=1))["sky"] == "SKY_CLEAR"
    assert read(class_of("every3.Scalars")(renamed=1))["renamed"] == "FIRST"
    assert read(class_of("every3.Scalars")(sky=7))["sky"] == 7
    assert read(class_of("every3.Lists")(skies=[0, 9]))["skies"] == ["SKY_UNSPECIFIED", 9]


def test_keys_of_maps_have_their_type() -> None:
    made = class_of("every3.Maps")(by_int32={-1: "a"}, by_bool={True: "b"}, by_fixed64={2: 1})
    found = read(made)
    assert (found["by_int32"], found["by_bool"], found["by_fixed64"]) == ({-1: "a"}, {True: "b"}, {2: "SKY_CLEAR"})


def test_well_known_types_have_the_form_of_json() -> None:
    made = class_of("every3.WellKnown")()
    made.moment.seconds = 1
    made.duration.nanos = 500_000_000
    made.mask.paths.append("display_name")
    made.struct["a"] = [1, None]
    made.value.null_value = 0
    made.list.extend([True])
    made.empty.SetInParent()
    made.int64_value.value = 2**60
    made.bytes_value.SetInParent()
    assert read(made) == {
        "moment": "1970-01-01T00:00:01Z", "duration": "0.500s", "mask": "displayName", "struct": {"a": [1, None]},
        "value": None, "list": [True], "empty": {}, "null": None, "int64_value": 2**60, "bytes_value": b"",
    }  # fmt: skip


def test_an_any_is_its_message_with_its_type() -> None:
    made = class_of("every3.WellKnown")()
    made.any.type_url = "type.googleapis.com/every3.Choices"
    made.any.value = class_of("every3.Choices")(text="a").SerializeToString()
    assert read(made)["any"] == {"@type": "type.googleapis.com/every3.Choices", "text": "a", "beside": ""}
    made.any.Pack(made.int64_value)
    assert read(made)["any"] == {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": 0}
    made.any.type_url, made.any.value = "x/no.Type", b"\xff"
    assert read(made)["any"] == {"@type": "x/no.Type", "value": b"\xff"}
    made.any.type_url = "x/every3.Choices"
    assert read(made)["any"] == {"@type": "x/every3.Choices", "@value": b"\xff"}


def test_an_empty_result_is_none_and_an_empty_field_a_dict() -> None:
    assert reader_of(Empty.DESCRIPTOR, corpus())(Empty()) is None
    assert read(class_of("every3.Nothing")()) == {}


def test_groups_and_extensions_are_read_by_their_names() -> None:
    pool: Any = corpus()
    cls = class_of("every2.Fields")
    made = cls(name="n", single={"of_group": "g"}, many=[{"place": 1}], that={"is": True})
    made.Extensions[pool.FindExtensionByName("every2.more")] = 5
    made.Extensions[pool.FindExtensionByName("every2.Extra.nested")].what = "w"
    made.Extensions[pool.FindExtensionByName("every2.hows")].extend([3, 5])
    assert read(made) == {
        "name": "n", "unpacked": [], "packed": [], "levels": [], "by_name": {}, "single": {"of_group": "g"},
        "many": [{"place": 1}], "that": {"is": True}, "[every2.more]": 5, "[every2.Extra.nested]": {"what": "w"},
        "[every2.hows]": ["LOW", "HIGH"],
    }  # fmt: skip


def nested(levels: int) -> Message:
    made = node = class_of("every3.Node")()
    for _ in range(levels):
        node = node.left
    node.name = "end"
    assert isinstance(made, Message)
    return made


def test_what_is_nested_deeper_than_the_limit_is_an_error() -> None:
    found = read(nested(MAX_LEVELS))
    for _ in range(MAX_LEVELS):
        found = found["left"]
    assert found["name"] == "end"
    for levels in (MAX_LEVELS + 1, 99):
        with pytest.raises(SerializationError) as caught:
            read(nested(levels))
        assert caught.value.message == "a every3.Node is nested deeper than 96 levels"


def test_an_any_in_an_any_counts_as_levels() -> None:
    made = inner = class_of("every3.WellKnown")().any
    for _ in range(MAX_LEVELS + 2):
        outer = type(inner)()
        outer.Pack(inner)
        inner = outer
    with pytest.raises(SerializationError, match="deeper than 96 levels"):
        read(inner)
    assert read(made) == {}


def test_a_text_that_is_not_utf_8_stays_bytes() -> None:
    made = class_of("edition2023.Fields").FromString(b"\x5a\x01\xff\x62\x00")
    assert read(made)["unchecked"] == b"\xff"


def test_the_readers_of_a_service_are_made_once() -> None:
    readers = Readers(corpus())
    one, other = (readers.reader_of(message(name)) for name in ("every3.Node", "every3.Node.Other"))
    assert one(class_of("every3.Node")(other={"back": {"name": "a"}}))["other"]["back"]["name"] == "a"
    assert other(class_of("every3.Node.Other")(back={"name": "b"}))["back"]["name"] == "b"
