"""The one way in which a client makes a call."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Protocol

from grpc_tool_bridge.aio.timeouts import ExpiredError, TimeLimit, was_cancelled, within
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolCommunicationError, error_from_info
from grpc_tool_bridge.link.dialer import CLOSED
from grpc_tool_bridge.proto.dspex_bridge_pb2 import InitializeSessionRequest, InitializeSessionResponse
from grpc_tool_bridge.rpc.session_defaults import read_defaults
from grpc_tool_bridge.transport.status import CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RpcError, from_rpc_error
from grpc_tool_bridge.transport.stubs import Transport, Unlinked, close_stream

# The time-out travels in the request; the client itself waits a little longer, so that it is the hub that answers.
CLIENT_SLACK = 1.0

_DEFAULTS = CallOptions()


class CallContext(Protocol):
    """What a proxy needs of its session."""

    @property
    def session_id(self) -> str | None:
        """The session that calls belong to."""

    @property
    def stub(self) -> Any:
        """An object with the methods of the generated stub."""


class Caller:
    """Makes the calls of one session, and translates what they fail with.

    Proxies, batches, variables, tools, agents and the session's own calls all go through ``unary`` and ``stream``, and
    catch nothing of a transport's. A middleware, ``async def mw(call, call_next)``, stands here: ``__init__`` binds the
    chain over these two methods once, and nothing where there is none.

    Args:
        transport: How calls reach the hub; it is asked for the stub whenever one is made.
        options: What calls have in common.

    Attributes:
        session_id: The session that calls belong to; None before there is one.
        transport, options: As given.
    """

    def __init__(self, transport: Transport, *, options: CallOptions = _DEFAULTS) -> None:
        self.session_id: str | None = None
        self.options = options
        self.transport = transport
        # Of those who wait between two calls.
        self._pauses: set[asyncio.Future[bool]] = set()

    def close(self) -> None:
        """Ends every ``pause``: whoever waits to try again does not do so over what is closed."""
        for pause in self._pauses:
            # It may wait in another event loop, and that one may have ended without it.
            if not pause.get_loop().is_closed():
                pause.get_loop().call_soon_threadsafe(_end, pause, False)

    async def pause(self, seconds: float, method: str = "Link") -> None:
        """Waits before a further try of a method.

        Raises:
            ToolCommunicationError: The client was closed meanwhile.
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
        """Makes a caller of the same session whose calls all go to ``stub``."""
        caller = Caller(_StubAlone(SimpleNamespace(stub=stub), self.transport.where), options=self.options)
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

    async def unary(
        self,
        method: str,
        request: Any,
        timeout: float,
        *,
        tool: str | None = None,
        on_call: Callable[[Any], None] | None = None,
    ) -> Any:
        """Makes a call with one answer, and returns that as it came.

        Args:
            method: Its name.
            request: Sent as it is.
            timeout: Seconds that the hub has; this side waits ``CLIENT_SLACK`` longer.
            tool: Name of the tool that is called; None: it is no tool's call.
            on_call: Called with what the stub gave, for who needs more of it than the answer.

        Raises:
            ToolBridgeError: The hub answered with a status that carries an error: the class that has its type.
            ToolCommunicationError: Nobody answered.
        """
        try:
            call = getattr(self.transport.stub, method)(request)
            if on_call is not None:
                on_call(call)
            set_timeout = getattr(call, "set_timeout", None)
            if set_timeout is None:
                return await within(call, timeout + CLIENT_SLACK)
            # What goes over a link keeps its own time.
            set_timeout(timeout + CLIENT_SLACK)
            return await call
        except (RpcError, ExpiredError, asyncio.CancelledError) as error:
            self._raise_failure(error, method, tool, timeout)
            raise

    async def stream(
        self, method: str, request: Any, *, timeout: float | None = None, tool: str | None = None
    ) -> AsyncGenerator[Any, None]:
        """Makes a call with a stream of answers, and iterates over them; closing it ends the call.

        Args:
            method: Its name.
            request: Sent as it is.
            timeout: Seconds that the hub has for all of it; None: no limit.
            tool: As of ``unary``, and so are the errors.
        """
        limit = None if timeout is None else TimeLimit(timeout + CLIENT_SLACK)
        messages: Any = None
        try:
            messages = getattr(self.transport.stub, method)(request)
            iterator = aiter(messages)
            while True:
                try:
                    message = await (anext(iterator) if limit is None else limit.wait(anext(iterator)))
                except StopAsyncIteration:
                    return
                yield message
        except (RpcError, ExpiredError, asyncio.CancelledError) as error:
            self._raise_failure(error, method, tool, timeout)
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
        """Calls a unary method that is no tool call; ``timeout`` in seconds, ``on_call`` as of ``unary``.

        Raises:
            ToolBridgeError: The hub answered with an error: the class of the tree that has its type.
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
            raise ProtocolError(f"the answer to {method} reports a failure, but gives no error")
        return response

    async def open(self, request: InitializeSessionRequest) -> tuple[InitializeSessionResponse, Mapping[str, float]]:
        """Opens a session, or attaches to it; raises as ``call``.

        Returns:
            The answer, and the session's defaults, which come in the trailing metadata where the stub gives a call
            that has any.
        """
        calls: list[Any] = []
        response = await self.call("InitializeSession", request, on_call=calls.append)
        trailing = getattr(calls[0], "trailing_metadata", None)
        return response, read_defaults(await trailing() if trailing is not None else None)

    async def connect(self, seconds: float) -> None:
        """Reaches the hub, where the transport does that once for all calls; for so many seconds, 0: once.

        Raises:
            ToolBridgeError: The hub cannot be reached, or refuses.
        """
        try:
            await self.transport.connect(seconds)
        except RpcError as error:
            self._raise_failure(error, "Link")
            raise

    def _raise_failure(
        self, error: BaseException, method: str, tool: str | None = None, timeout: float | None = None
    ) -> None:
        """Raises what a caller is told of a failed call; returns where the caller itself was cancelled."""
        what = method if tool is None else tool
        if isinstance(error, RpcError):
            raise from_rpc_error(error, tool_name=tool, method=method, where=self.transport.where) from error
        if isinstance(error, ExpiredError) and timeout is not None:
            text = (
                f"no answer within {timeout + CLIENT_SLACK:g} s: the time-out of {timeout:g} s, and {CLIENT_SLACK:g} s "
                "for the answer to come; whether it had begun is not known"
            )
            raise ToolCommunicationError(what, DEADLINE_EXCEEDED, text) from None
        # What was not cancelled from outside has ended with its channel.
        if not was_cancelled():
            raise ToolCommunicationError(what, CANCELLED, CLOSED) from None


def _end(pause: asyncio.Future[bool], goes_on: bool) -> None:
    if not pause.done():
        pause.set_result(goes_on)


class _StubAlone(Unlinked):
    """A stub that somebody else has."""

    def __init__(self, owner: Any, where: str = "") -> None:
        self.where = where
        self._owner = owner

    @property
    def stub(self) -> Any:
        """The stub, as it is now."""
        return self._owner.stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._owner.stub = stub

    async def close(self) -> None:
        """Does nothing: it is its owner's."""


class HasCaller(Protocol):
    """A client, for what is built on its calls."""

    @property
    def caller(self) -> Caller:
        """Makes its calls."""


def caller_of(context: CallContext | Caller) -> Caller:
    """Returns what makes the calls of a context; of one that has a stub alone, a caller for it."""
    if isinstance(context, Caller):
        return context
    caller = getattr(context, "caller", None)
    return caller if isinstance(caller, Caller) else Caller(_StubAlone(context))


def stream_ended(what: str) -> ToolCommunicationError:
    """Makes the error for a stream whose event loop has ended before it."""
    text = "the event loop that the stream was read in has ended, and the stream with it; begin it anew"
    return ToolCommunicationError(what, UNAVAILABLE, text)
