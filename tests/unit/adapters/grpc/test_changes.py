"""Which types differ between two descriptions."""

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from grpc_tool_bridge.adapters.grpc.changes import changed_types
from support.grpc_services.compiled import files_of

STRING, MESSAGE, ENUM = (
    FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM,
)  # fmt: skip


def made() -> FileDescriptorProto:
    """Top uses Middle, which uses Bottom and Color; Apart uses nothing; each refers to itself or not."""
    file = FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    for name, used in (("Top", "Middle"), ("Middle", "Bottom"), ("Bottom", ""), ("Apart", "")):
        message = file.message_type.add(name=name)
        message.field.add(name="text", number=1, type=STRING, label=1)
        if used:
            message.field.add(name="part", number=2, type=MESSAGE, type_name=f".a.{used}", label=1)
    file.message_type[1].field.add(name="color", number=3, type=ENUM, type_name=".a.Color", label=1)
    file.message_type[2].nested_type.add(name="Inner").field.add(name="x", number=1, type=STRING, label=1)
    file.message_type[2].field.add(name="inner", number=4, type=MESSAGE, type_name=".a.Bottom.Inner", label=1)
    file.enum_type.add(name="Color").value.add(name="RED", number=0)
    file.message_type[0].field.add(name="self", number=9, type=MESSAGE, type_name=".a.Top", label=1)
    return file


def add_field(file: FileDescriptorProto) -> None:
    file.message_type[2].field.add(name="more", number=7, type=STRING, label=1)


def renumber(file: FileDescriptorProto) -> None:
    file.message_type[1].field[0].number = 8


def change_inner(file: FileDescriptorProto) -> None:
    file.message_type[2].nested_type[0].field[0].type = FieldDescriptorProto.TYPE_BYTES


def add_value(file: FileDescriptorProto) -> None:
    file.enum_type[0].value.add(name="BLUE", number=1)


def extend(file: FileDescriptorProto) -> None:
    file.extension.add(name="ext", number=100, type=STRING, label=1, extendee=".a.Apart")


def change_options(file: FileDescriptorProto) -> None:
    file.message_type[3].field[0].options.deprecated = True


def comment(file: FileDescriptorProto) -> None:
    file.source_code_info.location.add(path=[4, 0], leading_comments="other")


def move(file: FileDescriptorProto) -> None:
    file.name = "moved.proto"
    file.message_type.reverse()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (add_field, {"a.Bottom", "a.Middle", "a.Top"}),
        (renumber, {"a.Middle", "a.Top"}),
        (change_inner, {"a.Bottom.Inner", "a.Bottom", "a.Middle", "a.Top"}),
        (add_value, {"a.Color", "a.Middle", "a.Top"}),
        (extend, {"a.Apart"}),
        (change_options, {"a.Apart"}),
        (comment, set()),
        (move, set()),
    ],
)
def test_what_uses_a_changed_type_has_changed(
    change: Callable[[FileDescriptorProto], None], expected: set[str]
) -> None:
    before, after = made(), made()
    change(after)
    assert changed_types([before], [after]) == expected
    assert changed_types([after], [before]) == expected


def test_the_same_files_have_no_changes() -> None:
    files = files_of("weather.proto")
    assert changed_types(files, reversed(files)) == set()


def test_types_that_come_and_go_have_changed() -> None:
    assert changed_types([], [made()]) == {"a.Top", "a.Middle", "a.Bottom", "a.Bottom.Inner", "a.Apart", "a.Color"}


def test_a_change_of_the_syntax_changes_all_types() -> None:
    other = made()
    other.syntax = "proto2"
    assert "a.Apart" in changed_types([made()], [other])
