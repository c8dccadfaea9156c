"""Decides which traces are recorded, before anything is made for them."""

import logging
import os
from collections.abc import Mapping, Sequence
from random import random
from typing import Any

from opentelemetry.context import Context, get_value, set_value
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.span import TraceState

from grpc_tool_bridge.rpc.tracing import TraceContext

_PARENT_BASED = "parentbased_"
_DEFAULT = f"{_PARENT_BASED}always_on"
_RATIOS = {"always_on": 1.0, "always_off": 0.0}
_DRAWN = "tool-bridge-drawn"

# The context in which a span begins a trace that was drawn.
ROOT: Context = set_value(_DRAWN, True, Context())

_log = logging.getLogger(__name__)


class Sampling:
    """What OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say.

    Attributes:
        ratio: The part of the traces begun here that are recorded, from 0 to 1.
        honours_parent: Whether a request is recorded if, and only if, its sender records it.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or _DEFAULT
        kind = name.removeprefix(_PARENT_BASED)
        self.honours_parent = name.startswith(_PARENT_BASED)
        if kind == "traceidratio":
            self.ratio = _ratio(environ.get("OTEL_TRACES_SAMPLER_ARG", ""))
        elif kind in _RATIOS:
            self.ratio = _RATIOS[kind]
        else:
            _log.warning("OTEL_TRACES_SAMPLER=%.100r is not known here; every trace is recorded", name)
            self.ratio, self.honours_parent = 1.0, True

    def sampler(self) -> Sampler:
        """Returns a sampler of the SDK that decides so."""
        of_roots = TraceIdRatioBased(self.ratio)
        return ParentBased(of_roots) if self.honours_parent else of_roots

    def draws(self) -> bool:
        """Decides whether a trace that begins here is recorded."""
        return random() < self.ratio  # noqa: S311 - not for security

    def takes(self, trace: TraceContext) -> bool:
        """Decides whether a request is recorded that belongs to a trace."""
        return is_sampled(trace) if self.honours_parent else self.draws()


class DrawnSampler(Sampler):
    """Records what ``Sampling`` has drawn, and of all else what another sampler says.

    Args:
        other: Decides on the spans of users' own code.
    """

    def __init__(self, other: Sampler) -> None:
        self._other = other

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See ``Sampler``."""
        if parent_context is not None and get_value(_DRAWN, parent_context):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._other.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """See ``Sampler``."""
        return f"DrawnSampler{{{self._other.get_description()}}}"


def is_sampled(trace: TraceContext) -> bool:
    """Returns whether the sender of a request records its trace."""
    flags = trace.traceparent.split("-")[3:4]
    try:
        return bool(flags) and bool(int(flags[0], 16) & 1)
    except ValueError:
        return False


def _ratio(text: str) -> float:
    try:
        ratio = float(text or 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        _log.warning("OTEL_TRACES_SAMPLER_ARG=%.100r is no number from 0 to 1; every trace is recorded", text)
        return 1.0
    return ratio
