"""The hub as a browser uses it: streams in pages, and the page on HTTP as it says."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from e2e.test_docs import blocks
from e2e.test_http_page import PAGE
from grpc_tool_bridge import BridgeServer, ToolContext
from grpc_tool_bridge.testing import ToxicProxy
from support.browser import Tab
from support.needs import needs
from support.patience import PATIENCE
from support.waiting import soon

pytestmark = [needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("browser")]

STREAMS = "/api/sessions/demo/tools"

# What a page writes down of an EventSource, for a test to read.
WATCH = """
(url) => {
  window.seen = [];
  window.stream = new EventSource(url);
  const note = (event) => seen.push([event.type, event.lastEventId, JSON.parse(event.data)]);
  for (const name of ["data", "progress", "complete"]) stream.addEventListener(name, note);
}
"""


class Tools:
    """The tools, and how they went."""

    def __init__(self) -> None:
        self.starts = 0
        self.stopped = asyncio.Event()

    def all(self) -> list[Any]:
        return [self.countdown, self.fail_late, self.wait]

    async def countdown(self, start: int, ctx: ToolContext) -> AsyncIterator[int]:
        """Counts down."""
        for number in range(start, 0, -1):
            ctx.progress(start - number, start, "counting")
            yield number

    async def fail_late(self) -> AsyncIterator[int]:
        """Yields once, and then fails."""
        self.starts += 1
        yield 1
        raise LookupError("no such thing")

    async def wait(self) -> AsyncIterator[int]:
        """Yields once, and then waits until it is stopped."""
        self.starts += 1
        try:
            yield 1
            await asyncio.get_running_loop().create_future()
        finally:
            self.stopped.set()


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest_asyncio.fixture(loop_scope="module")
async def hub(tools: Tools) -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=tools.all(), http_address="127.0.0.1:0") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def api(hub: BridgeServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{hub.http_address}", timeout=PATIENCE) as client:
        assert (await client.post("/api/sessions", json={"session_id": "demo"})).status_code == 201
        yield client


async def seen(tab: Tab, count: int) -> list[Any]:
    """Waits until the page has seen so many events."""
    await tab.page.wait_for_function("(count) => seen.length >= count", arg=count)
    found: list[Any] = await tab.page.evaluate("() => seen")
    return found


async def test_the_script_of_the_page_prints_what_the_tool_yields(tab: Tab, api: httpx.AsyncClient) -> None:
    (script,) = blocks(PAGE, "js")
    await tab.page.goto(f"{api.base_url}/docs")
    await tab.page.evaluate(f"() => {{ {script}; window.stream = stream }}")
    await tab.page.wait_for_function("() => stream.readyState === EventSource.CLOSED")
    assert [json.loads(text) for text in tab.printed] == [3, 2, 1]
    assert (tab.errors, tab.violations) == ([], [])


async def test_the_script_of_the_page_tells_of_an_error_and_runs_the_tool_once(
    tab: Tab, api: httpx.AsyncClient, tools: Tools
) -> None:
    (script,) = blocks(PAGE, "js")
    await tab.page.goto(f"{api.base_url}/docs")
    script = script.replace("countdown/stream?start=3", "fail_late/stream")
    await tab.page.evaluate(f"() => {{ {script}; window.stream = stream }}")
    await tab.page.wait_for_function("() => stream.readyState === EventSource.CLOSED")
    assert tab.printed == ["1"]
    assert tab.errors == ["no such thing"]
    assert tools.starts == 1


async def test_a_page_shows_progress_as_it_comes(tab: Tab, api: httpx.AsyncClient) -> None:
    await tab.page.goto(f"{api.base_url}/docs")
    await tab.page.evaluate(WATCH, f"{STREAMS}/countdown/stream?start=2&events=true")
    events = await seen(tab, 5)
    assert [(name, data if name == "data" else data.get("current")) for name, _, data in events] == [
        ("progress", 0), ("data", 2), ("progress", 1), ("data", 1), ("complete", None),
    ]  # fmt: skip


async def test_a_watch_goes_on_after_its_connection_is_cut_with_nothing_missed_and_nothing_twice(
    tab: Tab, hub: BridgeServer, api: httpx.AsyncClient
) -> None:
    async def put(*numbers: int) -> None:
        for number in numbers:
            assert (await api.put("/api/sessions/demo/variables/x", json={"value": number})).status_code == 200

    async with ToxicProxy(str(hub.http_address)) as proxy:
        await tab.page.goto(f"http://{proxy.address}/docs")
        await put(0)
        await tab.page.evaluate(WATCH, "/api/sessions/demo/variables/watch?names=x")
        await seen(tab, 1)
        await put(1, 2)
        await seen(tab, 3)
        proxy.cut()
        await put(3, 4)
        await seen(tab, 5)
        proxy.cut()
        await put(5)
        events = await seen(tab, 6)
    assert [data["value"] for _, _, data in events] == [0, 1, 2, 3, 4, 5]


async def test_a_tool_whose_stream_is_cut_is_not_run_again(
    tab: Tab, hub: BridgeServer, api: httpx.AsyncClient, tools: Tools
) -> None:
    async with ToxicProxy(str(hub.http_address)) as proxy:
        await tab.page.goto(f"http://{proxy.address}/docs")
        await tab.page.evaluate(WATCH, f"{STREAMS}/wait/stream")
        await seen(tab, 1)
        proxy.cut()
        # The browser asks again by itself, and is told that there is nothing to go on with.
        await tab.page.wait_for_function("() => stream.readyState === EventSource.CLOSED")
    assert tools.starts == 1


async def test_a_page_that_closes_its_stream_stops_the_tool(tab: Tab, api: httpx.AsyncClient, tools: Tools) -> None:
    await tab.page.goto(f"{api.base_url}/docs")
    await tab.page.evaluate(WATCH, f"{STREAMS}/wait/stream")
    await seen(tab, 1)
    assert not tools.stopped.is_set()
    await tab.page.evaluate("() => stream.close()")
    await soon(tools.stopped.wait())


async def test_a_page_that_is_left_stops_the_tool(tab: Tab, api: httpx.AsyncClient, tools: Tools) -> None:
    await tab.page.goto(f"{api.base_url}/docs")
    await tab.page.evaluate(WATCH, f"{STREAMS}/wait/stream")
    await seen(tab, 1)
    await tab.page.goto("about:blank")
    await soon(tools.stopped.wait())
