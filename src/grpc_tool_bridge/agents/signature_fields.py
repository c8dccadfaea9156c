"""Reads what a signature says of an agent: its inputs, its outputs and its instructions. Does not need DSPy.

::

    Question -> Answer
    question: str, limit: int -> answer: float, sources: list[str]
    text -> label: Literal['good', 'bad']
    Judge the tone, not the opinion.

The first line names the fields; the rest is instructions. An input without a type can be anything, and an output
without one is a text.
"""

import ast
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import Any, Literal, Optional, Union

from pydantic import BaseModel, TypeAdapter

from grpc_tool_bridge.errors import ValidationError

MAX_SIGNATURE_CHARS = 20_000
MAX_FIELDS_CHARS = 2_000
MAX_FIELDS = 64
_MAX_DEPTH = 8

# Types that can be read from JSON.
_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "str": str,
        "int": int,
        "float": float,
        "bool": bool,
        "list": list,
        "dict": dict,
        "tuple": tuple,
        "set": set,
        "frozenset": frozenset,
        "None": NoneType,
        "NoneType": NoneType,
        "Any": Any,
        "List": list,
        "Dict": dict,
        "Tuple": tuple,
        "Set": set,
        "Optional": Optional,
        "Union": Union,
        "Literal": Literal,
    }
)
_MODULES = frozenset({"typing", "builtins"})
# Names that DSPy uses: fields of its prompts, parameters, and attributes of a signature's class.
_RESERVED = frozenset(
    {
        *("trajectory", "next_thought", "next_tool_name", "next_tool_args", "reasoning", "completed"),
        *("signature", "demos", "config", "lm", "prediction", "completions", "new_signature", "self", "instance"),
        *("fields", "input_fields", "output_fields", "instructions"),
        *(name for name in dir(BaseModel) if name.startswith("model_")),
    }
)


@dataclass(frozen=True, slots=True)
class AgentField:
    """A field's type, ``str`` by default, and whether the signature has one."""

    type: Any
    typed: bool

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return self.typed and (self.type is NoneType or NoneType in typing.get_args(self.type))


@dataclass(frozen=True, slots=True)
class SignatureFields:
    """What a signature says.

    Attributes:
        line: Its first line.
        inputs: What a run is given, by name.
        outputs: What it answers with, by name.
        instructions: What it is told to do with them; None if nothing is said.
    """

    line: str
    inputs: Mapping[str, AgentField]
    outputs: Mapping[str, AgentField]
    instructions: str | None


def read_fields(text: str) -> SignatureFields:
    """Reads a signature: fields on the first line, instructions on the following lines.

    Raises:
        ValidationError: The text is not a signature, or has an invalid field.
    """
    if len(text) > MAX_SIGNATURE_CHARS:
        raise ValidationError(f"the signature has {len(text):,} characters; {MAX_SIGNATURE_CHARS:,} are allowed")
    line, _, instructions = text.strip().partition("\n")
    if len(line) > MAX_FIELDS_CHARS:
        raise refused(line, f"its first line has {len(line):,} characters; {MAX_FIELDS_CHARS:,} are allowed")
    parts = line.split("->")
    if len(parts) != 2:  # noqa: PLR2004 - the two sides of the arrow
        raise refused(line, "it needs exactly one '->', as in 'Question -> Answer'")
    inputs, outputs = (_read_fields(part, line) for part in parts)
    if not inputs or not outputs:
        raise refused(line, f"it has no {'outputs' if inputs else 'inputs'}")
    if len(inputs) + len(outputs) > MAX_FIELDS:
        raise refused(line, f"it has {len(inputs) + len(outputs)} fields; {MAX_FIELDS} are allowed")
    both = [name for name in inputs if name in outputs]
    if both:
        raise refused(line, f"{both[0]} is both an input and an output")
    return SignatureFields(line, inputs, outputs, instructions.strip() or None)


def refused(line: str, problem: str) -> ValidationError:
    """Returns the error for a signature that cannot be used; ``line`` is its first one."""
    shown = line if len(line) <= 200 else f"{line[:200]}…"  # noqa: PLR2004 - enough to know it by
    return ValidationError(f"signature {shown!r}: {problem}", details={"signature": problem})


def _read_fields(text: str, line: str) -> dict[str, AgentField]:
    source = f"def f({text}): pass"
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise refused(line, f"{text.strip()!r} is not a list of fields such as 'text, limit: int'") from None
    # It is never executed, but only a plain list of parameters is a list of fields.
    match body:
        case [ast.FunctionDef(args=args, body=[ast.Pass() as end])] if end.end_col_offset == len(
            source.encode()
        ) and not (args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs or args.defaults):
            pass
        case _:
            raise refused(line, f"{text.strip()!r} is not a list of fields such as 'text, limit: int'")
    fields: dict[str, AgentField] = {}
    folded: set[str] = set()
    for arg in args.args:
        name = arg.arg
        if name.startswith("_") or name in _RESERVED:
            raise refused(line, f"a field cannot be called {name}, a name that DSPy uses itself")
        if name.casefold() in folded:
            raise refused(line, f"{name} is there twice")
        folded.add(name.casefold())
        if arg.annotation is None:
            fields[name] = AgentField(str, typed=False)
            continue
        try:
            kind = _type_of(arg.annotation, _MAX_DEPTH)
            TypeAdapter(kind)
        except Exception:  # noqa: BLE001 - typing and pydantic raise many errors for an invalid type
            written = ast.get_source_segment(source, arg.annotation)
            raise refused(line, f"{written!r} is not a type for a field; the types are {', '.join(_TYPES)}") from None
        fields[name] = AgentField(kind, typed=True)
    return fields


def _type_of(node: ast.expr, depth: int) -> Any:
    if depth == 0:
        raise ValueError("too deep")
    match node:
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in _MODULES and name in _TYPES:
            return _TYPES[name]
        case ast.Constant(value=None):
            return NoneType
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_type_of(left, depth - 1), _type_of(right, depth - 1)]  # noqa: UP007 - made at run time
        case ast.Subscript(value=base, slice=inside):
            generic = _type_of(base, depth - 1)
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            if generic is Literal:
                return Literal[tuple(_literal(part) for part in parts)]
            kinds = tuple(... if _is_ellipsis(part) else _type_of(part, depth - 1) for part in parts)
            return generic[kinds if len(kinds) > 1 else kinds[0]]
    raise ValueError("not known")


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _literal(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=str() | int() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
            return -value
    raise ValueError("a Literal has texts, integers, True, False and None")
