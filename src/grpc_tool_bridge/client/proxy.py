"""A tool of the hub as an awaitable function."""

import asyncio
import dataclasses
import inspect
import uuid
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from typing import Any, Self

from grpc_tool_bridge.aio.loops import LoopStream
from grpc_tool_bridge.aio.portal import AsyncApi, InstanceDocstring
from grpc_tool_bridge.client.arguments import (
    REQUEST_OVERHEAD,
    SLOW_ARGUMENTS_BYTES,
    PackedArguments,
    check_nodes,
    large_call,
    pack_arguments,
    put_arguments,
    result_of,
    size_of_arguments,
)
from grpc_tool_bridge.client.caller import CLIENT_SLACK, FAILURES, CallContext, Caller, caller_of, stream_ended
from grpc_tool_bridge.client.chunks import ChunkReader
from grpc_tool_bridge.client.docstring import docstring_of
from grpc_tool_bridge.client.middleware import ClientToolCall, call_through, stream_through
from grpc_tool_bridge.client.options import CallOptions, check_settings, to_milliseconds
from grpc_tool_bridge.client.refusals import explain_refusal
from grpc_tool_bridge.client.signature import signature_of
from grpc_tool_bridge.config import CALL_TIMEOUT, STREAM_TIMEOUT
from grpc_tool_bridge.config.argument_checks import refuse_plain
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ProtocolError,
    SerializationError,
    ToolBridgeError,
    ToolExecutionError,
    ValidationError,
)
from grpc_tool_bridge.llm.tool_marks import deprecated_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    LogRecord,
    Progress,
    ToolCallRequest,
    ToolSpec,
    ToolStreamRequest,
    ToolType,
)
from grpc_tool_bridge.rpc.large_messages import LargeToolCall
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES, is_slow
from grpc_tool_bridge.rpc.tracing import Tracing, process
from grpc_tool_bridge.tools.deprecation import warn_deprecated
from grpc_tool_bridge.tools.middleware import CallKind, ToolCall
from grpc_tool_bridge.transport.link_stub import BytesCall, LinkMethod
from grpc_tool_bridge.values.call_bytes import UNREAD, arguments_of, read_success, request_head, request_tail
from grpc_tool_bridge.values.foreign import ForeignCodeError
from grpc_tool_bridge.values.offload import outside_loop, read_value
from grpc_tool_bridge.values.serialization import deserialize_value

# Arguments of a usual call take at most so many bytes; it is sent whole, in order.
MAX_PLAIN_BYTES = 8 * 1024

_DEFAULTS = CallOptions()
_NO_ARGUMENTS: PackedArguments = ([], {})


class AsyncGRPCProxyTool(AsyncApi):
    """A tool of the hub. ``await tool(…)`` calls it; ``tool.stream(…)`` iterates over what it yields.

    It has the tool's ``__name__``, ``__doc__`` and signature. If its client follows the session's tools, the proxy
    stays the same object when the tool changes, even from returning to yielding, is removed, or comes back.

    Args:
        tool_spec: The tool's spec.
        session_context: The tool's session; each call uses its current ``session_id`` and ``stub``.
        options: How calls are made.

    Attributes:
        spec: The tool's current spec.

    Raises (every call):
        ToolExecutionError: The tool raised, or the hub refused the call.
        ToolTimeoutError: The call timed out.
        ToolCommunicationError: Nobody answered.
        SerializationError: An argument cannot be represented.
        ProtocolError: The answer breaks the protocol.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = _explained(cls.__doc__)  # type: ignore[assignment]  # what it gives is a text

    def __init__(
        self, tool_spec: ToolSpec, session_context: CallContext | Caller, *, options: CallOptions = _DEFAULTS
    ) -> None:
        refuse_plain("tool_spec", tool_spec, "a ToolSpec, such as the spec of another proxy")
        refuse_plain("session_context", session_context, "the session_context of a bridge or a client")
        self._context = session_context
        self._caller = caller_of(session_context)
        # Proxies made by with_options, which change with this one; in such a proxy, its parent and the given options.
        self._derived: weakref.WeakSet[AsyncGRPCProxyTool] | None = None
        self._parent: AsyncGRPCProxyTool | None = None
        self._given: Mapping[str, Any] = {}
        # The spec with which this proxy was made, if the tool has changed since.
        self._made_of: ToolSpec | None = None
        self._removed = False
        # What it has warned of already.
        self._warned_of = ""
        self._prepared_for = ""
        # What comes before and after the arguments of a request.
        self._head = self._tail = b""
        self._take(tool_spec, options)

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Calls the tool and returns its result."""
        tracing = process.tracing
        # What wants events is a stream, which has a span of its own.
        if tracing is not None and tracing.draws() and not self._wants_events:
            return await self._call_traced(tracing, args, kwargs)
        call = self._try_send(args, kwargs) if self._is_plain else None
        if call is None:
            return await self._call(args, kwargs)
        return await self._answer_to(call)

    async def _call_traced(self, tracing: Tracing, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Makes a call within a span of its own."""
        session_id, linked = self._context.session_id or "", self._caller.transport.is_linked
        with tracing.sent("ExecuteTool", self.name, session_id, linked=linked, drawn=True) or nullcontext():
            call = self._try_send(args, kwargs, tracing.headers()) if self._is_plain else None
            return await (self._call(args, kwargs) if call is None else self._answer_to(call))

    async def _answer_to(self, call: BytesCall) -> Any:
        """Waits for the answer to a usual call, and returns its result."""
        try:
            try:
                answer = await call
                result = read_success(answer) if type(answer) is bytes else UNREAD
                if result is not UNREAD:
                    return result
                response = call.parse(answer)
            except FAILURES as error:
                self._caller.raise_failure(error, "ExecuteTool", self.name, self._timeout)
                raise
            return await self._result(response)
        except ToolExecutionError as error:
            self._explain(error)
            raise

    def _try_send(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> BytesCall | None:
        """Sends a usual call; returns None for any other, which ``_call`` makes."""
        session_id = self._context.session_id
        if session_id != self._prepared_for or not session_id:
            self._prepare()
        try:
            arguments = arguments_of(args, kwargs)
        except (SerializationError, UnicodeEncodeError):
            return None
        if arguments is None or len(arguments) > self._most_plain:
            return None
        method = self._caller.transport.stub.ExecuteTool
        if type(method) is not LinkMethod:
            return None
        payload = b"".join((self._head, arguments, self._tail))
        return method.try_send(payload, self._tool_id, self._timeout + CLIENT_SLACK, headers)

    async def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Makes any call."""
        if self._deprecated:
            self._warn()
        if self._caller.middleware is None:
            return await self._send(args, kwargs)
        return await call_through(self._caller.middleware, self._tool_call(args, kwargs, self._timeout))

    async def _call_in_batch(self, args: Sequence[Any], kwargs: Mapping[str, Any], timeout: float) -> Any:
        call = self._tool_call(args, kwargs, min(timeout, self._timeout), kind="batch")
        return await call_through(self._caller.middleware, call)

    def _tool_call(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], timeout: float, *, kind: CallKind = "call", **how: Any
    ) -> ClientToolCall:
        """Returns a call as middleware sees it; ``how`` is passed to ``_send_stream``."""
        send: Callable[..., Any] = self._send if kind != "stream" else self._send_stream
        return ClientToolCall(
            lambda call: send(call.args, call.kwargs, call=call, **how),
            spec=self.spec,
            session_id=self._session_id(),
            metadata=self._metadata,
            timeout=timeout,
            kind=kind,
            idempotency_key=self._options.idempotency_key,
            args=args,
            kwargs=kwargs,
        )

    async def _send(self, args: Sequence[Any], kwargs: Mapping[str, Any], call: ToolCall | None = None) -> Any:
        """Makes a call; ``call`` is what middleware has made of it."""
        if self._wants_events:
            values = [value async for value in self._send_stream(args, kwargs, call=call)]
            if len(values) != 1:
                raise ProtocolError(f"{self.name} returns one value, but its stream had {len(values)}")
            return values[0]
        session_id = self._context.session_id
        if session_id != self._prepared_for or not session_id:
            self._prepare()
        # Parsing the common part from bytes takes a third of the time of filling it in.
        head = ToolCallRequest.FromString(self._head + self._tail)
        timeout = self._timeout
        if call is not None:
            timeout = call.timeout
            head.request_id, head.timeout_ms = call.request_id, to_milliseconds(timeout, self.name)
        try:
            packed = pack_arguments(args, kwargs, self._get_name, self.spec)
        except ForeignCodeError:
            packed = await outside_loop(lambda: pack_arguments(args, kwargs, self._get_name, self.spec))
        size = size_of_arguments(packed)
        request: ToolCallRequest | LargeToolCall = head
        metadata = self._metadata if call is None else call.metadata
        if size > SLOW_ARGUMENTS_BYTES:
            request = await self._filled_large(head, packed, size, metadata)
        else:
            self._fill(head, packed, size, metadata)
        try:
            response = await self._caller.unary("ExecuteTool", request, timeout, tool=self.name)
            return await self._result(response)
        except ToolExecutionError as error:
            self._explain(error)
            raise

    async def _result(self, response: Any) -> Any:
        """Returns the result in a response, or raises its error."""
        result = result_of(response, self.name)
        # Nearly every result is short, and only pays for this check.
        if len(result.value) > SLOW_BYTES and is_slow(result.type_url, result.value):
            return await read_value(result, max_nodes=self._options.max_message_nodes)
        return deserialize_value(result)

    def stream(self, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Iterates over what the tool yields, as it yields it; for a tool that returns, over its result."""
        if self._deprecated:
            self._warn()
        return LoopStream(
            self._stream(args, kwargs), what=f"the stream of {self.name}", ended=lambda: stream_ended(self.name)
        )

    def with_options(
        self,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_log: Callable[[LogRecord], None] | None = None,
    ) -> Self:
        """Returns the same tool with other settings; those not given stay as they are.

        Args:
            timeout: Seconds for each try.
            idempotency_key: 1 to 256 printable characters. In a session, a call with the same key and arguments as an
                earlier one does not run again, but gets the earlier answer. Streams do not take a key.
            metadata: Sent to the tool, which finds it in ``ToolContext.metadata``.
            on_progress: Called with each Progress that the tool sends.
            on_log: Called with each LogRecord that the tool sends.

        Raises:
            ValidationError: A setting is not valid.
        """
        given = {
            "timeout": timeout,
            "idempotency_key": idempotency_key,
            "metadata": metadata,
            "on_progress": on_progress,
            "on_log": on_log,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        check_settings(self.name, changes)
        derived = type(self)(self.spec, self._context, options=dataclasses.replace(self._options, **changes))
        derived._parent, derived._given, derived._removed = self, changes, self._removed  # noqa: SLF001 - of this class
        if self._deprecated:
            # It has its parent only now, which may have warned.
            derived._take(derived.spec, derived._options)  # noqa: SLF001 - as above
        if self._derived is None:
            self._derived = weakref.WeakSet()
        self._derived.add(derived)
        return derived

    @property
    def __signature__(self) -> inspect.Signature:
        """The tool's signature, as ``inspect.signature`` reads it."""
        return signature_of(self.spec)

    def _change(self, spec: ToolSpec, options: CallOptions) -> None:
        self._removed = False
        if self.spec != spec:
            self._made_of = self._made_of or self.spec
            # Keeps the caller's object valid when a tool that returned begins to yield.
            self.__class__ = _kind_of(spec)
        self._take(spec, dataclasses.replace(options, **self._given))
        for derived in tuple(self._derived or ()):
            derived._change(spec, self._options)  # noqa: SLF001 - of this class

    def _mark_removed(self) -> None:
        self._removed = True
        for derived in tuple(self._derived or ()):
            derived._mark_removed()  # noqa: SLF001 - of this class

    def _warn(self) -> None:
        root = self._root()
        if root._warned_of == self._deprecated or not self._caller.warns:  # noqa: SLF001 - of this class
            return
        root._warned_of = self._deprecated  # noqa: SLF001 - as above
        self._take(self.spec, self._options)
        warn_deprecated(self.name, self._deprecated)

    def _explain(self, error: ToolBridgeError) -> None:
        explain_refusal(error, self.spec, made_of=self._made_of, is_removed=self._removed)

    def _take(self, spec: ToolSpec, options: CallOptions) -> None:
        self.spec = spec
        self.name = self.__name__ = self.__qualname__ = spec.name
        self._options = options
        self._wants_events = options.on_progress is not None or options.on_log is not None
        self._deprecated = deprecated_of(spec)
        # The first call warns of it, and takes the general way.
        warns = bool(self._deprecated) and self._deprecated != self._root()._warned_of  # noqa: SLF001 - of this class
        self._metadata: Mapping[str, str] = {**(options.default_metadata or {}), **(options.metadata or {})}
        is_observed = self._wants_events or warns or self._caller.middleware is not None
        self._is_plain = not (is_observed or self._metadata or options.idempotency_key)
        self._most_plain = min(MAX_PLAIN_BYTES, options.max_message_bytes - REQUEST_OVERHEAD)
        self._tool_id = spec.tool_id or spec.name
        own = options.timeout or spec.limits.timeout_ms / 1000
        self._timeout = own or options.call_timeout or CALL_TIMEOUT
        self._stream_timeout = own or options.stream_timeout or STREAM_TIMEOUT
        self._prepared_for = ""

    def _root(self) -> "AsyncGRPCProxyTool":
        """Returns the proxy from which this one was made with ``with_options``; itself if it was not."""
        root = self
        while root._parent is not None:
            root = root._parent
        return root

    def _prepare(self) -> None:
        """Encodes the part of the request that all calls in a session share."""
        session_id = self._session_id()
        timeout_ms = to_milliseconds(self._timeout, self.name)
        self._head, self._tail = request_head(session_id, self._tool_id), request_tail(timeout_ms)
        self._prepared_for = session_id

    def __repr__(self) -> str:
        try:
            signature = str(self.__signature__)
        except ValueError:
            # A peer's spec may have names or defaults that no Python signature can have.
            signature = ""
        deprecated = f", deprecated: {self._deprecated}" if self._deprecated else ""
        return f"<{type(self).__name__} {self.name}{signature}{deprecated}>"

    def _repr_html_(self) -> str:
        """Shows the tool and its arguments in a notebook."""
        from grpc_tool_bridge.client.html_tables import tool_page  # noqa: PLC0415 - only notebooks need it

        return tool_page(self.spec)

    def _stream(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, most: int | None = None
    ) -> AsyncGenerator[Any, None]:
        """Iterates over what the tool yields; raises once the values together take more than ``most`` bytes."""
        if self._caller.middleware is None:
            return self._send_stream(args, kwargs, most=most)
        call = self._tool_call(args, kwargs, self._stream_timeout, kind="stream", most=most)
        return stream_through(self._caller.middleware, call)

    async def _send_stream(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        most: int | None = None,
        call: ToolCall | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Makes a stream; ``call`` is what middleware has made of it."""
        timeout, max_nodes = self._stream_timeout, self._options.max_message_nodes
        request = ToolStreamRequest(
            session_id=self._session_id(), tool_id=self._tool_id, timeout_ms=to_milliseconds(timeout, self.name)
        )
        request.config.include_events = self._wants_events
        if call is not None:
            request.stream_id = call.request_id
        packed = await outside_loop(lambda: pack_arguments(args, kwargs, self._get_name, self.spec))
        await self._check_nodes(packed)
        self._fill(request, packed, size_of_arguments(packed), self._metadata if call is None else call.metadata)
        chunks = ChunkReader(self.name, on_progress=self._options.on_progress, on_log=self._options.on_log, most=most)
        received = self._caller.stream("StreamTool", request, timeout=timeout, tool=self.name)
        try:
            async with aclosing(received):
                async for chunk in received:
                    value = chunks.value_of(chunk)
                    if value is not None:
                        if len(value.value) > SLOW_BYTES:
                            yield await read_value(value, max_nodes=max_nodes)
                        else:
                            yield deserialize_value(value, max_nodes=max_nodes)
                    elif chunks.is_complete:
                        return
        except ToolExecutionError as error:
            self._explain(error)
            raise
        raise ProtocolError(f"the stream of {self.name} ended without 'complete' or 'error'")

    def _session_id(self) -> str:
        session_id = self._context.session_id
        if not session_id:
            raise ProtocolError(f"{self.name} was called before there is a session; await initialize() first")
        return session_id

    def _get_name(self) -> str:
        return self.name

    def _fill(
        self,
        request: ToolCallRequest | ToolStreamRequest,
        packed: PackedArguments,
        size: int,
        metadata: Mapping[str, str],
    ) -> None:
        """Fills in the request and checks its size; ``size`` is the size of the arguments."""
        put_arguments(request, packed)
        size += REQUEST_OVERHEAD
        if metadata:
            request.context.update(metadata)
            size += request.ByteSize()
        if self._options.idempotency_key:
            if isinstance(request, ToolStreamRequest):
                raise ValidationError(
                    f"{self.name}: a stream does not take an idempotency key; use one for calls of a tool that "
                    "returns, without on_progress and on_log"
                )
            request.idempotency_key = self._options.idempotency_key
        if size > self._options.max_message_bytes:
            # Only near the limit: the exact size costs as much as encoding the request.
            self._check_size(request.ByteSize())

    async def _filled_large(
        self, head: ToolCallRequest, packed: PackedArguments, size: int, metadata: Mapping[str, str]
    ) -> ToolCallRequest | LargeToolCall:
        """Does what ``_fill`` does for large arguments; they are not copied if the stub can do without."""
        # Each step may take milliseconds; let other tasks run in between.
        await asyncio.sleep(0)
        await self._check_nodes(packed)
        if not self._caller.takes_large_calls("ExecuteTool"):
            self._fill(head, packed, size, metadata)
            await asyncio.sleep(0)
            return head
        self._fill(head, _NO_ARGUMENTS, 0, metadata)
        request = large_call(head, packed)
        self._check_size(request.ByteSize())
        return request

    def _check_size(self, size: int) -> None:
        if size > self._options.max_message_bytes:
            what = f"the call of {self.name}"
            raise self._refused(MessageTooLargeError.of(what, size, self._options.max_message_bytes))

    async def _check_nodes(self, packed: PackedArguments) -> None:
        try:
            await check_nodes(packed, f"the call of {self.name}", self.spec, self._options.max_message_nodes)
        except MessageTooLargeError as refusal:
            raise self._refused(refusal) from None

    def _refused(self, refusal: MessageTooLargeError) -> ToolExecutionError:
        details = {**refusal.details, "origin": "bridge"}
        return ToolExecutionError(self.name, refusal.error_type, refusal.message, details)


def _explained(of_class: str | None) -> InstanceDocstring[AsyncGRPCProxyTool]:
    return InstanceDocstring(of_class, lambda proxy: docstring_of(proxy.spec))


AsyncGRPCProxyTool.__doc__ = _explained(AsyncGRPCProxyTool.__doc__)  # type: ignore[assignment]  # as for its subclasses


class StreamingGRPCProxyTool(AsyncGRPCProxyTool):
    """A tool that yields. ``tool.stream(…)`` iterates over its values; ``await tool(…)`` returns them as a list."""

    async def __call__(self, /, *args: Any, **kwargs: Any) -> list[Any]:
        """Runs the stream to its end and returns its values as a list, which must fit into a message.

        Raises:
            MessageTooLargeError: The values do not fit; the stream has been ended.
        """
        if self._deprecated:
            self._warn()
        return [value async for value in self._stream(args, kwargs, most=self._options.max_message_bytes)]


def change_proxy(proxy: AsyncGRPCProxyTool, spec: ToolSpec, options: CallOptions) -> None:
    """Updates a proxy, and those that ``with_options`` made from it, to the tool's current spec.

    Args:
        proxy: The proxy.
        spec: The new spec; the tool may have come back after it was removed.
        options: How calls are made, unless ``with_options`` said otherwise.
    """
    proxy._change(spec, options)  # noqa: SLF001 - of this module; not for callers of the tool


def mark_removed(proxy: AsyncGRPCProxyTool) -> None:
    """Makes errors of later calls, which still go to the hub, say that the tool was removed."""
    proxy._mark_removed()  # noqa: SLF001 - of this module; not for callers of the tool


async def call_in_batch(
    proxy: AsyncGRPCProxyTool, args: Sequence[Any], kwargs: Mapping[str, Any], timeout: float
) -> Any:
    """Makes an item of a batch as a call of its own, within ``timeout`` seconds."""
    return await proxy._call_in_batch(args, kwargs, timeout)  # noqa: SLF001 - of this module; not for callers of the tool


def explain_error(proxy: AsyncGRPCProxyTool, error: ToolBridgeError) -> None:
    """Adds to the hub's refusal of a call how the tool has changed since its proxy was made."""
    proxy._explain(error)  # noqa: SLF001 - of this module; not for callers of the tool


def warn_of_deprecation(proxy: AsyncGRPCProxyTool) -> None:
    """Warns if the tool is deprecated, once for all proxies that ``with_options`` made of one."""
    if proxy._deprecated:  # noqa: SLF001 - of this module; not for callers of the tool
        proxy._warn()  # noqa: SLF001 - as above


def with_fresh_key(proxy: AsyncGRPCProxyTool) -> AsyncGRPCProxyTool:
    """Returns the same tool with a generated idempotency key; itself if it has a key, or does not take one."""
    takes_none = isinstance(proxy, StreamingGRPCProxyTool) or proxy._wants_events  # noqa: SLF001 - of this module
    if takes_none or proxy._options.idempotency_key:  # noqa: SLF001 - of this module
        return proxy
    return proxy.with_options(idempotency_key=uuid.uuid4().hex)


def make_proxy(spec: ToolSpec, context: CallContext | Caller, options: CallOptions) -> AsyncGRPCProxyTool:
    """Returns a proxy for a tool: a streaming one if the tool yields."""
    return _kind_of(spec)(spec, context, options=options)


def _kind_of(spec: ToolSpec) -> type[AsyncGRPCProxyTool]:
    return StreamingGRPCProxyTool if spec.type == ToolType.STREAMING else AsyncGRPCProxyTool
