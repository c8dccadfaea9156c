"""A browser without a window, and what it complains about.

A module that uses it is marked ``pytest.mark.asyncio(loop_scope="module")``, and so are its fixtures that are
coroutines: the browser takes seconds to start, and can only be used in the event loop that it was started in. The mark
``xdist_group("browser")`` lets one process run all of the module, else each of them starts a browser.

Names that end in ``.example`` are this machine, and no other name or address is anywhere: what a page would load from
elsewhere fails.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from support.patience import PATIENCE

_HOSTS = "MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
# A browser tells only the page that violated its policy.
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation",
  (event) => tellViolation(`${event.effectiveDirective}: ${event.blockedURI}`));
"""


@dataclass
class Tab:
    """A page in a browser of its own, with its own cookies, and what has happened in it.

    Attributes:
        page: The page.
        printed: What it wrote to the console.
        errors: What the console shows as an error, and exceptions that nothing caught.
        failed: URLs of requests that got no response.
        violations: What its content security policy has stopped.
        requested: URLs of all requests.
    """

    page: Page
    printed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    @property
    def context(self) -> BrowserContext:
        """The cookies and pages that it shares."""
        return self.page.context

    @property
    def complaints(self) -> list[str]:
        """All that a page without faults has none of."""
        return [*self.errors, *self.failed, *self.violations]

    @property
    def faults(self) -> list[str]:
        """Its complaints, but for requests that were cut off: what a page that was left was still loading or reading.

        To Chromium that is a stream as well whose last bytes have been read before it is told of its end.
        """
        return [text for text in self.complaints if not text.endswith("ERR_ABORTED")]

    def requested_outside(self, *origins: str) -> list[str]:
        """Returns what was asked of others than these origins."""
        return [url for url in self.requested if not url.startswith((*(f"{origin}/" for origin in origins), "data:"))]

    async def observe(self) -> None:
        """Begins to write down what happens."""
        await self.context.expose_binding("tellViolation", lambda _, text: self.violations.append(text))
        await self.context.add_init_script(_TELL_VIOLATIONS)
        self.context.on("console", self._on_console)
        self.context.on("weberror", lambda told: self.errors.append(str(told.error)))
        self.context.on("request", lambda request: self.requested.append(request.url))
        self.context.on("requestfailed", self._on_failed)

    def _on_console(self, message: ConsoleMessage) -> None:
        (self.errors if message.type == "error" else self.printed).append(message.text)

    def _on_failed(self, request: Request) -> None:
        self.failed.append(f"{request.url}: {request.failure}")


class Site:
    """A site that has nothing to do with a hub: it answers with a page, or redirects to what follows ``/to/``.

    Args:
        html: The page.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, html: str = "<!doctype html><title>a site</title>") -> None:
        self._body = html.encode()
        self._server: asyncio.Server | None = None
        self.port = 0

    def origin_at(self, host: str) -> str:
        """Returns the origin of its pages under a name of this machine."""
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, url = head.split(b" ")[1].partition(b"/to/")
            # 307 keeps the method and the body.
            status = b"307 Temporary Redirect\r\nlocation: " + url if url else b"200 OK"
            writer.write(b"HTTP/1.1 %b\r\ncontent-type: text/html\r\n" % status)
            writer.write(b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(self._body), self._body))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            # A browser opens connections that it may need and then does not.
            return
        finally:
            writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, once for a module; nothing is downloaded."""
    flags = [f"--host-resolver-rules={_HOSTS}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        try:
            yield started
        finally:
            await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """A browser with no pages, which are closed after the test."""
    yield chromium
    for context in chromium.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def tab(browser: Browser) -> Tab:
    """A page that is still empty."""
    return await open_tab(browser)


async def open_tab(browser: Browser, **options: Any) -> Tab:
    """Opens a page with its own cookies; ``options`` are those of a browser's context."""
    context = await browser.new_context(**options)
    context.set_default_timeout(1_000 * PATIENCE)
    tab = Tab(await context.new_page())
    await tab.observe()
    return tab
