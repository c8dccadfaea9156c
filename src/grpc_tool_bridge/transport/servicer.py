"""The hub's methods as gRPC services."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import grpc.aio

from grpc_tool_bridge.aio.eager import Write
from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.config import MAX_HUB_BYTES, MAX_MESSAGE_BYTES, MAX_PEER_BYTES, REQUEST_TIMEOUT, STREAM_TIMEOUT
from grpc_tool_bridge.errors import (
    DeadlineExceededError,
    ToolBridgeError,
    UnimplementedError,
)
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.rpc.authentication import Authenticator, PeerInfo, Principal
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.context import RequestContext, takes_context
from grpc_tool_bridge.rpc.methods import METHODS, RUN_TOOLS, Method
from grpc_tool_bridge.rpc.peers import Peers
from grpc_tool_bridge.rpc.request_reader import read_request
from grpc_tool_bridge.rpc.session_defaults import SessionDefaults, defaults_metadata
from grpc_tool_bridge.rpc.tracing import process, trace_of
from grpc_tool_bridge.transport.channel import receive_limit
from grpc_tool_bridge.transport.reads import Reads, Rpc
from grpc_tool_bridge.transport.status import status_of

# The health service needs no token: it tells nothing but whether the hub is alive.
_OPEN_PREFIX = "/grpc.health.v1.Health/"

# The property of a connection in which gRPC has the certificate that it has verified.
_CERTIFICATE = "x509_pem_cert"

_caller: ContextVar["_Caller | None"] = ContextVar("caller", default=None)

# Methods whose guarded handlers are kept; a peer may name any.
MAX_GUARDED = 1_000

_log = logging.getLogger(__name__)


def service_handler(
    hub: SessionDefaults,
    *,
    write_timeout: float = STREAM_TIMEOUT,
    link: Callable[[Any, Any], Awaitable[None]] | None = None,
    reads: Reads | None = None,
) -> grpc.GenericRpcHandler:
    """Returns the handler that serves ``hub``: each method of its services is the hub's method of that name.

    For gRPC, each method takes a stream of requests, of which it reads one: so a call can be refused before its request
    was received. Callers see no difference.

    Args:
        hub: An object with some of the methods; the others answer UNIMPLEMENTED.
        write_timeout: Seconds that a message of a stream waits for its reader; then the stream ends.
        link: Serves a link, whose frames are bytes; None: the method answers UNIMPLEMENTED.
        reads: Reads the requests; None: within the default limits.
    """
    reads = reads or default_reads()
    handlers: dict[str, Any] = {}
    for name, method in METHODS.items():
        if name == "Link" and link is not None:
            handlers[name] = grpc.stream_stream_rpc_method_handler(_with_status(link))
            continue
        function = getattr(hub, method.attribute, None)
        if function is None:
            behaviour: Any = _unimplemented(method)
        elif method.response_streaming:
            behaviour = _streaming(method, function, reads, write_timeout)
        else:
            behaviour = _unary(method, function, reads, hub)
        handlers[name] = _handler_of_shape(method.response_streaming)(behaviour)
    return HubHandler(handlers)


class HubHandler(grpc.GenericRpcHandler):
    """Finds the handlers of the methods of all services of a hub.

    Args:
        handlers: By name of the method.
    """

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._by_path = {METHODS[name].path: handler for name, handler in handlers.items()}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Returns the handler of a call; None if there is none."""
        return self._by_path.get(details.method)


def default_reads() -> Reads:
    """Returns a ``Reads`` with the default limits."""
    memory = Budget(MAX_HUB_BYTES, owner="this server", setting="max_hub_bytes")
    peers = Peers(memory, MAX_PEER_BYTES, owner="this connection", setting="max_peer_bytes")
    return Reads(peers, receive_limit(MAX_MESSAGE_BYTES), seconds=REQUEST_TIMEOUT)


def _handler_of_shape(response_streaming: bool) -> Any:
    """Returns gRPC's factory for a handler that reads the request itself."""
    return grpc.stream_stream_rpc_method_handler if response_streaming else grpc.stream_unary_rpc_method_handler


def _unary(
    method: Method, function: Callable[..., Awaitable[Any]], reads: Reads, hub: SessionDefaults
) -> Callable[..., Awaitable[Any]]:
    read, name = partial(read_request, method), method.name
    with_context = takes_context(function)
    opens_session = name == "InitializeSession"

    async def answered(context: Any, rpc: Rpc) -> bytes:
        # Drop the bytes, so that a call that waits does not hold its request twice.
        data = await reads.request(context, rpc)
        request, size = read(data), len(data)
        del data
        response = await (function(request, _known(context, size, name)) if with_context else function(request))
        del request
        if opens_session:
            context.set_trailing_metadata(defaults_metadata(hub, response.session_id))
        return rpc.answer(response.SerializeToString())

    async def unary(_: Any, context: Any) -> Any:
        try:
            return await answered(context, reads.enter(context, name))
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            await abort(context, error)

    return unary


def _streaming(
    method: Method, function: Callable[..., AsyncGenerator[Any, None]], reads: Reads, write_timeout: float
) -> Callable[..., Awaitable[None]]:
    read, name = partial(read_request, method), method.name
    with_context, with_time_out = takes_context(function), name in RUN_TOOLS

    async def stream(_: Any, context: Any) -> None:
        rpc = reads.enter(context, name)
        try:
            data = await reads.request(context, rpc)
            request, size = read(data), len(data)
            del data
            messages = function(request, _known(context, size, name)) if with_context else function(request)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            await abort(context, error)
            return
        # A call with a shorter timeout waits no longer than that for a reader that stalls.
        own = request.timeout_ms / 1000 if with_time_out else 0
        await _send_all(context, rpc, messages, min(own, write_timeout) if own > 0 else write_timeout)

    return stream


async def _send_all(context: Any, rpc: Rpc, messages: AsyncGenerator[Any, None], seconds: float) -> None:
    """Sends a stream; each message waits at most ``seconds`` for its reader."""
    largest = 0
    # The next message is made while one is being written: a write is mostly waiting.
    writing: Write | None = None
    try:
        async for message in messages:
            data = message if type(message) is bytes else message.SerializeToString()
            if len(data) > largest:
                rpc.hold_chunks(len(data), largest)
                largest = len(data)
            if writing is not None:
                await _written(writing, seconds)
            writing = Write(context.write(data))
        if writing is not None:
            await _written(writing, seconds)
    except _ReaderGoneError:
        # There is no peer to receive a status.
        _tell_gone(messages)
        return
    except asyncio.CancelledError:
        if writing is not None:
            writing.abandon()
        _tell_gone(messages)
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
        # First release what the stream holds: the status waits behind a message that nobody reads.
        await messages.aclose()
        if writing is not None:
            with contextlib.suppress(Exception):
                # If this fails, the reader has gone.
                await writing
        await abort(context, error)
    finally:
        await messages.aclose()


def _tell_gone(messages: Any) -> None:
    """Tells a stream that its reader has gone; gRPC does not tell whether it cancelled or was lost."""
    gone = getattr(messages, "gone", None)
    if gone is not None:
        gone()


class _ReaderGoneError(Exception):
    """A message could not be written: the stream has ended."""


async def _written(writing: Write, seconds: float) -> None:
    """Waits for a write, with a timeout: a reader that stalls must not keep the stream's resources.

    Raises:
        DeadlineExceededError: The write took longer than ``seconds``.
        _ReaderGoneError: The stream has ended.
    """
    try:
        await within(writing, seconds)
    except ExpiredError:
        raise DeadlineExceededError(f"the stream was ended: its reader took nothing for {seconds:g} s") from None
    except Exception as error:
        # gRPC's own errors are not part of its API; a write fails if the stream has ended.
        raise _ReaderGoneError from error


def _with_status(link: Callable[[Any, Any], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def serve(frames: Any, context: Any) -> None:
        # Otherwise gRPC sends it with the first frame, and no status while that frame is being sent.
        await context.send_initial_metadata(())
        try:
            await link(frames, context)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            await abort(context, error)

    return serve


def _unimplemented(method: Method) -> Callable[..., Awaitable[None]]:
    async def refuse(request: Any, context: Any) -> None:  # noqa: ARG001 - the shape is gRPC's
        await abort(context, UnimplementedError(f"this hub does not offer {method.name}"))

    return refuse


def _known(context: Any, size: int, method: str) -> RequestContext:
    """Returns the context of a request of ``size`` bytes."""
    remaining: float | None = context.time_remaining()
    deadline = None if remaining is None else time.monotonic() + remaining
    source = f"rpc {context.peer()}"
    known = RequestContext(deadline=deadline, size=size, principal=present_principal(), source=source)
    known.method, known.system = method, "grpc"
    if process.tracing is not None:
        known.trace = trace_of(dict(context.invocation_metadata() or ()))
    return known


async def abort(context: Any, error: BaseException) -> None:
    """Ends an RPC with the status of an error; logs errors that are not the bridge's own."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    code, text, trailer = status_of(error)
    if isinstance(error, ToolBridgeError):
        # The stack frames of its traceback must not live until the peer has read the status.
        error.__traceback__ = error.__context__ = error.__cause__ = None
    else:
        log_fault(_log, "fault in a method: %s", text, error=error)
    try:
        await context.abort(code, text, trailer)
    except grpc.aio.AbortError:
        raise
    except Exception as failure:  # noqa: BLE001 - gRPC's own errors are not part of its API
        # gRPC itself has ended the call: its request was larger than gRPC's limit, or its caller has gone.
        _log.debug("the status of a call could not be sent: %s", failure)


class _Caller(NamedTuple):
    """Who makes an RPC, and what says so."""

    principal: Principal
    renew: Callable[[], Principal]


class AuthenticationInterceptor(grpc.aio.ServerInterceptor):
    """Refuses peers that do not authenticate.

    Args:
        authenticator: Called once for each RPC and for each link.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        # The handlers of the hub's services, which stay the same.
        self._guarded: dict[Any, Any] = {}

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Returns a handler that authenticates the peer of one call, before its request is read."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(_OPEN_PREFIX):
            return handler
        guarded = self._guarded.get(details.method)
        if guarded is None or guarded[0] is not handler:
            guarded = handler, self._guard(handler)
            if len(self._guarded) < MAX_GUARDED:
                self._guarded[details.method] = guarded
        return guarded[1]

    def _guard(self, handler: Any) -> Any:
        behaviour = handler.stream_stream or handler.stream_unary

        async def authenticated(request: Any, context: Any) -> Any:
            try:
                peer = _peer_info(context)
                principal = self._authenticator.authenticate(peer)
            except Exception as error:  # noqa: BLE001 - every failure is a status
                await abort(context, error)
                return None
            # gRPC runs the handler in the same task.
            _caller.set(_Caller(principal, partial(self._authenticator.authenticate, peer)))
            return await behaviour(request, context)

        return _handler_of_shape(handler.response_streaming)(authenticated)


def _peer_info(context: Any) -> PeerInfo:
    found = context.auth_context().get(_CERTIFICATE)
    certificate = ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")) if found else None
    return PeerInfo(tuple(context.invocation_metadata() or ()), context.peer(), certificate)


def present_principal() -> Principal | None:
    """Returns who makes the RPC of this task; None if the hub does not authenticate."""
    caller = _caller.get()
    return None if caller is None else caller.principal


def present_renewal() -> Callable[[], Principal] | None:
    """Returns what authenticates the peer of this task's RPC once more; None if the hub does not authenticate."""
    caller = _caller.get()
    return None if caller is None else caller.renew
