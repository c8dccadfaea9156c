"""What the command line answers, and how it asks."""

from typing import Any

import pytest

from grpc_tool_bridge.cli.answers import GivenAnswers, _described, answers_for
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.tools.questions import Question


async def test_answers_come_in_their_order_and_then_nothing_is_accepted() -> None:
    answers = GivenAnswers(['{"a": 1}', "true", "false", "null"])
    assert [await answers(Question("?")) for _ in range(6)] == [{"a": 1}, True, False, None, None, None]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not an object"),
        ("1", "is not an object"),
        ('"cancel"', "is not an object"),
    ],
)
def test_what_is_no_answer_is_a_bad_argument(text: str, why: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        GivenAnswers(["true", text])
    assert str(caught.value).startswith("--answer: ")
    assert why in str(caught.value)
    assert len(str(caught.value)) < 400


def test_without_answers_and_without_a_terminal_nobody_answers() -> None:
    assert answers_for([]) is None
    assert isinstance(answers_for(["true"]), GivenAnswers)


@pytest.mark.parametrize(
    ("rules", "required", "text"),
    [
        ({"type": "string"}, True, "text"),
        ({"type": "string", "maxLength": 3, "minLength": 1}, True, "text, characters at least 1, characters at most 3"),
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 5}, False, "integer, at least 1, less than 5, optional"),
        ({"type": "number", "enum": [1, 2.5], "default": 2.5}, False, "1 | 2.5, default 2.5"),
        ({"type": "boolean", "default": True}, True, "y/n, default y"),
        ({"type": "boolean", "enum": [False]}, True, "n"),
        ({"type": "string", "oneOf": [{"const": "s", "title": "Small"}]}, True, "s: Small"),
        (
            {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1, "default": ["a", "b"]},
            False,
            "a | b, several with commas between them, items at least 1, default a,b",
        ),
    ],
)
def test_a_prompt_says_what_may_be_typed(rules: dict[str, Any], required: bool, text: str) -> None:
    assert _described(rules, required=required) == text
