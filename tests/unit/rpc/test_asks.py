"""The questions of one call that wait, and their bounds."""

from typing import Any

import pytest

from grpc_tool_bridge.errors import ResourceExhaustedError, UnimplementedError, ValidationError, error_rule
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.asks import MAX_OPEN_ASKS, OpenAsks, cannot_answer, check_answer_size, check_ask


def test_an_answer_comes_once_to_whoever_asked() -> None:
    asks, answers = OpenAsks(), list[Any]()
    first, second = (asks.add(Ask(id="theirs", message=text, schema="{}"), answers.append) for text in "ab")
    assert (first.message, first.schema) == ("a", "{}")
    assert first.id != second.id
    for _ in range(2):
        asks.take(Answer(id=second.id, action="accept"))
    asks.take(Answer(id="theirs"))
    assert answers == [Answer(id=second.id, action="accept")]


def test_what_was_withdrawn_is_answered_no_more() -> None:
    asks, answers = OpenAsks(), list[Any]()
    asked = asks.add(Ask(), answers.append)
    asks.withdraw(asked.id)
    asks.withdraw(asked.id)
    asks.take(Answer(id=asked.id))
    asks.close()
    assert not answers


def test_the_end_tells_those_who_wait_and_takes_no_further_question() -> None:
    asks, answers = OpenAsks(), list[Any]()
    asks.add(Ask(), answers.append)
    assert asks.can_ask
    asks.close()
    assert answers == [None]
    assert not asks.can_ask
    with pytest.raises(UnimplementedError, match="the caller has gone"):
        asks.add(Ask(), answers.append)


def test_there_is_room_for_so_many_and_again_when_one_was_answered() -> None:
    asks = OpenAsks()
    made = [asks.add(Ask(), lambda _: None) for _ in range(MAX_OPEN_ASKS)]
    with pytest.raises(ResourceExhaustedError, match="100 questions of this call wait for their answers"):
        asks.add(Ask(), lambda _: None)
    asks.take(Answer(id=made[3].id))
    asks.add(Ask(), lambda _: None)


def test_a_question_and_an_answer_have_bounds() -> None:
    check_ask(Ask(id="x" * 64, message="x" * 4_096, schema="x" * 16_384))
    for name, most in (("id", 64), ("message", 4_096), ("schema", 16_384)):
        with pytest.raises(ValidationError, match=f"the {name} of a question has {most + 1:,} characters; the limit"):
            check_ask(Ask(**{name: "x" * (most + 1)}))
    check_answer_size(Answer(id="x" * 65_000))
    with pytest.raises(ValidationError, match="the limit is 65,536"):
        check_answer_size(Answer(id="x" * 65_536))


def test_the_error_of_a_caller_that_cannot_answer_says_what_to_do() -> None:
    error = cannot_answer("erase")
    assert error.message.startswith("erase asked its caller, who cannot answer: ")
    assert "pass on_ask= to GRPCToolBridge" in error.message
    assert error.details == {"asked": "erase"}
    rule = error_rule(error.error_type)
    assert (rule.status, rule.http, rule.retryable) == ("UNIMPLEMENTED", 501, False)
