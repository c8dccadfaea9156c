"""The one way in which a client makes a call."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

from grpc_tool_bridge.aio.timeouts import ExpiredError, TimeLimit, was_cancelled, within
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolCommunicationError, error_from_info
from grpc_tool_bridge.link.dialer import CLOSED
from grpc_tool_bridge.proto.dspex_bridge_pb2 import InitializeSessionRequest, InitializeSessionResponse
from grpc_tool_bridge.rpc.methods import RUN_TOOLS
from grpc_tool_bridge.rpc.session_defaults import read_defaults
from grpc_tool_bridge.rpc.tracing import Span, error_type_of, process
from grpc_tool_bridge.tools.middleware import Middleware, chain_of
from grpc_tool_bridge.transport.status import CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RpcError, from_rpc_error
from grpc_tool_bridge.transport.stubs import Transport, Unlinked, close_stream

# The timeout is sent with the request; the client waits a little longer, so that the hub can answer.
CLIENT_SLACK = 1.0

# What awaiting a call may raise, for ``Caller.raise_failure``.
FAILURES = (RpcError, ExpiredError, asyncio.CancelledError)

_DEFAULTS = CallOptions()


class CallContext(Protocol):
    """What a proxy needs from its session."""

    @property
    def session_id(self) -> str | None:
        """The session that calls belong to."""

    @property
    def stub(self) -> Any:
        """An object with the methods of the generated stub."""


class Caller:
    """Makes the calls of one session, and translates their failures.

    Proxies, batches, variables, tools, agents and the session's own calls all go through ``unary`` and ``stream``, and
    need not catch errors of a transport.

    Args:
        transport: How calls reach the hub; each call uses the stub that it has at that time.
        options: The options that all calls share.

    Attributes:
        session_id: The session that calls belong to; None before there is one.
        middleware: Runs around each call of a tool; None: there is none.
        warns: Whether the first call of a deprecated tool warns.
        transport, options: As given.
    """

    def __init__(
        self, transport: Transport, *, options: CallOptions = _DEFAULTS, middleware: Iterable[Middleware] = ()
    ) -> None:
        self.middleware = chain_of(middleware)
        self.warns = True
        self.session_id: str | None = None
        self.options = options
        self.transport = transport
        # The tasks that wait before a retry.
        self._pauses: set[asyncio.Future[bool]] = set()
        # How often the client was closed; it can be used again.
        self._closings = 0

    def close(self) -> None:
        """Ends every ``pause``, so that nothing is tried again after the client is closed."""
        self._closings += 1
        for pause in self._pauses:
            # It may wait in another event loop, which may have ended meanwhile.
            if not pause.get_loop().is_closed():
                pause.get_loop().call_soon_threadsafe(_end, pause, False)

    def pauses(self, method: str = "Link") -> Callable[[float], Awaitable[None]]:
        """Returns ``pause`` for an operation that begins now: it also fails if the client was closed since.

        A call may fail because its link is lost while the client is being closed; trying it again would reopen it.
        """
        since = self._closings

        async def pause(seconds: float) -> None:
            if self._closings != since:
                raise ToolCommunicationError(method, CANCELLED, CLOSED)
            await self.pause(seconds, method)

        return pause

    async def pause(self, seconds: float, method: str = "Link") -> None:
        """Waits before a method is tried again.

        Raises:
            ToolCommunicationError: The client was closed.
        """
        loop = asyncio.get_running_loop()
        pause: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(seconds, _end, pause, True)
        self._pauses.add(pause)
        try:
            if not await pause:
                raise ToolCommunicationError(method, CANCELLED, CLOSED)
        finally:
            self._pauses.discard(pause)
            timer.cancel()

    def over(self, stub: Any) -> "Caller":
        """Returns a caller for the same session whose calls all go to ``stub``."""
        caller = Caller(_FixedStub(stub, self.transport.where), options=self.options)
        caller.session_id = self.session_id
        return caller

    def require_session(self) -> str:
        """Returns the session's id.

        Raises:
            ProtocolError: There is no session yet.
        """
        if not self.session_id:
            raise ProtocolError("there is no session yet; await initialize() first, or set session_id")
        return self.session_id

    def takes_large_calls(self, method: str) -> bool:
        """Returns whether the stub's method takes requests such as LargeToolCall."""
        return getattr(getattr(self.transport.stub, method, None), "takes_large_calls", False) is True

    async def unary(
        self,
        method: str,
        request: Any,
        timeout: float,
        *,
        tool: str | None = None,
        on_call: Callable[[Any], None] | None = None,
    ) -> Any:
        """Makes a call with one response, and returns the response unchanged; a large one may be a LargeMessage.

        Args:
            method: Its name.
            request: Sent as it is.
            timeout: Seconds for the hub; this side waits ``CLIENT_SLACK`` longer.
            tool: Name of the tool that is called; None for any other call.
            on_call: Called with the call object of the stub, before it is awaited.

        Raises:
            ToolBridgeError: The hub answered with an error status; its class depends on the error type.
            ToolCommunicationError: Nobody answered.
        """
        try:
            call = self._begun(method, request)
            if on_call is not None:
                on_call(call)
            set_timeout = getattr(call, "set_timeout", None)
            if set_timeout is None:
                return await within(call, timeout + CLIENT_SLACK)
            # A call over a link enforces its own timeout.
            set_timeout(timeout + CLIENT_SLACK)
            if tool is not None:
                call.large_field = "result"
            return await call
        except FAILURES as error:
            self.raise_failure(error, method, tool, timeout)
            raise

    def _begun(self, method: str, request: Any) -> Any:
        """Begins a call, whose metadata says which trace it belongs to."""
        stub = self.transport.stub
        if process.tracing is not None and method in RUN_TOOLS and getattr(stub, "takes_metadata", False):
            headers = process.tracing.headers()
            if headers:
                return getattr(stub, method)(request, metadata=tuple(headers.items()))
        return getattr(stub, method)(request)

    def span(self, method: str, name: str) -> Span | None:
        """Returns the span of a call that begins now; None if it is not traced.

        Args:
            method: Its method.
            name: The tool, or the id of the agent; empty: none.
        """
        if process.tracing is None:
            return None
        return process.tracing.sent(method, name, self.session_id or "", linked=self.transport.is_linked)

    def stream(
        self, method: str, request: Any, *, timeout: float | None = None, tool: str | None = None
    ) -> AsyncGenerator[Any, None]:
        """Makes a call with a stream of responses, and iterates over them; closing the iterator ends the call.

        Args:
            method: Its name.
            request: Sent as it is.
            timeout: Seconds for the whole stream; None: no limit.
            tool: As for ``unary``; so are the errors.
        """
        messages = self._stream(method, request, timeout, tool)
        if process.tracing is None or method not in RUN_TOOLS:
            return messages
        return self._traced(messages, method, str(tool or getattr(request, "agent_id", "")))

    async def _traced(self, messages: AsyncGenerator[Any, None], method: str, name: str) -> AsyncGenerator[Any, None]:
        """Iterates over a stream within a span of its own, which is current only while the next message is awaited."""
        span, failed = self.span(method, name), ""
        try:
            while True:
                with nullcontext() if span is None else span.use():
                    try:
                        message = await anext(messages)
                    except StopAsyncIteration:
                        return
                failed = getattr(getattr(message, "error", None), "type", "")
                yield message
        except GeneratorExit:
            raise
        except BaseException as error:
            failed = error_type_of(error)
            raise
        finally:
            if span is not None:
                span.end(failed)
            await messages.aclose()

    async def _stream(
        self, method: str, request: Any, timeout: float | None, tool: str | None
    ) -> AsyncGenerator[Any, None]:
        limit = None if timeout is None else TimeLimit(timeout + CLIENT_SLACK)
        messages: Any = None
        try:
            messages = self._begun(method, request)
            if tool is not None and hasattr(messages, "large_field"):
                messages.large_field = "data"
            iterator = aiter(messages)
            while True:
                try:
                    message = await (anext(iterator) if limit is None else limit.wait(anext(iterator)))
                except StopAsyncIteration:
                    return
                yield message
        except FAILURES as error:
            self.raise_failure(error, method, tool, timeout)
            raise
        finally:
            if limit is not None:
                limit.close()
            await close_stream(messages)

    async def call(
        self,
        method: str,
        request: Any,
        *,
        timeout: float = CALL_TIMEOUT,
        on_call: Callable[[Any], None] | None = None,
    ) -> Any:
        """Calls a unary method other than a tool call; ``timeout`` in seconds, ``on_call`` as for ``unary``.

        Raises:
            ToolBridgeError: The hub answered with an error; its class depends on the error type.
            ToolCommunicationError: Nobody answered.
        """
        size = request.ByteSize()
        if size > self.options.max_message_bytes:
            raise MessageTooLargeError.of(f"the request of {method}", size, self.options.max_message_bytes)
        response = await self.unary(method, request, timeout, on_call=on_call)
        fields = response.DESCRIPTOR.fields_by_name
        if "error" in fields and response.HasField("error"):
            raise error_from_info(response.error)
        if "success" in fields and not response.success:
            raise ProtocolError(f"the answer to {method} reports a failure, but has no error")
        return response

    async def open(self, request: InitializeSessionRequest) -> tuple[InitializeSessionResponse, Mapping[str, float]]:
        """Opens a session, or attaches to it; errors as for ``call``.

        Returns:
            The response, and the session's defaults from the trailing metadata, if the stub's calls have any.
        """
        calls: list[Any] = []
        response = await self.call("InitializeSession", request, on_call=calls.append)
        trailing = getattr(calls[0], "trailing_metadata", None)
        return response, read_defaults(await trailing() if trailing is not None else None)

    async def connect(self, seconds: float) -> None:
        """Connects to the hub, if the transport has one connection for all calls; tries for ``seconds``, 0: once.

        Raises:
            ToolBridgeError: The hub cannot be reached, or refuses.
        """
        try:
            await self.transport.connect(seconds)
        except RpcError as error:
            self.raise_failure(error, "Link")
            raise

    def raise_failure(
        self, error: BaseException, method: str, tool: str | None = None, timeout: float | None = None
    ) -> None:
        """Raises the error that the user sees for a failed call; returns if the caller's task was cancelled."""
        what = method if tool is None else tool
        if isinstance(error, RpcError):
            raise from_rpc_error(error, tool_name=tool, method=method, where=self.transport.where) from error
        if isinstance(error, ExpiredError) and timeout is not None:
            text = (
                f"no answer within {timeout + CLIENT_SLACK:g} s (the timeout of {timeout:g} s, and {CLIENT_SLACK:g} s "
                "for the answer to arrive); whether the call had begun is not known"
            )
            raise ToolCommunicationError(what, DEADLINE_EXCEEDED, text) from None
        # Not cancelled from outside: the channel was closed.
        if not was_cancelled():
            raise ToolCommunicationError(what, CANCELLED, CLOSED) from None


def _end(pause: asyncio.Future[bool], goes_on: bool) -> None:
    if not pause.done():
        pause.set_result(goes_on)


class _FixedStub(Unlinked):
    """A transport whose calls all go to one stub."""

    def __init__(self, stub: Any, where: str) -> None:
        self.stub: Any = stub
        self.where = where

    async def close(self) -> None:
        """Does nothing: the stub belongs to the caller."""


class _ContextStub(Unlinked):
    """A transport whose calls go to the stub that a context has at that time."""

    where = ""

    def __init__(self, context: CallContext) -> None:
        self._context: Any = context

    @property
    def stub(self) -> Any:
        """The context's stub."""
        return self._context.stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._context.stub = stub

    async def close(self) -> None:
        """Does nothing: the stub belongs to the context."""


class HasCaller(Protocol):
    """Anything that has a Caller, such as a client."""

    @property
    def caller(self) -> Caller:
        """The Caller."""


def caller_of(context: CallContext | Caller) -> Caller:
    """Returns the Caller of a context; creates one if the context only has a stub."""
    if isinstance(context, Caller):
        return context
    caller = getattr(context, "caller", None)
    return caller if isinstance(caller, Caller) else Caller(_ContextStub(context))


def stream_ended(what: str) -> ToolCommunicationError:
    """Returns the error for a stream whose event loop has ended."""
    text = "the event loop that read the stream has ended, and the stream with it; start it again"
    return ToolCommunicationError(what, UNAVAILABLE, text)
