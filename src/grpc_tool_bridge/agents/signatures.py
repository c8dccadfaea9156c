"""Signatures of agents for DSPy, and the inputs of runs.

DSPy would import any module that a type names, so it never gets the text; ``signature_fields`` reads it.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import dspy
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from grpc_tool_bridge.agents.signature_fields import AgentField, read_fields, refused
from grpc_tool_bridge.errors import ValidationError, wire_text

# Maximum problems with inputs that an error names.
MAX_PROBLEMS = 10
_MAX_NAME = 100


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
    """Parses a signature, as ``read_fields`` says.

    Raises:
        ValidationError: The text is not a signature, or has an invalid field.
    """
    read = read_fields(text)
    fields: dict[str, Any] = {name: (field.type, dspy.InputField()) for name, field in read.inputs.items()}
    fields.update({name: (field.type, dspy.OutputField()) for name, field in read.outputs.items()})
    try:
        with quiet_names():
            made = dspy.Signature(fields, read.instructions)
    except (ValueError, TypeError) as error:
        raise refused(read.line, f"DSPy cannot take it: {wire_text(str(error), _MAX_NAME)}") from None
    return AgentSignature(read.inputs, read.outputs, read.instructions, made)


def quiet_names() -> AbstractContextManager[object]:
    """Suppresses pydantic's warning about a field named like one of its methods, as in ``json -> schema``."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _checked(field: AgentField, value: Any) -> Any:
    return TypeAdapter(field.type).validate_python(value) if field.typed else value


def _problems(error: PydanticError) -> str:
    count = error.error_count()
    if count > MAX_PROBLEMS:
        # Creating an object for each takes too long.
        return f"{count:,} values in it are of another type"
    return "; ".join(problem["msg"] for problem in error.errors(include_url=False))
