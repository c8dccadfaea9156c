from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc.rules import Annotations, Rules, is_deprecated
from support.protos_corpus import corpus, message

BEHAVIOR = ("FieldOptions", "google.api.field_behavior", 1052)


def method(name: str) -> Any:
    pool: Any = corpus()
    return pool.FindServiceByName("ruled.Library").methods_by_name[name]


def test_an_option_is_read_as_plain_data() -> None:
    annotations = Annotations(corpus())
    book = message("ruled.Book").fields_by_name
    assert annotations.read(book["author"], *BEHAVIOR) == [2, 5]
    assert annotations.read(book["old"], *BEHAVIOR) == []
    assert annotations.read(message("every3.Node").fields_by_name["name"], *BEHAVIOR) is None
    http = annotations.read(method("GetBook"), "MethodOptions", "google.api.http", 72295728)
    assert http["get"] == "/v1/{name=shelves/*/books/*}"
    assert http["additional_bindings"][0]["post"] == "/v1/books:get"
    ruled = message("ruled.Ruled").fields_by_name
    assert annotations.read(ruled["id"], "FieldOptions", "buf.validate.field", 1159) == {
        "cel": [], "cel_expression": [], "string": {"min_len": 2, "max_len": 8, "in": [], "not_in": [], "example": []},
    }  # fmt: skip


def test_what_has_another_number_or_holder_is_not_read() -> None:
    annotations = Annotations(corpus())
    author = message("ruled.Book").fields_by_name["author"]
    assert annotations.read(author, "FieldOptions", "google.api.field_behavior", 1053) is None
    assert Annotations(corpus()).read(author, "MethodOptions", "google.api.field_behavior", 1052) is None
    assert Annotations(corpus()).read(author, "FieldOptions", "google.api.no_such_option", 1052) is None


RULES = Rules(corpus())


def of(name: str, owner: str = "ruled.Ruled") -> Any:
    return RULES.of_field(message(owner).fields_by_name[name])


@pytest.mark.parametrize(
    ("name", "schema", "notes"),
    [
        ("id", {"minLength": 2, "maxLength": 8}, []),
        ("code", {"pattern": "^[a-z]+$"}, []),
        ("choice", {"enum": ["a", "b"]}, []),
        ("mail", {"format": "email"}, []),
        ("prefixed", {"pattern": r"^a\.b"}, ['Ends with "z".', 'Contains "-".']),
        ("exact", {"minLength": 3, "maxLength": 3}, []),
        ("min", {"minimum": 1, "exclusiveMaximum": 10}, []),
        ("ratio", {"minimum": 0.0, "maximum": 1.0}, []),
        ("outside", {}, ["Must be less than 5 or more than 10."]),
        ("names", {"minItems": 1, "maxItems": 3, "uniqueItems": True}, []),
        ("counts", {"minProperties": 1, "maxProperties": 2}, []),
        ("agreed", {"const": True}, []),
        ("key", {}, ["Exactly 16 bytes."]),
        ("wait", {}, ["More than 1s.", "At most 60s."]),
        ("when", {}, ["In the future."]),
        ("told", {}, ["Rule: must be told."]),
        ("free", {}, []),
    ],
)
def test_rules_become_keywords_and_the_rest_sentences(name: str, schema: dict[str, Any], notes: list[str]) -> None:
    found = of(name)
    assert (found.schema, found.notes) == (schema, notes)


def test_rules_of_items_and_keys_are_apart() -> None:
    assert of("names").items.schema == {"minLength": 1}
    assert (of("counts").items.schema, of("counts").names) == ({"minimum": 0}, {"pattern": "^k"})


def test_rules_of_enums_are_names() -> None:
    assert of("size").choices == ["SMALL", "LARGE"]
    assert of("fixed_size").choices == ["LARGE"]


def test_what_is_required_and_what_only_the_service_sets() -> None:
    assert of("ratio").required
    assert not of("id").required
    author, time = (of(name, "ruled.Book") for name in ("author", "create_time"))
    assert (author.required, author.output_only, author.notes) == (True, False, ["Cannot be changed later."])
    assert (time.required, time.output_only) == (False, True)
    assert of("tags", "ruled.Book").notes == ["In no particular order."]


def test_rules_of_messages_and_oneofs() -> None:
    descriptor = message("ruled.Ruled")
    assert RULES.of_message(descriptor) == ["Rule: min must be below max.", "Exactly one of: min, max."]
    assert RULES.is_oneof_required(descriptor.oneofs_by_name["way"])
    assert not RULES.is_oneof_required(message("every3.Choices").oneofs_by_name["choice"])
    assert RULES.of_message(message("every3.Choices")) == []


def test_http_is_told_by_method_and_path() -> None:
    assert RULES.http_of(method("GetBook")) == ["GET /v1/{name=shelves/*/books/*}", "POST /v1/books:get"]
    assert RULES.http_of(method("NameBook")) == ["RENAME /v1/books"]
    assert RULES.http_of(method("MakeBook")) == []


def test_what_is_deprecated() -> None:
    assert is_deprecated(method("MakeBook"))
    assert not is_deprecated(method("GetBook"))
    assert is_deprecated(message("ruled.Book").fields_by_name["old"])
    assert not is_deprecated(message("ruled.Book"))
