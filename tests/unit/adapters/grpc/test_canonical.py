"""Descriptions in a form that protoc would not give them: names relative, imports left out, optional as oneofs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from grpc_tool_bridge.adapters.grpc.canonical import declares_only_protobufs_own, make_canonical
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.protos import compile_protos
from support.grpc_services.compiled import files_of
from support.grpc_services.lying import file_of

PROTOS = {
    "other.proto": 'syntax = "proto3"; package other.v1; message Far { int32 x = 1; } enum E { A = 0; }',
    "near.proto": """syntax = "proto3"; package near.v1;
        import "other.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/empty.proto";
        message Inner { int32 outer = 1; }
        message M {
          message Inner { int32 own = 1; }
          Inner inner = 1;
          near.v1.Inner outer = 2;
          map<string, other.v1.Far> by_name = 3;
          google.protobuf.Timestamp at = 4;
          optional int64 perhaps = 5;
          oneof choice { string text = 6; other.v1.E e = 7; }
          optional int64 possibly = 8;
          M again = 9;
        }
        service S { rpc Do(M) returns (google.protobuf.Empty); rpc Same(M) returns (M); }
        """,
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, FileDescriptorProto]:
    """What protoc makes of the files, without those of protobuf itself."""
    for name, text in PROTOS.items():
        (tmp_path / name).write_text(text)
    return {file.name: file for file in compile_protos(tmp_path) if not file.package.startswith("google")}


def made_relative(file: FileDescriptorProto) -> FileDescriptorProto:
    """Returns a file as reflection of Node.js gives it."""
    made = FileDescriptorProto.FromString(file.SerializeToString())
    del made.dependency[:]
    for message in made.message_type:
        for field in fields_of(message):
            # Those of other packages have their full names, without a dot before them.
            own = f".{file.package}."
            plain = field.type_name.removeprefix(f"{own}{message.name}.").removeprefix(own).removeprefix(".")
            # "near.v1.Inner" hides behind the inner one.
            if field.type_name and field.name != "outer":
                field.type_name = plain
            field.ClearField("proto3_optional")
    for method in made.service[0].method if made.service else ():
        method.input_type = method.input_type.removeprefix(f".{file.package}.")
    for message in made.message_type:
        turn_oneofs(message)
    return made


def fields_of(message: DescriptorProto) -> Iterable[FieldDescriptorProto]:
    yield from message.field
    for inner in message.nested_type:
        yield from fields_of(inner)


def turn_oneofs(message: DescriptorProto) -> None:
    """Puts the oneofs of optional fields before the others."""
    names = [oneof.name for oneof in message.oneof_decl]
    for index, name in enumerate(reversed(names)):
        message.oneof_decl[index].name = name
    for field in message.field:
        if field.HasField("oneof_index"):
            field.oneof_index = len(names) - 1 - field.oneof_index


def test_what_protoc_gives_is_not_changed(files: dict[str, FileDescriptorProto]) -> None:
    before = {name: file.SerializeToString(deterministic=True) for name, file in files.items()}
    make_canonical(files)
    assert {name: file.SerializeToString(deterministic=True) for name, file in files.items()} == before


def test_what_node_gives_means_the_same_as_what_protoc_gives(files: dict[str, FileDescriptorProto]) -> None:
    relative = {name: made_relative(file) for name, file in files.items()}
    assert [field.type_name for field in relative["near.proto"].message_type[1].field[:2]] == [
        "Inner",
        ".near.v1.Inner",
    ]
    make_canonical(relative)
    for name, file in files.items():
        found = relative[name]
        assert sorted(found.dependency) == sorted(file.dependency)
        assert found.service == file.service
        for message, wanted in zip(found.message_type, file.message_type, strict=True):
            assert [field.type_name for field in fields_of(message)] == [field.type_name for field in fields_of(wanted)]
            assert [field.name for field in message.field if field.proto3_optional] == [
                field.name for field in wanted.field if field.proto3_optional
            ]
    descriptors = Descriptors.of(relative.values())
    assert descriptors.problems == {}
    made: Any = descriptors.message("near.v1.M")
    assert next(oneof.name for oneof in made.oneofs) == "choice"
    assert made.fields_by_name["text"].containing_oneof.name == "choice"
    assert made.fields_by_name["inner"].message_type.full_name == "near.v1.M.Inner"


def test_an_oneof_that_only_looks_like_an_optional_field_stays_one() -> None:
    file = file_of("a.proto", package="a")
    message = file.message_type[0]
    message.oneof_decl.add(name="_other")
    message.field[0].oneof_index = 0
    make_canonical({"a.proto": file})
    assert not message.field[0].proto3_optional
    file.syntax = "proto2"
    message.oneof_decl[0].name = "_text"
    make_canonical({"a.proto": file})
    assert not message.field[0].proto3_optional


def test_a_type_that_no_file_declares_stays_as_it_is() -> None:
    file = file_of("a.proto", package="a")
    file.message_type[0].field.add(name="x", number=9, type=11, label=1, type_name="Nowhere")
    make_canonical({"a.proto": file})
    assert file.message_type[0].field[-1].type_name == "Nowhere"
    assert "a.proto" in Descriptors.of([file]).problems


def test_a_name_in_an_endless_package_is_not_looked_up() -> None:
    file = file_of("a.proto", package="a." * 5_000 + "a")
    file.message_type[0].field.add(name="x", number=9, type=11, label=1, type_name="M")
    make_canonical({"a.proto": file})
    assert file.message_type[0].field[-1].type_name == "M"


def test_what_two_files_declare_is_imported_from_neither() -> None:
    one, two = (file_of(f"{name}.proto", package="a", service=name.upper()) for name in ("s", "t"))
    user = file_of("u.proto", package="u")
    user.message_type[0].field.add(name="x", number=9, type=11, label=1, type_name="a.M")
    make_canonical({"s.proto": one, "t.proto": two, "u.proto": user})
    assert [list(file.dependency) for file in (one, two, user)] == [[], [], []]
    assert user.message_type[0].field[-1].type_name == ".a.M"


def test_a_file_with_the_types_of_several_of_protobufs_stands_for_all_of_them() -> None:
    whole = FileDescriptorProto(name="google_protobuf.proto", package="google.protobuf", syntax="proto3")
    for name in ("Timestamp", "Empty"):
        whole.message_type.add(name=name)
    assert declares_only_protobufs_own(whole)
    file = file_of("a.proto", package="a", service="S", imports=["google_protobuf.proto"])
    file.public_dependency.append(0)
    file.service[0].method[0].output_type = ".google.protobuf.Timestamp"
    descriptors = Descriptors.of([whole, file])
    assert descriptors.problems == {}
    # Protobuf's own: the file from outside has no fields.
    assert "seconds" in descriptors.message("google.protobuf.Timestamp").fields_by_name
    whole.message_type.add(name="Evil")
    assert not declares_only_protobufs_own(whole)
    assert "which are not its own" in Descriptors.of([whole, file]).problems["google_protobuf.proto"]


def test_the_imports_of_copies_stay_public_as_they_were() -> None:
    (copy,) = (file for file in files_of("weather.proto") if file.name == "google/protobuf/timestamp.proto")
    copied = FileDescriptorProto.FromString(copy.SerializeToString())
    copied.name = "vendor/timestamp.proto"
    other = file_of("b.proto", package="b")
    file = file_of("a.proto", package="a", imports=[copied.name, copy.name, "b.proto"])
    file.public_dependency.append(2)
    descriptors = Descriptors.of([copied, other, file])
    (found,) = (file for file in descriptors.file_protos() if file.name == "a.proto")
    assert list(found.dependency) == ["google/protobuf/timestamp.proto", "b.proto"]
    assert list(found.public_dependency) == [1]
