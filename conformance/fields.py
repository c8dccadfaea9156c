"""Messages as plain JSON, with the fields that are set by their names; README.md gives the form of each type."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import any_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from conformance.doubles import bits_of, number_of
from grpc_tool_bridge.proto import dspex_bridge_pb2

Fields = dict[str, Any]

# A FieldDescriptor: the stubs of protobuf know two classes of that name.
Field = Any

_FILES = (dspex_bridge_pb2, any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2, empty_pb2)

DESCRIPTORS: Mapping[str, Any] = {
    descriptor.full_name: descriptor for file in _FILES for descriptor in file.DESCRIPTOR.message_types_by_name.values()
}


def new_message(name: str) -> Message:
    """Returns an empty message by its full name, such as "dspex.bridge.Envelope"."""
    return GetMessageClass(DESCRIPTORS[name])()


def fields_of(message: Message) -> Fields:
    """Returns the fields that are set in a message."""
    return {field.name: _written(field, value) for field, value in message.ListFields()}


def message_of(name: str, fields: Fields) -> Message:
    """Returns the message that has these fields.

    Raises:
        ValueError: There is no such field, or its value is of another type.
    """
    message = new_message(name)
    try:
        _fill(message, fields)
    except (LookupError, TypeError, AttributeError) as failure:
        raise ValueError(f"these are not the fields of a {name}: {failure!r}") from failure
    return message


def is_map(field: Field) -> bool:
    """Returns whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _written(field: Field, value: Any) -> Any:
    if is_map(field):
        key, item = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return {str(_one(key, name)): _one(item, value[name]) for name in sorted(value)}
    return [_one(field, item) for item in value] if field.is_repeated else _one(field, value)


def _one(field: Field, value: Any) -> Any:
    if field.message_type is not None:
        return fields_of(value)
    writer = _WRITERS.get(field.cpp_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    return value if writer is None else writer(value)


def _fill(message: Message, fields: Fields) -> None:
    # A message that is set, although it has nothing in it.
    message.SetInParent()
    for name, value in fields.items():
        field: Field = message.DESCRIPTOR.fields_by_name[name]
        target = getattr(message, name)
        if is_map(field):
            _fill_map(target, field.message_type.fields_by_name["value"], value)
        elif field.message_type is not None:
            for item in value if field.is_repeated else ():
                _fill(target.add(), item)
            if not field.is_repeated:
                _fill(target, value)
        elif field.is_repeated:
            target.extend(_read(field, item) for item in value)
        else:
            setattr(message, name, _read(field, value))


def _fill_map(target: Any, field: Field, entries: Mapping[str, Any]) -> None:
    for key, item in entries.items():
        if field.message_type is not None:
            _fill(target[key], item)
        else:
            target[key] = _read(field, item)


def _read(field: Field, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64decode(value, validate=True)
    reader = _READERS.get(field.cpp_type)
    return value if reader is None else reader(value)


_WRITERS: Mapping[int, Callable[[Any], Any]] = {
    FieldDescriptor.CPPTYPE_INT64: str,
    FieldDescriptor.CPPTYPE_UINT64: str,
    FieldDescriptor.CPPTYPE_DOUBLE: bits_of,
    FieldDescriptor.CPPTYPE_FLOAT: bits_of,
}
_READERS: Mapping[int, Callable[[Any], Any]] = {
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_UINT64: int,
    FieldDescriptor.CPPTYPE_DOUBLE: number_of,
    FieldDescriptor.CPPTYPE_FLOAT: number_of,
}
