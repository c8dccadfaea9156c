"""Questions of tools, which an MCP client asks its user: elicitation.

The clients of 2025-11-25 are asked by requests on the stream of the call; those of 2026-07-28, to which a server sends
no requests, as ``waiting_calls`` says.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    ElicitationCapability,
    ElicitResult,
    MissingRequiredClientCapabilityErrorData,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError as PydanticError

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.answering import CallAnswers, checked_answer, question_of
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError, UnavailableError, UnimplementedError
from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.asks import ASKED_DETAIL
from grpc_tool_bridge.tools.questions import Answer, Question

# Seconds to tell a client that a question is withdrawn; one that does not read learns of it no more.
WITHDRAW_SECONDS = 1.0

_NEEDED = ClientCapabilities(elicitation=ElicitationCapability())
# What is asked for by a question that wants nothing but yes or no.
_NO_FIELDS = {"type": "object", "properties": {}}


def can_answer(context: Context) -> bool:
    """Returns whether the client of a request can ask its user to fill in a form."""
    declared = context.session.client_capabilities
    modes = None if declared is None else declared.elicitation
    # A client that names no mode means forms, which were there first.
    return modes is not None and (modes.form is not None or modes.url is None)


def missing_capability(context: Context, name: str, error: ToolBridgeError) -> ToolBridgeError:
    """Returns the error of a call, which says so if the tool failed because the client cannot ask its user.

    Args:
        context: Of the request.
        name: What was called.
        error: What it failed with.

    Raises:
        MCPError: The same, for clients of the protocol 2026-07-28, which has a code for it.
    """
    asked = error.details.get(ASKED_DETAIL) if error.error_type == UnimplementedError.default_type else None
    if asked is None or can_answer(context):
        return error
    text = (
        f"{asked} asks the user a question, and this client has not declared the capability elicitation (form), by "
        "which it would ask; use a client that has it"
    )
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        data = MissingRequiredClientCapabilityErrorData(required_capabilities=_NEEDED)
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message=f"{name}: {text}",
            data=data.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    return UnimplementedError(text, details=error.details)


def form_of(question: Question) -> dict[str, Any]:
    """Returns the schema of the form that a user fills in for a question."""
    return _NO_FIELDS if question.schema is None else question.schema


def answer_of(result: ElicitResult) -> Answer:
    """Returns the answer of a user; a field that was left empty is not in it."""
    if result.action != "accept":
        return Answer(result.action)
    content: dict[str, Any] = {name: value for name, value in (result.content or {}).items() if value is not None}
    return Answer("accept", content)


class FormAnswerer:
    """Answers the questions of one request by requests to its client, on the request's stream; an ``Answerer``.

    Args:
        context: Of the request.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tasks = TaskSet()

    async def aclose(self) -> None:
        """Withdraws what is still asked: the client is told before its request ends, and the stream with it."""
        if len(self._tasks):
            with anyio.move_on_after(WITHDRAW_SECONDS, shield=True):
                await self._tasks.aclose()

    def of(self, tool_id: str, fail: Callable[[BaseException], None]) -> CallAnswers:
        """See ``Answerer``."""
        return CallAnswers(self._tasks, partial(self._answer, tool_id=tool_id), fail)

    async def _answer(self, ask: pb.Ask, tool_id: str) -> pb.Answer:
        question = question_of(ask, tool_id)
        session, request_id = self._context.session, self._context.request_id
        try:
            result = await session.elicit_form(question.message, form_of(question), request_id)
        except NoBackChannelError:
            raise UnimplementedError(
                f"{tool_id} asks the user a question, which cannot reach the client: its connection carries no "
                "requests of a server",
            ) from None
        except MCPError as error:
            raise UnavailableError(f"the client did not ask its user: {error.error.message}") from None
        except PydanticError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "the answer"
            raise ProtocolError(
                f"the client's answer is not one to an elicitation: {where}: {problem['msg']}"
            ) from None
        return checked_answer(answer_of(result), question, ask.id)
