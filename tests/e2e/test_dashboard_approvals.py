"""The dashboard's view of approvals in a browser: what waits is shown with its arguments, granted and denied."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio
from playwright.async_api import expect

from grpc_tool_bridge import tool
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, MARKUP, Dashboard, dashboard
from support.waiting import soon

pytestmark = BROWSER_TESTS


@tool(approval="required")
async def wipe(table: str, password: str = "") -> str:
    """Wipes a table."""
    return f"wiped {table}"


@pytest_asyncio.fixture(loop_scope="module")
async def hub() -> AsyncIterator[Dashboard]:
    async with dashboard([wipe]) as made:
        await made.session("demo")
        yield made


def begin(hub: Dashboard, **kwargs: Any) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(hub.call("wipe", **kwargs))


async def test_a_call_is_shown_with_its_arguments_and_runs_once_it_is_granted(tab: Tab, hub: Dashboard) -> None:
    await tab.page.goto(f"{hub.origin}/?view=approvals")
    await tab.page.get_by_text("No call waits for approval").wait_for()
    calling = begin(hub, table=MARKUP, password="no one sees this")
    card = tab.page.locator(".approvals > li")
    await expect(card).to_contain_text(MARKUP)
    await expect(card.get_by_role("heading", name="wipe")).to_be_visible()
    await expect(card).to_contain_text("[redacted]")
    assert "no one sees this" not in await tab.page.content()
    await card.get_by_role("button", name="Grant…").click()
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Grant").click()
    assert (await soon(calling)).json()["result"] == f"wiped {MARKUP}"
    await expect(card).to_have_count(0)
    assert tab.complaints == []
    assert tab.requested_outside(hub.origin) == []


async def test_a_call_that_is_denied_fails_with_the_reason(tab: Tab, hub: Dashboard) -> None:
    await tab.page.goto(f"{hub.origin}/?view=approvals")
    one, other = begin(hub, table="orders"), begin(hub, table="logs")
    card = tab.page.locator(".approvals > li").filter(has_text="orders")
    await card.get_by_role("button", name="Deny…").click()
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_label("Reason, told to the caller").fill("not on a Friday")
    await dialog.get_by_role("button", name="Deny", exact=True).click()
    error = (await soon(one)).json()["error"]
    assert error["type"] == "PermissionDenied"
    assert "the call of wipe was denied: not on a Friday" in error["message"]
    await expect(card).to_have_count(0)
    # The other one waits on.
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    await tab.page.get_by_text("No call waits for approval").wait_for()
    assert tab.complaints == []
