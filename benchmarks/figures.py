"""The figures: what is measured, and what must be reached."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks import calls, resources, streams
from benchmarks.timing import Plan, Sample

Measure = Callable[[Plan], Awaitable[dict[str, Sample]]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: Short, for the command line and the JSON.
        title: What is compared with what.
        must: The least that will do.
        goal: What the project is for.
        measure: Measures it, perhaps together with others.
        unit: Of the value; empty for a ratio.
        more_is_better: Whether the limits are lower bounds.
    """

    name: str
    title: str
    must: float
    goal: float
    measure: Measure
    unit: str = ""
    more_is_better: bool = False

    def verdict(self, value: float) -> str:
        """Returns "goal", "must" or "missed"."""
        sign = -1 if self.more_is_better else 1
        if sign * value <= sign * self.goal:
            return "goal"
        return "must" if sign * value <= sign * self.must else "missed"


async def encoding(plan: Plan) -> dict[str, Sample]:
    """Encoding of containers and frames, against the standard library's JSON and Arrow."""
    from benchmarks.encoding import measure  # noqa: PLC0415 - pandas is loaded only where it is measured

    figures = measure(plan.rounds)
    return {"json": Sample([figures["nested / json"]]), "frame": Sample([figures["frame / arrow"]])}


FIGURES = (
    Figure("plain-rpc", "one at a time, plain RPC / bare grpc.aio unary, p50", 1.3, 1.15, calls.plain_rpc),
    Figure("in-process", "one at a time, in-process bridge / bare grpc.aio unary, p50", 0.1, 0.04, calls.in_process),
    Figure("batch", "50 calls in sequence / one batch of 50, time", 5, 15, calls.batch, more_is_better=True),
    Figure("stream", "64 KiB chunks / bare grpc.aio stream, MB/s", 0.8, 1, streams.chunk_stream, more_is_better=True),
    Figure("json", "1 MB of dicts and lists / json.dumps + loads, time", 1, 0.5, encoding),
    Figure("frame", "pandas frame of 1M x 8 / its Arrow IPC alone, time", 4, 2, encoding),
    Figure("session-memory", "hub's memory per idle session, of 10,000", 4, 2, resources.session_memory, unit="KiB"),
    Figure("growth", "growth of hub or client over 100,000 calls", 5, 0, resources.growth, unit="MB"),
    Figure(
        "scale",
        "calls/s with 1,000 tools and 10,000 sessions / with 1 and 1",
        0.9,
        1,
        resources.scale,
        more_is_better=True,
    ),
    Figure("idle-cpu", "processor time of an idle hub", 1, 0, resources.idle_hub, unit="%"),
)


def chosen(names: list[str]) -> list[Figure]:
    """Returns the figures of these names; all where there are none.

    Raises:
        ValueError: There is no figure of a name.
    """
    known = {figure.name: figure for figure in FIGURES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(FIGURES)
