"""Facts about messages and their fields, as descriptors give them in every version of protobuf."""

import re
from collections.abc import Mapping
from typing import Any, cast

from google.protobuf import any_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from grpc_tool_bridge.tools.spec_arguments import MAX_ARGUMENTS

WRAPPERS = (
    "DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value", "BoolValue", "StringValue",
    "BytesValue",
)  # fmt: skip

DESCRIPTORS: Mapping[str, Descriptor] = {
    "Any": any_pb2.Any.DESCRIPTOR,
    "Duration": duration_pb2.Duration.DESCRIPTOR,
    "FieldMask": field_mask_pb2.FieldMask.DESCRIPTOR,
    "ListValue": struct_pb2.ListValue.DESCRIPTOR,
    "Struct": struct_pb2.Struct.DESCRIPTOR,
    "Timestamp": timestamp_pb2.Timestamp.DESCRIPTOR,
    "Value": struct_pb2.Value.DESCRIPTOR,
    **{name: getattr(wrappers_pb2, name).DESCRIPTOR for name in WRAPPERS},
}
"""The well-known types with a form of their own, as protobuf itself has them, by name."""

VALUE_TYPES: Mapping[str, int] = {name: DESCRIPTORS[name].fields_by_name["value"].type for name in WRAPPERS}
"""The type of the value of each wrapper."""

_PACKAGE = "google.protobuf"


INTS: dict[int, tuple[int, int]] = {
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32), (-(2**31), 2**31 - 1)
    ),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64, FieldDescriptor.TYPE_SFIXED64), (-(2**63), 2**63 - 1)
    ),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64), (0, 2**64 - 1)),
}
"""The least and the largest integer of each type of integers."""

MESSAGES = frozenset({FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP})

NULL_VALUE = "google.protobuf.NullValue"

# The only argument of a method whose request is not given field by field, and of one that takes a stream.
REQUEST = "request"
REQUESTS = "requests"
# The APIs of some models refuse all tools if an argument of one of them is called otherwise.
_ARGUMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def form_of(descriptor: Descriptor) -> str:
    """Returns the name of the well-known type that a message is, such as "Timestamp"; "" for any other.

    One with the name of a well-known type and other fields is none.
    """
    name = str(descriptor.name)
    return name if name in DESCRIPTORS and is_like(descriptor, DESCRIPTORS[name]) else ""


def is_like(descriptor: Descriptor, model: Descriptor) -> bool:
    """Whether a message is the same as another, of another pool, as far as its fields and theirs go."""
    if descriptor is model:
        return True
    todo = [(descriptor, model)]
    seen = set()
    while todo:
        one, other = todo.pop()
        if other.full_name in seen:
            continue
        seen.add(other.full_name)
        if one.full_name != other.full_name or _facts(one) != _facts(other):
            return False
        pairs = [(one.fields_by_name[field.name].message_type, field.message_type) for field in other.fields]
        todo.extend((inner, known) for inner, known in pairs if inner is not None and known is not None)
    return True


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list or a map."""
    # Older versions of protobuf have only the label, newer ones warn of it.
    found = getattr(field, "is_repeated", None)
    return bool(getattr(field, "label", 0) == FieldDescriptor.LABEL_REPEATED) if found is None else bool(found)


def _facts(descriptor: Descriptor) -> dict[str, tuple[int, int, bool, bool]]:
    is_entry = bool(descriptor.has_options and descriptor.GetOptions().map_entry)
    return {field.name: (field.number, field.type, is_repeated(field), is_entry) for field in descriptor.fields}


def message_class(descriptor: Descriptor) -> Any:
    """Returns the class of a message.

    Its methods are called on the class and not on its instances, where a field may have their names.
    """
    try:
        return GetMessageClass(descriptor)
    except RecursionError:
        # Protobuf makes the classes of all types that a type refers to, one within the other. That of the type itself
        # was made first, and the others are made when they are used.
        return GetMessageClass(descriptor)


def message_of(field: FieldDescriptor) -> Descriptor:
    """Returns the type of a field that holds messages."""
    return cast("Descriptor", field.message_type)


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """Returns the enum of a field that holds its values."""
    return cast("EnumDescriptor", field.enum_type)


def entry_of(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """Returns the key and the value of a map."""
    fields = message_of(field).fields_by_name
    return fields["key"], fields["value"]


def is_required(field: FieldDescriptor) -> bool:
    """Whether a message without the field cannot be sent, as in proto2."""
    found = getattr(field, "is_required", None)
    return bool(getattr(field, "label", 0) == FieldDescriptor.LABEL_REQUIRED) if found is None else bool(found)


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    if field.type != FieldDescriptor.TYPE_MESSAGE or not is_repeated(field):
        return False
    entry = message_of(field)
    return bool(entry.has_options and entry.GetOptions().map_entry) and {"key", "value"} <= set(entry.fields_by_name)


def has_presence(field: FieldDescriptor) -> bool:
    """Whether a field is either set or not: a message, an ``optional`` one, one of a oneof, any of proto2."""
    return bool(field.has_presence) and not is_repeated(field)


def takes_null(field: FieldDescriptor) -> bool:
    """Whether null is a value of a field, and does not mean that it is not set."""
    if is_repeated(field):
        return False
    if field.type == FieldDescriptor.TYPE_ENUM:
        return bool(enum_of(field).full_name == NULL_VALUE)
    return field.type in MESSAGES and form_of(message_of(field)) == "Value"


def is_empty(descriptor: Descriptor) -> bool:
    """Whether a message is google.protobuf.Empty, which says nothing as a result."""
    return bool(descriptor.full_name == "google.protobuf.Empty" and not descriptor.fields)


def is_closed(enum: EnumDescriptor) -> bool:
    """Whether an enum has no other values than those with names."""
    return bool(enum.is_closed)


def label_of(field: FieldDescriptor) -> str:
    """Returns the name by which a field stands in data; an extension is ``[its.full.name]``."""
    return f"[{field.full_name}]" if field.is_extension else field.name


def oneofs_of(descriptor: Descriptor) -> list[tuple[Any, list[FieldDescriptor]]]:
    """Lists the oneofs of a message with their fields, without those that an ``optional`` field has for itself."""
    found = [(oneof, list(oneof.fields)) for oneof in descriptor.oneofs]
    return [(oneof, fields) for oneof, fields in found if len(fields) > 1 or not _is_synthetic(oneof, fields)]


def _is_synthetic(oneof: Any, fields: list[FieldDescriptor]) -> bool:
    return len(fields) == 1 and oneof.name == f"_{fields[0].name}"


def json_names(descriptor: Descriptor) -> dict[str, str]:
    """Maps the JSON names of a message's fields to their names, where they differ and are no names of other fields."""
    own = descriptor.fields_by_name
    return {field.json_name: field.name for field in descriptor.fields if field.json_name not in own}


def takes_request(descriptor: Descriptor) -> bool:
    """Whether a request is one argument, ``request``, and not an argument for each of its fields.

    So are the well-known types, whose form is no object, or an object of any keys, messages that have more fields than
    a tool may have arguments, and those of which a field has a name that no argument can have, such as an extension.
    """
    fields = descriptor.fields
    if form_of(descriptor) or len(fields) > MAX_ARGUMENTS:
        return True
    extensions = descriptor.file.pool.FindAllExtensions(descriptor) if descriptor.is_extendable else ()
    return not all(_ARGUMENT.fullmatch(label_of(field)) for field in (*fields, *extensions))
