from typing import Any

from grpc_tool_bridge.adapters.grpc.annotations import Annotations
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
