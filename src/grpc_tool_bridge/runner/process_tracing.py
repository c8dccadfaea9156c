"""The trace of a call, in a process that runs its tool."""

from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from grpc_tool_bridge.rpc.tracing import TRACEPARENT, TRACESTATE, process, trace_of

# In the metadata of a call to a process: the module whose ``start`` begins to trace there.
_MODULE = "tracing"
TRACE_KEYS = (TRACEPARENT, TRACESTATE, _MODULE)


def put_trace(metadata: MutableMapping[str, str]) -> None:
    """Adds to the metadata of a call what makes the spans of its tool children of the current span."""
    tracing = process.tracing
    if tracing is not None and (headers := tracing.headers()):
        metadata.update(headers)
        metadata[_MODULE] = tracing.module_of_processes


def traced(metadata: Mapping[str, str]) -> AbstractContextManager[None]:
    """Makes the span that a call's metadata names current; begins to trace for the first one."""
    trace = trace_of(metadata)
    if trace is None:
        return nullcontext()
    if process.tracing is None:
        import_module(metadata[_MODULE]).start()
    tracing = process.tracing
    return nullcontext() if tracing is None else tracing.received(trace)
