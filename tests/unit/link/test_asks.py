"""Questions of a link's peer, and those of a worker's tool that are passed on."""

from collections.abc import Callable
from typing import Any

import pytest

from grpc_tool_bridge.errors import CallCancelledError, ResourceExhaustedError, ToolBridgeError, UnimplementedError
from grpc_tool_bridge.link.asks import LinkAsker, PassedOn, cancelled
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.asks import MAX_OPEN_ASKS, Answered


class Call:
    """A call that a worker has."""

    def __init__(self, asker: Any) -> None:
        self.asker = asker
        self.nested: set[Any] = set()
        self.causes: list[str] = []

    def hold(self, nested: Any) -> None:
        self.nested.add(nested)

    def cancel(self, cause: ToolBridgeError) -> None:
        self.causes.append(cause.message)


class Refusing:
    """Cannot be asked."""

    can_ask = False

    def __init__(self, error: ToolBridgeError) -> None:
        self._error = error

    def ask(self, ask: Ask, answered: Answered) -> Callable[[], object]:
        raise self._error


def test_a_question_is_sent_and_its_answer_comes_back() -> None:
    sent, answers = list[Ask](), list[Any]()
    asker = LinkAsker(sent.append)
    withdraw = asker.ask(Ask(id="theirs", message="?", schema="{}"), answers.append)
    assert [(ask.message, ask.schema) for ask in sent] == [("?", "{}")]
    asker.take(Answer(id=sent[0].id, action="accept"))
    withdraw()
    assert [answer.action for answer in answers] == ["accept"]


def test_a_question_that_cannot_be_sent_takes_no_room() -> None:
    def send(_: Ask) -> None:
        raise CallCancelledError("over")

    asker = LinkAsker(send)
    for _ in range(MAX_OPEN_ASKS + 1):
        with pytest.raises(CallCancelledError):
            asker.ask(Ask(), lambda _: None)


def test_a_caller_that_has_gone_is_asked_no_more() -> None:
    answers: list[Any] = []
    asker = LinkAsker(lambda _: None)
    asker.ask(Ask(), answers.append)
    asker.close()
    assert answers == [None]
    assert not asker.can_ask


def test_a_question_of_a_worker_goes_on_and_its_answer_goes_back_under_its_id() -> None:
    sent, given = list[Ask](), list[Answer]()
    asker = LinkAsker(sent.append)
    call = Call(asker)
    PassedOn(call, Ask(id="w", message="?"), given.append)
    assert len(call.nested) == 1
    answer = Answer(id=sent[0].id, action="accept")
    answer.content.update({"a": 1})
    asker.take(answer)
    assert [(each.id, each.action, dict(each.content)) for each in given] == [("w", "accept", {"a": 1.0})]
    assert not call.nested


def test_the_end_of_the_call_withdraws_it() -> None:
    sent, given = list[Ask](), list[Answer]()
    asker = LinkAsker(sent.append)
    call = Call(asker)
    PassedOn(call, Ask(id="w"), given.append)
    for nested in list(call.nested):
        nested.cancel(CallCancelledError("over"))
    asker.take(Answer(id=sent[0].id, action="accept"))
    asker.close()
    assert not given


@pytest.mark.parametrize(
    "asker",
    [
        None,
        Refusing(UnimplementedError("gone")),
        Refusing(ResourceExhaustedError("full")),
        Refusing(CallCancelledError("over")),
    ],
)
def test_what_nobody_can_answer_is_cancelled(asker: Any) -> None:
    given: list[Answer] = []
    call = Call(asker)
    PassedOn(call, Ask(id="w"), given.append)
    assert given == [cancelled(Ask(id="w"))] == [Answer(id="w", action="cancel")]
    assert not call.nested
    assert not call.causes


def test_a_caller_that_leaves_cancels_what_was_passed_on() -> None:
    given: list[Answer] = []
    asker = LinkAsker(lambda _: None)
    PassedOn(Call(asker), Ask(id="w"), given.append)
    asker.close()
    assert given == [Answer(id="w", action="cancel")]


def test_what_is_over_its_bound_ends_the_call() -> None:
    sent, given = list[Ask](), list[Answer]()
    call = Call(LinkAsker(sent.append))
    PassedOn(call, Ask(id="w", message="x" * 5_000), given.append)
    assert not sent
    PassedOn(call, Ask(id="w"), given.append)
    call.asker.take(Answer(id=sent[0].id, action="x" * 70_000))
    assert not given
    first, second = call.causes
    assert "the message of a question has 5,000 characters" in first
    assert "the answer to a question takes 70,0" in second
