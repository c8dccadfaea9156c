"""The command line where the hub is one of a cluster."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, Settings, ToolWorker
from grpc_tool_bridge.cli import main
from grpc_tool_bridge.core.hubs import CUT_OFF
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.test_cli import Cli, doctor, runner
from integration.test_cli_completion import ask
from support.hub_directories import FakeCluster
from support.patience import PATIENCE


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


class Cluster:
    """Three hubs in a thread: h1 offers ``add`` and ``hang``, h2 ``hang``, and a worker of h3 ``add``.

    Attributes:
        fake: How they know one another.
        servers: By name.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.servers: dict[str, BridgeServer] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs them."""
        offered: dict[str, list[Callable[..., Any]]] = {"h1": [add, hang], "h2": [hang], "h3": []}
        settings = Settings(shutdown_grace=0.0)
        self.servers = {
            name: BridgeServer("127.0.0.1:0", tools=tools, settings=settings) for name, tools in offered.items()
        }
        self.fake = FakeCluster(**{name: server.hub for name, server in self.servers.items()})
        async with AsyncExitStack() as stack:
            for server in self.servers.values():
                await stack.enter_async_context(server)
            await stack.enter_async_context(ToolWorker(self.servers["h3"].address, [add], worker_id="w3"))
            yield

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs something beside them."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def begin(self, hub: str, session: str) -> None:
        """Begins a call that hangs."""

        async def begin() -> None:
            request = pb.ToolCallRequest(session_id=session, tool_id="hang")
            asyncio.ensure_future(self.servers[hub].hub.execute_tool(request))  # noqa: RUF006 - the hub ends it
            await asyncio.sleep(0)

        self.do(begin())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = Cluster(loop)
    running = made.running()
    made.do(running.__aenter__())
    try:
        monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", made.servers["h1"].address)
        yield made
    finally:
        made.do(running.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def cli(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def test_hubs_are_listed_with_what_each_has(cluster: Cluster, cli: Cli) -> None:
    cluster.do(cluster.servers["h2"].hub.store.create_session("a"))
    lines = cli("hubs").splitlines()
    assert lines[0].split()[:5] == ["hub", "state", "address", "http", "link"]
    assert lines[2].split()[:4] == ["h1", "(asked)", "serving", "h1.test:50051"]
    assert lines[3].split()[:4] == ["h2", "serving", "h2.test:50051", "linked"]
    h1, h2, h3 = json.loads(cli("hubs", "--json"))
    assert (h1["is_self"], h2["is_self"], h2["sessions"], h3["workers"], h3["tools"]) == (True, False, 1, 1, 1)
    assert h2["answered"]


def test_hubs_that_are_silent_or_cut_off_are_named(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    cluster.fake.silent.add("h2-life")
    cluster.fake.states["h3-life"] = CUT_OFF
    assert main(["hubs"]) == 0
    out, err = capsys.readouterr()
    assert "serving, silent" in out
    assert "h3: cut off: it cannot reach NATS" in out
    assert err == "hub h2 did not answer: what it has is missing here\n"
    assert main(["sessions"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "hub h2 did not answer: what it has is missing here",
        "hub h3 did not answer: what it has is missing here",
    ]
    assert [hub["answered"] for hub in json.loads(cli("hubs", "--json"))] == [True, False, True]


def test_lists_name_the_hub_of_each_entry_and_choose_those_of_one(cluster: Cluster, cli: Cli) -> None:
    for hub, session in (("h3", "c"), ("h1", "a"), ("h2", "b")):
        cluster.do(cluster.servers[hub].hub.store.create_session(session))
    lines = cli("sessions").splitlines()
    assert [line.split()[:2] for line in [lines[0], *lines[2:]]] == [
        ["session", "hub"],
        ["c", "h3"],
        ["a", "h1"],
        ["b", "h2"],
    ]
    assert [(row["hub"], row["session_id"]) for row in json.loads(cli("sessions", "--hub", "h2", "--json"))] == [
        ("h2", "b")
    ]
    assert "there is no hub 'h9'" in cli("sessions", "--hub", "h9", code=1)
    assert [(row["hub"], row["worker_id"]) for row in json.loads(cli("workers", "--json"))] == [("h3", "w3")]
    assert cli("runs", "--hub", "h3") == "There are no runs of agents\n"


def test_calls_of_other_hubs_are_listed_and_cancelled(cluster: Cluster, cli: Cli) -> None:
    cluster.do(cluster.servers["h2"].hub.store.create_session("b"))
    for _ in range(2):
        cluster.begin("h2", "b")
    first, second = json.loads(cli("calls", "--json"))
    assert (first["hub"], first["tool_id"]) == ("h2", "hang")
    assert json.loads(cli("calls", "--hub", "h1", "--json")) == []
    assert cli("admin", "cancel", first["call_id"]) == f"call {first['call_id']} is cancelled\n"
    assert cli("admin", "cancel", second["call_id"], "--hub", "h2") == f"call {second['call_id']} is cancelled\n"
    assert json.loads(cli("calls", "--json")) == []
    assert "no call" in cli("admin", "cancel", "7", "--hub", "h3", code=1)


def test_top_shows_the_calls_and_workers_of_all_hubs(cluster: Cluster, cli: Cli) -> None:
    cluster.do(cluster.servers["h2"].hub.store.create_session("b"))
    cluster.begin("h2", "b")
    text = cli("top", "--interval", "0.1")
    assert re.search(r"^call +hub +tool ", text, re.MULTILINE)
    assert re.search(r"^w3 +h3 +connected ", text, re.MULTILINE)
    assert "did not answer" not in text
    cluster.fake.silent.add("h2-life")
    assert "Hubs that did not answer: h2" in cli("top", "--interval", "0.1")
    assert json.loads(cli("top", "--interval", "0.1", "--json"))["missing_hubs"] == ["h2"]


def test_tools_say_where_they_are_offered(cluster: Cluster, cli: Cli) -> None:
    lines = cli("tools").splitlines()
    assert lines[0].split()[:2] == ["tool", "hubs"]
    assert lines[2].split()[:3] == ["add", "h1,", "h3"]
    shown = cli("tools", "add")
    assert "offered at h1: the hub itself" in shown
    assert "offered at h3: w3" in shown
    assert json.loads(cli("tools", "hang", "--json"))["offered_at"] == {"h1": [""], "h2": [""]}


def test_doctor_checks_the_cluster(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    checks = doctor(capsys, code=0)
    assert checks["hubs"] == ("ok", "3 serve and reach their store: h1, h2, h3")
    assert checks["links"] == ("ok", "linked to 2 of 2 other hubs")
    assert [checks[name][0] for name in ("secrets", "clocks", "versions")] == ["ok", "ok", "ok"]
    cluster.fake.links["h2-life"] = ("refused", "its cluster_secret is another one")
    cluster.fake.silent.add("h3-life")
    checks = doctor(capsys, code=1)
    assert checks["secrets"] == (
        "fail",
        "h2 (its cluster_secret is another one); set the same cluster_secret at all hubs",
    )
    assert checks["hubs"] == ("warn", "h3 does not answer the hub that was asked")
    cluster.fake.states["h1-life"] = CUT_OFF
    checks = doctor(capsys, code=1)
    assert checks["hubs"][0] == "fail"
    assert "h1 is cut off (it cannot reach NATS)" in checks["hubs"][1]


def test_names_of_hubs_are_completed(cluster: Cluster) -> None:
    found, said = ask(["sessions", "--hub", "h"], cluster.servers["h1"].address)
    assert (found, said) == (["h1", "h2", "h3"], "")
