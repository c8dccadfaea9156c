"""Parses signatures: fields, their types, and instructions.

::

    Question -> Answer
    question: str, limit: int -> answer: float, sources: list[str]
    text -> label: Literal['good', 'bad']
    Judge the tone, not the opinion.

The first line names the fields; the rest is instructions. An input without a type can be anything, and an output
without one is a text. DSPy would import any module that a type names, so it never gets the text.
"""

import ast
import typing
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import Any, Literal, Optional, Union

import dspy
from pydantic import BaseModel, TypeAdapter
from pydantic import ValidationError as PydanticError

from grpc_tool_bridge.errors import ValidationError, wire_text

MAX_SIGNATURE_CHARS = 20_000
MAX_FIELDS_CHARS = 2_000
MAX_FIELDS = 64
# Maximum problems with inputs that an error names.
MAX_PROBLEMS = 10
_MAX_NAME = 100
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
class AgentSignature:
    """A signature that was read.

    Attributes:
        inputs: What a run is given, by name.
        outputs: What it answers with, by name.
        instructions: What it is told to do with them; None if nothing is said.
        dspy_class: The same for DSPy.
    """

    inputs: Mapping[str, AgentField]
    outputs: Mapping[str, AgentField]
    instructions: str | None
    dspy_class: Any

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Matches values by name to the inputs, ignoring case if no name is the same.

        Raises:
            ValidationError: An input is missing, unknown, given twice or of the wrong type; ``details`` has the
                problems by name.
        """
        by_fold = {name.casefold(): name for name in self.inputs}
        bound: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for name, value in given.items():
            if len(wrong) == MAX_PROBLEMS:
                break
            known = name if name in self.inputs else by_fold.get(name.casefold())
            if known is None:
                wrong[wire_text(name, _MAX_NAME)] = f"the signature has no such input; it has {', '.join(self.inputs)}"
            elif known in bound:
                wrong[name] = f"{known} is given twice"
            else:
                try:
                    bound[known] = _checked(self.inputs[known], value)
                except PydanticError as error:
                    wrong[known] = _problems(error)
        for name, field in self.inputs.items():
            if name not in bound and name not in wrong:
                if field.optional:
                    bound[name] = None
                else:
                    wrong[name] = "missing"
        if wrong:
            parts = ", ".join(f"{name} ({problem})" for name, problem in wrong.items())
            raise ValidationError(f"the inputs do not fit the signature: {parts}", details=wrong)
        return bound


def read_signature(text: str) -> AgentSignature:
    """Parses a signature: fields on the first line, instructions on the following lines.

    Raises:
        ValidationError: The text is not a signature, or has an invalid field.
    """
    if len(text) > MAX_SIGNATURE_CHARS:
        raise ValidationError(f"the signature has {len(text):,} characters; {MAX_SIGNATURE_CHARS:,} are allowed")
    line, _, instructions = text.strip().partition("\n")
    if len(line) > MAX_FIELDS_CHARS:
        raise _refused(line, f"its first line has {len(line):,} characters; {MAX_FIELDS_CHARS:,} are allowed")
    parts = line.split("->")
    if len(parts) != 2:  # noqa: PLR2004 - the two sides of the arrow
        raise _refused(line, "it needs exactly one '->', as in 'Question -> Answer'")
    inputs, outputs = (_read_fields(part, line) for part in parts)
    if not inputs or not outputs:
        raise _refused(line, f"it has no {'outputs' if inputs else 'inputs'}")
    if len(inputs) + len(outputs) > MAX_FIELDS:
        raise _refused(line, f"it has {len(inputs) + len(outputs)} fields; {MAX_FIELDS} are allowed")
    both = [name for name in inputs if name in outputs]
    if both:
        raise _refused(line, f"{both[0]} is both an input and an output")
    told = instructions.strip() or None
    fields: dict[str, Any] = {name: (field.type, dspy.InputField()) for name, field in inputs.items()}
    fields.update({name: (field.type, dspy.OutputField()) for name, field in outputs.items()})
    try:
        with quiet_names():
            made = dspy.Signature(fields, told)
    except (ValueError, TypeError) as error:
        raise _refused(line, f"DSPy cannot take it: {wire_text(str(error), _MAX_NAME)}") from None
    return AgentSignature(inputs, outputs, told, made)


def quiet_names() -> AbstractContextManager[object]:
    """Suppresses pydantic's warning about a field named like one of its methods, as in ``json -> schema``."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _read_fields(text: str, line: str) -> dict[str, AgentField]:
    source = f"def f({text}): pass"
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _refused(line, f"{text.strip()!r} is not a list of fields such as 'text, limit: int'") from None
    # It is never executed, but only a plain list of parameters is a list of fields.
    match body:
        case [ast.FunctionDef(args=args, body=[ast.Pass() as end])] if end.end_col_offset == len(
            source.encode()
        ) and not (args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs or args.defaults):
            pass
        case _:
            raise _refused(line, f"{text.strip()!r} is not a list of fields such as 'text, limit: int'")
    fields: dict[str, AgentField] = {}
    folded: set[str] = set()
    for arg in args.args:
        name = arg.arg
        if name.startswith("_") or name in _RESERVED:
            raise _refused(line, f"a field cannot be called {name}, a name that DSPy uses itself")
        if name.casefold() in folded:
            raise _refused(line, f"{name} is there twice")
        folded.add(name.casefold())
        if arg.annotation is None:
            fields[name] = AgentField(str, typed=False)
            continue
        try:
            kind = _type_of(arg.annotation, _MAX_DEPTH)
            TypeAdapter(kind)
        except Exception:  # noqa: BLE001 - typing and pydantic raise many errors for an invalid type
            written = ast.get_source_segment(source, arg.annotation)
            raise _refused(line, f"{written!r} is not a type for a field; the types are {', '.join(_TYPES)}") from None
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


def _checked(field: AgentField, value: Any) -> Any:
    return TypeAdapter(field.type).validate_python(value) if field.typed else value


def _problems(error: PydanticError) -> str:
    count = error.error_count()
    if count > MAX_PROBLEMS:
        # Creating an object for each takes too long.
        return f"{count:,} values in it are of another type"
    return "; ".join(problem["msg"] for problem in error.errors(include_url=False))


def _refused(line: str, problem: str) -> ValidationError:
    shown = line if len(line) <= 200 else f"{line[:200]}…"  # noqa: PLR2004 - enough to know it by
    return ValidationError(f"signature {shown!r}: {problem}", details={"signature": problem})
