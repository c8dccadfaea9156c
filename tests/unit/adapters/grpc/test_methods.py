"""The methods of services, as far as a tool needs them."""

import json

import pytest

from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.methods import Method, methods_of
from grpc_tool_bridge.adapters.naming import Naming
from support.grpc_services.compiled import files_of
from support.grpc_services.lying import file_of


@pytest.fixture(scope="module")
def weather() -> Descriptors:
    return Descriptors.of(files_of("weather.proto"))


def by_name(descriptors: Descriptors, *patterns: str) -> dict[str, Method]:
    methods, refused = methods_of(descriptors, Naming("w", "w", patterns))
    assert refused == []
    return {method.tool: method for method in methods}


def test_every_kind_of_method(weather: Descriptors) -> None:
    found = by_name(weather)
    kinds = {name: (method.takes_stream, method.gives_stream) for name, method in found.items()}
    assert kinds["w.Get"] == (False, False)
    assert kinds["w.Forecast"] == (False, True)
    assert kinds["w.Record"] == (True, False)
    assert kinds["w.Chat"] == (True, True)
    assert found["w.Get"].path == "/weather.v1.Weather/Get"
    assert found["w.Get"].full_name == "weather.v1.Weather.Get"


def test_what_a_method_says_of_its_effects(weather: Descriptors) -> None:
    found = by_name(weather)
    assert (found["w.Get"].is_read_only, found["w.Get"].is_idempotent) == (True, True)
    assert (found["w.Reset"].is_read_only, found["w.Reset"].is_idempotent) == (False, True)
    assert not found["w.Fail"].is_idempotent
    assert (found["w.Old"].is_deprecated, found["w.Get"].is_deprecated) == (True, False)
    assert json.loads(found["w.Get"].metadata("w")["mcp.annotations"]) == {"readOnlyHint": True, "idempotentHint": True}
    assert found["w.Fail"].metadata("w") == {
        "grpc.service": "w",
        "grpc.method": "weather.v1.Weather.Fail",
        "grpc.kind": "unary",
    }


def test_a_method_of_a_deprecated_service_is_deprecated() -> None:
    file = file_of("a.proto", package="a", service="S")
    file.service[0].options.deprecated = True
    assert by_name(Descriptors.of([file]))["w.Do"].is_deprecated


def test_schemas_and_names_of_arguments(weather: Descriptors) -> None:
    found = by_name(weather)
    assert found["w.Get"].input_schema()["properties"].keys() == {"city", "day_count"}
    assert found["w.Get"].aliases == {"dayCount": "day_count"}
    assert found["w.Record"].input_schema()["properties"].keys() == {"requests"}
    assert found["w.Record"].aliases == {}
    assert found["w.DayAfter"].input_schema()["properties"].keys() == {"request"}
    assert found["w.DayAfter"].aliases == {}
    assert found["w.Reset"].output_schema() == {"type": "null"}


def test_messages_go_both_ways(weather: Descriptors) -> None:
    found = by_name(weather)
    get = found["w.Get"]
    assert get.write({"city": "Bern"}).SerializeToString() == b"\n\x04Bern"
    assert get.read(get.parse(b"\n\x04Bern"))["city"] == "Bern"
    assert len(found["w.Record"].write_all({"requests": [{"degrees": 1.0}, {}]})) == 2
    reset = found["w.Reset"]
    assert reset.read(reset.parse(b"")) is None


def test_methods_beyond_the_limit_are_refused() -> None:
    file = file_of("a.proto", package="a", service="S", methods=["A", "B", "C"])
    methods, refused = methods_of(Descriptors.of([file]), Naming("w", ""), most=2)
    assert len(methods) == 2
    assert [(item.name, "over 2 methods" in item.reason) for item in refused] == [("a.S.C", True)]


def test_only_services_that_are_there_have_methods() -> None:
    descriptors = Descriptors.of(
        [file_of("a.proto", package="a", service="S"), file_of("b.proto", package="b", service="S")]
    )
    methods, refused = methods_of(descriptors, Naming("w", ""), ["a.S", "c.S", "grpc.health.v1.Health"])
    assert [method.full_name for method in methods] == ["a.S.Do"]
    assert [(item.name, item.reason) for item in refused] == [("c.S", "no file describes it")]
    _, refused = methods_of(descriptors, Naming("w", ""), ["c.S"], {"c.S": "a reason"})
    assert refused[0].reason == "a reason"


def test_files_that_cannot_be_used_are_refused_where_no_service_is_named() -> None:
    descriptors = Descriptors.of([file_of("a.proto", package="a", imports=["none.proto"], service="S")])
    methods, refused = methods_of(descriptors, Naming("w", ""))
    assert methods == []
    assert refused[0].name == "a.proto"


def test_a_name_that_is_too_long_is_refused() -> None:
    file = file_of("a.proto", package="a", service="S", methods=["D" * 130, "Do"])
    methods, refused = methods_of(Descriptors.of([file]), Naming("w", ""))
    assert [method.tool for method in methods] == ["a.S.Do"]
    assert "1 to 128" in refused[0].reason
