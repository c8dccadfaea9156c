"""The fields of the well-known types that have a form of their own in data."""

from collections.abc import Mapping

from google.protobuf import any_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

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
