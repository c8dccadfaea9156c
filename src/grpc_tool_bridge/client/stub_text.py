"""A module of stubs: the tools of a session as a class whose methods have their types and docstrings."""

import builtins
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.client.docstring import docstring_of
from grpc_tool_bridge.client.stub_names import Names, class_name, identifier
from grpc_tool_bridge.client.stub_schemas import Schema
from grpc_tool_bridge.client.stub_source import INDENT, WIDTH, call, docstring, joined, literal, quoted
from grpc_tool_bridge.client.stub_types import Annotation, Types
from grpc_tool_bridge.client.typed import BlockingTools, TypedTools
from grpc_tool_bridge.llm.tool_marks import deprecated_of, is_hidden, is_of_grpc, is_older_version
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ToolType
from grpc_tool_bridge.tools.argument_kinds import KIND_RULES, kind_of
from grpc_tool_bridge.tools.tool_versions import version_key
from grpc_tool_bridge.values.serialization import deserialize_value

DEFAULT_CLASS = "ToolsApi"
_MODULE = "grpc_tool_bridge.client.typed"
_PACKAGES = ("grpc_tool_bridge", "typing_extensions")

# Names that the classes themselves use.
_RESERVED = frozenset({*dir(TypedTools), *dir(BlockingTools), "OMITTED", "builtins", "deprecated", "property", "self"})


@dataclass(eq=False)
class _Node:
    """A tool, a namespace of tools, or both.

    Attributes:
        path: The parts of its name.
        name: Its name in Python.
        spec: The tool's spec.
        inner: The nodes below it, by the next part of their names.
        kind: The name of its class, if it is a namespace.
    """

    path: tuple[str, ...]
    name: str = ""
    spec: ToolSpec | None = None
    inner: "dict[str, _Node]" = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True)
class _Argument:
    """An argument of a method: its name on the wire and in Python, and the text of its type and default."""

    wire_name: str
    name: str
    kind: Any
    type: str
    default: str | None

    @property
    def text(self) -> str:
        """How it stands in the signature."""
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(self.kind, "")
        return f"{stars}{self.name}: {self.type}" + (f" = {self.default}" if self.default is not None else "")


def stub_module(specs: Iterable[ToolSpec], *, class_name: str = DEFAULT_CLASS, blocking: bool = False) -> str:
    """Writes a Python module with a class that has a method for each tool.

    Hidden tools and older versions have none; a deprecated tool's method is marked so. Tools with a dot in their names
    are in namespaces: ``orders.create`` is ``api.orders.create``. Two hubs with the same tools give the same text.

    Args:
        specs: The tools, in any order.
        class_name: The name of the class, an identifier.
        blocking: Whether its methods block, for ``bridge.sync``, instead of being async.

    Returns:
        The text of the module, which type checkers accept without an error.
    """
    return _Module(specs, class_name, blocking=blocking).text()


def stub_specs(specs: Iterable[ToolSpec]) -> list[ToolSpec]:
    """Returns the specs of the tools that have a method: of several versions the newest, and no hidden ones."""
    newest: dict[str, ToolSpec] = {}
    for spec in specs:
        known = newest.get(spec.name)
        if is_older_version(spec) or (known is not None and version_key(spec.version) < version_key(known.version)):
            continue
        newest[spec.name] = spec
    return [spec for spec in newest.values() if not is_hidden(spec)]


class _Module:
    def __init__(self, specs: Iterable[ToolSpec], name: str, *, blocking: bool) -> None:
        self._blocking = blocking
        self._root = _tree(stub_specs(specs))
        self._root.kind = name
        self._nodes = list(_walk(self._root))
        methods = {node.name for node in self._nodes}
        self._names = Names({*methods, *dir(builtins), "builtins", name})
        for node in self._nodes[1:]:
            if node.inner:
                node.kind = self._names.take(f"{name}{class_name('.'.join(node.path))}")
        self._types = Types(self._names, methods)

    def text(self) -> str:
        """Writes the module."""
        base = self._types.imported(_MODULE, "BlockingTools" if self._blocking else "TypedTools")
        namespaces = [node for node in reversed(self._nodes) if node.inner and node is not self._root]
        classes = [self._class(node, base) for node in (*namespaces, self._root)]
        header = [
            '"""The tools of a hub as methods with types.',
            "",
            "Written by ``grpc-tool-bridge stubs``, which also tells whether it is up to date: do not edit it.",
            '"""',
            "",
            "# The values that a hub sends have the types that its tools declare; no type checker sees that.",
            '# mypy: disable-error-code="no-any-return"',
        ]
        imports = joined([["from __future__ import annotations"], *self._types.import_lines(_PACKAGES)], 1)
        lines = [*header, "", *imports]
        before: list[str] = [""]
        for block in [*self._types.definition_lines(), *classes]:
            stands_apart = block[0].startswith("class ") or before[0].startswith("class ")
            lines += ["", ""] if stands_apart else [""]
            lines += block
            before = block
        return "\n".join([*lines, ""])

    def _class(self, node: _Node, base: str) -> list[str]:
        if node is self._root:
            about = "The tools of a session."
        else:
            about = f"The tools whose names begin with ``{'.'.join(node.path)}.``."
        members = [self._property(inner) if inner.inner else self._method(inner) for inner in _sorted(node)]
        if node.spec is not None:
            members.insert(0, self._method(node, "__call__"))
        return [f"class {node.kind}({base}):", *joined([docstring(about, INDENT), *members], 1)]

    def _property(self, node: _Node) -> list[str]:
        return [
            f"{INDENT}@property",
            f"{INDENT}def {node.name}(self) -> {node.kind}:",
            *docstring(f"The tools whose names begin with ``{'.'.join(node.path)}.``.", INDENT * 2),
            f"{INDENT * 2}return self._nested({node.kind})",
        ]

    def _method(self, node: _Node, name: str = "") -> list[str]:
        spec = node.spec
        assert spec is not None, node.path  # noqa: S101 - a node without tools below it is a tool
        streams = spec.type == ToolType.STREAMING
        # The types of results have the plain names.
        result = self._result(spec)
        arguments = self._arguments(spec)
        is_async = not streams and not self._blocking
        start = f"{'async ' if is_async else ''}def {name or node.name}("
        lines = call(start, _signature(arguments), f") -> {result}:", INDENT)
        lines += docstring(docstring_of(spec, {item.wire_name: item.name for item in arguments}), INDENT * 2)
        given = [quoted(spec.name), _positional(arguments), _named(arguments)]
        awaited = "await " if is_async else ""
        start = f"{awaited}self.{'_stream' if streams else '_call'}("
        lines += call(start if result == "None" else f"return {start}", given, ")", INDENT * 2)
        if replacement := deprecated_of(spec):
            deprecated = self._types.imported("typing_extensions", "deprecated")
            lines.insert(0, f"{INDENT}@{deprecated}({quoted(replacement)})")
        return lines

    def _result(self, spec: ToolSpec) -> str:
        schema = _object(spec.output_schema)
        is_python = bool(spec.return_type.python_type)
        about = f"{spec.name} result"
        part = Schema(schema, _definitions(schema), about, is_python, is_result=True, is_message=is_of_grpc(spec))
        text = self._types.text(self._types.read(part, spec.return_type.python_type))
        if spec.type != ToolType.STREAMING:
            return text
        return f"{self._types.imported('collections.abc', 'Iterator' if self._blocking else 'AsyncIterator')}[{text}]"

    def _arguments(self, spec: ToolSpec) -> list[_Argument]:
        schema = _object(spec.input_schema)
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        listed = list(spec.arguments) or _listed(schema, properties)
        names, found = Names({"self"}), []
        is_python, definitions = bool(spec.return_type.python_type), _definitions(schema)
        after_optional = False
        for argument in sorted(listed, key=kind_of):
            kind = kind_of(argument)
            part = properties.get(argument.name)
            if kind is inspect.Parameter.VAR_POSITIONAL:
                part = part.get("items") if isinstance(part, dict) else None
            elif kind is inspect.Parameter.VAR_KEYWORD:
                part = schema.get("additionalProperties")
            about = f"{spec.name} {argument.name}"
            given = Schema(part, definitions, about, is_python, is_result=False, is_message=is_of_grpc(spec))
            annotation = self._types.read(given, argument.python_type)
            is_single = kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            default = self._default(argument, annotation) if is_single and not argument.required else None
            if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and default is None and after_optional:
                # Python wants those with a default last.
                kind = inspect.Parameter.KEYWORD_ONLY
            after_optional = after_optional or default is not None
            name = names.take(identifier(argument.name, "argument"))
            found.append(_Argument(argument.name, name, kind, self._types.text(annotation), default))
        return sorted(found, key=lambda item: item.kind)

    def _default(self, argument: ArgumentSpec, annotation: Annotation) -> str:
        if argument.HasField("default_value"):
            try:
                value = deserialize_value(argument.default_value)
            except ValueError:
                # Covers SerializationError.
                value = ...
            text = literal(value) if annotation.takes(value) else None
            if text is not None:
                return text
        return self._types.imported(_MODULE, "OMITTED")


def _tree(specs: Iterable[ToolSpec]) -> _Node:
    root = _Node(())
    for spec in sorted(specs, key=lambda spec: spec.name):
        node = root
        for part in spec.name.split("."):
            node = node.inner.setdefault(part, _Node((*node.path, part)))
        node.spec = spec
    return root


def _sorted(node: _Node) -> list[_Node]:
    return [node.inner[part] for part in sorted(node.inner)]


def _walk(node: _Node) -> Iterable[_Node]:
    """Goes through all nodes, and names those below each."""
    yield node
    names = Names(_RESERVED)
    # A name that is an identifier keeps it, whatever others become.
    for part in sorted(node.inner, key=lambda part: (identifier(part, "tool") != part, part)):
        node.inner[part].name = names.take(identifier(part, "tool").lstrip("_") or "tool")
    for inner in _sorted(node):
        yield from _walk(inner)


def _listed(schema: Mapping[str, Any], properties: Mapping[str, Any]) -> list[ArgumentSpec]:
    """Lists the arguments of a tool that only its schema names; all of them are passed by name."""
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    found = []
    for name, part in properties.items():
        text = part.get("description") if isinstance(part, dict) else None
        item = ArgumentSpec(name=name, required=name in needed, description=text if isinstance(text, str) else "")
        item.validation.custom_rules.append(KIND_RULES[inspect.Parameter.KEYWORD_ONLY])
        found.append(item)
    # A schema takes any others unless it says that it does not.
    if not schema or schema.get("additionalProperties", True) is not False:
        found.append(ArgumentSpec(name="others"))
        found[-1].validation.custom_rules.append(KIND_RULES[inspect.Parameter.VAR_KEYWORD])
    return found


def _signature(arguments: Sequence[_Argument]) -> list[str]:
    texts = ["self"]
    kinds = [item.kind for item in arguments]
    for place, item in enumerate(arguments):
        is_named = item.kind is inspect.Parameter.KEYWORD_ONLY
        if is_named and not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY} & {*kinds[:place]}:
            texts.append("*")
        texts.append(item.text)
        if item.kind is inspect.Parameter.POSITIONAL_ONLY and kinds[place + 1 : place + 2] != [item.kind]:
            texts.append("/")
    return texts


def _is_positional(item: _Argument, arguments: Sequence[_Argument]) -> bool:
    if item.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        takes_more = any(other.kind is inspect.Parameter.VAR_POSITIONAL for other in arguments)
        return takes_more or item.default is None
    return item.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def _bracketed(start: str, items: Sequence[str], end: str) -> str:
    """Writes a tuple or a dict that is an argument in the body of a method."""
    return "\n".join(call(start, items, end, indent="", width=WIDTH - len(INDENT * 3) - 1))


def _positional(arguments: Sequence[_Argument]) -> str:
    texts = [
        f"*{item.name}" if item.kind is inspect.Parameter.VAR_POSITIONAL else item.name
        for item in arguments
        if _is_positional(item, arguments)
    ]
    return f"({texts[0]},)" if len(texts) == 1 else _bracketed("(", texts, ")")


def _named(arguments: Sequence[_Argument]) -> str:
    texts = [
        f"**{item.name}" if item.kind is inspect.Parameter.VAR_KEYWORD else f"{quoted(item.wire_name)}: {item.name}"
        for item in arguments
        if not _is_positional(item, arguments)
    ]
    return _bracketed("{", texts, "}")


def _object(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return schema if isinstance(schema, dict) else {}


def _definitions(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    definitions = schema.get("$defs")
    return definitions if isinstance(definitions, dict) else {}
