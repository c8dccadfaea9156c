"""The figures: what is measured, and the targets."""

import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass

from benchmarks.hostile_peers import RATES
from benchmarks.timing import Plan, Sample

Measure = Callable[[Plan], Awaitable[dict[str, Sample]]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: Short, for the command line and the JSON.
        title: What is compared with what.
        measured_by: The function that measures it, perhaps with others, as ``module:function`` below ``benchmarks``;
            imported only in the process that measures.
        must: The required value; None if the figure only informs.
        goal: The value to aim for; None if there is only a requirement.
        unit: Unit of the value; empty for a ratio.
        more_is_better: Whether the limits are lower bounds.
    """

    name: str
    title: str
    measured_by: str
    must: float | None = None
    goal: float | None = None
    _: KW_ONLY
    unit: str = ""
    more_is_better: bool = False

    @property
    def measure(self) -> Measure:
        """Measures the figure and those that are measured with it; returns the samples by name."""
        function: Measure = pkgutil.resolve_name(f"benchmarks.{self.measured_by}")
        return function

    def verdict(self, value: float) -> str:
        """Returns "goal", "must" or "missed"; empty if the figure only informs."""
        if self.must is None:
            return ""
        if self.goal is not None and self._reaches(value, self.goal):
            return "goal"
        return "must" if self._reaches(value, self.must) else "missed"

    def _reaches(self, value: float, limit: float) -> bool:
        return value >= limit if self.more_is_better else value <= limit


def _more(name: str, title: str, measured_by: str, must: float, goal: float) -> Figure:
    return Figure(name, title, measured_by, must, goal, more_is_better=True)


def _times_faster(name: str, than: str, measured_by: str) -> Figure:
    return Figure(
        name, f"the link: times as fast as {than}", f"comparisons:{measured_by}", unit="x", more_is_better=True
    )


def _of_language(name: str, title: str) -> tuple[Figure, ...]:
    client, worker = f"other_languages:{name}_client", f"other_languages:{name}_worker"
    stream = f"64 KiB chunks, a worker in {title} / one in Python, MB/s"
    return (
        _more(f"{name}-100", f"100 at once from {title} / bare grpc.aio unary, calls/s", client, 3, 6),
        Figure(f"{name}-one", f"one at a time from {title} / bare grpc.aio unary, time", client, 1.0),
        Figure(f"{name}-worker", f"100 at once, a worker in {title} / one in Python", worker, 1, more_is_better=True),
        Figure(f"{name}-stream", stream, worker, 0.3, more_is_better=True),
    )


def _health(attack: str, title: str) -> Figure:
    return Figure(
        f"health-{attack}",
        f"p99 of another's health check: {title}",
        f"attacks:{attack.replace('-', '_')}",
        250,
        unit="ms",
    )


def _hostile(kind: str, rate: int) -> Figure:
    return Figure(
        f"hostile-{kind}",
        f"p99 of others' calls beside {rate:,} {kind.replace('-', ' ')} a second / without",
        f"hostile:{kind.replace('-', '_')}",
        3,
    )


FIGURES = (
    Figure("link-one", "one at a time, same machine / bare grpc.aio unary, p50", "calls:link_one", 0.45, 0.3),
    Figure("echo-one", "one at a time, same machine / a bare asyncio TCP echo, p50", "comparisons:echo", 3.5, 2.5),
    Figure("nats-one", "one at a time, same machine / NATS request and reply, p50", "comparisons:nats", 0.8, 0.6),
    _more("link-100", "100 at once, same machine / bare grpc.aio unary, calls/s", "crowds:hundred", 8, 15),
    _more("link-1000", "1,000 at once, same machine / bare grpc.aio unary, calls/s", "crowds:thousand", 9, 18),
    _more("nats-100", "100 at once, same machine / NATS request and reply, calls/s", "comparisons:nats", 1.2, 2),
    _more("grpc-link-100", "100 at once over gRPC / bare grpc.aio unary, calls/s", "crowds:grpc_hundred", 6, 10),
    _more("audit-100", "100 at once, with an audit trail / without, calls/s", "auditing:hundred", 0.93, 0.97),
    Figure(
        "trust-100",
        "100 at once, with tokens, 1,000 rules, quotas and an audit trail / without, calls/s",
        "trusting:hundred",
        0.85,
        0.9,
        more_is_better=True,
    ),
    Figure("audit-line", "a line of an audit trail, in the loop and in its thread", "auditing:line", 5_000, unit="ns"),
    Figure("plain-rpc", "one at a time, plain RPC / bare grpc.aio unary, p50", "calls:plain_rpc", 1.3, 1.15),
    Figure("in-process", "one at a time, in-process / bare grpc.aio unary, p50", "calls:in_process", 0.04, 0.02),
    _more("link-mcp", "100 at once over the link / MCP SDK over HTTP, calls/s", "comparisons:mcp_http", 20, 40),
    _more("mcp-http", "MCP over HTTP, 50 at once / the MCP SDK's own server, calls/s", "serving_mcp:over_http", 1, 2),
    _more("mcp-http-2025", "MCP of 2025 over HTTP / the MCP SDK's own server, calls/s", "serving_mcp:over_http", 1, 2),
    _more(
        "mcp-stdio", "MCP over stdio, 50 at once / the MCP SDK's own server, calls/s", "serving_mcp:over_stdio", 1, 2
    ),
    _more(
        "mcp-stdio-2025",
        "MCP of 2025 over stdio, 50 at once / the MCP SDK's own server, calls/s",
        "serving_mcp:over_stdio",
        1,
        2,
    ),
    Figure("mcp-in", "an MCP server's tool, hub in another process / the MCP SDK, p50", "serving_mcp:taken_in", 1.3),
    Figure("services-one", "a gRPC service's method as a tool / its stub, p50", "services:calls", 2, 1.6),
    _more("services-100", "100 at once, a gRPC service's method / its stub, calls/s", "services:calls", 0.6, 0.8),
    Figure("services-import", "a hub takes in a service with 500 methods", "services:importing", 1, 0.5, unit="s"),
    _more("link-stream", "64 KiB chunks, same machine / bare stream, MB/s", "streams:chunk_stream", 2, 4),
    _more("plain-stream", "64 KiB chunks, plain RPC / bare stream, MB/s", "streams:chunk_stream", 0.8, 1),
    Figure(
        "http-50",
        "POST, 50 at once / a bare route of Starlette, calls/s",
        "gateway:calls",
        0.5,
        0.8,
        more_is_better=True,
    ),
    Figure(
        "http-events",
        "small server-sent events / a bare stream of them, events/s",
        "gateway:events",
        0.5,
        more_is_better=True,
    ),
    Figure("http-readers", "hub's memory for 1,000 idle readers of events", "gateway:readers", 40, unit="MB"),
    Figure(
        "dashboard-cpu",
        "hub's processor time for a call at 2,000/s, watched over HTTP / not watched",
        "dashboard:cpu",
        1.05,
        1.02,
    ),
    Figure(
        "dashboard-load",
        "first tool of 1,000 in the dashboard, after it was asked for",
        "dashboard_page:load",
        1,
        0.5,
        unit="s",
    ),
    Figure(
        "dashboard-scroll",
        "least frames/s while its list of calls scrolls, at 2,000 calls/s",
        "dashboard_page:scroll",
        30,
        50,
        unit="/s",
        more_is_better=True,
    ),
    _more("worker-100", "100 at once, a worker's tool / bare grpc.aio unary, calls/s", "crowds:worker_hundred", 4.5, 8),
    Figure("worker-one", "one at a time, a worker's tool / bare grpc.aio unary, p50", "calls:worker_one", 0.8, 0.6),
    _more("worker-nats", "100 at once, a worker's tool / NATS, calls/s", "comparisons:nats", 0.8, 1.3),
    _more("worker-stream", "64 KiB chunks, a worker's tool / bare stream, MB/s", "streams:worker_stream", 0.5, 0.8),
    Figure("worker-scale", "calls/s of a busy tool, 2 workers / 1", "crowds:worker_scale", 1.7, more_is_better=True),
    _more("batch", "50 calls in sequence / one batch of 50, over the link, time", "calls:batch", 5, 15),
    _more("plain-batch", "50 calls in sequence / one batch of 50, plain RPC, time", "calls:batch", 5, 15),
    Figure("link-p99", "p99 of 100 at once while 9 MB payloads cross / without", "crowds:tail", 4, 2),
    Figure("large-argument", "9 MB there and its size back / a copy into fresh memory, time", "large:argument", 10, 6),
    Figure("json", "1 MB of dicts and lists / json.dumps + loads, time", "encoding:encoding", 0.6, 0.3),
    Figure("frame", "pandas frame of 1M x 8 / its Arrow IPC alone, time", "encoding:encoding", 4, 2),
    Figure("agent-50", "50 agents at once over the link / dspy.ReAct by itself, time", "agents:agents", 1.5, 1),
    Figure("agent-one", "one agent at a time over the link / dspy.ReAct by itself, time", "agents:agents", 2, 1.2),
    Figure("search", "p99 of a search among 10,000 tools", "searching:search", 10, 5, unit="ms"),
    _more("scale", "calls/s with 1,000 tools, 10,000 sessions / with 1 and 1", "crowds:scale", 0.9, 1),
    Figure("session-memory", "hub's memory per idle session, of 10,000", "resources:session_memory", 4, 2, unit="KiB"),
    Figure(
        "durable-write",
        "a durable variable, one at a time, less the same in memory / one commit of sqlite3, p50",
        "durable:writes",
        1.3,
    ),
    _more("durable-writes-100", "durable variables/s, 100 at once / commits/s of sqlite3", "durable:writes", 5, 20),
    Figure(
        "durable-call",
        "calls/s without a key, 100 at once, at a hub with a store / without",
        "durable:call",
        0.95,
        more_is_better=True,
    ),
    Figure(
        "durable-restart", "a hub serves again with 10,000 sessions, 100,000 variables", "durable:restart", 3, unit="s"
    ),
    Figure(
        "otel-100",
        "calls/s, 100 at once, 1 % of them traced at both ends / none",
        "tracing:hundred",
        0.9,
        more_is_better=True,
    ),
    Figure("durable-memory", "hub's memory per idle session with a store / without", "durable:memory", 1),
    Figure(
        "cluster-write", "a variable through NATS, one at a time / nats-py's kv.put, p50", "cluster:writes", 2.5, 1.5
    ),
    _more("cluster-writes-100", "variables/s through NATS, 100 at once / nats-py's kv.put", "cluster:writes", 0.7, 1.5),
    Figure(
        "cluster-call-one",
        "one at a time, a worker at another hub / at the same hub, p50",
        "cluster:calls",
        2.5,
        2,
    ),
    _more("cluster-call-100", "100 at once, a worker at another hub / at the same hub", "cluster:calls", 0.4, 0.6),
    Figure(
        "cluster-work", "processor time of a call, two hubs with a worker each / one hub with both", "cluster:work", 1.1
    ),
    Figure("cluster-failover", "p99 until a client goes on whose hub was killed", "cluster:failover", 2, 1.5, unit="s"),
    # The keep-alive of a client with several addresses is 8 s.
    Figure("cluster-partition", "p99 until a client goes on whose network fails", "cluster:partition", 10, unit="s"),
    Figure("cluster-leader", "without a write after the stream's leader was killed", "cluster:leader", unit="s"),
    Figure("cluster-idle-cpu", "processor time of an idle hub of three", "cluster:idle", 2, 1, unit="%"),
    Figure("cluster-memory", "a hub's memory per idle session in NATS", "cluster:memory", 4, 2, unit="KiB"),
    Figure("growth", "memory that 100,000 calls over the link leave taken", "resources:link_growth", 5, 0, unit="MB"),
    Figure("plain-growth", "memory that 100,000 plain RPCs leave taken", "resources:plain_growth", 5, 0, unit="MB"),
    Figure("waiting-memory", "most memory that 10,000 calls take while they wait", "resources:waiting", 100, unit="MB"),
    Figure("unread-memory", "most memory that a stream takes while it is not read", "resources:unread", 20, unit="MB"),
    Figure("idle-cpu", "processor time of an idle hub or client, linked", "resources:idle", 1, 0, unit="%"),
    Figure("version", "grpc-tool-bridge --version / python -c pass, time", "commands:version", 8, 4),
    Figure("call-process", "grpc-tool-bridge call add 2 3 / importing grpc.aio, time", "commands:call", 4, 2.5),
    *_of_language("elixir", "Elixir"),
    *_of_language("node", "Node.js"),
    *_of_language("go", "Go"),
    _times_faster("mcp-http-one", "the MCP SDK over HTTP, one at a time", "mcp_http"),
    _times_faster("mcp-stdio-one", "the MCP SDK over stdio, one at a time", "mcp_stdio"),
    _times_faster("mcp-stdio-100", "the MCP SDK over stdio, 100 at once", "mcp_stdio"),
    Figure(
        "mcp-imported", "an MCP server's tool, hub in this process / the MCP SDK, p50", "comparisons:mcp_imported", 1.3
    ),
    _health("dimensions", "a tensor of 300,000 dimensions"),
    _health("hashes", "25,000 integers of one hash for a set[int]"),
    _health("items", "10 MB of booleans"),
    _health("arguments", "a call with 5,000,000 arguments"),
    _health("tags", "1,000 variables listed by 100,000 tags"),
    _health("names", "a watch of 1,200,000 variables"),
    _health("specs", "150,000 specs of one name"),
    _health("anonymous", "60 calls of 9 MiB without the token"),
    _health("watches", "500 watches of health with long names"),
    _health("waiting", "40 calls of 9 MB at once by plain RPC"),
    _health("silent", "200 links that never greet"),
    _health("long-text", "an exception with 100 MB of text"),
    _health("chain", "an exception with 100,000 causes"),
    _health("slow-text", "an exception that takes a second to print"),
    *(_hostile(kind, rate) for kind, rate in RATES.items()),
)


def chosen(names: list[str]) -> list[Figure]:
    """Returns the figures with these names; default: all.

    Raises:
        ValueError: There is no figure with one of the names.
    """
    known = {figure.name: figure for figure in FIGURES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(FIGURES)
