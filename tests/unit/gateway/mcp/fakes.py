"""What handlers are given, without a client."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from mcp_types import ClientCapabilities, ElicitationCapability, ElicitResult

from grpc_tool_bridge.gateway.mcp.answerers import RequestAnswerers
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

OLD, NEW = "2025-11-25", "2026-07-28"

ASKS = ClientCapabilities(elicitation=ElicitationCapability())
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Session:
    """A client's session, which notes what it is sent."""

    def __init__(self, capabilities: ClientCapabilities | None = ASKS, answer: Any = None) -> None:
        self.client_capabilities = capabilities
        self.answer = answer
        self.asked: list[tuple[str, Any, Any]] = []
        self.progress: list[tuple[float, str | None]] = []

    async def elicit_form(self, message: str, schema: Any, request_id: Any) -> ElicitResult:
        self.asked.append((message, schema, request_id))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    async def report_progress(self, current: float, total: float | None, message: str | None) -> None:
        del total
        self.progress.append((current, message))


def context(
    version: str = NEW, session: Session | None = None, *, principal: object = None, progress: object = None
) -> Any:
    """Returns the context of a request."""
    return SimpleNamespace(
        session=session or Session(),
        protocol_version=version,
        request_id=7,
        request=SimpleNamespace(scope={"principal": principal}, query_params={}, headers={}),
        meta={} if progress is None else {"progress_token": progress},
    )


async def ask(message: str, schema: Any = None, *, tool: str = "tool") -> pb.Answer:
    """Asks as a tool does whose call the running task makes."""
    answerer = RequestAnswerers().here()
    assert answerer is not None
    answered: asyncio.Future[pb.Answer] = asyncio.get_running_loop().create_future()

    def fail(error: BaseException) -> None:
        if not answered.done():
            answered.set_exception(error)

    answering = answerer.of(tool, fail)
    text = "" if schema is None else json.dumps(schema)
    withdraw = answering.take(pb.Ask(id="1", message=message, schema=text), answered.set_result)
    try:
        return await answered
    finally:
        withdraw()
        answering.close()
