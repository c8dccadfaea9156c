"""Whether everybody can use a page, as far as a program can find out: axe-core, of ``make install-axe``."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

SCRIPT = Path(__file__).parents[1] / "peers" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
# What keeps somebody from using a page, or makes it hard; the others are advice.
GRAVE = frozenset({"serious", "critical"})
_RUN = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.map(({ id, impact, help, nodes }) => ({ id, impact, help,
    nodes: nodes.map(({ target, html, failureSummary }) => ({ target: target.join(" "), html, failureSummary })) }));
}"""

needs_axe = pytest.mark.skipif(not SCRIPT.exists(), reason="needs axe-core, which make install-axe installs")


async def violations(page: Page) -> list[str]:
    """Returns what is serious or critical on a page as it is now, a line for each element.

    The page keeps its content security policy: the browser's debugger runs the script, which is no part of the page.
    """
    if not await page.evaluate("'axe' in window"):
        session = await page.context.new_cdp_session(page)
        await session.send("Runtime.evaluate", {"expression": SCRIPT.read_text(encoding="utf-8")})
        await session.detach()
    found: list[dict[str, Any]] = await page.evaluate(_RUN)
    return [
        f"{item['id']} ({item['impact']}): {node['target']}: {' '.join(node['failureSummary'].split())}: "
        f"{node['html']:.200}"
        for item in found
        if item["impact"] in GRAVE
        for node in item["nodes"]
    ]
