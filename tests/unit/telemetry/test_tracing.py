from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.tracing import UNSAMPLED, TraceContext, is_trace_only, trace_of
from grpc_tool_bridge.telemetry.recorded import RecordedSpan, RecordingTracer
from grpc_tool_bridge.telemetry.sampling import Sampling
from grpc_tool_bridge.telemetry.tracing import OtelTracing

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.fixture
def ended() -> list[RecordedSpan]:
    return []


def tracing_of(ended: list[RecordedSpan], ratio: float = 1) -> OtelTracing:
    environ = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(ratio)}
    return OtelTracing(RecordingTracer(ended.append), Sampling(environ))


def call_of(name: str = "add", **more: Any) -> Any:
    facts = {"parent": None, "trace": None, "run_id": "", "worker": None, "identify": lambda: "r1", **more}
    return SimpleNamespace(session=SimpleNamespace(id="s"), tool=SimpleNamespace(name=name), **facts)


def context_of(traceparent: str = "", *, peer_samples: bool | None = None) -> RequestContext:
    peer = None if peer_samples is None else SimpleNamespace(peer_samples=peer_samples)
    context = RequestContext(peer=peer)
    context.system = "tool_bridge"
    if traceparent:
        context.trace = TraceContext(traceparent)
    return context


def test_a_request_is_a_child_of_its_traceparent(ended: list[RecordedSpan]) -> None:
    tracing, call = tracing_of(ended, 0), call_of()
    tracing.begin(call, context_of(f"00-{IDS}-01"))
    tracing.end(call, ok=True, duration_us=1, outcome=None)
    (span,) = ended
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" == IDS
    assert span.attributes["tool_bridge.request.id"] == "r1"


@pytest.mark.parametrize("traceparent", ["00-zz-01", f"ff-{IDS}-01", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_traceparent_that_is_none_begins_a_trace(ended: list[RecordedSpan], traceparent: str) -> None:
    tracing, call = tracing_of(ended), call_of()
    context = context_of()
    context.trace = TraceContext(traceparent)
    tracing.begin(call, context)
    if call.trace is not None:
        tracing.end(call, ok=True, duration_us=1, outcome=None)
        assert ended[0].parent is None


def test_a_peer_that_decides_is_asked_by_no_chance(ended: list[RecordedSpan]) -> None:
    tracing = tracing_of(ended)
    assert not tracing.follows(context_of(peer_samples=True))
    assert tracing.follows(context_of(peer_samples=False))


def test_what_was_decided_stays(ended: list[RecordedSpan]) -> None:
    never, context = tracing_of(ended, 0), context_of(peer_samples=False)
    assert not never.follows(context)
    assert context.trace is UNSAMPLED
    always, call = tracing_of(ended), call_of()
    assert not always.follows(context)
    always.begin(call, context)
    assert call.trace is None


def test_a_call_of_a_tool_that_is_not_traced_is_not_either(ended: list[RecordedSpan]) -> None:
    tracing, call = tracing_of(ended), call_of()
    tracing.begin(call, RequestContext(parent=call_of()))
    assert call.trace is None


def test_an_error_has_its_type_and_no_text(ended: list[RecordedSpan]) -> None:
    tracing, call = tracing_of(ended), call_of()
    tracing.begin(call, context_of(peer_samples=False))
    tracing.end(call, ok=False, duration_us=1, outcome=RuntimeError("secret"))
    assert ended[0].attributes["error.type"] == "InternalError"
    assert "secret" not in repr(vars(ended[0]))


def test_metadata_names_a_trace() -> None:
    assert trace_of({}) is None
    assert trace_of({"traceparent": "short"}) is None
    found = trace_of({"traceparent": f"00-{IDS}-01", "tracestate": "a=b" * 400})
    assert found == TraceContext(f"00-{IDS}-01", "")
    assert is_trace_only({"traceparent", "tracestate"})
    assert not is_trace_only({"traceparent", "other"})
