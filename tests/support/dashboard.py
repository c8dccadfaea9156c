"""A hub with its dashboard, and what the tests of its views have in common.

A module of such tests is marked with ``BROWSER_TESTS``; ``support.browser`` says why.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import expect

from grpc_tool_bridge import BridgeServer, Settings
from support.browser import Tab
from support.needs import needs
from support.patience import PATIENCE

BROWSER_TESTS = [needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("browser")]
MARKUP = "<img src=x onerror=alert(1)>"

expect.set_options(timeout=1_000 * PATIENCE)


class HeldTool:
    """A tool whose calls wait until the test lets them end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def wait(self) -> str:
        """Waits."""
        self.begun.set()
        await self.may_end.wait()
        return "done"


class Dashboard:
    """A hub, and a client of it over HTTP.

    Attributes:
        server: The hub.
        client: The client.
        origin: Of the dashboard.
    """

    def __init__(self, server: BridgeServer, client: httpx.AsyncClient) -> None:
        self.server, self.client = server, client
        self.origin = f"http://{server.http_address}"

    async def session(self, name: str, **metadata: str) -> None:
        """Opens a session."""
        given = {"session_id": name, "metadata": metadata}
        assert (await self.client.post("/api/sessions", json=given)).status_code == 201

    async def call(self, tool: str, session: str = "demo", **kwargs: Any) -> httpx.Response:
        """Makes a call, whatever comes of it."""
        return await self.client.post(f"/api/sessions/{session}/tools/{tool}/execute", json={"kwargs": kwargs})

    async def open(self, tab: Tab, view: str, **query: str) -> None:
        """Opens a view."""
        await tab.page.goto(f"{self.origin}/?{urlencode({'view': view, **query})}")


@asynccontextmanager
async def dashboard(
    tools: list[Callable[..., Any]], *, http_address: str | None = "127.0.0.1:0", **settings: Any
) -> AsyncIterator[Dashboard]:
    """Runs a hub with these tools."""
    given = Settings(**{"shutdown_grace": 0.0, **settings})
    async with AsyncExitStack() as stack:
        server = BridgeServer(tools=tools, http_address=http_address, settings=given)
        await stack.enter_async_context(server)
        client = httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=4 * PATIENCE)
        await stack.enter_async_context(client)
        yield Dashboard(server, client)
