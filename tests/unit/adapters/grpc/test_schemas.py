"""The schemas of messages are valid, and so are the values that are read, by them."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from grpc_tool_bridge.adapters.grpc.fields import takes_request
from grpc_tool_bridge.adapters.grpc.reading import reader_of
from grpc_tool_bridge.adapters.grpc.schemas import input_schema_of, output_schema_of, requests_schema_of
from grpc_tool_bridge.gateway.tool_schemas import whole_schema
from grpc_tool_bridge.tools.spec_arguments import MAX_SCHEMA_BYTES
from support.made_protos import ENUM, MESSAGE, add, made
from support.protos_corpus import FILES, corpus, googles, message, messages, types_in
from support.soak import examples

TYPES = {item.full_name: item for item in types_in(corpus(), list(FILES))}
GOOGLES = {item.full_name: item for item in types_in(*googles())}
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
REFUSED_AT_TOP = {"oneOf", "anyOf", "allOf", "$ref", "not", "enum"}


def silent(_: Any) -> str:
    return ""


def with_texts(value: Any) -> Any:
    """Returns a value as JSON has it, as far as its schema can tell: bytes are their base64, whatever it is."""
    if isinstance(value, bytes):
        return "AAA="
    if isinstance(value, dict):
        return {
            json.dumps(name).strip('"') if name in (True, False) else str(name): with_texts(item)
            for name, item in value.items()
        }
    return [with_texts(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted({**TYPES, **GOOGLES}))
def test_every_schema_is_valid_and_taken_over(name: str) -> None:
    descriptor = TYPES.get(name) or GOOGLES[name]
    for make in (input_schema_of, output_schema_of, requests_schema_of):
        schema = make(descriptor, silent)
        Draft202012Validator.check_schema(schema)
        if make is not output_schema_of:
            assert schema["type"] == "object"
            assert not REFUSED_AT_TOP & schema.keys()
        text = json.dumps(schema)
        assert len(text) <= MAX_SCHEMA_BYTES
        written = whole_schema(text)
        assert (written or {}).keys() >= schema.keys()


@pytest.mark.seeded
@pytest.mark.parametrize("name", sorted(TYPES))
@given(data=st.data())
@settings(max_examples=examples(30), suppress_health_check=SLOW, deadline=None)
def test_what_is_read_is_valid_by_the_schema_of_the_result(name: str, data: Any) -> None:
    descriptor = TYPES[name]
    made = data.draw(messages(descriptor, corpus(), valid=True, nan=False))
    read = with_texts(reader_of(descriptor, corpus())(made))
    Draft202012Validator(output_schema_of(descriptor, silent)).validate(read)


@pytest.mark.seeded
@pytest.mark.parametrize("name", sorted(set(TYPES) - {item for item in TYPES if item.startswith("ruled")}))
@given(data=st.data())
@settings(max_examples=examples(30), suppress_health_check=SLOW, deadline=None)
def test_what_is_read_is_valid_by_the_schema_of_the_arguments(name: str, data: Any) -> None:
    descriptor = TYPES[name]
    made = data.draw(messages(descriptor, corpus(), valid=True, nan=False))
    read = with_texts(reader_of(descriptor, corpus())(made))
    given = {"request": read} if takes_request(descriptor) else read
    # An Any without a type is read as an empty dict, which nobody need write.
    schema = json.loads(json.dumps(input_schema_of(descriptor, silent)).replace(', "required": ["@type"]', ""))
    Draft202012Validator(schema).validate(given)
    assert message(name) is descriptor


def schema_of(name: str, comment_of: Any = silent) -> dict[str, Any]:
    return input_schema_of(message(name), comment_of)


def named(item: Any) -> str:
    return f"About {item.full_name if hasattr(item, 'full_name') else item.name}."


def test_comments_stand_where_they_belong() -> None:
    found = schema_of("every3.Scalars", named)
    assert found["description"] == "About every3.Scalars."
    assert found["properties"]["a_bool"] == {"type": "boolean", "description": "About every3.Scalars.a_bool."}
    assert found["properties"]["sky"]["description"].splitlines() == [
        "About every3.Sky.", "SKY_UNSPECIFIED: About SKY_UNSPECIFIED.", "SKY_CLEAR: About SKY_CLEAR.",
        "SKY_CLOUDY: About SKY_CLOUDY.", "About every3.Scalars.sky.",
    ]  # fmt: skip


def test_integers_have_the_bounds_that_json_can_say() -> None:
    found = schema_of("every3.Scalars")["properties"]
    assert found["an_int32"] == {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
    assert found["a_uint64"] == {"type": "integer", "minimum": 0}
    assert found["an_int64"] == {"type": "integer"}


def test_a_recursive_message_refers_to_its_definition() -> None:
    for make in (input_schema_of, output_schema_of):
        found = make(message("every3.Node"), silent)
        assert found["properties"]["left"] == {"$ref": "#/$defs/Node"}
        assert found["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
        assert found["properties"]["other"]["properties"]["back"] == {"$ref": "#/$defs/Node"}
        assert found["$defs"]["Node"]["properties"]["left"] == {"$ref": "#/$defs/Node"}


def test_alternatives_are_described_at_the_top_and_schemas_below() -> None:
    found = schema_of("every3.Choices")
    assert "oneOf" not in found
    text = "Only one of: text, number, scalars, nothing, value, octets, sky."
    assert found["properties"]["text"]["description"] == text
    inner = requests_schema_of(message("every3.Choices"), silent)["properties"]["requests"]["items"]
    assert inner["oneOf"][0] == {"required": ["text"]}
    assert inner["oneOf"][-1]["not"]["anyOf"][0] == {"required": ["text"]}
    held = schema_of("ruled.Holder")["properties"]["ruled"]
    assert held["oneOf"] == [{"required": ["road"]}, {"required": ["rail"]}]
    assert held["properties"]["road"]["description"] == "Exactly one of: road, rail."


def test_rules_are_taken_into_the_arguments_and_not_into_the_result() -> None:
    given, result = (make(message("ruled.Ruled"), silent) for make in (input_schema_of, output_schema_of))
    assert given["properties"]["min"] == {
        "type": "integer", "minimum": 1, "maximum": 2**31 - 1, "exclusiveMaximum": 10,
    }  # fmt: skip
    assert given["properties"]["size"] == {"type": "string", "enum": ["SMALL", "LARGE"]}
    assert given["properties"]["names"]["items"] == {"type": "string", "minLength": 1}
    assert given["required"] == ["ratio"]
    assert "exclusiveMaximum" not in result["properties"]["min"]
    assert {"min", "ratio", "names"} <= set(result["required"])
    assert "max" not in result["required"]


def test_what_only_the_service_sets_is_no_argument() -> None:
    given, result = (make(message("ruled.Book"), silent) for make in (input_schema_of, output_schema_of))
    assert "create_time" not in given["properties"]
    assert result["properties"]["create_time"]["readOnly"] is True
    assert given["properties"]["old"]["deprecated"] is True
    assert given["required"] == ["author"]
    assert (given["additionalProperties"], "additionalProperties" in result) == (False, False)


@pytest.mark.parametrize("name", ["every2.Fields", "every3.Scalars", "edition2023.Fields", "every3.Names"])
def test_the_names_of_arguments_are_such_as_the_apis_of_models_take(name: str) -> None:
    assert all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", key) for key in schema_of(name)["properties"])


def test_defaults_of_proto2_are_told() -> None:
    # Not an argument for each field: one of them is an extension.
    found = schema_of("every2.Fields")["$defs"]["Fields"]
    defaults = {name: part["default"] for name, part in found["properties"].items() if "default" in part}
    assert defaults == {
        "number": -7, "text": 'a "text"', "octets": "AP8=", "wide": "Infinity", "narrow": 1.5, "yes": True,
        "level": "HIGH", "large": 2**64 - 1,
    }  # fmt: skip
    assert found["required"] == ["name"]
    assert found["properties"]["many"]["items"]["required"] == ["place"]
    assert "[every2.more]" in found["properties"]


def test_well_known_types_have_their_forms() -> None:
    found = schema_of("every3.WellKnown")["properties"]
    assert found["moment"]["format"] == "date-time"
    assert found["null"] == {"type": "null"}
    assert found["any"]["required"] == ["@type"]
    assert found["int64_value"] == {"type": "integer"}
    assert found["bytes_value"] == {"type": "string", "contentEncoding": "base64"}
    assert schema_of("google.protobuf.Timestamp")["properties"]["request"]["format"] == "date-time"
    assert schema_of("google.protobuf.Empty")["properties"] == {}
    assert output_schema_of(message("google.protobuf.Empty"), silent) == {"type": "null"}
    assert output_schema_of(message("google.protobuf.Timestamp"), silent)["type"] == "string"


def large(fill: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    descriptor = made(fill)
    found = tuple(make(descriptor, lambda item: "c" * 200) for make in (input_schema_of, output_schema_of))
    for schema in found:
        Draft202012Validator.check_schema(schema)
        assert len(json.dumps(schema)) <= MAX_SCHEMA_BYTES
    return found[0], found[1]


def test_an_enum_of_too_many_names_is_a_text() -> None:
    def fill(file: Any) -> None:
        enum = file.enum_type.add(name="E")
        for number in range(10_000):
            enum.value.add(name=f"VALUE_{number}", number=number)
        one = file.message_type.add(name="M")
        for number in range(50):
            add(one, f"field_{number}", ENUM, ".made.E")

    given, result = large(fill)
    assert given["properties"]["field_0"]["type"] == "string"
    assert "One of the 10,000 names of made.E, such as VALUE_0" in given["properties"]["field_0"]["description"]
    assert result["properties"]["field_0"]["type"] == ["string", "integer"]


def test_what_makes_a_schema_too_large_is_left_out_comments_first() -> None:
    def fill(file: Any) -> None:
        for place in range(1_023):
            one = file.message_type.add(name=f"M{place}" if place else "M")
            for inner in (2 * place + 1, 2 * place + 2):
                if inner < 1_023:
                    add(one, f"field_{inner}", MESSAGE, f".made.M{inner}")
            add(one, "text")

    given, _ = large(fill)
    assert "description" not in given["properties"]["text"]
    assert given["properties"]["field_1"]["properties"]["text"] == {"type": "string"}


def test_messages_that_all_refer_to_each_other_are_cut_off() -> None:
    def fill(file: Any) -> None:
        for place in range(120):
            one = file.message_type.add(name=f"M{place}" if place else "M")
            for inner in range(120):
                add(one, f"field_{inner}", MESSAGE, f".made.M{inner}" if inner else ".made.M")

    given, _ = large(fill)
    assert "its fields are not listed here" in json.dumps(given)


def test_a_chain_of_thousands_of_messages_is_cut_off() -> None:
    def fill(file: Any) -> None:
        for place in range(3_000):
            add(file.message_type.add(name=f"M{place}" if place else "M"), "next", MESSAGE, f".made.M{place + 1}")
        add(file.message_type.add(name="M3000"), "first", MESSAGE, ".made.M")

    large(fill)


def test_names_of_two_packages_stay_apart() -> None:
    def fill(file: Any) -> None:
        for outer in ("A", "B"):
            add(file.message_type.add(name=outer).nested_type.add(name="Part"), f"of_{outer}")
        one = file.message_type.add(name="M")
        for place, outer in enumerate("AABB"):
            add(one, f"field_{place}", MESSAGE, f".made.{outer}.Part")

    given, _ = large(fill)
    assert set(given["$defs"]) == {"made.A.Part", "made.B.Part"}
    assert given["properties"]["field_3"]["$ref"] == "#/$defs/made.B.Part"
