"""The spans of the bridge, as OpenTelemetry has them."""

from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from grpc_tool_bridge.rpc.tracing import TRACEPARENT, TRACESTATE, error_type_of
from grpc_tool_bridge.runner.error_formatter import FormattedError, ToolRaised
from grpc_tool_bridge.telemetry.conventions import ERROR_TYPE, EXECUTOR, OPERATION, TOOL_NAME, TOOL_TYPE
from grpc_tool_bridge.telemetry.recorded import Starter
from grpc_tool_bridge.telemetry.sampling import ROOT

T = TypeVar("T")


class OtelSpan:
    """A span that is recorded; see ``Span``.

    Args:
        span: As OpenTelemetry has it.
        starter: Starts its children.

    Attributes:
        span: As given.
    """

    __slots__ = ("_starter", "_token", "_waiting", "span")

    def __init__(self, span: trace.Span, starter: Starter) -> None:
        self.span = span
        self._starter = starter
        self._token: Any = None
        self._waiting: trace.Span | None = None

    @property
    def context(self) -> Context:
        """The context in which it is current. What is below a span that is recorded, is recorded."""
        return trace.set_span_in_context(self.span, ROOT)

    @property
    def headers(self) -> Mapping[str, str]:
        """See ``Span``."""
        return headers_of(self.span.get_span_context())

    @property
    def ids(self) -> tuple[str, str]:
        """See ``Span``."""
        return ids_of(self.span)

    @contextmanager
    def use(self) -> Iterator[None]:
        """See ``Span``."""
        token = attach(self.context)
        try:
            yield
        finally:
            detach(token)

    def add(self, attributes: Mapping[str, Any]) -> None:
        """See ``Span``."""
        self.span.set_attributes(attributes)

    def end(self, error_type: str = "") -> None:
        """See ``Span``."""
        if error_type:
            self.span.set_attribute(ERROR_TYPE, error_type)
            self.span.set_status(Status(StatusCode.ERROR))
        self.waited()
        self.span.end()

    def __enter__(self) -> Self:
        self._token = attach(self.context)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        detach(self._token)
        self.end("" if error is None else _type_of(error))

    # ------------------------------------------------------------------------------------------------- of a call

    def waits(self) -> None:
        """See ``CallSpan``."""
        if self._waiting is None:
            self._waiting = self._starter.start("queue", SpanKind.INTERNAL, self.span.get_span_context(), {})

    def waited(self) -> None:
        """See ``CallSpan``."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.end()

    async def around(self, call: Any, running: Awaitable[T]) -> T:
        """See ``CallSpan``."""
        with self._tool(call):
            return await running

    async def around_stream(self, call: Any, values: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """See ``CallSpan``."""
        span, failed = self._tool(call), ""
        try:
            while True:
                # Current only while the tool runs: between its values, the reader does.
                with span.use():
                    try:
                        value = await values.__anext__()
                    except StopAsyncIteration:
                        return
                yield value
        except GeneratorExit:
            raise
        except BaseException as error:
            failed = _type_of(error)
            raise
        finally:
            span.end(failed)
            with span.use():
                await values.aclose()

    def _tool(self, call: Any) -> "OtelSpan":
        name, tool = call.tool.name, call.tool.tool
        attributes: dict[str, Any] = {OPERATION: "execute_tool", TOOL_NAME: name, TOOL_TYPE: "function"}
        if tool is not None:
            attributes[EXECUTOR] = tool.executor
        parent = self.span.get_span_context()
        span = self._starter.start(f"execute_tool {name}", SpanKind.INTERNAL, parent, attributes)
        return OtelSpan(span, self._starter)


def headers_of(known: SpanContext) -> dict[str, str]:
    """Returns what makes a request the child of a span with this context."""
    headers = {TRACEPARENT: f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"}
    if known.trace_state:
        headers[TRACESTATE] = known.trace_state.to_header()
    return headers


def ids_of(span: trace.Span) -> tuple[str, str]:
    """Returns the ids of a trace and of a span, in hex."""
    known = span.get_span_context()
    return f"{known.trace_id:032x}", f"{known.span_id:016x}"


def _type_of(error: BaseException) -> str:
    """Returns the type of what a tool has raised, here or in a thread or process of its own."""
    while isinstance(error, ToolRaised):
        error = error.error
    return error.info.type if isinstance(error, FormattedError) else error_type_of(error)
