"""Calls the methods of a gRPC service."""

import fnmatch
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from grpc_tool_bridge.adapters.grpc.aio_internals import keep_status
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig, is_metadata_name, is_metadata_text
from grpc_tool_bridge.adapters.grpc.failures import error_for, failure_of, unavailable
from grpc_tool_bridge.adapters.grpc.methods import Method
from grpc_tool_bridge.adapters.grpc.weights import MAX_VALUES
from grpc_tool_bridge.errors import ExternalToolError, MessageTooLargeError, SerializationError, ValidationError
from grpc_tool_bridge.rpc.tracing import process
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.values.offload import in_reader

_REQUEST_ID = "x-request-id"

# Larger responses are read, and larger arguments written, by a thread: they would hold up the event loop for 20 ms.
_LARGE_BYTES = 32 * 1024
_LARGE_VALUES = 4_000
_CONTAINERS = frozenset({list, tuple, dict})

Pairs = tuple[tuple[str, str | bytes], ...]
Run = Callable[[dict[str, Any], ToolContext], Awaitable[Any]]
Stream = Callable[[dict[str, Any], ToolContext], AsyncGenerator[Any, None]]


class Caller:
    """Makes the calls of one service.

    Args:
        config: The service.
        channel: The connection to it.
        why_away: Returns why it cannot be called now; empty if it can.
        on_doubt: Called when an answer shows that the service may have changed.
    """

    def __init__(
        self,
        config: ServiceConfig,
        channel: grpc.aio.Channel,
        why_away: Callable[[], str],
        on_doubt: Callable[[], None],
    ) -> None:
        self._config = config
        self._channel = channel
        self._why_away = why_away
        self._on_doubt = on_doubt
        self._same: Pairs = tuple(config.metadata.items())
        self._has_id = _REQUEST_ID in config.metadata

    def run_of(self, method: Method) -> Run:
        """Returns a function that calls a method that gives one response."""
        if method.takes_stream:
            call: Any = self._channel.stream_unary(method.path)
        else:
            call = self._channel.unary_unary(method.path)
        prepare, result = self._prepare(method), self._result

        async def run(arguments: dict[str, Any], context: ToolContext) -> Any:
            request = await in_reader(partial(prepare, arguments)) if is_large(arguments) else prepare(arguments)
            with self._span(method) as headers:
                metadata = (*self._metadata(method, context), *headers)
                called = call(request, timeout=self._timeout(context), metadata=metadata)
                if method.takes_stream:
                    keep_status(called)
                try:
                    data = await called
                except grpc.RpcError as error:
                    raise self._failure(error, method) from None
            return result(method, data) if len(data) < _LARGE_BYTES else await in_reader(partial(result, method, data))

        return run

    def stream_of(self, method: Method) -> Stream:
        """Returns a function that calls a method that gives a stream of responses."""
        if method.takes_stream:
            make: Any = self._channel.stream_stream(method.path)
        else:
            make = self._channel.unary_stream(method.path)
        prepare, result = self._prepare(method), self._result

        async def stream(arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
            request = await in_reader(partial(prepare, arguments)) if is_large(arguments) else prepare(arguments)
            metadata = (*self._metadata(method, context), *_headers_here())
            call = make(request, timeout=self._timeout(context), metadata=metadata)
            if method.takes_stream:
                keep_status(call)
            try:
                async for data in call:
                    is_small = len(data) < _LARGE_BYTES
                    yield result(method, data) if is_small else await in_reader(partial(result, method, data))
            except grpc.RpcError as error:
                raise self._failure(error, method) from None
            finally:
                # The service learns that nobody reads on; after its last response this does nothing.
                call.cancel()

        return stream

    @contextmanager
    def _span(self, method: Method) -> Iterator[Pairs]:
        """Runs a request within a span of its own, if it is traced; yields the metadata that says so."""
        span = None if process.tracing is None else process.tracing.called(method.path, self._config.address)
        if span is None:
            yield ()
            return
        with span:
            yield tuple(span.headers.items())

    def _prepare(self, method: Method) -> Callable[[dict[str, Any]], Any]:
        """Returns a function that makes what is sent of the arguments of a call."""
        return self._all_of(method) if method.takes_stream else self._one_of(method)

    def _one_of(self, method: Method) -> Callable[[dict[str, Any]], bytes]:
        why_away = self._why_away
        most = self._config.max_message_bytes

        def prepare(arguments: dict[str, Any]) -> bytes:
            if why := why_away():
                raise unavailable(method, self._config.name, why)
            try:
                data = method.serialize(method.write(arguments))
            except ValidationError as error:
                raise _invalid(error, method) from None
            if len(data) > most:
                raise self._too_large(method, "its request", len(data))
            return data

        return prepare

    def _all_of(self, method: Method) -> Callable[[dict[str, Any]], list[bytes]]:
        """All requests of a stream are checked before the first is sent."""

        def prepare(arguments: dict[str, Any]) -> list[bytes]:
            if why := self._why_away():
                raise unavailable(method, self._config.name, why)
            try:
                made = list(map(method.serialize, method.write_all(arguments)))
            except ValidationError as error:
                raise _invalid(error, method) from None
            for index, data in enumerate(made):
                if len(data) > self._config.max_message_bytes:
                    raise self._too_large(method, f"requests[{index}]", len(data))
            return made

        return prepare

    def _too_large(self, method: Method, what: str, size: int) -> ExternalToolError:
        told = MessageTooLargeError.of(what, size, self._config.max_message_bytes)
        return error_for(method, self._config.name, told.error_type, told.message, **told.details)

    def _timeout(self, context: ToolContext) -> float:
        left, most = context.time_left(), self._config.timeout
        return left if most is None or left < most else most

    def _metadata(self, method: Method, context: ToolContext) -> Pairs:
        pairs = self._same
        if self._config.forward and context.metadata:
            pairs = (*pairs, *self._forwarded(method, context))
        if self._has_id or not is_metadata_text(request_id := context.request_id):
            return pairs
        return (*pairs, (_REQUEST_ID, request_id))

    def _forwarded(self, method: Method, context: ToolContext) -> Iterator[tuple[str, str | bytes]]:
        """Returns what of the caller's metadata is sent; names that the settings give a value are not the caller's."""
        for given, value in context.metadata.items():
            name = given.lower()
            if name in self._config.metadata or name == _REQUEST_ID or not is_metadata_name(name):
                continue
            if not any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in self._config.forward):
                continue
            if name.endswith("-bin"):
                yield name, value.encode()
            elif is_metadata_text(value):
                yield name, value
            else:
                text = f"the metadata {name} is to be sent to the service, and must be printable ASCII for that"
                raise error_for(method, self._config.name, "ValidationError", text)

    def _result(self, method: Method, data: bytes) -> Any:
        try:
            if method.is_too_much(data):
                text = f"its response has over {MAX_VALUES:,} values, those of unset fields among them"
                raise error_for(method, self._config.name, "MessageTooLarge", text)
            message: Message = method.parse(data)
        except DecodeError as error:
            self._on_doubt()
            text = f"its response is no {method.descriptor.output_type.full_name}: {error}"
            raise error_for(method, self._config.name, "ProtocolError", text) from None
        if len(UnknownFieldSet(message)):
            self._on_doubt()
        try:
            return method.read(message)
        except SerializationError as error:
            raise error_for(method, self._config.name, "ProtocolError", f"its response: {error.message}") from None

    def _failure(self, error: grpc.RpcError, method: Method) -> ExternalToolError:
        failure = failure_of(error, method, self._config.name)
        if failure.error_type == "Unimplemented":
            self._on_doubt()
        return failure


def _headers_here() -> Pairs:
    """Returns the metadata that makes a request the child of the current span."""
    return () if process.tracing is None else tuple(process.tracing.headers().items())


def is_large(arguments: Mapping[str, Any]) -> bool:
    """Returns whether making a message of arguments may take too long for an event loop."""
    left = _LARGE_VALUES
    waiting: list[Any] = [arguments]
    while waiting:
        container = waiting.pop()
        left -= len(container)
        if left < 0:
            return True
        parts = container.values() if isinstance(container, Mapping) else container
        waiting.extend(part for part in parts if type(part) in _CONTAINERS)
    return False


def _invalid(error: ValidationError, method: Method) -> ExternalToolError:
    """Returns the error for arguments that make no request, as the bridge gives it for a tool of its own."""
    return ExternalToolError(method.tool, "ValidationError", error.message, {**error.details, "origin": "bridge"})
