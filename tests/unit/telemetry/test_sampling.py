import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision

from grpc_tool_bridge.rpc.tracing import TraceContext
from grpc_tool_bridge.telemetry.sampling import ROOT, DrawnSampler, Sampling, is_sampled

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.mark.parametrize(
    ("name", "arg", "ratio", "honours"),
    [
        ("", "", 1.0, True),
        ("always_on", "", 1.0, False),
        ("always_off", "", 0.0, False),
        ("parentbased_always_off", "", 0.0, True),
        ("traceidratio", "0.25", 0.25, False),
        ("parentbased_traceidratio", "0.01", 0.01, True),
        ("parentbased_traceidratio", "2", 1.0, True),
        ("parentbased_traceidratio", "x", 1.0, True),
        ("of another", "", 1.0, True),
    ],
)
def test_the_standard_variables_say_how_much_is_traced(name: str, arg: str, ratio: float, honours: bool) -> None:
    sampling = Sampling({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": arg})
    assert (sampling.ratio, sampling.honours_parent) == (ratio, honours)


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [(f"00-{IDS}-01", True), (f"00-{IDS}-00", False), (f"00-{IDS}-03", True), (f"cc-{IDS}-01-x", True), ("x", False)],
)
def test_a_parent_decides_for_what_follows_it(traceparent: str, sampled: bool) -> None:
    sent = TraceContext(traceparent)
    assert is_sampled(sent) is sampled
    assert Sampling({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}).takes(sent) is sampled
    assert not Sampling({"OTEL_TRACES_SAMPLER": "always_off"}).takes(sent)
    assert Sampling({"OTEL_TRACES_SAMPLER": "always_on"}).takes(sent)


def test_what_was_drawn_is_recorded_whatever_else_the_sampler_says() -> None:
    sampler = DrawnSampler(ALWAYS_OFF)
    assert sampler.should_sample(ROOT, 1, "x").decision is Decision.RECORD_AND_SAMPLE
    assert sampler.should_sample(None, 1, "x").decision is Decision.DROP
