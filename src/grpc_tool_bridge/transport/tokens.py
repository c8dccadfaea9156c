"""The token that a client sends: always the same, or what a function gives for each dial and each RPC."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from grpc_tool_bridge.config.secret_files import read_token
from grpc_tool_bridge.errors import ToolCommunicationError
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.rpc.authentication import HEADER

# A token, or a function that gives one; it keeps a token that it had to fetch for as long as that is valid.
TokenSource = str | Callable[[], str | Awaitable[str]]

# How long an async function may take to give a token.
TOKEN_SECONDS = 30.0


async def current_token(source: TokenSource | None) -> str | None:
    """Returns the token to send now; None: none.

    Raises:
        ToolCommunicationError: The function fails, takes too long, or gives what cannot be sent; the status is
            UNAVAILABLE, so that it is asked again.
    """
    if source is None or isinstance(source, str):
        return source
    try:
        given = await _given_by(source)
    except Exception as error:
        # Its text may have secrets.
        raise _unusable(f"raised {type(error).__name__}") from error
    if not isinstance(given, str):
        raise _unusable(f"returned a value of type {type(given).__name__}, and not a token")
    try:
        return read_token(given, None)
    except ValueError as error:
        raise _unusable(f"gave no token that can be sent: {error}") from None


async def _given_by(source: Callable[[], Any]) -> Any:
    given = source()
    if inspect.isawaitable(given):
        async with asyncio.timeout(TOKEN_SECONDS):
            given = await given
    return given


def token_interceptors(source: Callable[[], str | Awaitable[str]]) -> list[grpc.aio.ClientInterceptor]:
    """Returns what asks a function for the token of each RPC of a channel; a link asks it with each dial."""
    return [_OfUnaryCalls(source), _OfStreams(source)]


class _OfUnaryCalls(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Adds the token."""
        return await continuation(await _with_token(client_call_details, self._source), request)


class _OfStreams(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Adds the token."""
        return await continuation(await _with_token(client_call_details, self._source), request)


async def _with_token(details: Any, source: TokenSource) -> Any:
    sent = grpc.aio.Metadata((HEADER, f"Bearer {await current_token(source)}"), *(details.metadata or ()))
    return details._replace(metadata=sent)


def _unusable(what: str) -> ToolCommunicationError:
    return link_error(Code.UNAVAILABLE, f"the function that was given as token= {what}")
