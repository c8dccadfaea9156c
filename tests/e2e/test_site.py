"""The documentation as a site: every page is there, in both themes, and none needs another host."""

import functools
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

import grpc_tool_bridge
from support.browser import open_tab
from support.needs import needs
from support.patience import PATIENCE
from support.programs import ROOT

# The site takes seconds to build, so one process runs them all.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

# Builds the site with one more link in one page.
SPOILED = """
import build_site

put = build_site.Sources.put
more = "\\n[An answer](tutorial.md#no-such-heading)\\n"
build_site.Sources.put = lambda self, page, text: put(self, page, text + (more if page == "faq.md" else ""))
build_site.main()
"""


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs what ``make docs`` runs."""
    command = [sys.executable, "scripts/build_site.py", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def origin(site: Path) -> Iterator[str]:
    """The site, served at a port of this machine."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with QuietServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class QuietServer(http.server.ThreadingHTTPServer):
    """Says nothing of a browser that goes to the next page before it has all of this one."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Drops the error."""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
        """Drops the line."""


def pages_of(site: Path) -> list[str]:
    """The pages, by their paths in the site."""
    return [page.parent.relative_to(site).as_posix() for page in sorted(site.rglob("index.html"))]


def test_every_page_of_docs_is_in_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        built = page.relative_to(ROOT / "docs").with_suffix("")
        place = built.parent if built.name == "index" else built
        assert (site / place / "index.html").exists(), place


def test_a_bar_in_the_code_of_a_table_has_no_backslash(site: Path) -> None:
    assert "<code>… | head</code>" in (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")


def test_the_reference_has_every_public_name_with_its_docstring(site: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference" / "api").rglob("*.html"))
    for name in grpc_tool_bridge.__all__:
        assert re.search(rf'id="grpc_tool_bridge\.[\w.]*\.{name}"|<code>{name}</code>', text), name
    assert "Seconds for a call of a tool that sets no limit" in text


def test_a_link_that_leads_nowhere_fails_the_build_and_leaves_the_site_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("before")
    command = [sys.executable, "-c", SPOILED, str(tmp_path)]
    scripts = ROOT / "scripts"
    done = subprocess.run(command, cwd=scripts, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "anchor does not exist" in done.stderr
    assert (tmp_path / "index.html").read_text() == "before"


@needs("chromium")
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_page_asks_another_host_or_lacks_a_file(site: Path, origin: str, browser: Browser, theme: str) -> None:
    tab = await open_tab(browser, color_scheme=theme)
    pages = pages_of(site)
    assert len(pages) > 60
    # All pages have the same frame: the second theme only looks at those with pictures and at one of each kind.
    chosen = pages if theme == "light" else [".", "performance", "design", "reference/api/client", "how-to/dashboard"]
    for page in chosen:
        answer = await tab.page.goto(f"{origin}/{page}/")
        assert answer is not None
        assert answer.ok, page
    assert tab.requested_outside(origin) == []
    assert tab.faults == []


@needs("chromium")
@pytest.mark.asyncio(loop_scope="module")
async def test_the_search_finds_a_page_without_another_host(origin: str, browser: Browser) -> None:
    tab = await open_tab(browser)
    await tab.page.goto(f"{origin}/")
    await tab.page.get_by_role("button", name="Search").first.click()
    await tab.page.get_by_role("combobox", name="Search").fill("nested calls are at most")
    await tab.page.get_by_text("Fixed limits").last.click()
    await tab.page.wait_for_url(re.compile("/reference/settings/"))
    assert tab.requested_outside(origin) == []


@needs("chromium")
@pytest.mark.asyncio(loop_scope="module")
async def test_the_dark_theme_is_dark(origin: str, browser: Browser) -> None:
    seen = {}
    for theme in ("light", "dark"):
        tab = await open_tab(browser, color_scheme=theme)
        await tab.page.goto(f"{origin}/")
        colour = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        seen[theme] = [float(part) for part in re.findall(r"[\d.]+", colour)][:3]
    assert sum(seen["light"]) > sum(seen["dark"])
