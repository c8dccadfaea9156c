"""docs/how-to/middleware.md and docs/how-to/logs.md do what they say."""

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import LocalToolBridge, ToolContext, ToolExecutionError, tool
from grpc_tool_bridge.cli.log import JsonFormatter, LineFormatter

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@tool(name="orders.find")
async def find(number: int, card: str = "") -> dict[str, Any]:
    return {"number": number, "card": card, "internal_id": 7}


@tool
async def words() -> AsyncIterator[str]:
    yield "one"
    yield "two"


@tool
async def calculate(ctx: ToolContext, by: int) -> float:
    ctx.log("did", i=3)
    if not by:
        raise ValueError("division by zero")
    return 1 / by


@pytest.fixture
def named() -> dict[str, Any]:
    """The functions of the page, by name."""
    found: dict[str, Any] = {"search": find}
    for block in blocks("middleware.md", "python"):
        exec(block, found)
    return found


async def test_the_page_s_middleware_measures_checks_redacts_and_wraps_streams(
    named: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "calls")
    middleware = [named["timed"], named["guarded"], named["shouting"]]
    async with LocalToolBridge([find, words], middleware=middleware) as bridge:
        tools = await bridge.initialize()
        with pytest.raises(ToolExecutionError) as refused:
            await tools["orders.find"](1)
        assert refused.value.error_type == "PermissionDenied"
        clerk = tools["orders.find"].with_options(metadata={"role": "clerk"})
        assert await clerk(1, card="4111") == {"number": 1, "card": "***"}
        assert await tools["words"]() == ["ONE", "TWO"]
    assert re.fullmatch(r"orders\.find took \d+\.\d{3} s", caplog.messages[0])


async def test_the_lines_of_the_page_are_those_of_a_hub(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grpc_tool_bridge")
    async with LocalToolBridge([calculate]) as bridge:
        await bridge.initialize("s1")
        with pytest.raises(ToolExecutionError):
            await bridge.tools["calculate"](0)
    told, failed = [record for record in caplog.records if record.name.endswith((".tool", ".calls"))]
    formatter = LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    shown_failed, shown_told = blocks("logs.md", "text")
    assert _without_chance(formatter.format(failed)) == _without_chance(shown_failed.rstrip())
    assert _without_chance(formatter.format(told)) == _without_chance(shown_told.rstrip())
    (as_json,) = blocks("logs.md", "json")
    shown, written = json.loads(as_json), json.loads(JsonFormatter().format(failed))
    for line in (shown, written):
        line["time"], line["fields"]["request_id"], line["fields"]["duration_ms"] = "", "", 0
    assert written == shown


def _without_chance(line: str) -> str:
    line = re.sub(r"^[\d-]+ [\d:,]+", "<time>", line)
    return re.sub(r"(request_id|duration_ms)=\S+", r"\1=…", line)
