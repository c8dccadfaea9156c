"""The dashboard's agents and their runs in a browser, with a model that answers from a script."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Locator, expect

from grpc_tool_bridge import ToolWorker
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Held, fields, step
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, MARKUP, Dashboard, dashboard
from support.waiting import soon

pytestmark = BROWSER_TESTS

LAST = [step("I know it now.", "finish"), fields(reasoning="So it is.", Answer=f"four {MARKUP}")]


async def search_web(query: str) -> list[str]:
    """Searches the web."""
    return [f"a page about {query}"]


async def fail(reason: str) -> None:
    """Fails."""
    raise RuntimeError(reason)


class Hub(Dashboard):
    """A hub with a session "demo"."""

    async def agent(self, signature: str = "question -> Answer", **definition: Any) -> str:
        """Makes an agent."""
        given = {"signature": signature, **definition}
        answer = await self.client.post("/api/sessions/demo/agents", json=given)
        assert answer.status_code == 201, answer.text
        agent_id: str = answer.json()["agent_id"]
        return agent_id

    async def run(self, agent_id: str, run_id: str, **given: Any) -> list[str]:
        """Runs an agent; returns the names of its events."""
        body = {"input": {"question": "What is 2 + 2?"}, "run_id": run_id, **given}
        path = f"/api/sessions/demo/agents/{agent_id}/execute"
        async with self.client.stream("POST", path, json=body, headers={"accept": "application/x-ndjson"}) as answer:
            return [next(iter(json.loads(line))) async for line in answer.aiter_lines()]


@pytest_asyncio.fixture(loop_scope="module")
async def hub() -> AsyncIterator[Hub]:
    """A hub with tools, and no runtime yet."""
    async with dashboard([search_web, fail]) as made:
        await made.session("demo")
        yield Hub(made.server, made.client)


def runtime(hub: Hub, answers: list[Any]) -> ToolWorker:
    """A worker that runs agents, whose model answers so."""
    return ToolWorker(hub.server.address, agents={"lm": ScriptedLM(answers)})


def detail(tab: Tab) -> Locator:
    """Returns where the selected agent or run is shown."""
    return tab.page.get_by_role("complementary", name="What is selected")


def row(tab: Tab, label: str, text: str) -> Locator:
    """Returns the row of a list that has a text."""
    return tab.page.get_by_role("grid", name=label).get_by_role("row").filter(has_text=text)


async def test_a_run_is_followed_as_it_goes_on_and_again_after_a_reload(tab: Tab, hub: Hub) -> None:
    held = Held(step("Now I try what fails.", "fail", reason="no luck"))
    answers = [step(f"I look. {MARKUP}", "search_web", query=f"bridges {MARKUP}"), held, *LAST]
    async with runtime(hub, answers):
        agent_id = await hub.agent()
        running = asyncio.create_task(hub.run(agent_id, "run/1"))
        await held.asked()
        await hub.open(tab, "agents")
        await expect(row(tab, "Agents", "question -> Answer")).to_contain_text("demo")
        await expect(row(tab, "Runs", "run/1")).to_contain_text("▶ running")
        await row(tab, "Runs", "run/1").click()
        await expect(detail(tab)).to_contain_text("▶ Running, step 1")
        await expect(detail(tab)).to_contain_text(f"Thought I look. {MARKUP}")
        await expect(detail(tab)).to_contain_text(f'["a page about bridges {MARKUP}"]')
        await tab.page.reload()
        await expect(detail(tab)).to_contain_text(f"Thought I look. {MARKUP}")
        held.release()
        await expect(detail(tab)).to_contain_text("✓ Done in 3 steps")
        assert (await soon(running))[-1] == "complete"
        steps = detail(tab).get_by_role("list", name="Steps").get_by_role("listitem")
        await expect(steps).to_have_count(3)
        await expect(steps.nth(1)).to_contain_text("RuntimeError: no luck")
        await expect(detail(tab)).to_contain_text(f"Answerfour {MARKUP}")
        await expect(detail(tab).get_by_role("link", name="search_web")).to_have_attribute(
            "href", "?view=tools&tool=search_web"
        )
        await expect(row(tab, "Runs", "run/1")).to_contain_text("✓ done")
        # Also from its first step on if it is over.
        await tab.page.reload()
        await expect(steps).to_have_count(3)
        await expect(detail(tab).get_by_role("button", name="Cancel the run…")).to_have_count(0)
        assert await tab.page.locator("img").count() == 0
        assert (tab.errors, tab.violations) == ([], [])


async def test_a_run_is_cancelled_from_the_page(tab: Tab, hub: Hub) -> None:
    held = Held("")
    async with runtime(hub, [held]):
        agent_id = await hub.agent()
        running = asyncio.create_task(hub.run(agent_id, "r2"))
        await held.asked()
        await hub.open(tab, "agents", run="r2", of="demo")
        await expect(detail(tab)).to_contain_text("▶ Running")
        await detail(tab).get_by_role("button", name="Cancel the run…").click()
        await tab.page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
        await expect(detail(tab)).to_contain_text("⊘ Cancelled")
        await expect(detail(tab)).to_contain_text("cancelled by its caller")
        assert (await soon(running))[-1] == "error"
        await held.given_up()
        await expect(row(tab, "Runs", "r2")).to_contain_text("⊘ cancelled")
        # Chromium counts some streams that were read to their end among the requests that failed.
        assert (tab.errors, tab.violations) == ([], [])


async def test_an_agent_is_run_by_its_form_and_the_run_goes_on_without_the_page(tab: Tab, hub: Hub) -> None:
    held = Held(LAST[0])
    lm = ScriptedLM([held, LAST[1]])
    async with ToolWorker(hub.server.address, agents={"lm": lm}):
        agent_id = await hub.agent("question, limit: int, style: Literal['a, b', 'c'] | None -> Answer", max_iters=3)
        await hub.open(tab, "agents", agent=agent_id, of="demo")
        await detail(tab).get_by_label("question").fill(f"007 {MARKUP}")
        await detail(tab).get_by_label("limit int").fill("3")
        await detail(tab).get_by_role("button", name="Run", exact=True).click()
        await held.asked()
        await expect(detail(tab)).to_contain_text("▶ Running")
        await tab.page.goto("about:blank")
        held.release()
        runs: list[dict[str, Any]] = []
        while not runs or runs[0]["state"] == "running":
            runs = (await hub.client.get("/api/runs")).json()["runs"]
        assert runs[0]["state"] == "done"
        assert f"007 {MARKUP}" in lm.prompts[0].text
        await hub.open(tab, "agents", agent=agent_id, of="demo")
        await detail(tab).get_by_role("link", name="done").click()
        await expect(detail(tab)).to_contain_text("✓ Done")
        assert (tab.errors, tab.violations) == ([], [])


async def test_what_a_run_is_refused_for_stands_at_the_form(tab: Tab, hub: Hub) -> None:
    async with runtime(hub, []):
        agent_id = await hub.agent("limit: int -> Answer")
        await hub.open(tab, "agents", agent=agent_id, of="demo")
        await detail(tab).get_by_label("limit int").fill("many")
        await detail(tab).get_by_role("button", name="Run", exact=True).click()
        await expect(detail(tab)).to_contain_text("ValidationError")
    await expect(detail(tab)).to_contain_text("limit")


async def test_without_a_runtime_the_page_says_what_to_do(tab: Tab, hub: Hub) -> None:
    await hub.open(tab, "agents")
    await expect(tab.page.get_by_text("grpc-tool-bridge serve --agents")).to_be_visible()
    async with runtime(hub, []):
        agent_id = await hub.agent()
    await hub.open(tab, "agents", agent=agent_id, of="demo")
    await detail(tab).get_by_label("question").fill("What?")
    await detail(tab).get_by_role("button", name="Run", exact=True).click()
    await expect(detail(tab)).to_contain_text("no agent runtime is connected")
    assert (tab.errors, tab.violations) == ([], [])


async def test_a_hub_that_has_no_agents_at_all_is_explained(tab: Tab, hub: Hub) -> None:
    error = {"type": "Unimplemented", "message": "this hub has no agents", "details": {}, "retryable": False}
    await tab.page.route("**/api/agents*", lambda route: route.fulfill(status=501, json={"error": error}))
    await hub.open(tab, "agents")
    await expect(tab.page.get_by_text("Unimplemented: this hub has no agents")).to_be_visible()
    await expect(tab.page.get_by_text("This hub has no agents. To run agents, start the hub with:")).to_be_visible()


async def test_a_run_or_an_agent_that_is_not_there_is_said(tab: Tab, hub: Hub) -> None:
    await hub.open(tab, "agents", run="never", of="demo")
    await expect(detail(tab)).to_contain_text("Not found")
    await expect(detail(tab)).to_contain_text("session 'demo' has no run 'never'")
    await hub.open(tab, "agents", agent="nobody", of="demo")
    await expect(detail(tab)).to_contain_text("No such agent.")


async def test_the_steps_of_a_run_whose_beginning_is_not_kept_begin_with_those_that_are(tab: Tab, hub: Hub) -> None:
    asked: list[str | None] = []

    async def answer(route: Any) -> None:
        asked.append(await route.request.header_value("last-event-id"))
        if len(asked) == 1:
            error = {"type": "ValidationError", "message": "evicted", "details": {"first_sequence": "7"}}
            await route.fulfill(status=422, json={"error": error})
            return
        told = [("thought", 7, {"text": "late", "step": 3}), ("complete", 8, {"final_answer": {}, "total_steps": 3})]
        body = "".join(f"event: {name}\nid: {number}\ndata: {json.dumps(data)}\n\n" for name, number, data in told)
        await route.fulfill(status=200, content_type="text/event-stream", body=body)

    await tab.page.route("**/runs/long", answer)
    await hub.open(tab, "agents", run="long", of="demo")
    await expect(detail(tab)).to_contain_text("The first 7 events of this run are no longer kept.")
    await expect(detail(tab)).to_contain_text("✓ Done in 3 steps")
    assert asked == [None, "6"]


async def test_agents_and_runs_of_one_session_alone_are_shown_where_its_link_leads(tab: Tab, hub: Hub) -> None:
    assert (await hub.client.post("/api/sessions", json={"session_id": "other"})).status_code == 201
    async with runtime(hub, []):
        agent_id = await hub.agent()
        await hub.open(tab, "agents", session="other")
        await expect(tab.page.get_by_text("0 agents")).to_be_visible()
        await tab.page.get_by_role("link", name="Show all").click()
        await expect(row(tab, "Agents", agent_id)).to_be_visible()
        assert tab.complaints == []
