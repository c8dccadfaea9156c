"""A tool of the hub as an awaitable function."""

import asyncio
import dataclasses
import inspect
import math
import uuid
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self, TypeVar

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from grpc_tool_bridge.aio.loops import LoopStream
from grpc_tool_bridge.aio.portal import AsyncApi
from grpc_tool_bridge.aio.timeouts import ExpiredError, TimeLimit, was_cancelled, within
from grpc_tool_bridge.client.arguments import (
    REQUEST_OVERHEAD,
    PackedArguments,
    check_nodes,
    pack_arguments,
    put_arguments,
    size_of_arguments,
)
from grpc_tool_bridge.config import CALL_TIMEOUT, MAX_MESSAGE_BYTES, MAX_MESSAGE_NODES, STREAM_TIMEOUT
from grpc_tool_bridge.config.argument_checks import (
    check_plain_callable,
    check_text,
    check_texts_by_name,
    check_timeout,
    refuse_plain,
)
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ProtocolError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ValidationError,
    error_from_info,
)
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ArgumentSpec,
    LogRecord,
    Progress,
    ToolCallRequest,
    ToolSpec,
    ToolStreamRequest,
    ToolType,
)
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES, is_slow
from grpc_tool_bridge.transport.status import CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RpcError, from_rpc_error
from grpc_tool_bridge.transport.stubs import close_stream
from grpc_tool_bridge.values.foreign import ForeignCodeError
from grpc_tool_bridge.values.offload import outside_loop, read_value
from grpc_tool_bridge.values.serialization import deserialize_value

E = TypeVar("E", Progress, LogRecord)

# The time-out travels in the request; the client itself waits a little longer, so that it is the hub that answers.
CLIENT_SLACK = 1.0

# Encoding a call beyond this takes so long that small calls of the same program would notice.
LARGE_BYTES = 256 * 1024

# In the text of an error, a signature is cut to so many characters.
MAX_SIGNATURE_CHARS = 300


# What ``with_options`` takes.
_OPTIONS = ("timeout", "idempotency_key", "metadata", "on_progress", "on_log")


class CallContext(Protocol):
    """What a proxy needs of its session."""

    @property
    def session_id(self) -> str | None:
        """The session that calls belong to."""

    @property
    def stub(self) -> Any:
        """An object with the methods of the generated stub."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How calls are made.

    Attributes:
        timeout: Seconds for each try; None: the tool's limit, else the default below.
        call_timeout: Seconds for a call of a tool that sets no limit; None: 30.
        stream_timeout: Seconds for a stream of a tool that sets no limit; None: 300.
        metadata: Sent to the tool as it is.
        idempotency_key: Calls of this key and the same arguments run once in a session; empty: each call runs.
        on_progress, on_log: Called with each event that the tool sends; with one of them set, a call goes as a stream.
        max_message_bytes: Payload of one request.
        max_message_nodes: Elements, keys, texts and numbers of one message, counted before they are read.
        where: The hub's address, for the text where nobody answers.
    """

    timeout: float | None = None
    call_timeout: float | None = None
    stream_timeout: float | None = None
    metadata: Mapping[str, str] | None = None
    idempotency_key: str = ""
    on_progress: Callable[[Progress], None] | None = None
    on_log: Callable[[LogRecord], None] | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_message_nodes: int = MAX_MESSAGE_NODES
    where: str = ""

    @property
    def wants_events(self) -> bool:
        """Whether somebody listens to progress or log."""
        return self.on_progress is not None or self.on_log is not None


_DEFAULTS = CallOptions()


class AsyncGRPCProxyTool(AsyncApi):
    """A tool of the hub. ``await tool(…)`` calls it; ``tool.stream(…)`` iterates over what it yields.

    It has the tool's ``__name__``, ``__doc__`` and signature. Where its client follows the session's tools, it stays
    the same object when the tool changes, also from one that returns into one that yields, when it is removed, and when
    it comes back.

    Args:
        tool_spec: The tool.
        session_context: Its session; only ``session_id`` and ``stub`` are used, when a call is made.
        options: How calls are made.

    Attributes:
        spec: The tool as it is now.

    Raises (every call):
        ToolExecutionError: The tool raised, or the hub refused the call.
        ToolTimeoutError: The call's time was over.
        ToolCommunicationError: Nobody answered.
        SerializationError: An argument cannot be represented.
        ProtocolError: The answer breaks the protocol.
    """

    def __init__(self, tool_spec: ToolSpec, session_context: CallContext, *, options: CallOptions = _DEFAULTS) -> None:
        refuse_plain("tool_spec", tool_spec, "a ToolSpec, such as that of another proxy")
        refuse_plain("session_context", session_context, "the session_context of a bridge or a client")
        self._context = session_context
        # What with_options made, which is told of changes; and in what it made: of which proxy, and what it was given.
        self._derived: weakref.WeakSet[AsyncGRPCProxyTool] | None = None
        self._parent: AsyncGRPCProxyTool | None = None
        self._given: Mapping[str, Any] = {}
        # The tool as it was when this proxy was made, where it has changed since.
        self._made_of: ToolSpec | None = None
        self._removed = False
        self._prepared_for = ""
        self._prepared = b""
        self._take(tool_spec, options)

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Calls the tool and returns its result."""
        options = self._options
        if options.wants_events:
            values = [value async for value in self._stream(args, kwargs)]
            if len(values) != 1:
                raise ProtocolError(f"{self.name} returns one value, but its stream had {len(values)}")
            return values[0]
        timeout = options.timeout or self._limit or options.call_timeout or CALL_TIMEOUT
        session_id = self._session_id()
        if session_id != self._prepared_for:
            prepared = ToolCallRequest(
                session_id=session_id, tool_id=self._tool_id, timeout_ms=to_milliseconds(timeout, self.name)
            )
            self._prepared_for, self._prepared = session_id, prepared.SerializeToString()
        # Read from bytes, what all calls have in common takes a third of the time.
        request = ToolCallRequest.FromString(self._prepared)
        try:
            packed = pack_arguments(args, kwargs, self._name_it, self.spec)
        except ForeignCodeError:
            packed = await outside_loop(lambda: pack_arguments(args, kwargs, self._name_it, self.spec))
        if size_of_arguments(packed) > LARGE_BYTES:
            # Each step takes milliseconds, and between them others have their turn.
            await asyncio.sleep(0)
            await self._check_nodes(packed)
            self._fill(request, packed)
            await asyncio.sleep(0)
        else:
            self._fill(request, packed)
        response = await self._answer(request, timeout)
        try:
            result = value_of(response, self.name)
            # Nearly every result is short, and to look is all that it has to pay.
            if len(result.value) > SLOW_BYTES and is_slow(result.type_url, result.value):
                return await read_value(result, max_nodes=options.max_message_nodes)
            return deserialize_value(result)
        except ToolExecutionError as error:
            self.explain(error)
            raise

    def stream(self, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Iterates over what the tool yields, each value as it is made; of a tool that returns, over its result."""
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
        """Returns the same tool with other settings; what is not given stays as it is.

        Args:
            timeout: Seconds for each try.
            idempotency_key: 1 to 256 printable characters. In a session, a call with the same key and the same
                arguments as one before does not run again: it gets the first one's answer. A stream takes none.
            metadata: Sent to the tool, which finds it in ``ToolContext.metadata``.
            on_progress: Called with each Progress that the tool sends.
            on_log: Called with each LogRecord that the tool sends.

        Raises:
            ValidationError: One of them cannot be; the text names it.
        """
        given = {
            "timeout": timeout,
            "idempotency_key": idempotency_key,
            "metadata": metadata,
            "on_progress": on_progress,
            "on_log": on_log,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        _check_options(self.name, changes)
        derived = type(self)(self.spec, self._context, options=dataclasses.replace(self._options, **changes))
        derived._parent, derived._given, derived._removed = self, changes, self._removed  # noqa: SLF001 - of this class
        if self._derived is None:
            self._derived = weakref.WeakSet()
        self._derived.add(derived)
        return derived

    def with_fresh_key(self) -> Self:
        """Returns the same tool with an idempotency key made up for it; itself where it has one or takes none."""
        if self._options.idempotency_key or self._options.wants_events:
            return self
        return self.with_options(idempotency_key=uuid.uuid4().hex)

    @property
    def __signature__(self) -> inspect.Signature:
        """The tool's signature, as ``inspect.signature`` reads it."""
        return _signature(self.spec)

    def change(self, spec: ToolSpec, options: CallOptions) -> None:
        """Makes this proxy, and those that ``with_options`` made of it, the proxies of the tool as it is now.

        Args:
            spec: The tool, which may have come back after it was removed.
            options: How calls are made, where ``with_options`` was not given something else.
        """
        self._removed = False
        if self.spec != spec:
            self._made_of = self._made_of or self.spec
            # Only so does what a caller holds stay right when a tool that returned begins to yield.
            self.__class__ = _kind_of(spec)
        self._take(spec, dataclasses.replace(options, **self._given))
        for derived in tuple(self._derived or ()):
            derived.change(spec, self._options)

    def mark_removed(self) -> None:
        """Lets the errors of further calls, which go to the hub as before, say that the tool was removed."""
        self._removed = True
        for derived in tuple(self._derived or ()):
            derived.mark_removed()

    def explain(self, error: ToolBridgeError) -> None:
        """Adds to the hub's refusal of a call what has become of the tool since this proxy was made."""
        if not isinstance(error, ToolExecutionError) or error.details.get("origin", "bridge") != "bridge":
            return
        if error.error_type == "ToolNotFound" and self._removed:
            _add(error, "it was removed from the session", "removed")
        elif error.error_type == "ValidationError" and (options := _options_in(error, self.spec)):
            error.message = f"{error.message}; for a call's own settings use with_options({options}=…)"
            error.args = (error.message,)
        elif error.error_type == "ValidationError" and self._made_of is not None:
            before, now = self._made_of, self.spec
            if list(before.arguments) != list(now.arguments):
                text = "the tool has changed since its proxy was made"
                was, is_now = _shown(before), _shown(now)
                _add(error, text if was == is_now else f"{text}: it was {was}, it is now {is_now}", "changed")

    def _take(self, spec: ToolSpec, options: CallOptions) -> None:
        self.spec = spec
        self.name = self.__name__ = self.__qualname__ = spec.name
        self.__doc__ = spec.description or None
        self._options = options
        self._tool_id = spec.tool_id or spec.name
        self._limit = spec.limits.timeout_ms / 1000 or None
        self._prepared_for = ""

    def __repr__(self) -> str:
        try:
            signature = str(self.__signature__)
        except ValueError:
            # The spec of a peer may have names or defaults that Python has no signature for.
            signature = ""
        return f"<{type(self).__name__} {self.name}{signature}>"

    async def _answer(self, request: ToolCallRequest, timeout: float) -> Any:
        try:
            return await within(self._context.stub.ExecuteTool(request), timeout + CLIENT_SLACK)
        except RpcError as error:
            failure = from_rpc_error(error, tool_name=self.name, where=self._options.where)
            self.explain(failure)
            raise failure from error
        except ExpiredError:
            raise no_answer(self.name, timeout) from None
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise bridge_closed(self.name) from None

    async def _stream(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, most: int | None = None
    ) -> AsyncGenerator[Any, None]:
        """Iterates over what the tool yields, until the values together take more than ``most`` bytes."""
        options = self._options
        timeout = options.timeout or self._limit or options.stream_timeout or STREAM_TIMEOUT
        request = ToolStreamRequest(
            session_id=self._session_id(), tool_id=self._tool_id, timeout_ms=to_milliseconds(timeout, self.name)
        )
        request.config.include_events = options.wants_events
        packed = await outside_loop(lambda: pack_arguments(args, kwargs, self._name_it, self.spec))
        await self._check_nodes(packed)
        self._fill(request, packed)
        limit = TimeLimit(timeout + CLIENT_SLACK)
        chunks = self._context.stub.StreamTool(request)
        expected = size = 0
        try:
            iterator = aiter(chunks)
            while True:
                try:
                    chunk = await limit.wait(anext(iterator))
                except ExpiredError:
                    raise no_answer(self.name, timeout) from None
                except StopAsyncIteration:
                    raise ProtocolError(f"the stream of {self.name} ended without 'complete' or 'error'") from None
                kind = self._check_chunk(chunk, expected)
                expected += 1
                if kind == "data":
                    size += len(chunk.data.value)
                    self._check_list(size, most)
                    yield await read_value(chunk.data, max_nodes=options.max_message_nodes)
                elif kind == "complete":
                    return
                elif kind == "error":
                    failure = error_from_info(chunk.error, self.name)
                    self.explain(failure)
                    raise failure
                else:
                    self._tell(chunk.metadata)
        except RpcError as error:
            failure = from_rpc_error(error, tool_name=self.name, where=options.where)
            self.explain(failure)
            raise failure from error
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise bridge_closed(self.name) from None
        finally:
            limit.close()
            await close_stream(chunks)

    def _check_list(self, size: int, most: int | None) -> None:
        if most is not None and size > most:
            raise MessageTooLargeError.of(f"the list of what {self.name} yields", size, most)

    def _check_chunk(self, chunk: Any, expected: int) -> str:
        if chunk.sequence != expected:
            raise ProtocolError(
                f"the stream of {self.name} has a gap: chunk {chunk.sequence} came where {expected} was due"
            )
        kind = chunk.WhichOneof("content")
        if kind is None:
            raise ProtocolError(f"chunk {expected} of the stream of {self.name} is empty")
        return str(kind)

    def _tell(self, metadata: Any) -> None:
        options = self._options
        if metadata.key == "progress" and options.on_progress is not None:
            options.on_progress(self._event(metadata, Progress()))
        elif metadata.key == "log" and options.on_log is not None:
            options.on_log(self._event(metadata, LogRecord()))

    def _event(self, metadata: Any, event: E) -> E:
        try:
            if metadata.value.Unpack(event):
                return event
        except DecodeError:
            pass
        raise ProtocolError(f"the stream of {self.name} has a {metadata.key!r} event that is none")

    def _session_id(self) -> str:
        session_id = self._context.session_id
        if not session_id:
            raise ProtocolError(f"{self.name} was called before there is a session; await initialize() first")
        return session_id

    def _name_it(self) -> str:
        return self.name

    def _fill(self, request: ToolCallRequest | ToolStreamRequest, packed: PackedArguments) -> None:
        """Fills the call in, and checks its size."""
        put_arguments(request, packed)
        size = size_of_arguments(packed) + REQUEST_OVERHEAD
        if self._options.metadata:
            request.context.update(self._options.metadata)
            size += request.ByteSize()
        if self._options.idempotency_key:
            if isinstance(request, ToolStreamRequest):
                raise ValidationError(
                    f"{self.name}: a stream takes no idempotency key; use one for calls of a tool that returns, "
                    "without on_progress and on_log"
                )
            request.idempotency_key = self._options.idempotency_key
        if size > self._options.max_message_bytes:
            # Only near the limit does it matter by how much: to find out, protobuf writes all of it.
            self._check_size(request.ByteSize())

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


class StreamingGRPCProxyTool(AsyncGRPCProxyTool):
    """A tool that yields. ``tool.stream(…)`` iterates over its values; ``await tool(…)`` gives the list of them."""

    async def __call__(self, /, *args: Any, **kwargs: Any) -> list[Any]:
        """Runs the stream to its end and returns the list of its values, which must fit into a message.

        Raises:
            MessageTooLargeError: They do not; the stream has been ended.
        """
        return [value async for value in self._stream(args, kwargs, most=self._options.max_message_bytes)]

    def with_fresh_key(self) -> Self:
        """Returns itself: a stream takes no idempotency key."""
        return self


class Tools(dict[str, AsyncGRPCProxyTool]):
    """A session's tools by name. The KeyError for a name that is not there says which are like it."""

    def __missing__(self, name: object) -> NoReturn:
        close = near_names(name, self) if isinstance(name, str) else []
        hint = f"did you mean {' or '.join(close)}?" if close else "list(bridge.tools) names those that it has"
        raise KeyError(f"the session has no tool {name!r:.100}; {hint}")


# How the tool's own language wants an argument, where not by position or name.
_KINDS = {
    "positional-only": inspect.Parameter.POSITIONAL_ONLY,
    "keyword-only": inspect.Parameter.KEYWORD_ONLY,
    "var-positional": inspect.Parameter.VAR_POSITIONAL,
    "var-keyword": inspect.Parameter.VAR_KEYWORD,
}


class _TypeName(str):
    """The name of a type, which a signature shows as the type itself would be shown: without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(spec: ToolSpec) -> inspect.Signature:
    parameters = [_parameter(argument) for argument in spec.arguments]
    # Python wants what has no default before what has one; by name, the order is free.
    defaults = False
    for index, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            defaults = defaults or parameter.default is not inspect.Parameter.empty
            if defaults and parameter.default is inspect.Parameter.empty:
                parameters[index] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    parameters.sort(key=lambda parameter: parameter.kind)
    result = _TypeName(spec.return_type.python_type) or inspect.Signature.empty
    return inspect.Signature(parameters, return_annotation=result)


def _shown(spec: ToolSpec) -> str:
    """Writes a tool as its name and arguments."""
    try:
        signature = str(_signature(spec).replace(return_annotation=inspect.Signature.empty))
    except ValueError:
        signature = "(…)"
    text = f"{spec.name}{signature}"
    return text if len(text) <= MAX_SIGNATURE_CHARS else f"{text[:MAX_SIGNATURE_CHARS]}…"


def _options_in(error: ToolExecutionError, spec: ToolSpec) -> str:
    """Names the settings of a call that were taken for arguments of the tool."""
    known = {argument.name for argument in spec.arguments}
    return "=…, ".join(name for name in _OPTIONS if name in error.details and name not in known)


def _check_options(name: str, changes: Mapping[str, Any]) -> None:
    """Refuses what ``with_options`` was given and cannot be."""
    if "timeout" in changes:
        to_milliseconds(changes["timeout"], name)
    if "idempotency_key" in changes:
        check_text("idempotency_key", changes["idempotency_key"], may_be_empty=True)
    if "metadata" in changes:
        check_texts_by_name("metadata", changes["metadata"])
    for event in ("on_progress", "on_log"):
        check_plain_callable(event, changes.get(event), f"what is called with each {event.removeprefix('on_')} event")


def _add(error: ToolExecutionError, text: str, detail: str) -> None:
    error.message = f"{error.message}; {text}"
    error.args = (error.message,)
    error.details[detail] = "true"


def _parameter(argument: ArgumentSpec) -> inspect.Parameter:
    rules = (rule for rule in argument.validation.custom_rules if rule in _KINDS)
    kind = _KINDS.get(next(rules, ""), inspect.Parameter.POSITIONAL_OR_KEYWORD)
    default: Any = inspect.Parameter.empty
    if kind not in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} and not argument.required:
        default = deserialize_value(argument.default_value) if argument.HasField("default_value") else None
    annotation = _TypeName(argument.python_type) or inspect.Parameter.empty
    return inspect.Parameter(argument.name, kind, default=default, annotation=annotation)


def make_proxy(spec: ToolSpec, context: CallContext, options: CallOptions) -> AsyncGRPCProxyTool:
    """Makes the proxy of the kind that the tool is."""
    return _kind_of(spec)(spec, context, options=options)


def _kind_of(spec: ToolSpec) -> type[AsyncGRPCProxyTool]:
    return StreamingGRPCProxyTool if spec.type == ToolType.STREAMING else AsyncGRPCProxyTool


def value_of(response: Any, tool_name: str) -> Any:
    """Gives the result in the answer to one call, as it came.

    Raises:
        ToolExecutionError: The answer is an error.
        ProtocolError: It is neither a result nor an error.
    """
    success = getattr(response, "success", None)
    if success is True:
        result = getattr(response, "result", None)
        if not isinstance(result, any_pb2.Any) or not result.type_url:
            raise ProtocolError(f"the answer to {tool_name} reports success, but has no result")
        return result
    if success is False:
        raise error_from_info(getattr(response, "error", None), tool_name)
    raise ProtocolError(f"the answer to {tool_name} says neither success nor failure (success is {success!r:.60})")


def no_answer(what: str, timeout: float) -> ToolBridgeError:
    """Makes the error for a call that the hub itself did not end in time."""
    text = (
        f"no answer within {timeout + CLIENT_SLACK:g} s: the time-out of {timeout:g} s, and {CLIENT_SLACK:g} s for the "
        "answer to come; whether it had begun is not known"
    )
    return ToolCommunicationError(what, DEADLINE_EXCEEDED, text)


def stream_ended(what: str) -> ToolBridgeError:
    """Makes the error for a stream whose event loop has ended before it."""
    text = "the event loop that the stream was read in has ended, and the stream with it; begin it anew"
    return ToolCommunicationError(what, UNAVAILABLE, text)


def bridge_closed(what: str) -> ToolBridgeError:
    """Makes the error for a call whose bridge was closed while it waited."""
    return ToolCommunicationError(what, CANCELLED, "the bridge was closed before the answer came")


def to_milliseconds(timeout: float, what: str) -> int:
    """Converts seconds for the wire, to at least 1 ms.

    Raises:
        ValidationError: The time-out is not above 0, or beyond what the wire carries (24 days).
    """
    check_timeout("the time-out", timeout, what=what)
    return math.ceil(timeout * 1000)
