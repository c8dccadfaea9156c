"""What Prometheus reads of a hub over HTTP, and the dashboard that shows it."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from grpc_tool_bridge import BridgeServer, ResourceExhaustedError, Settings, ToolExecutionError, ToolWorker
from grpc_tool_bridge.core.metrics import OTHER_TOOLS
from grpc_tool_bridge.gateway import metrics as module
from support.hub_directories import FakeCluster, FakeDirectory
from support.needs import needs
from support.patience import PATIENCE
from support.waiting import until

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "tool-bridge.json"
TOKEN = "a-token-that-is-long-enough-for-this"


async def add(a: int, b: int) -> int:
    return a + b


async def divide(a: float, b: float) -> float:
    return a / b


async def scrape(server: BridgeServer, **headers: str) -> tuple[str, str]:
    """Returns the content type and the text."""

    def read() -> tuple[str, str]:
        request = Request(f"http://{server.http_address}/metrics", headers=headers)
        with urlopen(request, timeout=PATIENCE) as response:
            return response.headers["content-type"], response.read().decode()

    return await asyncio.to_thread(read)


async def values(server: BridgeServer) -> Mapping[tuple[str, tuple[str, ...]], float]:
    _, text = await scrape(server)
    families = text_string_to_metric_families(text)
    return {(item.name, tuple(item.labels.values())): item.value for family in families for item in family.samples}


def serving(*tools: Any, **settings: Any) -> BridgeServer:
    return BridgeServer(tools=tools, http_address="127.0.0.1:0", settings=Settings(shutdown_grace=0.0, **settings))


async def test_calls_over_any_transport_are_counted_by_tool_and_outcome() -> None:
    async with serving(add, divide) as server, server.bridge() as bridge:
        await bridge.initialize()
        await bridge.tools["add"](1, 2)
        await bridge.tools["divide"](1.0, 2.0)
        with pytest.raises(ToolExecutionError):
            await bridge.tools["divide"](1.0, 0.0)
        found = await values(server)
    assert found["tool_bridge_calls_total", ("success", "add")] == 1
    assert found["tool_bridge_calls_total", ("error", "add")] == 0
    assert found["tool_bridge_calls_total", ("success", "divide")] == 1
    assert found["tool_bridge_calls_total", ("error", "divide")] == 1
    assert found["tool_bridge_call_duration_seconds_count", ("divide",)] == 2
    assert found["tool_bridge_call_duration_seconds_bucket", ("+Inf", "divide")] == 2


async def test_what_goes_on_is_counted_while_it_does() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await end.wait()

    async with serving(wait) as server, server.bridge() as bridge:
        await bridge.initialize()
        call = asyncio.ensure_future(bridge.tools["wait"]())
        await begun.wait()
        assert (await values(server))["tool_bridge_calls_in_progress", ("wait",)] == 1
        end.set()
        await call
        found = await values(server)
    assert found["tool_bridge_calls_in_progress", ("wait",)] == 0
    assert found["tool_bridge_sessions", ()] == 1
    assert found["tool_bridge_http_requests_in_progress", ()] == 1
    assert found["tool_bridge_http_connections", ()] >= 1


async def test_workers_and_links_are_counted() -> None:
    async with serving() as server, ToolWorker(server.address, tools=[add]):
        await until(lambda: len(server.hub.workers))
        found = await values(server)
    assert (found["tool_bridge_workers", ()], found["tool_bridge_links", ()]) == (1, 1)
    assert found["tool_bridge_connections", ()] == 1


async def test_what_a_store_does_is_counted(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/hub.db"
    async with serving(store=store) as server, server.bridge(keep_session=True) as bridge:
        await bridge.initialize("s")
        await bridge.client.session_context.set_variable("x", 1)
        found = await values(server)
    commits = found["tool_bridge_store_commit_duration_seconds_count", ()]
    assert commits >= 2
    assert found["tool_bridge_store_commit_duration_seconds_bucket", ("+Inf",)] == commits
    assert found["tool_bridge_store_commit_duration_seconds_sum", ()] > 0
    assert found["tool_bridge_store_changes_total", ()] >= 2
    assert found["tool_bridge_store_bytes", ()] + found["tool_bridge_store_log_bytes", ()] > 0
    assert found["tool_bridge_store_limit_bytes", ()] == Settings().max_store_bytes
    for name in ("changes_waiting", "failures_total", "failing", "restored_sessions"):
        assert found[f"tool_bridge_store_{name}", ()] == 0
    async with serving(store=store) as server:
        found = await values(server)
    assert found["tool_bridge_store_restored_sessions", ()] == 1
    assert found["tool_bridge_store_restore_seconds", ()] > 0


async def test_a_store_that_fails_is_told(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/hub.db"
    async with serving(store=store, max_store_bytes=200_000) as server, server.bridge(keep_session=True) as bridge:
        await bridge.initialize("s")
        with pytest.raises(ResourceExhaustedError):
            await bridge.client.session_context.set_variable("x", "x" * 300_000)
        found = await values(server)
        told = await bridge.client.get_metrics("hub.store_*")
    assert (found["tool_bridge_store_failing", ()], found["tool_bridge_store_failures_total", ()]) == (1, 1)
    assert told["hub.store_failure"].string_value.startswith("the store has reached its limit of 200,000 bytes")


async def test_a_hub_without_a_store_has_no_metrics_of_one() -> None:
    async with serving() as server:
        found = await values(server)
    assert [name for name, _ in found if "store" in name] == []


async def test_past_the_bound_all_further_tools_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 1)
    async with serving(add, divide) as server, server.bridge() as bridge:
        await bridge.initialize()
        await bridge.tools["add"](1, 2)
        await bridge.tools["divide"](1.0, 2.0)
        found = await values(server)
    tools = {labels[-1] for name, labels in found if name == "tool_bridge_calls_total"}
    assert len(tools) == 2
    assert found["tool_bridge_calls_total", ("success", OTHER_TOOLS)] == 1


async def test_a_reader_gets_open_metrics_where_it_asks_for_it_and_the_older_text_otherwise() -> None:
    async with serving(add) as server:
        kind, text = await scrape(server, accept="application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
        assert kind.startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")
        families: Iterator[Any] = open_metrics(text)  # type: ignore[no-untyped-call]  # its parser has no types
        assert {family.name for family in families} >= {"tool_bridge_calls", "process_cpu_seconds"}
        kind, _ = await scrape(server)
        assert kind.startswith("text/plain; version=0.0.4")


async def test_metrics_need_the_token_where_there_is_one() -> None:
    async with serving(add, token=TOKEN) as server:
        with pytest.raises(HTTPError) as refused:
            await scrape(server)
        assert refused.value.code == 401
        refused.value.close()
        _, text = await scrape(server, authorization=f"Bearer {TOKEN}")
        assert "tool_bridge_build_info" in text


@needs("promtool")
async def test_promtool_finds_nothing_in_what_a_hub_tells(tmp_path: Path) -> None:
    async with serving(add, store=f"sqlite:///{tmp_path}/hub.db") as server, server.bridge() as bridge:
        await bridge.initialize()
        await bridge.tools["add"](1, 2)
        _, text = await scrape(server)
    done = await asyncio.to_thread(promtool, "check", "metrics", text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ------------------------------------------------------------------------------------------------------- dashboard


def promtool(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *words], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


# One of each that a cluster counts.
CLUSTER = {
    "cluster_hubs_serving": 3, "cluster_hubs_cut_off": 1, "cluster_hubs_gone": 2, "cluster_certain": 1,
    "cluster_links": 2, "cluster_sessions_owned": 5, "cluster_forwarded_requests": 6, "cluster_peer_calls_sent": 7,
    "cluster_peer_calls_run": 8, "cluster_takes": 9, "cluster_sessions_lost": 10, "cluster_renewals": 4,
    "cluster_renewal_seconds": 0.5, "cluster_renewal_failures": 11, "cluster_frames_sent": 12,
    "cluster_frames_received": 13, "cluster_frames_refused": 14, "cluster_fenced_writes": 15, "cluster_reconnects": 16,
}  # fmt: skip


def in_a_cluster(server: BridgeServer, **counts: float) -> None:
    """Has the hub count what one of a cluster does."""
    FakeCluster(h1=server.hub)
    directory = server.hub.directory
    assert isinstance(directory, FakeDirectory)
    directory.metrics = {**CLUSTER, **counts}


async def test_what_a_cluster_counts_is_there_and_nothing_of_it_without_one() -> None:
    async with serving(add) as server:
        assert not [name for name, _ in await values(server) if "cluster" in name]
        in_a_cluster(server)
        found = await values(server)
        _, metrics = await scrape(server, accept="application/openmetrics-text")
    assert list(open_metrics(metrics))  # type: ignore[no-untyped-call]  # as above
    hubs = {labels[0]: count for (name, labels), count in found.items() if name == "tool_bridge_cluster_hubs"}
    assert hubs == {"serving": 3, "cut off": 1, "gone": 2}
    assert found["tool_bridge_cluster_peer_calls_total", ("sent",)] == 7
    assert found["tool_bridge_cluster_frames_total", ("refused",)] == 14
    assert found["tool_bridge_cluster_renewal_duration_seconds_count", ()] == 4
    assert found["tool_bridge_cluster_renewal_duration_seconds_sum", ()] == 0.5
    assert found["tool_bridge_cluster_takes_total", ()] == 9
    assert found["tool_bridge_cluster_certain", ()] == 1


def expressions() -> Iterator[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield re.sub(r"^label_values\((.*), \w+\)$", r"\1", variable["definition"])


async def test_the_dashboard_names_only_metrics_that_a_hub_has(tmp_path: Path) -> None:
    chaos = {"rules": [{"tool": "divide", "error": "WorkerUnavailable"}]}
    settings = Settings(shutdown_grace=0.0, breaker_failures=1, store=f"sqlite:///{tmp_path}/hub.db")
    server = BridgeServer(tools=[add, divide], http_address="127.0.0.1:0", settings=settings, chaos=chaos)
    in_a_cluster(server)
    async with server, server.bridge() as bridge:
        await bridge.initialize()
        await bridge.tools["add"](1, 2)
        with pytest.raises(ToolExecutionError):
            await bridge.tools["divide"](1.0, 2.0)
        names = {name for name, _ in await values(server)}
    named = {name for text in expressions() for name in re.findall(r"\b(?:tool_bridge|process)_[a-z_]+", text)}
    assert named - names == set()
    assert names - named - {"tool_bridge_call_duration_seconds_count"} >= {"process_open_fds"}
    assert {name for name in names if name.startswith("tool_bridge")} - named == set(), "a metric has no panel"


@needs("promtool")
def test_the_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    known = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*", "$tool": ".*"}
    rules = []
    for number, text in enumerate(expressions()):
        for name, value in known.items():
            text = text.replace(name, value)  # noqa: PLW2901 - the same text, filled in
        assert "$" not in text
        rules.append({"record": f"query:{number}", "expr": text})
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = promtool("check", "rules", "--lint=none", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
