"""The dashboard's workers in a browser."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest_asyncio
from playwright.async_api import Locator, expect

from grpc_tool_bridge import GRPCToolBridge, ToolWorker
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, MARKUP, Dashboard, HeldTool, dashboard
from support.patience import PATIENCE
from support.waiting import soon

pytestmark = BROWSER_TESTS


@pytest_asyncio.fixture(loop_scope="module")
async def hub() -> AsyncIterator[Dashboard]:
    """A hub without tools of its own."""
    async with dashboard([]) as hub:
        yield hub


def row(tab: Tab, text: str) -> Locator:
    """Returns the row of a worker."""
    return tab.page.get_by_role("grid", name="Workers").get_by_role("row").filter(has_text=text)


async def test_a_worker_comes_runs_calls_drains_and_goes(tab: Tab, hub: Dashboard) -> None:
    calls = HeldTool()
    await hub.open(tab, "workers", worker="w1")
    await expect(tab.page.get_by_text("No workers: all tools run in the hub's own process.")).to_be_visible()
    await expect(tab.page.get_by_text("No such worker.")).to_be_visible()
    detail = tab.page.get_by_role("complementary", name="The selected worker")
    async with (
        ToolWorker(hub.server.address, [calls.wait], worker_id="w1", capacity=4) as worker,
        GRPCToolBridge(hub.server.address) as bridge,
    ):
        await expect(row(tab, "w1")).to_contain_text("● connected")
        await expect(detail).to_contain_text("0 of 4")
        await expect(detail.get_by_role("link", name="wait")).to_be_visible()
        tools = await bridge.initialize("demo")
        running = [asyncio.create_task(tools["wait"]()) for _ in range(3)]
        await expect(row(tab, "w1")).to_contain_text("3 of 4")
        assert await detail.locator("meter").get_attribute("value") == "3"
        stopping = asyncio.create_task(worker.drain(grace=PATIENCE))
        await expect(row(tab, "w1")).to_contain_text("◐ draining")
        await expect(detail).to_contain_text("It finishes its calls")
        calls.may_end.set()
        assert await soon(asyncio.gather(*running)) == ["done"] * 3
        await soon(stopping)
    await expect(row(tab, "w1")).to_contain_text("✕ gone")
    await expect(detail).to_contain_text("It has disconnected.")
    await expect(tab.page.get_by_text("0 workers")).to_be_visible()
    assert tab.complaints == []


async def test_a_worker_with_many_tools_is_found_by_one_and_linked_to_its_calls(tab: Tab, hub: Dashboard) -> None:
    calls = HeldTool()

    def named(number: int) -> object:
        async def work() -> None:
            """Works."""

        work.__name__ = f"work_{number:03}"
        return work

    many = ToolWorker(hub.server.address, [named(number) for number in range(150)], worker_id="many/of them?")
    other = ToolWorker(hub.server.address, [calls.wait], worker_id="other")
    async with many, other:
        await hub.open(tab, "workers")
        await expect(row(tab, "other")).to_be_visible()
        await tab.page.get_by_label("Find").fill("work_007")
        await expect(row(tab, "other")).to_have_count(0)
        await row(tab, "many/of them?").click()
        detail = tab.page.get_by_role("complementary", name="The selected worker")
        await expect(detail).to_contain_text("150; the first 100 are listed")
        await expect(detail.get_by_role("listitem")).to_have_count(100)
        href = await detail.get_by_role("link", name="Calls").get_attribute("href")
        assert href == f"?{urlencode({'worker': 'many/of them?'})}"
        href = await detail.get_by_role("link", name="Performance").get_attribute("href")
        assert href == f"?{urlencode({'view': 'performance', 'worker': 'many/of them?'})}"
        # Its state is kept by the address alone.
        await tab.page.reload()
        await expect(detail).to_contain_text("150; the first 100 are listed")
        assert (tab.errors, tab.violations) == ([], [])


async def test_a_worker_that_was_killed_is_said_to_be_gone(tab: Tab, hub: Dashboard) -> None:
    calls = HeldTool()
    async with ToolWorker(hub.server.address, [calls.wait], worker_id="w2"):
        await hub.open(tab, "workers", worker="w2")
        await expect(tab.page.get_by_text("● connected. It accepts calls.")).to_be_visible()
    await expect(tab.page.get_by_text("✕ gone. It has disconnected.")).to_be_visible()
    await expect(tab.page.get_by_text("Disconnected", exact=True)).to_be_visible()
    assert tab.complaints == []


async def test_a_worker_that_does_not_answer_is_said_to_be_silent_in_words(tab: Tab, hub: Dashboard) -> None:
    worker = {
        "worker_id": "w4", "state": "silent", "capacity": 0, "active_calls": 2, "tools": [], "tool_count": 0,
        "peer": "", "connected_at": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    await tab.page.route(
        "**/api/workers*", lambda route: route.fulfill(json={"workers": [worker], "next_page_token": ""})
    )
    await hub.open(tab, "workers", worker="w4")
    await expect(row(tab, "w4")).to_contain_text("◌ silent")
    await expect(row(tab, "w4")).to_contain_text("2, no limit")
    await expect(tab.page.get_by_text("It does not answer the hub's pings")).to_be_visible()
    await expect(tab.page.get_by_text("1 worker · 2 calls in flight · 1 silent")).to_be_visible()


async def test_hostile_names_stay_text(tab: Tab, hub: Dashboard) -> None:
    calls = HeldTool()
    hostile = ToolWorker(hub.server.address, [calls.wait], worker_id=MARKUP)
    async with hostile, ToolWorker(hub.server.address, [calls.wait], worker_id="__proto__"):
        await hub.open(tab, "workers", worker=MARKUP)
        await expect(tab.page.get_by_role("heading", name=MARKUP)).to_be_visible()
        await row(tab, "__proto__").click()
        await expect(tab.page.get_by_role("heading", name="__proto__")).to_be_visible()
        assert await tab.page.locator("img").count() == 0
        assert tab.complaints == []


async def test_workers_can_be_read_on_a_narrow_screen_and_left_by_keyboard(tab: Tab, hub: Dashboard) -> None:
    calls = HeldTool()
    await tab.page.set_viewport_size({"width": 360, "height": 740})
    async with ToolWorker(hub.server.address, [calls.wait], worker_id="w3"):
        await hub.open(tab, "workers")
        await expect(row(tab, "w3")).to_be_visible()
        await tab.page.get_by_role("grid", name="Workers").focus()
        await tab.page.keyboard.press("ArrowDown")
        await tab.page.keyboard.press("Enter")
        await expect(tab.page.get_by_role("heading", name="w3")).to_be_focused()
        assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 360
        await tab.page.get_by_role("link", name="Close").focus()
        await tab.page.keyboard.press("Enter")
        await expect(tab.page.get_by_role("grid", name="Workers")).to_be_focused()
        assert tab.complaints == []
