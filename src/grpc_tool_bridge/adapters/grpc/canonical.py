"""Puts the description of a service into the form that protoc gives it.

Reflection of Node.js builds its descriptors of parsed files: it makes one file of each package, leaves out which files
that imports, names types relative to where they stand, and has an ``optional`` field as a oneof.
"""

import importlib
from collections.abc import Iterator, Mapping
from functools import cache

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

# Files of protobuf itself that declare types which messages may have.
_OWN = (
    "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type",
    "wrappers",
)  # fmt: skip
_PROTO3 = "proto3"
# A relative name in a longer one is not looked up: that would take long.
_MAX_SCOPE_CHARS = 4_096


def make_canonical(files: Mapping[str, FileDescriptorProto]) -> None:
    """Changes files in place: types by their full names, all imports of types, and optional fields as such.

    What is in that form is not changed. What names a type that no file declares stays as it is.

    Args:
        files: All files of a service by their names, except those of protobuf itself.
    """
    declared: dict[str, str] = {}
    for name, file in files.items():
        for item in _types_of(file):
            # What two files declare is imported from neither of them.
            declared[item] = "" if item in declared else name
    declared.update(_own_types())
    for name, file in files.items():
        imported = {"", name, *file.dependency}
        for needed in _references(file, declared):
            if needed not in imported:
                imported.add(needed)
                file.dependency.append(needed)


def declares_only_protobufs_own(file: FileDescriptorProto) -> bool:
    """Returns whether all types of a file are those of protobuf itself, such as where one file has all of them."""
    return all(name in _own_types() for name in _types_of(file))


@cache
def _own_types() -> Mapping[str, str]:
    """Returns the files of protobuf itself by the types that they declare."""
    found: dict[str, str] = {}
    for name in _OWN:
        file = FileDescriptorProto()
        importlib.import_module(f"google.protobuf.{name}_pb2").DESCRIPTOR.CopyToProto(file)
        found.update(dict.fromkeys(_types_of(file), file.name))
    return found


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    """Yields all messages, each with its full name."""
    begin = f"{file.package}." if file.package else ""
    waiting = [(f"{begin}{message.name}", message) for message in file.message_type]
    while waiting:
        name, message = waiting.pop()
        yield name, message
        waiting += [(f"{name}.{inner.name}", inner) for inner in message.nested_type]


def _types_of(file: FileDescriptorProto) -> Iterator[str]:
    """Yields the full names of all messages and enums."""
    begin = f"{file.package}." if file.package else ""
    yield from (f"{begin}{enum.name}" for enum in file.enum_type)
    for name, message in _messages(file):
        yield name
        yield from (f"{name}.{enum.name}" for enum in message.enum_type)


def _references(file: FileDescriptorProto, declared: Mapping[str, str]) -> Iterator[str]:
    """Makes the names of types full; yields the files that declare them, empty where several do."""
    for field in file.extension:
        yield from _of_field(field, file.package, declared)
    for name, message in _messages(file):
        for field in (*message.field, *message.extension):
            yield from _of_field(field, name, declared)
        if message.oneof_decl and file.syntax == _PROTO3:
            _mark_optional(message)
    for service in file.service:
        scope = f"{file.package}.{service.name}" if file.package else service.name
        for method in service.method:
            if found := _resolved(method.input_type, scope, declared):
                method.input_type = f".{found}"
                yield declared[found]
            if found := _resolved(method.output_type, scope, declared):
                method.output_type = f".{found}"
                yield declared[found]


def _of_field(field: FieldDescriptorProto, scope: str, declared: Mapping[str, str]) -> Iterator[str]:
    if field.type_name and (found := _resolved(field.type_name, scope, declared)):
        field.type_name = f".{found}"
        yield declared[found]
    if field.extendee and (found := _resolved(field.extendee, scope, declared)):
        field.extendee = f".{found}"
        yield declared[found]


def _resolved(name: str, scope: str, declared: Mapping[str, str]) -> str:
    """Returns the full name of a type, looked up from the inside to the outside; empty if no file declares it."""
    if name.startswith("."):
        return name[1:] if name[1:] in declared else ""
    if len(scope) > _MAX_SCOPE_CHARS:
        return ""
    while scope:
        if (found := f"{scope}.{name}") in declared:
            return found
        scope = scope.rpartition(".")[0]
    return name if name in declared else ""


def _mark_optional(message: DescriptorProto) -> None:
    """Marks the fields that are alone in a oneof called like them after ``_``, which is how optional fields look.

    Such oneofs stand after all others.
    """
    members: dict[int, list[FieldDescriptorProto]] = {}
    for field in message.field:
        if field.HasField("oneof_index"):
            members.setdefault(field.oneof_index, []).append(field)
    alone = {
        index: fields[0]
        for index, fields in members.items()
        if len(fields) == 1
        and index < len(message.oneof_decl)
        and message.oneof_decl[index].name == f"_{fields[0].name}"
        and not fields[0].proto3_optional
    }
    if not alone:
        return
    order = sorted(range(len(message.oneof_decl)), key=lambda index: index in alone or _is_optional(members, index))
    oneofs = [message.oneof_decl[index] for index in order]
    copies = [type(oneof).FromString(oneof.SerializeToString()) for oneof in oneofs]
    del message.oneof_decl[:]
    message.oneof_decl.extend(copies)
    for place, index in enumerate(order):
        for field in members.get(index, ()):
            field.oneof_index = place
    for field in alone.values():
        field.proto3_optional = True


def _is_optional(members: Mapping[int, list[FieldDescriptorProto]], index: int) -> bool:
    return any(field.proto3_optional for field in members.get(index, ()))
