"""Clients of the official SDK, for both generations of the protocol."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.client import Client
from mcp_types import ElicitRequestFormParams, ElicitResult

from grpc_tool_bridge import BridgeServer

OLD, NEW = "2025-11-25", "2026-07-28"


class Person:
    """Answers what a client asks its user.

    Args:
        *answers: In order; an ElicitResult, or the content that is accepted.

    Attributes:
        asked: The questions so far: each with its schema.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, _: Any, params: Any) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        self.asked.append((params.message, params.requested_schema))
        answer = self._answers.pop(0)
        return answer if isinstance(answer, ElicitResult) else ElicitResult(action="accept", content=answer)


@asynccontextmanager
async def mcp_client(server: BridgeServer, version: str, query: str = "", **options: Any) -> AsyncIterator[Client]:
    """A client of the server's ``/mcp`` that speaks one version of the protocol."""
    url = f"http://{server.http_address}/mcp{query}"
    async with Client(url, mode="legacy" if version == OLD else version, cache=None, **options) as client:
        yield client


@asynccontextmanager
async def without_deprecations() -> AsyncIterator[None]:
    """Lets a client use what later versions of the protocol have no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
