"""Questions and answers, for a program and on the wire."""

import dataclasses
from typing import Any, cast

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.tools.questions import Answer, Question, ask_of, checked_answer, plain_answer

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "number"},
        "s": {"type": "string"},
        "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "string", "enum": ["p", "q"]}},
    },
}


def test_an_answer_says_whether_it_was_accepted_and_cannot_be_changed() -> None:
    assert Answer("accept").accepted
    assert not Answer("decline").accepted
    assert not Answer("cancel").accepted
    assert Answer("accept").content == {}
    assert Question("?") == Question("?", None, "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Answer("accept").action = "cancel"  # type: ignore[misc]  # as the test says


@pytest.mark.parametrize(
    ("action", "content", "text"),
    [
        ("agree", {}, "the answer's action must be 'accept', 'decline' or 'cancel', not 'agree'"),
        (None, {}, "the answer's action must be 'accept', 'decline' or 'cancel', not None"),
        ("accept", [], "the answer's content must be a dict, not []"),
        ("decline", {"a": 1}, "an answer with the action 'decline' must not have content"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(action: Any, content: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Answer(action, content)
    assert text in caught.value.message


def test_an_answer_goes_there_and_back_with_its_types() -> None:
    answer = Answer("accept", {"n": 3, "x": 2.5, "s": "ö", "b": True, "l": ["q", "p"]})
    made = plain_answer(answer, "7")
    assert (made.id, made.action) == ("7", "accept")
    back = checked_answer(pb.Answer.FromString(made.SerializeToString()), SCHEMA)
    assert back == answer
    assert type(back.content["n"]) is int


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_content_of_what_was_not_accepted_is_dropped(action: str) -> None:
    made = pb.Answer(action=action)
    made.content.update({"n": [1]})
    assert checked_answer(made, SCHEMA) == Answer(cast("Any", action))


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_a_value_that_is_not_plain_fits_nothing(value: Any) -> None:
    made = pb.Answer(action="accept")
    made.content.update({"s": value})
    with pytest.raises(ValidationError, match="not a string"):
        checked_answer(made, SCHEMA)


@pytest.mark.parametrize("value", [[["p"]], [{"p": 1}], [None], [1]])
def test_a_list_of_anything_but_strings_fits_nothing(value: Any) -> None:
    made = pb.Answer(action="accept")
    made.content.update({"l": value})
    with pytest.raises(ValidationError, match="not a list of strings"):
        checked_answer(made, SCHEMA)


def test_an_answer_over_its_bound_is_not_read() -> None:
    made = pb.Answer(action="accept", id="x" * 70_000)
    with pytest.raises(ValidationError, match=r"the answer to a question takes 70,0.. bytes; the limit is 65,536"):
        checked_answer(made, None)


def test_a_question_is_written_with_its_schema() -> None:
    assert ask_of("?", None) == pb.Ask(message="?")
    assert ask_of("?", {"type": "object"}) == pb.Ask(message="?", schema='{"type":"object"}')
    with pytest.raises(ValidationError, match="the message of a question has 5,000 characters; the limit is 4,096"):
        ask_of("x" * 5_000, None)
