"""Makes the methods of a service tools."""

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.imports import Imported, Importer
from grpc_tool_bridge.adapters.grpc.reflection import Reflected
from grpc_tool_bridge.adapters.grpc.schemas import Schemas
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType
from support.grpc_services.compiled import files_of
from support.grpc_services.lying import file_of


class NoCalls:
    """A caller whose calls do nothing."""

    def run_of(self, method: Any) -> Any:
        async def run(arguments: Any, context: Any) -> None:
            return None

        return run

    def stream_of(self, method: Any) -> Any:
        async def stream(arguments: Any, context: Any) -> Any:
            yield method.tool

        return stream


def importer(prefix: str = "w", bounds: Bounds | None = None) -> Importer:
    caller: Any = NoCalls()
    return Importer(Naming("w", prefix), caller, bounds or Bounds())


def read(made: Importer, files: Sequence[FileDescriptorProto]) -> dict[str, Any]:
    found = made.read(Descriptors.of(files), None)
    assert found.refused == []
    return {tool.spec.name: tool for tool in found.tools}


def test_a_tool_says_what_its_method_says() -> None:
    found = read(importer(), files_of("weather.proto"))
    spec = found["w.Get"].spec
    assert spec.description == "Gets the weather of a city."
    assert spec.type == ToolType.STANDARD
    assert spec.idempotent
    assert "deprecated" in found["w.Old"].spec.metadata
    assert found["w.Forecast"].spec.type == ToolType.STREAMING
    assert found["w.Forecast"].is_stream
    assert not found["w.Record"].is_stream
    assert found["w.Chat"].is_stream


def test_the_same_description_makes_the_same_tools() -> None:
    made = importer()
    first = read(made, files_of("weather.proto"))
    second = read(made, files_of("weather.proto"))
    assert {name: id(tool) for name, tool in first.items()} == {name: id(tool) for name, tool in second.items()}


def test_only_what_has_changed_is_made_anew() -> None:
    made = importer()
    one, other = file_of("a.proto", package="a", service="S"), file_of("b.proto", package="b", service="T")
    first = read(made, [one, other])
    one.message_type[0].field[0].number = 7
    second = read(made, [one, other])
    assert second["w.S.Do"] is not first["w.S.Do"]
    assert second["w.T.Do"] is first["w.T.Do"]


def test_one_bad_method_costs_only_itself(monkeypatch: Any) -> None:
    def schema(_: Schemas, descriptor: Any) -> Any:
        if descriptor.full_name == "b.M":
            raise RuntimeError("a fault")
        return {"type": "object"}

    monkeypatch.setattr(Schemas, "arguments_of", schema)
    files = [file_of("a.proto", package="a", service="S"), file_of("b.proto", package="b", service="T")]
    found: Imported = importer().read(Descriptors.of(files), None)
    assert [tool.spec.name for tool in found.tools] == ["w.S.Do"]
    assert [(item.name, "RuntimeError: a fault" in item.reason) for item in found.refused] == [("b.T.Do", True)]


def test_only_services_that_were_reflected_have_tools() -> None:
    files = [file_of("a.proto", package="a", service="S"), file_of("b.proto", package="b", service="T")]
    reflected = Reflected(["a.S", "c.U"], files, {"c.U": "it is secret"})
    found = importer().read(Descriptors.of(files), reflected)
    assert [tool.spec.name for tool in found.tools] == ["w.Do"]
    assert [(item.name, item.reason) for item in found.refused] == [("c.U", "it is secret")]


def test_what_a_tool_keeps_of_an_older_description_is_let_go() -> None:
    made = importer()
    one = file_of("a.proto", package="a", service="S")
    older = Descriptors.of([one])
    tool = made.read(older, None).tools[0]
    gone = weakref.ref(older)
    del older
    newer = Descriptors.of([one, file_of("b.proto", package="b")])
    assert made.read(newer, None).tools == [tool]
    gc.collect()
    assert gone() is None


def test_tools_have_bounds() -> None:
    files = [file_of("a.proto", package="a", service="S", methods=[f"Do{number}" for number in range(10)])]
    found = importer(bounds=Bounds(tool_bytes=2_000)).read(Descriptors.of(files), None)
    assert 0 < len(found.tools) < 10
    assert "over 2,000 bytes" in found.refused[0].reason
    assert len(found.tools) + len(found.refused) == 10
    late = importer(bounds=Bounds(import_seconds=0.0)).read(Descriptors.of(files), None)
    assert late.tools == []
    assert "not made within 0 s" in late.refused[0].reason


def test_nothing_that_a_service_says_moves_the_cursor_of_a_terminal() -> None:
    reflected = Reflected(["bad\x1b[31m.S"], [], {"bad\x1b[31m.S": "a\nb\x1b[0m"})
    refused = importer().read(Descriptors.of([]), reflected).refused
    assert [(item.name, item.reason) for item in refused] == [("bad[31m.S", "a b[0m")]


@pytest.mark.parametrize("changed", ["Request", "Response"])
def test_a_number_of_a_field_in_either_direction_makes_another_tool(changed: str) -> None:
    def described(number: int) -> list[FileDescriptorProto]:
        file = FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
        for name in ("Request", "Response"):
            file.message_type.add(name=name).field.add(
                name="text",
                number=number if name == changed else 1,
                type=FieldDescriptorProto.TYPE_STRING,
                label=FieldDescriptorProto.LABEL_OPTIONAL,
            )
        file.service.add(name="S").method.add(name="Do", input_type=".a.Request", output_type=".a.Response")
        return [file]

    made = importer()
    before = read(made, described(1))["w.Do"]
    after = read(made, described(2))["w.Do"]
    assert after.spec == before.spec
    assert after is not before
