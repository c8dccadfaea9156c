"""Everybody can use the dashboard: what axe-core finds in each of its views, and what the keyboard alone reaches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolContext, ToolWorker, tool
from integration.agent_runtime import SIGNATURE, ObedientAgents
from support.axe import needs_axe, violations
from support.browser import Tab, open_tab
from support.dashboard import BROWSER_TESTS
from support.patience import PATIENCE

pytestmark = BROWSER_TESTS

VIEWS = ("calls", "tools", "sessions", "approvals", "workers", "hubs", "agents", "performance", "limits")
SIZES = ((360, 740), (1600, 900))
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# What can be selected in them, and has a part of the view of its own.
DETAILS = ("call", "failed call", "tool", "session", "variable", "worker", "agent", "run")
# What each view of a hub that is in use shows when it is there.
SHOWN = {
    "calls": "hang", "tools": "nested", "sessions": "demo", "approvals": "1 call waits", "workers": "w1",
    "hubs": "(this page)", "agents": SIGNATURE,
    "performance": "add", "limits": "max_sessions",
}  # fmt: skip


async def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


@tool(approval="required", limits={"timeout_ms": 3_600_000})
async def wipe(table: str, password: str = "") -> str:
    """Wipes a table."""
    return table


async def fail(word: str) -> str:
    """Fails."""
    raise ValueError(f"no such word: {word}")


async def hang(ctx: ToolContext) -> None:
    """Goes on until it is cancelled."""
    ctx.progress(1, 4, "begun")
    await asyncio.Event().wait()


async def nested(ctx: ToolContext, a: int) -> int:
    """Calls another tool."""
    return int(await ctx.call_tool("add", a))


async def far(size: float, unit: str = "cm") -> float:
    """Runs in a worker."""
    return size


@dataclass(frozen=True)
class Hub:
    """A hub over HTTP.

    Attributes:
        origin: Of its dashboard.
        chosen: What stands in the address if something is selected, by what it is.
    """

    origin: str
    chosen: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty() -> AsyncIterator[Hub]:
    """A hub that nobody has used yet."""
    async with BridgeServer(http_address="127.0.0.1:0") as server:
        yield Hub(f"http://{server.http_address}", {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used() -> AsyncIterator[Hub]:
    """A hub with tools, a worker, an agent with a run, variables, and calls that have ended, failed and go on."""
    async with AsyncExitStack() as stack:
        server = BridgeServer(
            tools=[add, fail, hang, nested, wipe], http_address="127.0.0.1:0", agents=ObedientAgents()
        )
        await stack.enter_async_context(server)
        await stack.enter_async_context(ToolWorker(server.address, [far], worker_id="w1"))
        bridge = await stack.enter_async_context(GRPCToolBridge(server.address, keep_session=True))
        tools = await bridge.initialize("demo", metadata={"owner": "tests"})
        await bridge.session_context.set_variable("city", "Berlin")
        await bridge.session_context.set_variable("limits", {"a": 1, "b": [1, 2]})
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=PATIENCE)
        )
        for number in range(3):
            await tools["nested"](number)
            await tools["far"](float(number))
        await asyncio.gather(tools["fail"]("x" * 300), return_exceptions=True)
        agent = await _run_agent(client)
        hanging = asyncio.ensure_future(tools["hang"]())
        (failed,) = (await client.get("/api/history/calls?kind=failed")).json()["calls"]
        running = await _running(client)
        waiting = asyncio.ensure_future(tools["wipe"]("orders", password="hush"))
        yield Hub(
            f"http://{server.http_address}",
            {
                "call": f"?call={running}",
                "failed call": f"?call={failed['call_id']}",
                "tool": "?view=tools&tool=far",
                "session": "?view=sessions&session=demo",
                "variable": "?view=sessions&session=demo&variable=limits",
                "worker": "?view=workers&worker=w1",
                "agent": f"?view=agents&of=demo&agent={agent}",
                "run": "?view=agents&of=demo&run=r1",
                "numbers of a tool": "?view=performance&tool=add",
                "some limits": "?view=limits&q=session",
            },
        )
        for call in (hanging, waiting):
            call.cancel()
        await asyncio.gather(hanging, waiting, return_exceptions=True)


async def _run_agent(client: httpx.AsyncClient) -> str:
    """Makes an agent, and runs it; returns its id."""
    made = await client.post("/api/sessions/demo/agents", json={"signature": SIGNATURE})
    agent = str(made.json()["agent_id"])
    asked = {"input": {"call": "add", "arguments": {"a": 1}}, "run_id": "r1"}
    await client.post(httpx.URL(f"/api/sessions/demo/agents/{agent}/execute"), json=asked)
    return agent


async def _running(client: httpx.AsyncClient) -> str:
    """Returns the id of the call that goes on."""
    while True:
        calls = (await client.get("/api/calls")).json()["calls"]
        if calls and calls[0].get("progress"):
            return str(calls[0]["call_id"])


async def open_view(tab: Tab, origin: str, query: str, text: str = "") -> None:
    """Opens a view of the dashboard, and waits until it shows a text."""
    await tab.page.goto(f"{origin}/{query}")
    await tab.page.locator("#link-state.live").wait_for()
    await tab.page.locator("main .view").wait_for()
    if text:
        await tab.page.locator("main").get_by_text(text).locator("visible=true").first.wait_for()


async def check_each_look(tab: Tab) -> None:
    """Checks the page narrow and wide, light and dark."""
    found = []
    for width, height in SIZES:
        await tab.page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            await tab.page.emulate_media(color_scheme=theme)
            await settled(tab.page)
            found += [f"{theme}, {width} px: {text}" for text in await violations(tab.page)]
    assert not found, "\n".join(found)
    assert tab.faults == []


async def settled(page: Page) -> None:
    """Waits until what a change of the window has begun is drawn."""
    await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


# ------------------------------------------------------------------------------------------------ what axe-core finds


@needs_axe
@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_of_an_unused_hub_can_be_used_by_all(tab: Tab, empty: Hub, view: str) -> None:
    await open_view(tab, empty.origin, f"?view={view}")
    await check_each_look(tab)


@needs_axe
@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_can_be_used_by_all(tab: Tab, used: Hub, view: str) -> None:
    await open_view(tab, used.origin, f"?view={view}", SHOWN[view])
    await check_each_look(tab)


@needs_axe
@pytest.mark.parametrize("what", [*DETAILS, "numbers of a tool", "some limits"])
async def test_what_is_selected_can_be_used_by_all(tab: Tab, used: Hub, what: str) -> None:
    await open_view(tab, used.origin, used.chosen[what])
    if what in DETAILS:
        await tab.page.locator("main .detail h2").first.wait_for()
    await check_each_look(tab)


@needs_axe
async def test_what_cannot_be_used_by_all_is_found(tab: Tab, empty: Hub) -> None:
    """The check itself: a page with faults is told."""
    await open_view(tab, empty.origin, "?view=calls")
    await tab.page.evaluate("""() => {
      document.querySelector("main").append(document.createElement("input"));
      document.querySelector("#link-state").style.color = "color-mix(in srgb, var(--card), var(--text) 20%)";
    }""")
    assert {text.split()[0] for text in await violations(tab.page)} == {"label", "color-contrast"}


# ---------------------------------------------------------------------------------------------------------- keyboard

_FOCUSED = """() => {
  const found = document.activeElement;
  const style = getComputedStyle(found);
  const box = found.getBoundingClientRect();
  return {
    kind: found.closest("#views") ? "view" : found.getAttribute("role") ?? found.type ?? found.localName,
    text: (found.getAttribute("aria-label") || found.textContent || found.id).slice(0, 60),
    id: found === document.body ? "" : (window.focusedOnes ??= new Map()).get(found)
      ?? (window.focusedOnes.set(found, window.focusedOnes.size + 1), window.focusedOnes.size),
    isMarked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
    isInSight: box.width > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
  };
}"""


async def tabbed(page: Page, most: int = 80) -> list[dict[str, Any]]:
    """Presses Tab from the top of the page until nothing new gets the focus; describes what got it."""
    found: dict[Any, dict[str, Any]] = {}
    for _ in range(most):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(_FOCUSED)
        if focused["id"] == "" or focused["id"] in found:
            break
        found[focused["id"]] = focused
    return list(found.values())


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("view", VIEWS)
async def test_the_keyboard_reaches_all_of_a_view_and_shows_where_it_is(
    browser: Browser, used: Hub, view: str, width: int
) -> None:
    tab = await open_tab(browser, viewport={"width": width, "height": 800})
    await open_view(tab, used.origin, f"?view={view}", SHOWN[view])
    focused = await tabbed(tab.page)
    kinds = [item["kind"] for item in focused]
    assert kinds.count("view") == len(VIEWS)
    assert "search" in kinds or view == "approvals"
    assert {"grid", "treegrid", "table"}.intersection(kinds) or view in ("approvals", "performance", "limits")
    assert [item["text"] for item in focused if not (item["isMarked"] and item["isInSight"])] == []
    assert tab.faults == []


@pytest.mark.parametrize("view", [name for name in VIEWS if name not in ("approvals", "performance", "limits")])
async def test_something_is_selected_by_keyboard_alone_and_left_again(tab: Tab, used: Hub, view: str) -> None:
    await open_view(tab, used.origin, f"?view={view}", SHOWN[view])
    grid = tab.page.locator("main [role=grid], main [role=treegrid]").first
    for _ in range(80):
        if await grid.evaluate("(list) => list === document.activeElement"):
            break
        await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("ArrowDown")
    await tab.page.keyboard.press("Enter")
    detail = tab.page.locator("main .detail h2").first
    await detail.wait_for()
    await tab.page.go_back()
    await detail.wait_for(state="hidden")
    assert tab.faults == []


async def test_the_first_tab_leads_past_the_navigation(tab: Tab, empty: Hub) -> None:
    await open_view(tab, empty.origin, "?view=calls")
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Enter")
    assert await tab.page.evaluate("document.activeElement.id") == "main"
