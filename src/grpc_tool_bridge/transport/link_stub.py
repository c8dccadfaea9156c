"""The generated stub's methods over a link, with gRPC's interface for calls and errors."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from time import monotonic
from typing import Any, Protocol

import grpc.aio
from grpc.aio import AioRpcError, Metadata

from grpc_tool_bridge.aio.loops import running_loop
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.asks import GiveAnswer
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.dialer import Dialer, DialledLink
from grpc_tool_bridge.link.envelopes import call_prefix, with_metadata
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT
from grpc_tool_bridge.link.status import is_transient
from grpc_tool_bridge.link.streams import Endpoint
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, LinkEvent, LinkStatus
from grpc_tool_bridge.rpc.allocator import keep_for_streams
from grpc_tool_bridge.rpc.asks import ASK_FEATURE, cannot_answer
from grpc_tool_bridge.rpc.buffers import Buffers, Payload
from grpc_tool_bridge.rpc.large_messages import read_large_message
from grpc_tool_bridge.rpc.methods import METHODS, RUN_TOOLS, Method
from grpc_tool_bridge.rpc.nodes import NODE_BYTES, check_message
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.endpoints import LinkKind, endpoint_of
from grpc_tool_bridge.transport.status import RpcError, as_rpc_error, from_link_status, from_rpc_error, rpc_error
from grpc_tool_bridge.transport.stubs import Answerer, Answerers, Answering, HubStub

# A hub's own lists, such as a page of tools, may have many small fields; the contents of values do not count.
_MAX_ANSWER_NODES = 1_000_000
_UNCOUNTED_BYTES = _MAX_ANSWER_NODES * NODE_BYTES

Entries = Iterable[tuple[str, str | bytes]]


class StubCall(LinkCall, grpc.aio.Call):
    """A call over a link with gRPC's interface: it fails with an AioRpcError.

    Args:
        method: Its method.
        prefix: The method and options, written by ``call_prefix``.

    Attributes:
        method: As given.
        metadata: As its caller gave it.
    """

    metadata: tuple[tuple[str, str | bytes], ...] = ()
    # Answers its tool's questions; ``_answering`` is made for the first one.
    answerer: Answerer | None = None
    tool_id = ""
    # The field of a large answer that is left where it was received; empty: the answer is always a message.
    large_field = ""
    _answering: Answering | None = None
    # The error that gRPC would raise; None: it has not failed.
    _status: AioRpcError | None = None
    _trailing: tuple[tuple[str, Any], ...] = ()

    def __init__(self, method: Method, prefix: bytes) -> None:
        # As ``OutgoingCall`` does; calling that would take a twentieth of the stub's time.
        self.prefix = prefix
        self.method = method

    def fail(self, error: Exception) -> None:
        """Ends the call with an error, as gRPC would have raised it."""
        self._fail(as_rpc_error(error))

    def on_end(self, status: LinkStatus) -> None:
        """See ``LinkCall``."""
        if status.code:
            self._fail(from_link_status(status))
        else:
            self.succeed()

    def on_event(self, event: LinkEvent) -> None:
        """Takes the trailing metadata, which the hub sends as an event."""
        if event.log.logger == METADATA_LOGGER:
            self.take_trailing(event.log.fields.items())

    def on_ask(self, ask: Ask, give: GiveAnswer) -> None:
        """Passes a question to the answerer if there is one."""
        if self.answerer is None or self._over:
            super().on_ask(ask, give)
            return
        if self._answering is None:
            answering = self._answering = self.answerer.of(self.tool_id, self.abort)
            self.add_done_callback(lambda _: answering.close())
        self._answering.take(ask, give)

    def abort(self, error: BaseException) -> None:
        """Cancels the call at the hub, and raises ``error`` in its caller."""
        if not self._over:
            self._leave()
            self._status = rpc_error(grpc.StatusCode.CANCELLED, "a question of its tool was not answered")
            self._error = error
            self._finish()

    def _fail(self, status: AioRpcError) -> None:
        if not self._over:
            self._status = status
            super().fail(status)

    def take_trailing(self, metadata: Iterable[tuple[str, Any]]) -> None:
        """Stores the trailing metadata of an answer."""
        self._trailing = tuple(metadata)

    def parsed(self, payload: Payload) -> Any:
        """Parses a response; raises INTERNAL, as gRPC does, if it cannot be read.

        A large one becomes a LargeMessage if ``large_field`` is set.
        """
        response = self.method.response
        try:
            if isinstance(payload, Buffers):
                large = read_large_message(response, self.large_field, payload) if self.large_field else None
                if large is not None:
                    return large
                payload = bytes(payload)
            if len(payload) > _UNCOUNTED_BYTES:
                check_message(payload, response, f"the answer to {self.method.name}", _MAX_ANSWER_NODES)
            return response.FromString(payload)
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError
            text = f"the response cannot be read: {str(failure)[:200]}"
            raise rpc_error(grpc.StatusCode.INTERNAL, text) from None

    def done(self) -> bool:
        """Returns whether the call has ended."""
        return self._over

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls ``callback`` with the call once it has ended."""
        if self._over:
            asyncio.get_running_loop().call_soon(callback, self)
        else:
            self._callbacks = (*self._callbacks, callback)

    def cancelled(self) -> bool:
        """Returns whether the call was cancelled at this end."""
        return self._cancelled

    async def initial_metadata(self) -> Metadata:
        """Returns no metadata: a link has none."""
        return Metadata()

    async def trailing_metadata(self) -> Metadata:
        """Returns the trailing metadata of the answer or the error."""
        await self._has_ended()
        return self._status.trailing_metadata() if self._status is not None else Metadata(*self._trailing)

    async def code(self) -> grpc.StatusCode:
        """Returns the status, once there is one."""
        await self._has_ended()
        return self._status.code() if self._status is not None else grpc.StatusCode.OK

    async def details(self) -> str:
        """Returns the text of the status, once there is one."""
        await self._has_ended()
        return (self._status.details() or "") if self._status is not None else ""

    async def wait_for_connection(self) -> None:
        """Does nothing: a call that waits for its link waits where it is awaited."""

    async def _has_ended(self) -> None:
        """Waits for the end; cancelling the wait does not cancel the call."""
        if not self._over:
            ended = asyncio.Event()
            self.add_done_callback(lambda _: ended.set())
            await ended.wait()


class UnaryCall(StubCall, grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call with one answer; await it."""

    __await__ = LinkCall.steps


class BytesCall(UnaryCall):
    """A call of a tool whose answer is handed over as it came, in bytes."""

    method = METHODS["ExecuteTool"]
    prefix = call_prefix(method.name)
    large_field = "result"

    def __init__(self) -> None:
        pass

    def on_reply(self, payload: Payload) -> None:
        """See ``LinkCall``."""
        if self._timer is not None or self._callbacks or self._over:
            super().on_reply(payload)
            return
        self._payload, self._over = payload, True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __await__(self) -> Generator[Any, Any, Payload]:
        # As ``LinkCall.steps`` does; a usual call waits once.
        if not self._over and self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                yield from self._waiter
            except BaseException:
                self._waiter = None
                self.cancel()
                raise
        while not self._over:
            yield from self._wait()
        if self._status is not None or self._cancelled or self._expired:
            self._raise_error()
        return self._payload

    def parse(self, payload: Payload) -> Any:
        """Parses the answer; errors as of ``StubCall.parsed``."""
        return super().parsed(payload)


class StreamCall(StubCall, grpc.aio.UnaryStreamCall[Any, Any]):
    """A call with a stream of answers; iterate over it, or ``read`` it."""

    def __init__(self, method: Method, prefix: bytes, window: int = INITIAL_CREDIT) -> None:
        super().__init__(method, prefix)
        self.open_window(window)

    async def read(self) -> Any:
        """Returns the next message, or ``grpc.aio.EOF``."""
        payload = await super().read()
        if payload is None:
            return grpc.aio.EOF
        if self.carrier is not None and not self._over:
            self.carrier.grant(self, len(payload))
        if type(payload) is Buffers:
            keep_for_streams()
        return self.parsed(payload)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message


class Starter(Protocol):
    """What sends calls: a link, or a dialer.

    Attributes:
        send_request: Sends a call, now or once a link takes it.
    """

    @property
    def send_request(self) -> Callable[[LinkCall, Any], None]:
        """Sends a call, now or once a link takes it."""

    @property
    def try_send_bytes(self) -> Callable[[LinkCall, bytes], bool]:
        """Sends a small call whose request is serialized, if a link takes it now; returns whether it did."""


class LinkStub:
    """Has every method of the generated stub, with gRPC's own semantics, and calls them over a link.

    If there is no link, a call waits for one within its timeout; with ``wait_for_ready=False`` it fails immediately.
    Of gRPC's other arguments, ``timeout`` and ``metadata`` (of text) are supported; compression and credentials belong
    to the connection.

    Args:
        starter: Sends the calls.
        answerers: Know who answers the questions of tools; None: nobody does.
    """

    takes_metadata = True

    def __init__(self, starter: Starter, answerers: Answerers | None = None) -> None:
        for name, method in METHODS.items():
            if not method.request_streaming:
                kind = StreamCall if method.response_streaming else UnaryCall
                setattr(self, name, LinkMethod(method, kind, starter, answerers))

    def is_replaced(self, name: str) -> bool:
        """Returns whether a method of the stub was replaced."""
        return not isinstance(getattr(self, name), LinkMethod)

    def delegate_to(self, stub: Any) -> None:
        """Delegates the methods that were not replaced to another stub."""
        for name in METHODS:
            if isinstance(getattr(self, name, None), LinkMethod):
                setattr(self, name, getattr(stub, name))

    def __getattr__(self, name: str) -> Any:
        # For type checkers, which cannot see the methods.
        raise AttributeError(name)


class LinkMethod:
    """A method of the stub.

    Args:
        method: The method.
        kind: The class of its calls.
        starter: Sends them.
        answerers: Know who answers the questions of tools; None: nobody does.
    """

    # A request only has to be serializable.
    takes_large_calls = True

    def __init__(
        self, method: Method, kind: type[UnaryCall | StreamCall], starter: Starter, answerers: Answerers | None
    ) -> None:
        # Only tools ask questions.
        self._answerers = answerers if method.name in RUN_TOOLS else None
        self._method = method
        self._starter = starter
        self._prefix = call_prefix(method.name)
        self._make = kind

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Entries | None = None,
        credentials: object = None,  # noqa: ARG002 - the signature is gRPC's
        wait_for_ready: bool | None = None,
        compression: object = None,  # noqa: ARG002 - likewise
    ) -> UnaryCall | StreamCall:
        """Starts a call."""
        if timeout is None and metadata is None:
            call = self._make(self._method, self._prefix)
        else:
            metadata = tuple(metadata or ())
            call = self._make(self._method, self._prefix_with(timeout, metadata))
            call.metadata = metadata
        if timeout is not None:
            call.limit(timeout)
        if wait_for_ready is False:
            call.waits = False
        if self._answerers is not None:
            call.answerer, call.tool_id = self._answerers.here() or _NOBODY, getattr(request, "tool_id", "")
        self._starter.send_request(call, request)
        return call

    def try_send(
        self, payload: bytes, tool_id: str, timeout: float, headers: Mapping[str, str] | None = None
    ) -> BytesCall | None:
        """Starts a call of a tool with a serialized request.

        Args:
            payload: The request.
            tool_id: The tool, for its questions.
            timeout: As for ``LinkCall.set_timeout``.
            headers: Its metadata; None: it has none.

        Returns:
            The call, whose answer is bytes; None if no link takes it now, and nothing was sent.
        """
        call = BytesCall()
        if headers:
            call.prefix = with_metadata(call.prefix, headers)
        # Its link looks for calls that have timed out.
        call.expires_at = monotonic() + timeout
        if self._answerers is not None:
            call.answerer, call.tool_id = self._answerers.here() or _NOBODY, tool_id
        return call if self._starter.try_send_bytes(call, payload) else None

    def _prefix_with(self, timeout: float | None, metadata: Entries | None) -> bytes:
        if timeout is None and not metadata:
            return self._prefix
        sent: Mapping[str, str] = {key: _as_text(value) for key, value in metadata or ()}
        timeout_ms = 0 if timeout is None else min(max(1, math.ceil(timeout * 1000)), 2**32 - 1)
        return call_prefix(self._method.name, timeout_ms=timeout_ms, metadata=sent)


class _Nobody:
    """Ends a call that asks something, since its caller cannot answer although the client can; an ``Answerer``."""

    def of(self, tool_id: str, fail: Callable[[BaseException], None]) -> "_Refusing":
        return _Refusing(tool_id, fail)


class _Refusing:
    def __init__(self, tool_id: str, fail: Callable[[BaseException], None]) -> None:
        self._tool_id = tool_id
        self._fail = fail

    def take(self, ask: Ask, give: GiveAnswer) -> Callable[[], object]:
        del ask, give
        self._fail(cannot_answer(self._tool_id))
        return self.close

    def close(self) -> None:
        """Does nothing: the first question ends the call."""


_NOBODY = _Nobody()


def _as_text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class LinkTransport(Dialer):
    """A stub for a client's calls over one link that is kept up.

    Args:
        target: Where the hub is.
        kind: How a ``Connection`` is dialled, see ``endpoint_of``.
        dial_again, serves, features: See ``Dialer``.

    Attributes:
        where, on_moved: See ``Dialer``.
        on_relinked: Called with a stub for each link but the first, before other calls use that link.
    """

    def __init__(
        self,
        target: Connection | Endpoint,
        *,
        kind: LinkKind = "link",
        dial_again: Callable[[ToolBridgeError], bool] = is_transient,
        serves: object = None,
        features: Iterable[str] = (),
    ) -> None:
        endpoint = endpoint_of(target, kind) if isinstance(target, Connection) else target
        super().__init__(endpoint, dial_again=dial_again, serves=serves, features=features)
        self.on_relinked: Callable[[Any], Awaitable[None]] | None = None
        self._stub: Any = None
        self._answerers: Answerers | None = None

    def answer_with(self, answerers: Answerers) -> None:
        """Answers the questions of tools with ``answerers``; the next link's hello announces it."""
        self._answerers = answerers
        self._features = (*self._features, ASK_FEATURE)

    @property
    def stub(self) -> Any:
        """The stub; made when first used."""
        if self._stub is None:
            self._stub = LinkStub(self, self._answerers)
        elif self._plain is not None and running_loop() is not self._loop:
            self._enter()
        return self._stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._stub = stub

    @property
    def resumes(self) -> bool:
        """Whether what a lost connection interrupted can be resumed over the next one."""
        return self._plain is None and isinstance(self.stub, LinkStub)

    async def connect(self, seconds: float) -> None:
        """Waits for the link, see ``Dialer``.

        Raises:
            AioRpcError: The hub cannot be reached, or refuses the link.
        """
        stub = self.stub
        if isinstance(stub, LinkStub) and not stub.is_replaced("InitializeSession"):
            await super().connect(seconds)
        # Otherwise the session is opened elsewhere, and there may be no hub.

    async def _close(self) -> None:
        self._stub = None
        await super()._close()

    def _forget(self) -> None:
        if self._plain is not None and isinstance(self._stub, LinkStub):
            self._stub = None
        super()._forget()

    def _fresh_copy(self, error: ToolBridgeError) -> AioRpcError:
        return as_rpc_error(error)

    async def _relinked(self, link: DialledLink) -> None:
        if self.on_relinked is None:
            return
        try:
            await self.on_relinked(LinkStub(link))
        except RpcError as error:
            raise from_rpc_error(error, method="Link") from error

    def _fall_back(self) -> None:
        if isinstance(self._stub, LinkStub):
            self._stub.delegate_to(HubStub(self._plain.channel))
        super()._fall_back()
