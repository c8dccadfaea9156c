"""Descriptions of services in files."""

import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig
from grpc_tool_bridge.adapters.grpc.protos import compile_protos, is_described, read_description, read_descriptor_set
from grpc_tool_bridge.errors import ValidationError
from support.grpc_services.compiled import PROTOS
from support.grpc_services.lying import file_of

SERVICE = 'syntax = "proto3"; package p; import "{0}"; service S {{ rpc Do({1}) returns ({1}); }}'


def test_a_descriptor_set_is_read(tmp_path: Path) -> None:
    path = tmp_path / "set.pb"
    path.write_bytes(FileDescriptorSet(file=[file_of("a.proto", package="a")]).SerializeToString())
    assert [file.name for file in read_descriptor_set(path, Bounds())] == ["a.proto"]
    config = ServiceConfig(address="h:1", descriptor_set=path)
    assert is_described(config)
    assert read_description(config, Bounds()).message("a.M").full_name == "a.M"
    assert not is_described(ServiceConfig(address="h:1"))


def test_what_is_no_descriptor_set_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "set.pb"
    for data in (b"not at all", b""):
        path.write_bytes(data)
        with pytest.raises(ValidationError, match="protoc --include_imports"):
            read_descriptor_set(path, Bounds())
    path.write_bytes(b"x" * 101)
    with pytest.raises(ValidationError, match="over 100 bytes"):
        read_descriptor_set(path, Bounds(descriptor_bytes=100))
    with pytest.raises(ValidationError, match="cannot be read: No such file"):
        read_descriptor_set(tmp_path / "none.pb", Bounds())


def test_a_folder_is_compiled_with_comments_and_imports() -> None:
    found = {file.name: file for file in compile_protos(PROTOS)}
    assert "google/protobuf/timestamp.proto" in found
    assert found["weather.proto"].source_code_info.location
    config = ServiceConfig(address="h:1", proto=PROTOS)
    assert read_description(config, Bounds()).service("weather.v1.Weather") is not None


def test_imports_are_found_beside_the_file_and_in_other_folders(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "vendor" / "v").mkdir(parents=True)
    (tmp_path / "vendor" / "v" / "m.proto").write_text('syntax = "proto3"; package v; message M {}')
    (tmp_path / "own" / "s.proto").write_text(SERVICE.format("v/m.proto", "v.M"))
    for source in (tmp_path / "own", tmp_path / "own" / "s.proto"):
        assert {file.name for file in compile_protos(source, [tmp_path / "vendor"])} == {"s.proto", "v/m.proto"}
    # A file below a folder of its imports is named from there.
    names = {file.name for file in compile_protos(tmp_path / "vendor" / "v" / "m.proto", [tmp_path / "vendor"])}
    assert names == {"v/m.proto"}


@pytest.mark.parametrize(
    ("imported", "message"),
    [
        ("google/rpc/status.proto", "google.rpc.Status"),
        ("google/api/httpbody.proto", "google.api.HttpBody"),
        ("google/type/date.proto", "google.type.Date"),
        ("google/longrunning/operations.proto", "google.longrunning.Operation"),
    ],
)
def test_files_of_googles_apis_need_not_be_there(tmp_path: Path, imported: str, message: str) -> None:
    path = tmp_path / "s.proto"
    path.write_text(SERVICE.format(imported, message))
    assert imported in {file.name for file in compile_protos(path)}


def test_what_cannot_be_compiled_is_an_error_with_what_protoc_says(tmp_path: Path) -> None:
    path = tmp_path / "s.proto"
    path.write_text('syntax = "proto3"; message {}')
    with pytest.raises(ValidationError, match=r"s\.proto cannot be compiled: .*s\.proto:1:\d+: Expected message name"):
        compile_protos(path)
    path.write_text('syntax = "proto3"; import "none.proto";')
    with pytest.raises(ValidationError, match=r"none\.proto"):
        compile_protos(tmp_path)


def test_places_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no folder and no file"):
        compile_protos(tmp_path / "none")
    with pytest.raises(ValidationError, match=r"has no \.proto files"):
        compile_protos(tmp_path)
    with pytest.raises(ValidationError, match="proto_include: there is no folder"):
        compile_protos(PROTOS, [tmp_path / "none"])


def test_without_the_extra_an_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc_tools", None)
    with pytest.raises(ImportError, match=r"grpc-tool-bridge\[protos\]"):
        compile_protos(PROTOS)
