"""A model that does sums, for demonstrations without a model."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from grpc_tool_bridge.testing.model_script import Prompt, fields, step

_SUM = re.compile(r"\(*-?\d+(?:\.\d+)?\)*(?:\s*[-+*/]\s*\(*-?\d+(?:\.\d+)?\)*)+")
_TOOL = re.compile(r"^ *\(\d+\) (\w[\w.-]*).*?It takes arguments (\{.*\})\.$", re.MULTILINE)
_OBSERVATION = re.compile(r"\[\[ ## observation_\d+ ## \]\]\n(.*?)(?=\n\[\[ ## |\Z)", re.DOTALL)
_REMINDER = "Respond with the corresponding output fields"
_ASKED_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`(?: \(must be formatted as a valid Python ([^)]*)\))?")
_CALCULATOR = re.compile(r"calc|eval|arith|math", re.IGNORECASE)
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def arithmetic(prompt: Prompt) -> str:
    """Answers as an agent would that is asked a sum: calls a tool that calculates, then finishes with what it said.

    Without such a tool it finishes at once, with the result of its own.
    """
    told = prompt.user.split(_REMINDER)[0]
    results = [text for found in _OBSERVATION.findall(told) if (text := found.strip()) != "Completed."]
    asked = _SUM.search(told.split("[[ ## trajectory ## ]]")[0])
    if "next_tool_name" in prompt.system:
        tool = next((found for found in _TOOL.findall(prompt.system) if _CALCULATOR.search(found[0])), None)
        if results or tool is None or asked is None:
            return step("I know enough to answer.", "finish")
        name = next(iter(ast.literal_eval(tool[1])), "expression")
        return step(f"I have to work out {asked[0]}.", tool[0], **{name: asked[0]})
    answer = results[-1] if results else str(_value_of(asked[0])) if asked else "I can only do sums."
    wanted = dict(_ASKED_FIELD.findall(prompt.user))
    wanted.pop("completed", None)
    return fields(**{name: _as(answer, name, kind) for name, kind in wanted.items()})


def _as(answer: str, name: str, kind: str) -> str:
    if name == "reasoning":
        return f"The tools say {answer}."
    if kind == "bool":
        return "True"
    return f"[{answer}]" if kind.startswith(("list", "tuple", "set", "frozenset")) else answer


def _value_of(text: str) -> float | int | str:
    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](value(left), value(right))
            case _:
                raise ValueError(f"no sum: {text}")

    try:
        result = value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError) as error:
        return f"no answer ({error})"
    return int(result) if isinstance(result, float) and result.is_integer() else result
