"""Comments of a ``.proto`` file, from the source info of its descriptor."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from grpc_tool_bridge.errors import wire_text

MAX_COMMENT_CHARS = 16_384

# What the authors of an API tell each other and their linters, by the rules of Google's APIs.
_INTERNAL = re.compile(r"\(--.*?--\)", re.DOTALL)
_FOR_LINTERS = re.compile(
    r"^[ \t]*(?:buf:lint:|@exclude|clang-format |protolint:|NOLINT|NEXT_ID|Next id).*$", re.MULTILINE
)

_BLANK_LINES = re.compile(r"\n{3,}")

# The number of a list in a message of descriptors, to the names of its items and the message of one.
_Step = tuple[str, type[Any] | None]
_STEPS: Mapping[type[Any], Mapping[int, _Step]] = {
    FileDescriptorProto: {
        FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER: ("message_type", DescriptorProto),
        FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER: ("enum_type", EnumDescriptorProto),
        FileDescriptorProto.SERVICE_FIELD_NUMBER: ("service", ServiceDescriptorProto),
        FileDescriptorProto.EXTENSION_FIELD_NUMBER: ("extension", None),
    },
    DescriptorProto: {
        DescriptorProto.FIELD_FIELD_NUMBER: ("field", None),
        DescriptorProto.NESTED_TYPE_FIELD_NUMBER: ("nested_type", DescriptorProto),
        DescriptorProto.ENUM_TYPE_FIELD_NUMBER: ("enum_type", EnumDescriptorProto),
        DescriptorProto.EXTENSION_FIELD_NUMBER: ("extension", None),
        DescriptorProto.ONEOF_DECL_FIELD_NUMBER: ("oneof_decl", None),
    },
    EnumDescriptorProto: {EnumDescriptorProto.VALUE_FIELD_NUMBER: ("value", None)},
    ServiceDescriptorProto: {ServiceDescriptorProto.METHOD_FIELD_NUMBER: ("method", None)},
}


def comments_in(file: FileDescriptorProto) -> Mapping[str, str]:
    """Returns the comments of a file by the full names of what they belong to.

    A value of an enum is named by the enum and itself: ``pkg.Color.RED``.
    """
    found: dict[str, str] = {}
    for location in file.source_code_info.location:
        text = location.leading_comments or location.trailing_comments
        if text and (name := _name_at(file, location.path)) and (clean := _clean(text)):
            found.setdefault(name, clean)
    return found


def _name_at(file: FileDescriptorProto, path: Sequence[int]) -> str:
    """Returns the full name of what a path leads to; empty if it is something else, such as an option."""
    if not path or len(path) % 2:
        return ""
    names = [file.package] if file.package else []
    kind: type[Any] | None = FileDescriptorProto
    here: Any = file
    for number, index in zip(path[::2], path[1::2], strict=True):
        steps = _STEPS.get(kind) if kind is not None else None
        step = None if steps is None else steps.get(number)
        if step is None:
            return ""
        items = getattr(here, step[0])
        if not 0 <= index < len(items):
            return ""
        here, kind = items[index], step[1]
        names.append(here.name)
    return ".".join(names)


def _clean(text: str) -> str:
    text = _FOR_LINTERS.sub("", _INTERNAL.sub("", text))
    lines = [line.removeprefix(" ") for line in text.splitlines()]
    joined = _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in lines))
    return wire_text(joined.strip(), MAX_COMMENT_CHARS)


# Returns the comment of a descriptor; empty if it has none.
CommentOf = Callable[[Any], str]
