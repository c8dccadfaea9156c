"""Signatures are read without DSPy."""

import subprocess
import sys

import pytest

from grpc_tool_bridge.agents.signature_fields import MAX_SIGNATURE_CHARS, read_fields
from grpc_tool_bridge.errors import ValidationError


def test_a_signature_says_what_goes_in_what_comes_out_and_what_to_do() -> None:
    read = read_fields("text, limit: int | None -> summary, length: int\nBe brief.")
    assert {name: (field.type, field.typed, field.optional) for name, field in read.inputs.items()} == {
        "text": (str, False, False),
        "limit": (int | None, True, True),
    }
    assert {name: field.type for name, field in read.outputs.items()} == {"summary": str, "length": int}
    assert (read.line, read.instructions) == ("text, limit: int | None -> summary, length: int", "Be brief.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("question", "it needs exactly one '->'"),
        ("question ->", "it has no outputs"),
        ("a -> a", "a is both an input and an output"),
        ("a: os.PathLike -> b", "'os.PathLike' is not a type for a field"),
        ("signature -> b", "a field cannot be called signature"),
        ("a -> b" + " " * MAX_SIGNATURE_CHARS, "characters; 20,000 are allowed"),
    ],
)
def test_a_text_that_is_no_signature_is_refused_with_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        read_fields(text)


def test_dspy_is_not_imported() -> None:
    code = "import sys, grpc_tool_bridge.agents.signature_fields; print('dspy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
