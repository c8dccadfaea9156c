"""The types of arguments and results in a module of stubs, read from JSON Schema and from the names of types."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grpc_tool_bridge.client.stub_names import Names, class_name
from grpc_tool_bridge.client.stub_schemas import (
    MAX_DEPTH,
    REFERENCE,
    Schema,
    choices_of,
    needed_keys,
    refers,
    resolved_part,
    shape_of,
)
from grpc_tool_bridge.client.stub_source import INDENT, WIDTH, call, docstring, exploded, quoted

# Longer annotations get a name of their own.
_MAX_ANNOTATION_CHARS = 60
# Types within types, each with a definition of its own.
_MAX_LEVELS = 50

_SCALARS = frozenset({"int", "str", "float", "bool", "bytes", "complex"})
_IMPORTED = {
    "Any": "typing",
    "object": "typing",
    "datetime": "datetime",
    "date": "datetime",
    "time": "datetime",
    "timedelta": "datetime",
    "Decimal": "decimal",
    "UUID": "uuid",
}
_LISTS = frozenset({"list", "List", "MutableSequence", "deque", "Iterator", "Generator", "Reversible", "Container"})
_SEQUENCES = frozenset({"Sequence", "Iterable", "Collection"})
_SETS = {"set": "set", "Set": "set", "AbstractSet": "set", "MutableSet": "set", "frozenset": "frozenset"}
_DICTS = frozenset({"dict", "Dict", "MutableMapping", "defaultdict", "OrderedDict"})
_CONTAINERS = _LISTS | _SEQUENCES | _DICTS | _SETS.keys() | {"tuple", "Mapping"}
_FORMATS = {"date-time": "datetime", "date": "date", "time": "time", "duration": "timedelta", "uuid": "UUID"}
_JSON_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """A type: a choice of members.

    Attributes:
        members: What the choice is between, such as ``list[int]`` and ``None``.
        literals: Single values that belong to it, too.
        scalars: Those of the members that are plain types, by their own names.
        named: The single values of those members that are names of types.
    """

    members: tuple[str, ...]
    literals: tuple[Any, ...] = ()
    scalars: frozenset[str] = frozenset()
    named: tuple[Any, ...] = ()

    def takes(self, value: Any) -> bool:
        """Returns whether a plain value is of this type."""
        if type(value) not in (str, int, float, bool, type(None)):
            return False
        if "Any" in self.scalars or (type(value), value) in _typed((*self.literals, *self.named)):
            return True
        kinds = {bool: ("bool", "int", "float"), int: ("int", "float"), float: ("float",), str: ("str",)}
        return bool(self.scalars.intersection(kinds.get(type(value), ("None",) if value is None else ())))


class Types:
    """The types of a module: their definitions, and what is imported for them.

    Args:
        names: The names of the module.
        shadowed: Names that mean something else inside the classes, such as those of methods.
    """

    def __init__(self, names: Names, shadowed: Iterable[str]) -> None:
        self._names = names
        self._shadowed = frozenset(shadowed)
        # The name under which each thing is imported, by module and name.
        self._imports: dict[tuple[str, str], str] = {}
        self._definitions: dict[str, list[str]] = {}
        self._by_shape: dict[str, Annotation] = {}
        self._aliases: dict[str, Annotation] = {}
        # How many definitions are being written, each within another.
        self._levels = 0

    def read(self, schema: Schema, python_type: str) -> Annotation:
        """Reads the type of an argument or a result from its schema, and from the name that its tool gives its type."""
        return self._short(self._read(schema, _parsed(python_type), 0), schema)

    def text(self, annotation: Annotation) -> str:
        """Writes a type."""
        return " | ".join(self._parts(annotation)) or self.imported("typing", "Any")

    def imported(self, module: str, name: str) -> str:
        """Imports a name; returns the name that it has in the module."""
        known = self._imports.get((module, name))
        if known is None:
            known = self._names.take(name) if name not in self._shadowed else self._names.take(f"{name}_type")
            self._imports[module, name] = known
        return known

    def builtin(self, name: str) -> str:
        """Returns how a builtin type is named inside the classes."""
        if name not in self._shadowed:
            return name
        self._imports["", "builtins"] = "builtins"
        return f"builtins.{name}"

    def import_lines(self, packages: Iterable[str]) -> list[list[str]]:
        """Writes the imports in groups: those of the standard library, and those of the given packages."""
        others = frozenset(packages)
        groups: list[list[str]] = [[], []]
        for module in sorted({module for module, _ in self._imports}):
            group = groups[module.partition(".")[0] in others]
            if not module:
                group.append("import builtins")
                continue
            found = {name: own for (home, name), own in self._imports.items() if home == module}
            plain = sorted((name for name, own in found.items() if own == name), key=_import_order)
            start = f"from {module} import "
            lines = {name: [f"{start}{name} as {own}"] for name, own in found.items() if own != name}
            if plain:
                one = f"{start}{', '.join(plain)}"
                lines[plain[0]] = [one] if len(one) <= WIDTH else call(f"{start}(", plain, ")")
            group += [line for name in sorted(lines, key=_import_order) for line in lines[name]]
        return [group for group in groups if group]

    def definition_lines(self) -> list[list[str]]:
        """Writes the definitions, each as a block of lines."""
        return list(self._definitions.values())

    # ------------------------------------------------------------------------------------------------ by their names

    def _read(self, schema: Schema, hint: ast.expr | None, depth: int) -> Annotation:
        if depth > MAX_DEPTH:
            return self._any()
        resolved = resolved_part(schema)
        if {"enum", "const"} & resolved.keys():
            return self._of_schema(schema, depth)
        if isinstance(hint, ast.BinOp):
            return self._either(schema, _members(hint), depth)
        if isinstance(hint, ast.Subscript):
            return self._generic(schema, _name(hint.value), _arguments(hint), depth)
        name = "bytes" if _name(hint) == "bytearray" else _name(hint)
        if name in _SCALARS | _IMPORTED.keys() | {"None"} and not (name in ("Any", "object") and resolved):
            return self._known(name) or self._any()
        if name in _CONTAINERS and not choices_of(resolved):
            return self._generic(schema, name, [], depth)
        return self._of_schema(schema, depth)

    def _known(self, name: str) -> Annotation | None:
        if name == "None":
            return _scalar("None", "None")
        if name in _SCALARS:
            return _scalar(self.builtin(name), name)
        if name in _IMPORTED:
            own = "Any" if name == "object" else name
            return _scalar(self.imported(_IMPORTED[name], own), own)
        return None

    def _either(self, schema: Schema, hints: Sequence[ast.expr], depth: int) -> Annotation:
        choices = choices_of(resolved_part(schema))
        if len(choices) == len(hints):
            pairs = zip(choices, hints, strict=True)
            return _union(self._read(schema.of(part), hint, depth + 1) for part, hint in pairs)
        known = [self._known(_name(hint)) for hint in hints]
        plain = [item for item in known if item is not None]
        # A type whose values are listed says more in its schema.
        if len(plain) == len(hints) and "enum" not in resolved_part(schema):
            return _union(plain)
        return self._of_schema(schema, depth)

    def _generic(self, schema: Schema, name: str, hints: list[ast.expr], depth: int) -> Annotation:
        part = resolved_part(schema)
        first = hints[0] if hints else None
        if name == "Optional" and first is not None:
            return self._either(schema, [first, ast.Constant(None)], depth)
        if name == "Union":
            return self._either(schema, hints, depth)
        if name in _LISTS | _SEQUENCES | _SETS.keys():
            item = self._inner(schema.of(part.get("items"), "item"), first, depth)
            if name in _SEQUENCES and not schema.is_result:
                return Annotation((f"{self.imported('collections.abc', 'Sequence')}[{item}]",))
            return Annotation((f"{self.builtin(_SETS.get(name, 'list'))}[{item}]",))
        if name in _DICTS | {"Mapping", "Counter"}:
            return self._dict(schema, name, hints, depth)
        if name == "tuple" and not choices_of(part):
            return self._tuple(schema, hints, depth)
        if name == "Literal" and not {"enum", "const"} & part.keys():
            values = [item.value for item in hints if isinstance(item, ast.Constant)]
            return self._literals(values) if len(values) == len(hints) else self._any()
        return self._of_schema(schema, depth)

    def _dict(self, schema: Schema, name: str, hints: list[ast.expr], depth: int) -> Annotation:
        values = resolved_part(schema).get("additionalProperties")
        key = self._known(_name(hints[0])) if hints else None
        value_hint = ast.Name("int") if name == "Counter" else hints[1] if len(hints) > 1 else None
        key_text = (
            self.text(key)
            if key is not None
            else self.builtin(schema.key_type)
            if not hints
            else self.text(self._any())
        )
        value = self._inner(schema.of(values, "value"), value_hint, depth)
        if name == "Mapping" and not schema.is_result:
            return Annotation((f"{self.imported('collections.abc', 'Mapping')}[{key_text}, {value}]",))
        return Annotation((f"{self.builtin('dict')}[{key_text}, {value}]",))

    def _tuple(self, schema: Schema, hints: list[ast.expr], depth: int) -> Annotation:
        part = resolved_part(schema)
        ends = bool(hints) and isinstance(hints[-1], ast.Constant) and hints[-1].value is ...
        if ends or not hints:
            item = self._read(schema.of(part.get("items"), "item"), hints[0] if hints else None, depth + 1)
            return Annotation((f"{self.builtin('tuple')}[{self.text(item)}, ...]",))
        parts = part.get("prefixItems")
        parts = parts if isinstance(parts, list) and len(parts) == len(hints) else [None] * len(hints)
        items = [
            self._inner(schema.of(inner, f"item {place}"), hint, depth)
            for place, (inner, hint) in enumerate(zip(parts, hints, strict=True), 1)
        ]
        return Annotation((f"{self.builtin('tuple')}[{', '.join(items)}]",))

    # ------------------------------------------------------------------------------------------------ by their schemas

    def _inner(self, schema: Schema, hint: ast.expr | None, depth: int) -> str:
        """Writes a type that is part of another one."""
        made = self._of_schema(schema, depth + 1) if hint is None else self._read(schema, hint, depth + 1)
        return self.text(self._short(made, schema))

    def _of_schema(self, schema: Schema, depth: int) -> Annotation:
        part = schema.part
        if not isinstance(part, dict) or depth > MAX_DEPTH:
            return self._any()
        if "$ref" in part:
            return self._defined(schema, part["$ref"], depth)
        if "enum" in part or "const" in part:
            values = part.get("enum", [part["const"]] if "const" in part else [])
            return self._literals(values) if isinstance(values, list) else self._any()
        choices = choices_of(part)
        if choices:
            return _union(self._of_schema(schema.of(choice), depth + 1) for choice in choices)
        if isinstance(part.get("allOf"), list):
            whole = part["allOf"]
            return self._of_schema(schema.of(whole[0]), depth + 1) if len(whole) == 1 else self._any()
        kinds = part.get("type")
        if isinstance(kinds, list):
            return _union(self._of_kind(schema, kind, depth) for kind in kinds)
        return self._of_kind(schema, kinds, depth)

    def _of_kind(self, schema: Schema, kind: Any, depth: int) -> Annotation:
        part = schema.part
        if kind == "string" and schema.is_message and part.get("contentEncoding") == "base64":
            return self._known("bytes") or self._any()
        if kind == "string" and schema.is_python:
            text_format = part.get("format")
            name = "bytes" if part.get("contentEncoding") == "base64" else _FORMATS.get(str(text_format), "str")
            return self._known(name) or self._any()
        if kind == "array":
            return self._array(schema, depth)
        if kind == "object":
            return self._object(schema, depth)
        return self._known(_JSON_TYPES.get(str(kind), "")) or self._any()

    def _array(self, schema: Schema, depth: int) -> Annotation:
        part = schema.part
        parts = part.get("prefixItems")
        if isinstance(parts, list) and parts and part.get("items", False) is False:
            items = [
                self._inner(schema.of(inner, f"item {place}"), None, depth) for place, inner in enumerate(parts, 1)
            ]
            if schema.is_python and part.get("minItems") == len(parts):
                return Annotation((f"{self.builtin('tuple')}[{', '.join(items)}]",))
            return Annotation((f"{self.builtin('list')}[{' | '.join(dict.fromkeys(items))}]",))
        item = self._inner(schema.of(part.get("items"), "item"), None, depth)
        if schema.is_python and part.get("uniqueItems") is True:
            # Of a set and of a frozenset alike.
            return Annotation((f"{self.imported('collections.abc', 'Set')}[{item}]",))
        return Annotation((f"{self.builtin('list')}[{item}]",))

    def _object(self, schema: Schema, depth: int) -> Annotation:
        if _has_fields(schema.part) and not schema.is_any:
            return self._named(schema, class_name(schema.about))
        # What has properties all the same, such as one without a name, may have values of different types.
        others = None if schema.part.get("properties") else schema.part.get("additionalProperties")
        value = self._inner(schema.of(others, "value"), None, depth)
        return Annotation((f"{self.builtin('dict')}[{self.builtin(schema.key_type)}, {value}]",))

    def _defined(self, schema: Schema, reference: Any, depth: int) -> Annotation:
        name = str(reference).removeprefix(REFERENCE)
        if name not in schema.definitions:
            return self._any()
        part = schema.definitions[name]
        if isinstance(part, dict) and "$ref" in part:
            return self._of_schema(schema.of(part), depth + 1)
        return self._named(schema.of(part), class_name(name))

    def _named(self, schema: Schema, wanted: str) -> Annotation:
        """Returns the type that a schema defines, which is defined once."""
        shape = shape_of(schema)
        if shape in self._by_shape:
            return self._by_shape[shape]
        part = schema.part if isinstance(schema.part, dict) else {}
        is_object = _has_fields(part)
        if not is_object and ({"enum", "const"} & part.keys() or not refers(part)):
            made = self._of_schema(schema, 0)
            if made.literals and len(self.text(made)) > _MAX_ANNOTATION_CHARS // 2:
                made = self._alias(made, wanted)
            self._by_shape[shape] = made
            return made
        if self._levels == _MAX_LEVELS:
            return self._any()
        about = class_name(schema.about)
        name = self._names.take(wanted, f"{wanted}{'Result' if schema.is_result else 'Input'}", f"{about}{wanted}")
        self._by_shape[shape] = Annotation((name,))
        # Takes its place now, before those that it contains.
        self._definitions[name] = []
        self._levels += 1
        if is_object:
            self._definitions[name] = self._typed_dict(name, schema)
        else:
            whole = self.text(self._of_schema(schema, 0))
            alias = self.imported("typing", "TypeAlias")
            self._definitions[name] = [f"{name}: {alias} = {quoted(whole)}"]
        self._levels -= 1
        return self._by_shape[shape]

    def _typed_dict(self, name: str, schema: Schema) -> list[str]:
        base = self.imported("typing", "TypedDict")
        needed, fields = needed_keys(schema.part, schema), {}
        for key, part in schema.part["properties"].items():
            inner = replace(schema, part=part, about=f"{name} {key}")
            text = self._inner(inner, None, 0)
            fields[str(key)] = text if key in needed else self._optional(text, schema)
        remark = schema.part.get("description")
        if all(_is_field(key) for key in fields):
            about = docstring(remark, INDENT) if isinstance(remark, str) and remark.strip() else []
            body = [f"{INDENT}{key}: {text}" for key, text in fields.items()]
            return [f"class {name}({base}):", *about, *([""] if about else []), *body]
        rows = [f"{quoted(key)}: {quoted(text)}" for key, text in fields.items()]
        one = f'{name} = {base}("{name}", {{{", ".join(rows)}}})'
        if len(one) <= WIDTH:
            return [one]
        inside = [f'"{name}",', *exploded("{", rows, "},")]
        return [f"{name} = {base}(", *(f"{INDENT}{line}" for line in inside), ")"]

    def _optional(self, text: str, schema: Schema) -> str:
        if not schema.is_result:
            # So that a result, which has every key, is an argument as well.
            text = f"{self.imported('typing_extensions', 'ReadOnly')}[{text}]"
        return f"{self.imported('typing', 'NotRequired')}[{text}]"

    # ------------------------------------------------------------------------------------------------ choices

    def _parts(self, annotation: Annotation) -> list[str]:
        members = [member for member in annotation.members if member != "None"]
        if annotation.literals:
            texts = ", ".join(_literal_text(value) for value in annotation.literals)
            members.insert(0, f"{self.imported('typing', 'Literal')}[{texts}]")
        return members + ["None"] * ("None" in annotation.members)

    def _literals(self, values: Iterable[Any]) -> Annotation:
        literals, members = [], []
        for value in values:
            if value is None:
                members.append(_scalar("None", "None"))
            elif type(value) in (str, int, bool):
                literals.append(value)
            elif type(value) is float:
                members.append(_scalar(self.builtin("float"), "float"))
            else:
                return self._any()
        return _union([Annotation((), tuple(literals)), *members])

    def _short(self, annotation: Annotation, schema: Schema) -> Annotation:
        is_short = len(self.text(annotation)) <= _MAX_ANNOTATION_CHARS
        return annotation if is_short else self._alias(annotation, class_name(schema.about))

    def _alias(self, annotation: Annotation, wanted: str) -> Annotation:
        """Gives a type a name of its own, which takes as many lines as it needs."""
        parts = self._parts(annotation)
        whole = " | ".join(parts)
        if whole in self._aliases:
            return self._aliases[whole]
        name = self._names.take(wanted, f"{wanted}Type")
        start = f"{name}: {self.imported('typing', 'TypeAlias')} = "
        if annotation.literals and len(parts) == 1:
            rows = [_literal_text(value) for value in annotation.literals]
            self._definitions[name] = call(f"{start}{self.imported('typing', 'Literal')}[", rows, "]")
        elif len(start) + len(quoted(whole)) <= WIDTH:
            self._definitions[name] = [f"{start}{quoted(whole)}"]
        elif len(parts) == 1:
            self._definitions[name] = [f"{start}(", f"{INDENT}{quoted(whole)}", ")"]
        else:
            # Each literal on a line of its own.
            members = [self._parts(Annotation((), (value,)))[0] for value in annotation.literals]
            members += parts[bool(annotation.literals) :]
            rows = [part if part == "None" else quoted(part) for part in members]
            self._definitions[name] = call(f"{start}{self.imported('typing', 'Union')}[", rows, "]")
        if any(len(line) > WIDTH for line in self._definitions[name]):
            # A text cannot be divided.
            self._definitions[name] = [
                f"{line}  # noqa: E501" if len(line) > WIDTH else line for line in self._definitions[name]
            ]
        made = Annotation((name,), (), annotation.scalars, (*annotation.literals, *annotation.named))
        self._aliases[whole] = made
        return made

    def _any(self) -> Annotation:
        return _scalar(self.imported("typing", "Any"), "Any")


def _has_fields(part: Mapping[str, Any]) -> bool:
    """Whether a schema has properties that can be the keys of a TypedDict; none of them can be empty."""
    properties = part.get("properties")
    return isinstance(properties, dict) and bool(properties) and "" not in properties


def _scalar(text: str, name: str) -> Annotation:
    return Annotation((text,), (), frozenset({name}))


def _union(parts: Iterable[Annotation]) -> Annotation:
    """Joins types to a choice between all of them."""
    found = list(parts)
    anything = next((part for part in found if "Any" in part.scalars), None)
    if anything is not None:
        return anything
    literals = _typed(value for part in found for value in part.literals)
    return Annotation(
        tuple(dict.fromkeys(member for part in found for member in part.members)),
        tuple(literals.values()),
        frozenset().union(*(part.scalars for part in found)),
        tuple(value for part in found for value in part.named),
    )


def _typed(values: Iterable[Any]) -> dict[tuple[type, Any], Any]:
    """Tells True and 1 apart."""
    return {(type(value), value): value for value in values}


def _parsed(python_type: str) -> ast.expr | None:
    """Parses the name of a type; nothing of it is run, and only known names are written anywhere."""
    try:
        return ast.parse(python_type, mode="eval").body if python_type else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _name(hint: ast.expr | None) -> str:
    match hint:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant(value=None):
            return "None"
    return ""


def _arguments(hint: ast.Subscript) -> list[ast.expr]:
    return list(hint.slice.elts) if isinstance(hint.slice, ast.Tuple) else [hint.slice]


def _members(hint: ast.expr) -> list[ast.expr]:
    members = []
    while isinstance(hint, ast.BinOp):
        members.append(hint.right)
        hint = hint.left
    return [hint, *reversed(members)]


def _literal_text(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def _is_field(key: str) -> bool:
    """Whether a key of an object can be declared as an attribute is, and hides no type from the others."""
    if not key.isidentifier() or key.startswith("__") or not key.isascii():
        return False
    try:
        ast.parse(f"{key} = 0")
    except SyntaxError:
        return False
    return key not in _SCALARS | _CONTAINERS | _IMPORTED.keys() and not key[0].isupper()


def _import_order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)
