"""Questions reach the client on the stream of their call, and every answer is checked."""

import asyncio
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    ElicitationCapability,
    ElicitResult,
    FormElicitationCapability,
    UrlElicitationCapability,
)

from grpc_tool_bridge.errors import (
    ProtocolError,
    ToolBridgeError,
    UnavailableError,
    UnimplementedError,
    ValidationError,
)
from grpc_tool_bridge.gateway.mcp.answerers import answered_by
from grpc_tool_bridge.gateway.mcp.asks import FormAnswerer, answer_of, can_answer, missing_capability
from grpc_tool_bridge.rpc.asks import cannot_answer
from grpc_tool_bridge.tools.questions import Answer
from support.waiting import turns
from unit.gateway.mcp.fakes import NAME, NEW, OLD, Session, ask, context

FORM, URL = FormElicitationCapability(), UrlElicitationCapability()


async def asked(answer: Any, schema: Any = NAME) -> tuple[Any, Session]:
    session = Session(answer=answer)
    with answered_by(FormAnswerer(context(OLD, session))):
        return await ask("Who?", schema), session


async def test_the_client_is_asked_on_the_stream_of_the_call() -> None:
    answer, session = await asked(ElicitResult(action="accept", content={"name": "Ada"}))
    assert (answer.id, answer.action, dict(answer.content)) == ("1", "accept", {"name": "Ada"})
    assert session.asked == [("Who?", NAME, 7)]


async def test_a_question_without_a_schema_asks_for_no_field() -> None:
    answer, session = await asked(ElicitResult(action="decline"), None)
    assert answer.action == "decline"
    assert session.asked == [("Who?", {"type": "object", "properties": {}}, 7)]


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (ElicitResult(action="accept", content={"name": 7}), ValidationError, "'name' is 7, not a string"),
        (ElicitResult(action="accept", content={}), ValidationError, "'name' is missing"),
        (ElicitResult(action="accept", content={"name": "x", "age": 3}), ValidationError, "'age' is not asked for"),
        (MCPError(code=-1, message="closed"), UnavailableError, "the client did not ask its user: closed"),
        (NoBackChannelError("elicitation/create"), UnimplementedError, "cannot reach the client"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_names_it(
    answer: Any, error: type[ToolBridgeError], text: str
) -> None:
    with pytest.raises(error, match=text):
        await asked(answer)


async def test_a_client_that_breaks_the_protocol_is_told() -> None:
    try:
        ElicitResult.model_validate({"action": "maybe"})
    except ValueError as error:
        with pytest.raises(ProtocolError, match="not one to an elicitation: action: Input should be"):
            await asked(error)


def test_a_field_that_was_left_empty_is_not_in_the_answer() -> None:
    result = ElicitResult(action="accept", content={"name": "Ada", "age": None})
    assert answer_of(result) == Answer("accept", {"name": "Ada"})
    assert answer_of(ElicitResult(action="cancel", content={"name": "Ada"})) == Answer("cancel")


@pytest.mark.parametrize(
    ("modes", "can"),
    [
        (None, False),
        (ElicitationCapability(), True),
        (ElicitationCapability(form=FORM), True),
        (ElicitationCapability(form=FORM, url=URL), True),
        (ElicitationCapability(url=URL), False),
    ],
)
def test_a_client_can_answer_if_it_shows_forms(modes: ElicitationCapability | None, can: bool) -> None:
    session = Session(ClientCapabilities(elicitation=modes))
    assert can_answer(context(OLD, session)) is can
    assert not can_answer(context(OLD, Session(None)))


def test_the_lack_of_the_capability_is_told_in_the_terms_of_the_protocol() -> None:
    error = cannot_answer("erase")
    old = missing_capability(context(OLD, Session(None)), "outer", error)
    assert isinstance(old, UnimplementedError)
    assert "erase asks the user a question" in old.message
    assert "the capability elicitation (form)" in old.message
    with pytest.raises(MCPError) as caught:
        missing_capability(context(NEW, Session(None)), "outer", error)
    assert caught.value.error.code == MISSING_REQUIRED_CLIENT_CAPABILITY
    assert caught.value.error.data == {"requiredCapabilities": {"elicitation": {}}}


def test_other_errors_stay_as_they_are() -> None:
    for error, session in (
        (UnimplementedError("not here"), Session(None)),
        (ValidationError("no", details={"asked": "x"}), Session(None)),
        # The client could have answered: something else is missing.
        (cannot_answer("erase"), Session()),
    ):
        assert missing_capability(context(NEW, session), "outer", error) is error


async def test_what_is_still_asked_is_withdrawn_before_the_request_ends() -> None:
    withdrawn: list[str] = []

    class Thinking(Session):
        async def elicit_form(self, message: str, schema: Any, request_id: Any) -> ElicitResult:
            try:
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
            finally:
                withdrawn.append(message)

    answerer = FormAnswerer(context(OLD, Thinking()))
    await answerer.aclose()
    with answered_by(answerer):
        asking = asyncio.create_task(ask("Who?"))
    await turns()
    assert not withdrawn
    await answerer.aclose()
    assert withdrawn == ["Who?"]
    asking.cancel()
