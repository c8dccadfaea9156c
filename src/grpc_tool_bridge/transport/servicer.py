"""The hub's methods as a gRPC service."""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc.aio

from grpc_tool_bridge.config import STREAM_TIMEOUT
from grpc_tool_bridge.errors import (
    AccessError,
    DeadlineExceededError,
    ToolBridgeError,
    UnimplementedError,
)
from grpc_tool_bridge.faults import log_fault
from grpc_tool_bridge.timeouts import ExpiredError, within
from grpc_tool_bridge.transport.facts import SessionFacts, fact_metadata
from grpc_tool_bridge.transport.reading import request_reader
from grpc_tool_bridge.transport.status import status_of
from grpc_tool_bridge.transport.writes import Write
from grpc_tool_bridge.wire.methods import METHODS, SERVICE_NAME, TAKE_DEADLINE, Method

# Anybody may ask whether the hub is alive; it tells nothing else.
_OPEN_PREFIX = "/grpc.health.v1.Health/"

_log = logging.getLogger(__name__)


def service_handler(
    hub: SessionFacts,
    *,
    patience: float = STREAM_TIMEOUT,
    link: Callable[[Any, Any], Awaitable[None]] | None = None,
) -> grpc.GenericRpcHandler:
    """Makes the handler that serves ``hub``: each method of the service is the hub's method of that name.

    Args:
        hub: An object with some of the methods; the others answer UNIMPLEMENTED.
        patience: Seconds that a message of a stream waits for its reader; then the stream ends.
        link: Serves a link, whose frames are bytes; None: the method answers UNIMPLEMENTED.
    """
    handlers: dict[str, Any] = {}
    for name, method in METHODS.items():
        if name == "Link" and link is not None:
            handlers[name] = grpc.stream_stream_rpc_method_handler(_with_status(link))
            continue
        function = getattr(hub, method.attribute, None)
        behaviour = _unimplemented(method) if function is None else _behaviour(method, function, patience)
        if name == "InitializeSession":
            behaviour = _with_facts(behaviour, hub)
        handlers[name] = _handler(method, behaviour)
    return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)


def _handler(method: Method, behaviour: Callable[..., Awaitable[Any]]) -> Any:
    return _handler_of_shape(method.request_streaming, method.response_streaming)(
        behaviour,
        request_deserializer=_reader(method),
        response_serializer=method.response.SerializeToString,
    )


def _reader(method: Method) -> Callable[[bytes], Any]:
    """Reads requests; bytes that are none become the error that says so, where gRPC would take it for a fault here."""
    read = request_reader(method)

    def read_or_refuse(data: bytes) -> Any:
        try:
            return read(data)
        except ToolBridgeError as refusal:
            return refusal

    return read_or_refuse


def _handler_of_shape(request_streaming: bool, response_streaming: bool) -> Any:
    return {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[request_streaming, response_streaming]


def _behaviour(method: Method, function: Callable[..., Any], patience: float) -> Callable[..., Awaitable[Any]]:
    if method.response_streaming:
        return _streaming(function, patience, with_deadline=method.name in TAKE_DEADLINE)
    if method.name in TAKE_DEADLINE:
        return _unary_with_deadline(function)

    async def unary(request: Any, context: Any) -> Any:
        try:
            return await function(_checked(request))
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            await _abort(context, error)

    return unary


def _unary_with_deadline(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def unary(request: Any, context: Any) -> Any:
        try:
            return await function(_checked(request), deadline=_deadline(context))
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            await _abort(context, error)

    return unary


def _checked(request: Any) -> Any:
    """Raises what ``_reader`` made of bytes that are no request."""
    if isinstance(request, ToolBridgeError):
        raise request
    return request


def _streaming(
    function: Callable[..., AsyncGenerator[Any, None]], patience: float, *, with_deadline: bool
) -> Callable[..., Awaitable[None]]:
    async def stream(request: Any, context: Any) -> None:
        if isinstance(request, ToolBridgeError):
            await _abort(context, request)
        messages = function(request, deadline=_deadline(context)) if with_deadline else function(request)
        # A call that gives itself less time holds its place no longer than that for a reader that stalls.
        own = request.timeout_ms / 1000 if with_deadline else 0
        seconds = min(own, patience) if own > 0 else patience
        # One message is made while the one before it is on its way: a write is mostly waiting.
        writing: Write | None = None
        try:
            async for message in messages:
                if writing is not None:
                    await _written(writing, seconds)
                writing = Write(context.write(message))
            if writing is not None:
                await _written(writing, seconds)
        except _ReaderGoneError:
            # Nobody is there to be told.
            _tell_gone(messages)
            return
        except asyncio.CancelledError:
            _tell_gone(messages)
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            # What the stream holds is given back first: the status waits behind the message that nobody takes.
            await messages.aclose()
            if writing is not None:
                with contextlib.suppress(Exception):
                    # Its failure tells nothing new: the reader has gone.
                    await writing
            await _abort(context, error)
        finally:
            await messages.aclose()

    return stream


def _tell_gone(messages: Any) -> None:
    """Tells a stream that its reader has gone: gRPC does not say whether it cancelled or was lost."""
    gone = getattr(messages, "gone", None)
    if gone is not None:
        gone()


class _ReaderGoneError(Exception):
    """A message could not be written: the stream has ended."""


async def _written(writing: Write, seconds: float) -> None:
    """Waits for a write, but not for ever: a reader that stalls must not keep what the stream holds from others.

    Raises:
        DeadlineExceededError: The reader took nothing for so long.
        _ReaderGoneError: The stream has ended.
    """
    try:
        await within(writing, seconds)
    except ExpiredError:
        raise DeadlineExceededError(f"the stream was ended: its reader took nothing for {seconds:g} s") from None
    except Exception as error:
        # gRPC's own errors are not part of its API; a write fails where the stream has ended.
        raise _ReaderGoneError from error


def _with_facts(behaviour: Callable[..., Awaitable[Any]], hub: SessionFacts) -> Callable[..., Awaitable[Any]]:
    async def with_facts(request: Any, context: Any) -> Any:
        response = await behaviour(request, context)
        context.set_trailing_metadata(fact_metadata(hub, response.session_id))
        return response

    return with_facts


def _with_status(link: Callable[[Any, Any], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def serve(frames: Any, context: Any) -> None:
        # Else gRPC sends it with the first frame, and no status while that one is on its way.
        await context.send_initial_metadata(())
        try:
            await link(frames, context)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            await _abort(context, error)

    return serve


def _unimplemented(method: Method) -> Callable[..., Awaitable[None]]:
    async def refuse(request: Any, context: Any) -> None:  # noqa: ARG001 - the shape is gRPC's
        await _abort(context, UnimplementedError(f"this hub does not offer {method.name}"))

    return refuse


def _deadline(context: Any) -> float | None:
    remaining: float | None = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


async def _abort(context: Any, error: BaseException) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    code, text, trailer = status_of(error)
    if not isinstance(error, ToolBridgeError):
        log_fault(_log, "fault in a method: %s", text, error=error)
    await context.abort(code, text, trailer)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets in only those who send the token.

    Args:
        token: The bearer token; it is compared in constant time and never logged.
    """

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Checks the metadata of one call."""
        if details.method.startswith(_OPEN_PREFIX):
            return await continuation(details)
        sent = next((value for key, value in details.invocation_metadata if key == "authorization"), None)
        if sent is not None and hmac.compare_digest(_as_bytes(sent), self._expected):
            return await continuation(details)
        return _refusal(
            "this hub asks for a token; send it as 'authorization: Bearer …'" if sent is None else "the token is wrong",
            await continuation(details),
        )


def _refusal(text: str, handler: Any) -> Any:
    """Makes a handler of the same shape as ``handler`` that refuses."""
    error = AccessError(text, error_type="Unauthenticated")

    async def refuse(request: Any, context: Any) -> None:  # noqa: ARG001 - the shape is gRPC's
        await _abort(context, error)

    if handler is None:
        return None
    return _handler_of_shape(handler.request_streaming, handler.response_streaming)(refuse)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
