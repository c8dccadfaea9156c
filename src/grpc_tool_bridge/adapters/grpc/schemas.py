"""JSON Schema (draft 2020-12) of messages, in the form in which ``reading`` gives them and ``writing`` takes them.

The schema of arguments says what models need: objects are closed, enums are names, and what only the service sets is
left out. That of a result is open, since a service that grows adds fields. At the top of neither are alternatives or
references, which the APIs of models refuse there.
"""

import base64
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from grpc_tool_bridge.adapters.grpc.fields import (
    INTS,
    MESSAGES,
    NULL_VALUE,
    REQUEST,
    REQUESTS,
    VALUE_TYPES,
    entry_of,
    enum_of,
    form_of,
    has_presence,
    is_closed,
    is_empty,
    is_map,
    is_repeated,
    is_required,
    label_of,
    message_of,
    oneofs_of,
    takes_request,
)
from grpc_tool_bridge.adapters.grpc.rules import FieldRules, Rules, is_deprecated
from grpc_tool_bridge.adapters.grpc.scalars import MAX_EXACT
from grpc_tool_bridge.adapters.grpc.types import TYPE_KEY, Types
from grpc_tool_bridge.llm.values import NOT_FINITE
from grpc_tool_bridge.tools.spec_arguments import MAX_SCHEMA_BYTES

# Returns the comment of a message, a field, an enum, a value of one or a oneof; "" without one.
CommentOf = Callable[[Any], str]
Schema = dict[str, Any]

MAX_ENUM_NAMES = 1_000
"""An enum with more names than this is any text."""
MAX_ONEOF_FIELDS = 32
"""The alternatives of a oneof with more fields than this are only described."""
# Inline, a message that is used once stands this deep at most; the readers of schemas bound their depth.
_MAX_INLINE = 5
_MAX_TYPES = 5_000
# The least that the text of a schema takes for one part of it.
_PART_BYTES = 20
# What is left out, step by step, until a schema is small enough: comments, the names of large enums, and messages in
# messages.
_ALL_LEVELS = 1_000
_FEW_NAMES = 50
_STEPS = (
    (True, _ALL_LEVELS, MAX_ENUM_NAMES),
    (False, _ALL_LEVELS, MAX_ENUM_NAMES),
    (False, _ALL_LEVELS, _FEW_NAMES),
    (False, 4, _FEW_NAMES),
    (False, 2, _FEW_NAMES),
    (False, 1, _FEW_NAMES),
    (False, 0, _FEW_NAMES),
)
# A longer default is not told.
_MAX_DEFAULT_CHARS = 1_000

_KEYS: Mapping[bool, Schema] = {
    True: {"pattern": "^-?[0-9]+$"},
    False: {"pattern": "^(true|false)$"},
}
_SCALARS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_FLOATS = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
_FORMS: Mapping[str, Schema] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "FieldMask": {"type": "string"},
    "Struct": {"type": "object"},
    "Value": {},
    "ListValue": {"type": "array", "items": {}},
}
_FORM_NOTES: Mapping[str, str] = {
    "Timestamp": "A time with its offset, such as 2026-05-01T12:00:00Z.",
    "Duration": "Seconds, such as 1.5s.",
    "FieldMask": "Names of fields, separated by commas.",
    "Value": "Any value.",
}


def input_schema_of(descriptor: Descriptor, comment_of: CommentOf) -> Schema:
    """Returns the schema of the arguments that ``writer_of`` takes: an object, with a property for each field.

    What would make it larger than 262,144 bytes is left out: comments first, then the fields of messages in messages.

    Args:
        descriptor: The type of the request.
        comment_of: Returns the comment of a message, a field, an enum, a value of one or a oneof.
    """
    return Schemas(descriptor.file.pool, comment_of).arguments_of(descriptor)


def requests_schema_of(descriptor: Descriptor, comment_of: CommentOf) -> Schema:
    """Returns the schema of the only argument of a method that takes a stream, a list of messages.

    Args:
        descriptor: The type of the messages.
        comment_of: As of ``input_schema_of``.
    """
    return Schemas(descriptor.file.pool, comment_of).requests_of(descriptor)


def output_schema_of(descriptor: Descriptor, comment_of: CommentOf) -> Schema:
    """Returns the schema of what ``reader_of`` returns.

    Args:
        descriptor: The type of the response.
        comment_of: As of ``input_schema_of``.
    """
    return Schemas(descriptor.file.pool, comment_of).result_of(descriptor)


class Schemas:
    """Makes the schemas of a service; what several of them need is read once.

    Args:
        pool: The pool of the service.
        comment_of: Returns the comment of a message, a field, an enum, a value of one or a oneof.
    """

    def __init__(self, pool: DescriptorPool, comment_of: CommentOf) -> None:
        self._comment_of = comment_of
        self._rules = Rules(pool)
        self._types = Types(pool)

    def arguments_of(self, descriptor: Descriptor) -> Schema:
        """Makes the schema of arguments; see ``input_schema_of``."""
        if takes_request(descriptor):
            return self._within(lambda build: build.only(REQUEST, build.value_of(descriptor)), descriptor)
        return self._within(lambda build: build.whole(descriptor), descriptor)

    def requests_of(self, descriptor: Descriptor) -> Schema:
        """Makes the schema of the argument of a stream; see ``requests_schema_of``."""

        def listed(build: "_Builder") -> Schema:
            return build.only(REQUESTS, {"type": "array", "items": build.value_of(descriptor)})

        return self._within(listed, descriptor)

    def result_of(self, descriptor: Descriptor) -> Schema:
        """Makes the schema of a result; see ``output_schema_of``."""
        if is_empty(descriptor):
            return {"type": "null"}
        return self._within(lambda build: build.whole(descriptor), descriptor, output=True)

    def _within(self, make: "Callable[[_Builder], Schema]", descriptor: Descriptor, *, output: bool = False) -> Schema:
        """Makes a schema with as much in it as its size allows."""
        for with_comments, levels, names in _STEPS:
            comment_of = self._comment_of if with_comments else _no_comment
            try:
                build = _Builder(descriptor, comment_of, self._rules, self._types, output=output)
                build.limit(levels, names)
                schema = make(build)
            except (_TooLargeError, RecursionError):
                continue
            if len(json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_SCHEMA_BYTES:
                return schema
        return {"type": "object", "description": f"{_a(descriptor)}. Its fields are too many to list."}


def _no_comment(_: Any) -> str:
    return ""


def _a(descriptor: Descriptor) -> str:
    return f"A message of the type {descriptor.full_name}"


class _TooLargeError(Exception):
    """The schema takes more than ``MAX_SCHEMA_BYTES``."""


class _Builder:
    """Makes one schema.

    Args:
        root: The message that it is of.
        comment_of: Returns comments.
        rules: Reads the rules of fields.
        types: Finds extensions.
        output: Whether it is of a result.
    """

    def __init__(self, root: Descriptor, comment_of: CommentOf, rules: Rules, types: Types, *, output: bool) -> None:
        self._comment_of = comment_of
        self._rules = rules
        self._types = types
        self._root = root
        self._levels = _ALL_LEVELS
        self._max_names = MAX_ENUM_NAMES
        self._output = output
        self._left = MAX_SCHEMA_BYTES
        self._fields: dict[Descriptor, list[tuple[FieldDescriptor, FieldRules]]] = {}
        self._depths: dict[Descriptor, int] = {}
        self._uses: Counter[Any] = Counter()
        self._short: set[str] = set()
        self._definitions: dict[str, Schema] = {}
        self._defined: set[Any] = set()

    def limit(self, levels: int, names: int) -> None:
        """Begins: lists so many levels of messages in messages with their fields, and so many names of an enum."""
        self._levels, self._max_names = levels, names
        self._count(self._root)
        named = Counter(item.name for item, number in self._uses.items() if number > 1)
        self._short = {name for name, number in named.items() if number == 1}

    # ------------------------------------------------------------------------------------------------------- wholes

    def whole(self, descriptor: Descriptor) -> Schema:
        """Makes the schema of arguments, one for each field, or of a result."""
        form = form_of(descriptor)
        return self._ended(self._form(form) if form else self._object(descriptor, 0, at_top=True))

    def only(self, name: str, value: Schema) -> Schema:
        """Makes the schema of one argument."""
        whole = {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
        return self._ended(whole)

    def value_of(self, descriptor: Descriptor) -> Schema:
        """Makes the schema of a message that is one value."""
        value = self._message(descriptor, 1)
        return value if "$ref" in value else self._described(value, "", _FORM_NOTES.get(form_of(descriptor), ""))

    def _ended(self, schema: Schema) -> Schema:
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    # -------------------------------------------------------------------------------------------------- what is used

    def _count(self, root: Descriptor) -> None:
        """Counts how often each message and enum is used, level by level."""
        self._uses[root] += 1
        self._depths[root] = 0
        todo = [root]
        for descriptor in todo:
            if form_of(descriptor) or self._depths[descriptor] > self._levels:
                continue
            for field, _ in self._fields_of(descriptor):
                if field.type == FieldDescriptor.TYPE_ENUM:
                    self._uses[field.enum_type] += 1
                part = _message_in(field)
                if part is None:
                    continue
                self._uses[part] += 1
                if part not in self._depths:
                    self._depths[part] = self._depths[descriptor] + 1
                    todo.append(part)
                    if len(todo) > _MAX_TYPES:
                        raise _TooLargeError

    def _fields_of(self, descriptor: Descriptor) -> list[tuple[FieldDescriptor, FieldRules]]:
        """Lists the fields of a message that have a place in the schema."""
        found = self._fields.get(descriptor)
        if found is None:
            fields = [*descriptor.fields, *self._types.extensions_of(descriptor).values()]
            if len(fields) * _PART_BYTES > self._left:
                raise _TooLargeError
            ruled = [(field, self._rules.of_field(field)) for field in fields]
            found = [item for item in ruled if self._output or not item[1].output_only]
            self._fields[descriptor] = found
        return found

    # ------------------------------------------------------------------------------------------------------ messages

    def _message(self, descriptor: Descriptor, inline: int) -> Schema:
        """Makes the schema of a message in another; ``inline`` is how many it stands in without a name."""
        form = form_of(descriptor)
        if form:
            return self._form(form)
        if self._depths.get(descriptor, 0) > self._levels:
            self._spend(2 * _PART_BYTES)
            return {"type": "object", "description": f"{_a(descriptor)}; its fields are not listed here."}
        if self._uses[descriptor] <= 1 and inline <= _MAX_INLINE:
            return self._object(descriptor, inline)
        return self._named(descriptor, lambda: self._object(descriptor, 1))

    def _named(self, item: Any, make: Callable[[], Schema]) -> Schema:
        name = item.name if item.name in self._short else item.full_name
        if item not in self._defined:
            self._defined.add(item)
            # Before its parts: they may refer to it, and stand behind it.
            self._definitions[name] = {}
            self._definitions[name] = make()
        self._spend(_PART_BYTES)
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, descriptor: Descriptor, inline: int, *, at_top: bool = False) -> Schema:
        properties: Schema = {}
        required = []
        shared = self._alternatives(descriptor)
        for field, rules in self._fields_of(descriptor):
            name = label_of(field)
            self._spend(len(name) + _PART_BYTES)
            notes = [*shared[field.name][1]] if field.name in shared and not field.is_extension else []
            properties[name] = self._property(field, rules, notes, inline)
            if self._is_required(field, rules) and field.name not in shared:
                required.append(name)
        schema: Schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        if not self._output:
            schema["additionalProperties"] = False
        if not at_top:
            self._add_alternatives(schema, shared)
        notes = self._rules.of_message(descriptor)
        return self._described(schema, self._comment_of(descriptor), *notes, deprecated=is_deprecated(descriptor))

    def _is_required(self, field: FieldDescriptor, rules: FieldRules) -> bool:
        if is_required(field):
            return True
        if self._output:
            return not field.is_extension and not has_presence(field)
        return rules.required

    def _alternatives(self, descriptor: Descriptor) -> dict[str, tuple[Any, list[str]]]:
        """Maps the fields of oneofs to their oneof and to what their description says of it."""
        found: dict[str, tuple[Any, list[str]]] = {}
        listed = {field.name for field, _ in self._fields_of(descriptor)}
        for oneof, fields in oneofs_of(descriptor):
            names = [field.name for field in fields if field.name in listed]
            if len(names) <= 1:
                continue
            must = self._rules.is_oneof_required(oneof)
            text = f"{'Exactly' if must else 'Only'} one of: {', '.join(names[:MAX_ONEOF_FIELDS])}"
            more = f" and {len(names) - MAX_ONEOF_FIELDS} more" if len(names) > MAX_ONEOF_FIELDS else ""
            comment = self._comment_of(oneof)
            for name in names:
                found[name] = ((oneof.name, must, names), [f"{text}{more}.", *([comment] if comment else [])])
        return found

    def _add_alternatives(self, schema: Schema, shared: Mapping[str, tuple[Any, list[str]]]) -> None:
        oneofs = {name: (must, names) for (name, must, names), _ in shared.values()}
        parts = []
        for must, names in oneofs.values():
            if len(names) > MAX_ONEOF_FIELDS:
                continue
            self._spend(2 * _PART_BYTES * len(names))
            sets: list[Schema] = [{"required": [name]} for name in names]
            if not must or self._output:
                sets = [*sets, {"not": {"anyOf": sets}}]
            parts.append({"oneOf": sets})
        if len(parts) == 1:
            schema.update(parts[0])
        elif parts:
            schema["allOf"] = parts

    # -------------------------------------------------------------------------------------------------------- fields

    def _property(self, field: FieldDescriptor, rules: FieldRules, notes: list[str], inline: int) -> Schema:
        schema, note = self._field(field, rules, inline)
        if rules.output_only:
            schema["readOnly"] = True
        if not self._output and field.has_default_value and has_presence(field):
            default = _default_of(field)
            if len(str(default)) <= _MAX_DEFAULT_CHARS:
                schema["default"] = default
        said = self._comment_of(field)
        return self._described(schema, said, note, *rules.notes, *notes, deprecated=is_deprecated(field))

    def _field(self, field: FieldDescriptor, rules: FieldRules, inline: int) -> tuple[Schema, str]:
        """Makes the schema of a field, and says what is to be known about its form."""
        if is_map(field):
            key, item = entry_of(field)
            value, note = self._value(item, rules.items, inline + 1)
            schema: Schema = {"type": "object", "additionalProperties": value}
            names = self._keys(key, rules)
            if names:
                schema["propertyNames"] = names
        elif is_repeated(field):
            part, note = self._value(field, rules.items, inline + 1)
            schema = {"type": "array", "items": part}
        else:
            return self._value(field, rules, inline)
        if not self._output:
            schema.update(rules.schema)
        return schema, note

    def _keys(self, key: FieldDescriptor, rules: FieldRules) -> Schema:
        if key.type == FieldDescriptor.TYPE_STRING:
            return {} if self._output else dict(rules.names)
        return dict(_KEYS[key.type in INTS])

    def _value(self, field: FieldDescriptor, rules: FieldRules | None, inline: int) -> tuple[Schema, str]:
        """Makes the schema of one value of a field."""
        added = {} if rules is None or self._output else rules.schema
        if field.type in MESSAGES:
            made = self._message(message_of(field), inline + 1)
            return {**made, **added}, _FORM_NOTES.get(form_of(message_of(field)), "")
        if field.type == FieldDescriptor.TYPE_ENUM:
            chosen = None if rules is None or self._output else rules.choices
            return self._enum(enum_of(field), chosen)
        self._spend(_PART_BYTES + sum(len(str(item)) for item in added.values()))
        return _merged(_scalar(field.type, output=self._output), added), ""

    def _form(self, form: str) -> Schema:
        self._spend(2 * _PART_BYTES)
        if form == "Any":
            url = {"type": "string", "description": "Its type, such as type.googleapis.com/package.Message."}
            schema: Schema = {"type": "object", "properties": {TYPE_KEY: url}}
            return schema if self._output else {**schema, "required": [TYPE_KEY]}
        return dict(_FORMS[form]) if form in _FORMS else _scalar(VALUE_TYPES[form], output=self._output)

    def _enum(self, enum: EnumDescriptor, chosen: list[str] | None) -> tuple[Schema, str]:
        if enum.full_name == NULL_VALUE:
            return {"type": "null"}, ""
        values = enum.values if chosen is None else [enum.values_by_name[name] for name in chosen]
        if len(values) > self._max_names:
            names = ", ".join(value.name for value in values[:MAX_ONEOF_FIELDS])
            self._spend(len(names))
            kind: Any = ["string", "integer"] if self._output else "string"
            return {"type": kind}, f"One of the {len(values):,} names of {enum.full_name}, such as {names}."
        if chosen is None and self._uses[enum] > 1 and len(values) > 1:
            return self._named(enum, lambda: self._names(enum, values)), ""
        return self._names(enum, values), ""

    def _names(self, enum: EnumDescriptor, values: Any) -> Schema:
        names = [value.name for value in values]
        self._spend(sum(map(len, names)) + 3 * len(names))
        schema: Schema = {"type": "string", "enum": names}
        if self._output and not is_closed(enum):
            # A service that is newer has more of them.
            schema = {"anyOf": [schema, {"type": "integer"}]}
        lines = [f"{value.name}: {text}" for value in values if (text := " ".join(self._comment_of(value).split()))]
        return self._described(schema, self._comment_of(enum), "\n".join(lines))

    def _described(self, schema: Schema, *texts: str, deprecated: bool = False) -> Schema:
        """Adds a description: the schema's own, what is said where it stands, and what is to be known."""
        parts = [schema.get("description", ""), *texts]
        text = "\n".join(dict.fromkeys(part.strip() for part in parts if part and part.strip()))
        self._spend(len(text))
        if text:
            schema = {**schema, "description": text}
        return {**schema, "deprecated": True} if deprecated else schema

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _TooLargeError


def _message_in(field: FieldDescriptor) -> Descriptor | None:
    """Returns the message of a field, or of the values of a map."""
    if field.type not in MESSAGES:
        return None
    if is_map(field):
        _, value = entry_of(field)
        return message_of(value) if value.type in MESSAGES else None
    return message_of(field)


def _scalar(kind: int, *, output: bool) -> Schema:
    if output and kind in _FLOATS:
        # A service may answer with what JSON has no number for, and writes as a text.
        return {"anyOf": [{"type": "number"}, {"enum": list(NOT_FINITE)}]}
    if kind not in INTS:
        return dict(_SCALARS[kind])
    low, high = INTS[kind]
    schema: Schema = {"type": "integer"}
    # The others are not exact for readers of JSON that have only doubles.
    if abs(low) <= MAX_EXACT:
        schema["minimum"] = low
    if high <= MAX_EXACT:
        schema["maximum"] = high
    return schema


def _merged(schema: Schema, added: Mapping[str, Any]) -> Schema:
    """Adds rules to the bounds of a type; what bounds more counts."""
    merged = {**schema, **added}
    if "minimum" in schema and "minimum" in added:
        merged["minimum"] = max(schema["minimum"], added["minimum"])
    if "maximum" in schema and "maximum" in added:
        merged["maximum"] = min(schema["maximum"], added["maximum"])
    return merged


def _default_of(field: FieldDescriptor) -> Any:
    value = field.default_value
    if field.type == FieldDescriptor.TYPE_ENUM:
        found = enum_of(field).values_by_number.get(value)
        return value if found is None else found.name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
