"""The dashboard of a hub of a cluster in a browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio
from playwright.async_api import Locator, expect

from grpc_tool_bridge import BridgeServer, Settings, ToolWorker, tool
from grpc_tool_bridge.core.hubs import CUT_OFF, GONE
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, MARKUP, Dashboard, HeldTool, dashboard
from support.hub_directories import FakeCluster

pytestmark = BROWSER_TESTS


class Cluster:
    """Hub h1, whose dashboard is looked at, and h2, both with a tool that waits.

    Attributes:
        page: The dashboard of h1.
        h2: The other hub.
        fake: How they know one another.
        calls: Holds the calls of the tool.
    """

    def __init__(self, page: Dashboard, h2: BridgeServer, calls: HeldTool) -> None:
        self.page, self.h2, self.calls = page, h2, calls
        self.fake = FakeCluster(h1=page.server.hub, h2=h2.hub)


@pytest_asyncio.fixture(loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    calls = HeldTool()
    async with AsyncExitStack() as stack:
        page = await stack.enter_async_context(dashboard([calls.wait]))
        h2 = BridgeServer(tools=[calls.wait], settings=Settings(shutdown_grace=0.0))
        await stack.enter_async_context(h2)
        yield Cluster(page, h2, calls)


def row(tab: Tab, grid: str, text: str) -> Locator:
    return tab.page.get_by_role("grid", name=grid).get_by_role("row").filter(has_text=text)


async def test_hubs_are_shown_with_what_each_has(tab: Tab, cluster: Cluster) -> None:
    await cluster.h2.hub.store.create_session("far")
    await cluster.page.open(tab, "hubs")
    await expect(row(tab, "Hubs", "h1 (this page)")).to_contain_text("● serving")
    await expect(row(tab, "Hubs", "h2.test:50051")).to_contain_text("linked")
    await expect(tab.page.get_by_text("2 hubs · 2 serving · 1 session · 0 calls in flight")).to_be_visible()
    await row(tab, "Hubs", "h2.test").click()
    detail = tab.page.get_by_role("complementary", name="The selected hub")
    await expect(detail).to_contain_text("It serves its clients, and renews its lease.")
    await expect(detail).to_contain_text("h2-life")
    await expect(detail).to_contain_text("the hub of this page")
    await detail.get_by_role("link", name="Sessions").click()
    await expect(row(tab, "Sessions", "far")).to_contain_text("h2")
    assert (tab.errors, tab.violations) == ([], [])


async def test_a_hub_that_is_silent_cut_off_or_gone_says_so(tab: Tab, cluster: Cluster) -> None:
    cluster.fake.silent.add("h2-life")
    await cluster.page.open(tab, "hubs", hub="h2-life")
    await expect(row(tab, "Hubs", "h2")).to_contain_text("◌ silent")
    detail = tab.page.get_by_role("complementary", name="The selected hub")
    await expect(detail).to_contain_text("did not answer the hub of this page")
    await cluster.page.open(tab, "sessions")
    await expect(tab.page.get_by_text("h2 did not answer: what it has is missing")).to_be_visible()
    cluster.fake.states["h2-life"] = CUT_OFF
    await cluster.page.open(tab, "hubs", hub="h2-life")
    await expect(row(tab, "Hubs", "h2")).to_contain_text("◌ cut off")
    await expect(detail).to_contain_text("it cannot reach NATS")
    cluster.fake.states["h2-life"] = GONE
    await expect(row(tab, "Hubs", "h2")).to_contain_text("✕ gone")
    assert (tab.errors, tab.violations) == ([], [])


async def test_a_link_that_is_refused_says_why(tab: Tab, cluster: Cluster) -> None:
    cluster.fake.links["h2-life"] = ("refused", "its cluster_secret is another one")
    await cluster.page.open(tab, "hubs", hub="h2-life")
    detail = tab.page.get_by_role("complementary", name="The selected hub")
    await expect(detail).to_contain_text("refused: its cluster_secret is another one")


async def test_entries_of_all_hubs_have_a_column_with_their_hub(tab: Tab, cluster: Cluster) -> None:
    await cluster.page.session("near")
    await cluster.h2.hub.store.create_session("far")
    other = tool(cluster.calls.wait, name="other")
    async with ToolWorker(cluster.h2.address, [other], worker_id="w2"):
        await cluster.page.open(tab, "workers")
        await expect(row(tab, "Workers", "w2").locator(".of-hub")).to_have_text("h2")
        await cluster.page.open(tab, "sessions")
        await expect(row(tab, "Sessions", "far").locator(".of-hub")).to_have_text("h2")
        await expect(row(tab, "Sessions", "near").locator(".of-hub")).to_have_text("h1")
    assert (tab.errors, tab.violations) == ([], [])


async def test_a_call_of_another_hub_is_shown_and_cancelled(tab: Tab, cluster: Cluster) -> None:
    await cluster.h2.hub.store.create_session("far")
    request = pb.ToolCallRequest(session_id="far", tool_id="wait")
    call = asyncio.ensure_future(cluster.h2.hub.execute_tool(request))
    await cluster.calls.begun.wait()
    await cluster.page.open(tab, "calls")
    shown = tab.page.get_by_role("treegrid", name="Calls").get_by_role("row").filter(has_text="far")
    await expect(shown.locator(".of-hub")).to_have_text("h2")
    await shown.click()
    await tab.page.get_by_role("button", name="Cancel…").click()
    await tab.page.get_by_role("button", name="Cancel the call").click()
    answer = await call
    assert answer.error.type == "Cancelled"
    assert (tab.errors, tab.violations) == ([], [])


async def test_a_hub_without_a_cluster_shows_itself_and_no_column_of_hubs(tab: Tab) -> None:
    async with dashboard([]) as alone:
        await alone.session("mine")
        await alone.open(tab, "hubs")
        await expect(row(tab, "Hubs", "(this page)")).to_contain_text("● serving")
        await alone.open(tab, "sessions")
        await expect(row(tab, "Sessions", "mine")).to_be_visible()
        await expect(row(tab, "Sessions", "mine").locator(".of-hub")).to_be_hidden()
        assert (tab.errors, tab.violations) == ([], [])


async def test_hostile_names_stay_text(tab: Tab, cluster: Cluster) -> None:
    cluster.fake.rename("h2-life", MARKUP)
    cluster.h2.hub.http_url = "javascript:alert(1)"
    await cluster.page.open(tab, "hubs", hub="h2-life")
    await expect(row(tab, "Hubs", MARKUP)).to_be_visible()
    detail = tab.page.get_by_role("complementary", name="The selected hub")
    await expect(detail).to_contain_text("javascript:alert(1)")
    await expect(detail.locator("a[href^=javascript]")).to_have_count(0)
    assert (tab.errors, tab.violations) == ([], [])
