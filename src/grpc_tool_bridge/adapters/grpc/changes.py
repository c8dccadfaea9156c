"""Which types differ between two descriptions of a service."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)


@dataclass(slots=True)
class _Type:
    """What a message or an enum is, and which others its fields are of."""

    facts: list[bytes] = field(default_factory=list)
    uses: set[str] = field(default_factory=set)


def changed_types(before: Iterable[FileDescriptorProto], after: Iterable[FileDescriptorProto]) -> set[str]:
    """Returns the full names of types that are new, gone, or other ones than before, or use one that is.

    Comments make no difference, and neither does the file in which a type is, as long as its options are the same.
    """
    old, new = _types_in(before), _types_in(after)
    changed = {name for name in old.keys() | new.keys() if name not in old or name not in new or old[name] != new[name]}
    users: dict[str, set[str]] = {}
    for types in (old, new):
        for name, found in types.items():
            for used in found.uses:
                users.setdefault(used, set()).add(name)
    waiting = list(changed)
    while waiting:
        fresh = users.get(waiting.pop(), set()) - changed
        changed |= fresh
        waiting.extend(fresh)
    return changed


def _types_in(files: Iterable[FileDescriptorProto]) -> Mapping[str, _Type]:
    found: dict[str, _Type] = {}
    for file in files:
        options = file.options.SerializeToString(deterministic=True)
        header = f"{file.syntax} {file.edition} ".encode() + options
        for name, message in _messages_in(file.package, file.message_type):
            made = found.setdefault(name, _Type())
            own = DescriptorProto()
            own.CopyFrom(message)
            for cleared in ("nested_type", "enum_type", "extension"):
                own.ClearField(cleared)
            made.facts += (header, own.SerializeToString(deterministic=True))
            made.uses |= {item.type_name.removeprefix(".") for item in message.field if item.type_name}
            _add_enums(found, name, message.enum_type, header)
            _add_extensions(found, message.extension)
        _add_enums(found, file.package, file.enum_type, header)
        _add_extensions(found, file.extension)
    for made in found.values():
        made.facts.sort()
    return found


def _messages_in(scope: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
    waiting = [(scope, message) for message in messages]
    while waiting:
        outer, message = waiting.pop()
        name = f"{outer}.{message.name}".removeprefix(".")
        yield name, message
        waiting.extend((name, nested) for nested in message.nested_type)


def _add_enums(found: dict[str, _Type], scope: str, enums: Iterable[EnumDescriptorProto], header: bytes) -> None:
    for enum in enums:
        name = f"{scope}.{enum.name}".removeprefix(".")
        data = enum.SerializeToString(deterministic=True)
        found.setdefault(name, _Type()).facts += (header, data)


def _add_extensions(found: dict[str, _Type], extensions: Iterable[FieldDescriptorProto]) -> None:
    """An extension is a part of the message that it extends."""
    for extension in extensions:
        made = found.setdefault(extension.extendee.removeprefix("."), _Type())
        made.facts.append(extension.SerializeToString(deterministic=True))
        if extension.type_name:
            made.uses.add(extension.type_name.removeprefix("."))
