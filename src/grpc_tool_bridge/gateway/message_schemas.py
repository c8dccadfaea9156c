"""JSON Schemas of messages, as ``message_json`` writes them and as ``ParseDict`` reads them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Schema = dict[str, Any]

_COMPONENTS = "#/components/schemas/"
# What ``error_json`` leaves out if it is empty.
_OPTIONAL: Mapping[str, frozenset[str]] = {"ErrorInfo": frozenset({"stacktrace"})}
_FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
_INTEGERS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_INT32: {"minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.TYPE_UINT32: {"minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_INT64: {"format": "int64"},
    FieldDescriptor.TYPE_UINT64: {"format": "int64", "minimum": 0},
}

# Messages that JSON has a form of its own for.
_FORMS: Mapping[str, Schema] = {
    "google.protobuf.Any": {"$ref": f"{_COMPONENTS}Value"},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Struct": {"type": "object"},
}


def reference(name: str) -> Schema:
    """Refers to a schema of the document."""
    return {"$ref": f"{_COMPONENTS}{name}"}


def or_null(schema: Schema) -> Schema:
    """Returns the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


class MessageSchemas:
    """The schemas of messages, with those that they refer to.

    Attributes:
        components: Each schema by its name.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def answered(self, kind: type[Message]) -> Schema:
        """Refers to the schema of a message in an answer: what has no presence is always there."""
        return self._of(kind.DESCRIPTOR, required=True)

    def accepted(self, kind: type[Message]) -> Schema:
        """Refers to the schema of a message in a request: nothing need be there."""
        return self._of(kind.DESCRIPTOR, required=False)

    def _of(self, descriptor: Any, *, required: bool) -> Schema:
        form = _FORMS.get(descriptor.full_name)
        if form is not None:
            return dict(form)
        name = descriptor.name if required else f"{descriptor.name}Given"
        if name not in self.components:
            self.components[name] = {}
            properties = {field.name: self._field(field, required=required) for field in descriptor.fields}
            if not required:
                properties = {field: or_null(part) for field, part in properties.items()}
            schema: Schema = {"type": "object", "properties": properties}
            optional = _OPTIONAL.get(name, frozenset())
            always = [
                field.name
                for field in descriptor.fields
                if (field.is_repeated or not field.has_presence) and field.name not in optional
            ]
            if required and always:
                schema["required"] = always
            self.components[name] = schema if required else {**schema, "additionalProperties": False}
        return reference(name)

    def _field(self, field: FieldDescriptor, *, required: bool) -> Schema:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            return {
                "type": "object",
                "additionalProperties": self._single(kind.fields_by_name["value"], required=required),
            }
        one = self._single(field, required=required)
        return {"type": "array", "items": one} if field.is_repeated else one

    def _single(self, field: FieldDescriptor, *, required: bool) -> Schema:
        if field.message_type is not None:
            return self._of(field.message_type, required=required)
        if field.enum_type is not None:
            values = field.enum_type.values
            said = ", ".join(f"{value.number}: {value.name}" for value in values)
            return {"type": "integer", "enum": [value.number for value in values], "description": said}
        if field.type in _INTEGERS:
            # What is asked for is a count or a time.
            return {"type": "integer", **_INTEGERS[field.type], **({} if required else {"minimum": 0})}
        if field.type in _FLOATS:
            return {"type": ["number", "null"]}
        return {"type": "boolean" if field.type == FieldDescriptor.TYPE_BOOL else "string"}
