"""What the options of protos say about values: google.api.field_behavior, buf.validate, google.api.http, deprecated.

What JSON Schema has a keyword for becomes that; everything else becomes a sentence for the description.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from grpc_tool_bridge.adapters.grpc.fields import (
    INTS,
    VALUE_TYPES,
    entry_of,
    enum_of,
    form_of,
    has_presence,
    is_map,
    is_repeated,
    message_class,
)
from grpc_tool_bridge.adapters.grpc.reading import Readers
from grpc_tool_bridge.adapters.grpc.scalars import names_by_number
from grpc_tool_bridge.errors import SerializationError

# Of google/api/field_behavior.proto.
_BEHAVIOR = ("google.api.field_behavior", 1052)
_REQUIRED, _OUTPUT_ONLY, _INPUT_ONLY, _IMMUTABLE, _UNORDERED, _NON_EMPTY_DEFAULT, _IDENTIFIER = range(2, 9)
_BEHAVIOR_NOTES: Mapping[int, str] = {
    _IMMUTABLE: "Cannot be changed later.",
    _UNORDERED: "In no particular order.",
    _NON_EMPTY_DEFAULT: "The service chooses a value if there is none.",
    _IDENTIFIER: "Identifies the resource.",
}
# Of google/api/annotations.proto.
_HTTP = ("google.api.http", 72295728)
_HTTP_METHODS = ("get", "put", "post", "delete", "patch")
# Of buf/validate/validate.proto.
_RULES = 1159
_ALWAYS = (3, "IGNORE_ALWAYS")
# The string rules that JSON Schema has a format for, and those that it has none for.
_FORMATS: Mapping[str, str] = {
    "email": "email", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6", "uri": "uri", "uri_ref": "uri-reference",
    "uuid": "uuid",
}  # fmt: skip
_OTHER_FORMATS: Mapping[str, str] = {
    "ip": "An IP address.", "address": "A host name or an IP address.", "tuuid": "A UUID without hyphens.",
    "ip_with_prefixlen": "An IP address with the length of its prefix.", "host_and_port": "A host and its port.",
    "ip_prefix": "A prefix of IP addresses.", "ulid": "A ULID.",
}  # fmt: skip

_MAX_PATTERN_CHARS = 1_000
_MAX_VALUES = 1_000
_MAX_NOTE_CHARS = 1_000
_MAX_LENGTH = 2**53
# What RE2 has and the regular expressions of JSON Schema do not.
_ONLY_RE2 = re.compile(r"\(\?(?!:)|\\[pPzAQECa]|\[\[:|\\x\{")
_SPECIAL = re.compile(r"[\\^$.*+?()\[\]{}|/]")


@dataclass(slots=True)
class FieldRules:
    """What is said about a field, or about one item of it.

    Attributes:
        required: Whether it must be given.
        output_only: Whether only the service sets it.
        schema: Keywords of JSON Schema for its value.
        items: The rules of each item of a list, or of each value of a map.
        names: Keywords of JSON Schema for the keys of a map.
        choices: Names of an enum of which one must be chosen; None: any.
        notes: Sentences for the description.
    """

    required: bool = False
    output_only: bool = False
    schema: dict[str, Any] = field(default_factory=dict)
    items: "FieldRules | None" = None
    names: dict[str, Any] = field(default_factory=dict)
    choices: list[str] | None = None
    notes: list[str] = field(default_factory=list)


# What is said where nothing is said; nobody changes it.
_NOTHING = FieldRules()


class Rules:
    """Reads what is said about the messages of a service.

    Args:
        pool: The pool of the service.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._annotations = Annotations(pool)
        self._of_fields: dict[FieldDescriptor, FieldRules] = {}

    def of_field(self, item: FieldDescriptor) -> FieldRules:
        """Reads what is said about a field."""
        if not item.has_options:
            return _NOTHING
        if item not in self._of_fields:
            self._of_fields[item] = self._read_field(item)
        return self._of_fields[item]

    def _read_field(self, item: FieldDescriptor) -> FieldRules:
        found = FieldRules()
        behaviors = self._annotations.read(item, "FieldOptions", *_BEHAVIOR)
        if isinstance(behaviors, list):
            found.required = _REQUIRED in behaviors
            found.output_only = _OUTPUT_ONLY in behaviors
            found.notes.extend(text for number, text in _BEHAVIOR_NOTES.items() if number in behaviors)
        said = self._annotations.read(item, "FieldOptions", "buf.validate.field", _RULES)
        if isinstance(said, dict) and said.get("ignore") not in _ALWAYS:
            _add_rules(found, item, said)
        return found

    def of_message(self, descriptor: Descriptor) -> list[str]:
        """Reads what is said about a message as a whole, as sentences."""
        said = self._annotations.read(descriptor, "MessageOptions", "buf.validate.message", _RULES)
        found: list[str] = []
        if isinstance(said, dict):
            found.extend(_expressions(said))
            for group in _dicts(said.get("oneof")):
                names = ", ".join(_texts(group.get("fields")))
                if names:
                    found.append(f"{'Exactly' if group.get('required') is True else 'Only'} one of: {names}.")
        return found

    def is_oneof_required(self, oneof: Any) -> bool:
        """Whether one field of a oneof must be given."""
        said = self._annotations.read(oneof, "OneofOptions", "buf.validate.oneof", _RULES)
        return isinstance(said, dict) and said.get("required") is True

    def http_of(self, method: MethodDescriptor) -> list[str]:
        """Returns how a method is called over HTTP, such as "GET /v1/{name=shelves/*}"; nothing if not at all."""
        said = self._annotations.read(method, "MethodOptions", *_HTTP)
        if not isinstance(said, dict):
            return []
        bindings = [said, *_dicts(said.get("additional_bindings"))]
        return [text for text in map(_binding, bindings) if text]


def is_deprecated(descriptor: Any) -> bool:
    """Whether a method, a service, a message, a field, an enum or a value of one is marked as deprecated."""
    return bool(descriptor.has_options and descriptor.GetOptions().deprecated)


def _binding(said: Mapping[str, Any]) -> str:
    for method in _HTTP_METHODS:
        if isinstance(path := said.get(method), str) and path:
            return f"{method.upper()} {path}"[:_MAX_NOTE_CHARS]
    custom = said.get("custom")
    if isinstance(custom, dict) and isinstance(custom.get("path"), str):
        return f"{custom.get('kind', '')} {custom['path']}".strip()[:_MAX_NOTE_CHARS]
    return ""


# ---------------------------------------------------------------------------------------------------- options of protos


class Annotations:
    """Reads options of a service's own protos, such as ``google.api.http``, with the service's own pool.

    An option is an extension of protobuf's messages of options. It is found by its full name, and is read only if its
    number is the one that is published: what another proto calls by the same name is something else.

    Args:
        pool: The pool of a service.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool: Any = pool
        self._readers = Readers(pool)
        self._known: dict[str, tuple[FieldDescriptor, Any] | None] = {}

    def read(self, owner: Any, options: str, name: str, number: int) -> Any:
        """Reads one option.

        Args:
            owner: The descriptor that may have it.
            options: The message of protobuf with such options, such as "FieldOptions".
            name: The full name of the option.
            number: Its number.

        Returns:
            Numbers, texts and truth values as they are, a list of them, or a dict of a message; None without it.
        """
        if not owner.has_options:
            return None
        found = self._option(options, name, number)
        if found is None:
            return None
        field, cls = found
        try:
            holder = cls.FromString(owner.GetOptions().SerializeToString())
            if not is_repeated(field) and not holder.HasExtension(field):
                return None
            value = holder.Extensions[field]
            if is_repeated(field):
                return list(value)
            return value if field.message_type is None else self._readers.reader_of(field.message_type)(value)
        except (DecodeError, SerializationError, UnicodeDecodeError):
            return None

    def _option(self, options: str, name: str, number: int) -> tuple[FieldDescriptor, Any] | None:
        if name not in self._known:
            self._known[name] = self._found(f"google.protobuf.{options}", name, number)
        return self._known[name]

    def _found(self, options: str, name: str, number: int) -> tuple[FieldDescriptor, Any] | None:
        try:
            field = self._pool.FindExtensionByName(name)
            holder: Descriptor = self._pool.FindMessageTypeByName(options)
        except KeyError:
            return None
        if field.number != number or field.containing_type.full_name != options:
            return None
        return field, message_class(holder)


# ------------------------------------------------------------------------------------------------------- buf.validate


def _add_rules(found: FieldRules, item: FieldDescriptor, said: Mapping[str, Any]) -> None:
    found.notes.extend(_expressions(said))
    if said.get("required") is True:
        found.required = True
        if item.type == FieldDescriptor.TYPE_STRING and not is_repeated(item) and not has_presence(item):
            found.schema["minLength"] = 1
    if is_map(item):
        _add_map(found, item, said.get("map"))
    elif is_repeated(item):
        _add_list(found, item, said.get("repeated"))
    else:
        _add_value(found, item, said)


def _add_value(found: FieldRules, item: FieldDescriptor, said: Mapping[str, Any]) -> None:
    """Adds the rules of one value, whatever holds it."""
    for kind, rules in said.items():
        add = _BY_KIND.get(kind)
        if add is not None and isinstance(rules, dict):
            add(found, item, rules)


def _add_list(found: FieldRules, item: FieldDescriptor, rules: Any) -> None:
    if not isinstance(rules, dict):
        return
    _take(found.schema, rules, {"min_items": "minItems", "max_items": "maxItems"}, _is_length)
    if rules.get("unique") is True:
        found.schema["uniqueItems"] = True
    found.items = _inner(item, rules.get("items"))


def _add_map(found: FieldRules, item: FieldDescriptor, rules: Any) -> None:
    if not isinstance(rules, dict):
        return
    _take(found.schema, rules, {"min_pairs": "minProperties", "max_pairs": "maxProperties"}, _is_length)
    key, value = entry_of(item)
    keys = _inner(key, rules.get("keys"))
    if key.type == FieldDescriptor.TYPE_STRING:
        found.names = keys.schema
        found.notes.extend(f"Keys: {note}" for note in keys.notes)
    found.items = _inner(value, rules.get("values"))


def _inner(item: FieldDescriptor, said: Any) -> FieldRules:
    found = FieldRules()
    if isinstance(said, dict):
        found.notes.extend(_expressions(said))
        _add_value(found, item, said)
    return found


def _add_number(found: FieldRules, rules: Mapping[str, Any]) -> None:
    def is_number(value: Any) -> bool:
        return type(value) is int or (type(value) is float and math.isfinite(value))

    low = next((rules[name] for name in ("gt", "gte") if is_number(rules.get(name))), None)
    high = next((rules[name] for name in ("lt", "lte") if is_number(rules.get(name))), None)
    if low is not None and high is not None and low > high:
        # By its definition, such a pair excludes what lies between.
        above, below = ("more than" if "gt" in rules else "at least"), ("less than" if "lt" in rules else "at most")
        found.notes.append(f"Must be {below} {high} or {above} {low}.")
    else:
        names = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
        _take(found.schema, rules, names, is_number)
    _add_choice(found, rules, is_number)


def _add_choice(found: FieldRules, rules: Mapping[str, Any], fits: Callable[[Any], bool]) -> None:
    if fits(rules.get("const")):
        found.schema["const"] = rules["const"]
    chosen = rules.get("in")
    if isinstance(chosen, list) and 0 < len(chosen) <= _MAX_VALUES and all(map(fits, chosen)):
        found.schema["enum"] = list(dict.fromkeys(chosen))
    excluded = rules.get("not_in")
    if isinstance(excluded, list) and excluded and all(map(fits, excluded)):
        found.notes.append(_clip(f"None of: {', '.join(map(_shown, excluded[:_MAX_VALUES]))}."))
    examples = rules.get("example")
    if isinstance(examples, list) and examples and all(map(fits, examples)):
        found.schema["examples"] = examples[:_MAX_VALUES]


def _add_text(found: FieldRules, rules: Mapping[str, Any]) -> None:
    _take(found.schema, rules, {"min_len": "minLength", "max_len": "maxLength"}, _is_length)
    if _is_length(rules.get("len")):
        found.schema["minLength"] = found.schema["maxLength"] = rules["len"]
    _add_choice(found, rules, lambda value: isinstance(value, str))
    patterns = []
    notes = []
    pattern = rules.get("pattern")
    if isinstance(pattern, str):
        patterns.append((pattern, f"Matches {pattern}"))
    for name, form, text in (
        ("prefix", "^{}", "Starts with {}."),
        ("suffix", "{}$", "Ends with {}."),
        ("contains", "{}", "Contains {}."),
    ):
        part = rules.get(name)
        if isinstance(part, str) and part:
            escaped = _SPECIAL.sub(r"\\\g<0>", part)
            patterns.append((form.format(escaped), text.format(_shown(part))))
    for written, note in patterns:
        if "pattern" not in found.schema and _is_pattern(written):
            found.schema["pattern"] = written
        else:
            notes.append(note)
    if isinstance(part := rules.get("not_contains"), str):
        notes.append(f"Does not contain {_shown(part)}.")
    notes.extend(_sizes(rules, "min_bytes", "max_bytes", "len_bytes"))
    for name, form in _FORMATS.items():
        if rules.get(name) is True:
            found.schema["format"] = form
    notes.extend(text for name, text in _OTHER_FORMATS.items() if rules.get(name) is True)
    found.notes.extend(map(_clip, notes))


def _add_bytes(found: FieldRules, rules: Mapping[str, Any]) -> None:
    # The schema is that of their base64, which has another length.
    found.notes.extend(_sizes(rules, "min_len", "max_len", "len"))


def _sizes(rules: Mapping[str, Any], low: str, high: str, exact: str) -> list[str]:
    texts = []
    for name, text in ((low, "At least {:,} bytes."), (high, "At most {:,} bytes."), (exact, "Exactly {:,} bytes.")):
        if _is_length(rules.get(name)):
            texts.append(text.format(rules[name]))
    return texts


def _add_enum(found: FieldRules, item: FieldDescriptor, rules: Mapping[str, Any]) -> None:
    if item.type != FieldDescriptor.TYPE_ENUM:
        return
    names = names_by_number(enum_of(item))
    wanted: Iterable[Any] = names
    if type(rules.get("const")) is int:
        wanted = [rules["const"]]
    elif isinstance(rules.get("in"), list) and rules["in"]:
        wanted = rules["in"]
    excluded = rules.get("not_in")
    chosen = [names[number] for number in wanted if number in names and number not in (excluded or ())]
    if len(chosen) < len(names):
        found.choices = chosen


def _add_truth(found: FieldRules, rules: Mapping[str, Any]) -> None:
    if isinstance(rules.get("const"), bool):
        found.schema["const"] = rules["const"]


def _add_moment(found: FieldRules, rules: Mapping[str, Any]) -> None:
    texts = {
        "const": "Must be {}.", "gt": "More than {}.", "gte": "At least {}.", "lt": "Less than {}.",
        "lte": "At most {}.", "within": "Within {} of now.",
    }  # fmt: skip
    found.notes.extend(text.format(rules[name]) for name, text in texts.items() if isinstance(rules.get(name), str))
    if rules.get("gt_now") is True:
        found.notes.append("In the future.")
    if rules.get("lt_now") is True:
        found.notes.append("In the past.")


def _add_any(found: FieldRules, rules: Mapping[str, Any]) -> None:
    types = _texts(rules.get("in"))
    if types:
        found.notes.append(_clip(f"Its type is one of: {', '.join(types)}."))


_Add = Callable[[FieldRules, FieldDescriptor, Mapping[str, Any]], None]
_AddPlain = Callable[[FieldRules, Mapping[str, Any]], None]
_NUMBERS = ("float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
            "sfixed32", "sfixed64")  # fmt: skip


def _only_for(kinds: Iterable[int], add: _AddPlain) -> _Add:
    """Adds rules only to fields of these types: rules of another type cannot mean the field."""
    wanted = frozenset(kinds)

    def add_if(found: FieldRules, item: FieldDescriptor, rules: Mapping[str, Any]) -> None:
        # What is said about a wrapper is said about its value.
        form = form_of(item.message_type) if item.message_type is not None else ""
        if VALUE_TYPES.get(form, item.type) in wanted:
            add(found, rules)

    return add_if


_BY_KIND: Mapping[str, _Add] = {
    **dict.fromkeys(_NUMBERS, _only_for([*INTS, FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE], _add_number)),
    "bool": _only_for([FieldDescriptor.TYPE_BOOL], _add_truth),
    "string": _only_for([FieldDescriptor.TYPE_STRING], _add_text),
    "bytes": _only_for([FieldDescriptor.TYPE_BYTES], _add_bytes),
    "enum": _add_enum,
    "duration": _only_for([FieldDescriptor.TYPE_MESSAGE], _add_moment),
    "timestamp": _only_for([FieldDescriptor.TYPE_MESSAGE], _add_moment),
    "any": _only_for([FieldDescriptor.TYPE_MESSAGE], _add_any),
}


def _expressions(said: Mapping[str, Any]) -> list[str]:
    """Returns the rules that are written in CEL, in the words of their authors or as they are."""
    found = []
    for rule in _dicts(said.get("cel")):
        text = rule.get("message") or rule.get("expression")
        if isinstance(text, str) and text:
            found.append(_clip(f"Rule: {text.rstrip('.')}."))
    found.extend(_clip(f"Rule: {text}.") for text in _texts(said.get("cel_expression")))
    return found


def _take(
    schema: dict[str, Any], rules: Mapping[str, Any], names: Mapping[str, str], fits: Callable[[Any], bool]
) -> None:
    schema.update({keyword: rules[name] for name, keyword in names.items() if fits(rules.get(name))})


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_LENGTH


def _is_pattern(text: str) -> bool:
    """Whether a pattern means the same in JSON Schema."""
    if len(text) > _MAX_PATTERN_CHARS or _ONLY_RE2.search(text):
        return False
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _clip(text: str) -> str:
    return text if len(text) <= _MAX_NOTE_CHARS else f"{text[:_MAX_NOTE_CHARS]}…"
