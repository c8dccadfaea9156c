"""The dashboard's view of tools in a browser: finding them, forms, calls, and the same call elsewhere."""

import asyncio
import base64
import datetime as dt
import decimal
import enum
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, Route, expect
from pydantic import Field, SecretStr

from grpc_tool_bridge import BridgeServer, Settings, ToolContext, ToolWorker, tool
from support.browser import Tab
from support.dashboard import BROWSER_TESTS
from support.patience import PATIENCE
from support.programs import environment, run

pytestmark = BROWSER_TESTS

HOSTILE = "<img src=x onerror=alert(1)>\u202e\u2066__proto__\n\t</script>" + "x" * 100_000
# A browser's console counts an answer that is an error as one of the page's.
REFUSED = "Failed to load resource: the server responded with a status of"


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


@dataclass
class Node:
    """A part of a tree."""

    value: int
    children: list["Node"] = field(default_factory=list)


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int = 9


@dataclass
class Dog:
    kind: Literal["dog"]
    name: str


@tool
async def everything(  # noqa: PLR0917 - one argument of each kind
    text: str,
    count: Annotated[int, Field(ge=1, description="How many.")],
    node: Node,
    anything: Any = None,
    number: float = 1.5,
    yes: bool = False,
    unit: Unit = Unit.C,
    choice: Literal["a", 5, None] = "a",  # noqa: PYI061 - one of the kinds
    day: dt.date | None = None,
    at: dt.datetime | None = None,
    duration: dt.timedelta = dt.timedelta(hours=1),
    uid: uuid.UUID | None = None,
    price: decimal.Decimal = decimal.Decimal("1.50"),
    raw: bytes = b"abc",
    names: list[str] | None = None,
    pair: tuple[int, str] = (1, "x"),
    by_name: dict[str, int] | None = None,
    pet: Cat | Dog | None = None,
    either: int | str = 0,
    code: Annotated[str, Field(pattern="^[a-z]+$", max_length=5)] = "abc",
) -> str:
    """Shows what it was called with.

    That is all there is to it.
    """
    return repr({**locals(), "unit": unit.value})


@tool
async def starred(first: int, second: str = "x", *rest: float, only: bool = False, **more: int) -> str:
    """Takes any number of arguments."""
    return repr((first, second, rest, only, more))


@tool
async def countdown(start: int, ctx: ToolContext) -> AsyncIterator[int]:
    """Counts down to zero."""
    for number in range(start, -1, -1):
        ctx.progress(start - number, start, f"at {number}")
        yield number
    ctx.log("liftoff <b>now</b>")


@tool
async def fail(message: str = "no <b>such</b> luck") -> None:
    """Raises what it is told to."""
    raise LookupError(message)


@tool
async def inject(text: str | None = None) -> str:
    """Says <script>alert(1)</script> and <img src=x onerror=alert(1)>."""
    return HOSTILE if text is None else text


@tool
async def flood(count: int) -> AsyncIterator[int]:
    """Yields very many numbers."""
    for number in range(count):
        yield number


class Hub:
    """A hub with these tools, and one that waits until it is told to go on, or is cancelled."""

    def __init__(self) -> None:
        self.waiting, self.cancelled = asyncio.Event(), asyncio.Event()
        self.origin, self.address = "", ""

    async def wait(self) -> AsyncIterator[str]:
        """Yields once, and then never ends."""
        yield "here"
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest_asyncio.fixture(loop_scope="module")
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    tools = [everything, starred, countdown, fail, inject, flood, tool(made.wait, name="wait")]
    settings = Settings(worker_grace_period=0)
    async with BridgeServer(tools=tools, http_address="127.0.0.1:0", settings=settings) as server:
        made.origin, made.address = f"http://{server.http_address}", server.address
        yield made


async def opened(tab: Tab, hub: Hub, **query: str) -> Page:
    """Opens the view of tools."""
    await tab.page.goto(
        f"{hub.origin}/?view=tools{''.join(f'&{name}={quote(value)}' for name, value in query.items())}"
    )
    return tab.page


async def with_tool(tab: Tab, hub: Hub, name: str, args: Any = None, **query: str) -> Locator:
    """Opens a tool with these arguments; returns what is shown of it."""
    given = {} if args is None else {"args": json.dumps(args)}
    page = await opened(tab, hub, tool=name, **given, **query)
    panel = page.get_by_role("complementary", name="The selected tool")
    await panel.get_by_role("button", name="Call", exact=True).wait_for()
    return panel


def arguments_in(page: Page) -> Any:
    """Returns the arguments in the address."""
    return json.loads(parse_qs(urlsplit(page.url).query).get("args", ["null"])[0])


def of(panel: Locator, name: str) -> Locator:
    """Returns the part of a form that is about one argument."""
    return panel.locator(f".field:has(> .line .name > span:text-is('{name}'))")


async def call(panel: Locator, button: str = "Call") -> str:
    """Makes the call; returns what has come of it."""
    await panel.get_by_role("button", name=button, exact=True).click()
    state = panel.locator(".outcome:is([data-state=done], [data-state=failed], [data-state=cancelled])")
    await state.wait_for()
    return await state.inner_text()


async def result(panel: Locator) -> str:
    """Makes the call; returns its result."""
    assert (await call(panel)).startswith("Done in ")
    return await panel.get_by_label("Result", exact=True).inner_text()


def complaints(tab: Tab) -> list[str]:
    """Returns what the page complains about, but for answers that are errors."""
    return [text for text in tab.faults if not text.startswith(REFUSED)]


# ------------------------------------------------------------------------------------------------------------ the list


async def test_tools_are_found_by_all_words_of_a_name_or_a_description(tab: Tab, hub: Hub) -> None:
    page = await opened(tab, hub)
    await page.get_by_text("7 tools").wait_for()
    await page.get_by_label("Find").fill("ZERO down")
    await page.get_by_text("1 of 7 tools").wait_for()
    await expect(page.locator(".body .row:visible .tool")).to_have_text(["countdown"])
    await expect(page.locator(".body .row:visible .kind")).to_have_text(["streaming"])
    assert parse_qs(urlsplit(page.url).query)["q"] == ["ZERO down"]
    await page.get_by_label("Find").fill("zero up")
    await page.get_by_text("No tool matches.").wait_for()
    assert tab.complaints == []


async def test_tools_are_shown_with_their_tags_and_filtered_by_them(tab: Tab) -> None:
    @tool(tags=["db", "read"])
    async def fetch() -> str:
        return "fetched"

    @tool(tags=["db"])
    async def store() -> str:
        return "stored"

    @tool
    async def plain() -> str:
        return "plain"

    async with BridgeServer(tools=[fetch, store, plain], http_address="127.0.0.1:0") as server:
        page = tab.page
        await page.goto(f"http://{server.http_address}/?view=tools")
        await page.get_by_text("3 tools").wait_for()
        await expect(page.locator(".body .row:visible .tags")).to_have_text(["db, read", "", "db"])
        field = page.get_by_label("Tags")
        await field.focus()
        await page.locator("datalist option[value=read]").wait_for(state="attached")
        await field.fill("db,read")
        await field.press("Enter")
        await page.get_by_text("1 tool", exact=True).wait_for()
        await expect(page.locator(".body .row:visible .tool")).to_have_text(["fetch"])
        assert parse_qs(urlsplit(page.url).query)["tags"] == ["db,read"]
        await field.fill("none")
        await field.press("Enter")
        await page.get_by_text("No tool matches.").wait_for()
        assert tab.complaints == []


async def test_a_tool_is_chosen_and_called_by_keyboard_alone(tab: Tab, hub: Hub) -> None:
    page = await opened(tab, hub, q="starred")
    await page.get_by_text("1 of 7 tools").wait_for()
    await page.get_by_label("Tags").focus()
    await page.keyboard.press("Tab")
    for key in ("ArrowDown", "Enter"):
        await page.keyboard.press(key)
    panel = page.get_by_role("complementary", name="The selected tool")
    await panel.get_by_role("button", name="Call", exact=True).wait_for()
    # By way of the closing cross, the links to its calls and performance, and the switch to JSON to the first field.
    for _ in range(5):
        await page.keyboard.press("Tab")
    await page.keyboard.type("7")
    await page.keyboard.press("Enter")
    await panel.get_by_text("(7, 'x', (), False, {})").wait_for()
    assert tab.complaints == []


async def test_ten_thousand_tools_are_a_list_of_few_elements(tab: Tab, hub: Hub) -> None:
    line = {
        "type": "STANDARD",
        "idempotent": False,
        "version": "",
        "workers": 2,
        "of_session": False,
        "tags": [],
        "deprecated": "",
    }

    async def many(route: Route) -> None:
        first = int(parse_qs(urlsplit(route.request.url).query).get("page_token", ["0"])[0] or 0)
        names = [f"tool/{number} ü" for number in range(first, first + 1_000)]
        tools = [
            {**line, "name": name, "tool_id": name, "description": f"<b>{name}</b> {HOSTILE[:200]}"} for name in names
        ]
        await route.fulfill(json={"tools": tools, "next_page_token": str(first + 1_000) if first < 9_000 else ""})

    await tab.page.route("**/api/tools?*", many)
    page = await opened(tab, hub)
    await page.get_by_text("10,000 tools").wait_for()
    assert await page.locator(".body .row").count() < 60
    await page.get_by_label("Find").fill("tool/9999 onerror")
    await page.get_by_text("1 of 10,000 tools").wait_for()
    await expect(page.locator(".body .row:visible .where")).to_have_text(["2 workers"])
    assert await page.locator("img").count() == 0
    # A name with a slash and a blank is one part of a path.
    await page.locator(".body .row:visible").click()
    await page.get_by_text("ToolNotFound").first.wait_for()
    assert any(url.endswith("/api/tools/tool%2F9999%20%C3%BC") for url in tab.requested)
    assert complaints(tab) == []


async def test_a_tool_says_what_it_is(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "everything")
    assert await panel.locator(".paragraph").all_inner_texts() == [
        "Shows what it was called with.",
        "That is all there is to it.",
    ]
    await panel.get_by_text("Full specification").click()
    await panel.get_by_text('"python_type": "Cat | Dog | None"').wait_for()
    assert await of(panel, "count").locator(".help").inner_text() == "How many."
    assert tab.complaints == []


async def test_tools_of_workers_and_of_a_session_come_and_go_while_one_looks(tab: Tab, hub: Hub) -> None:
    async def far(number: float) -> float:
        """Runs elsewhere."""
        return number

    page = await opened(tab, hub)
    await page.get_by_text("7 tools").wait_for()
    async with (
        httpx.AsyncClient(base_url=hub.origin, timeout=PATIENCE) as client,
        ToolWorker(hub.address, tools=[far], worker_id="w1"),
        ToolWorker(hub.address, tools=[tool(far, name="mine")], session_id="a b", worker_id="w2"),
    ):
        assert (await client.post("/api/sessions", json={"session_id": "a b"})).is_success
        await page.get_by_text("8 tools").wait_for()
        await page.get_by_label("Session").fill("a b")
        await page.get_by_label("Session").press("Enter")
        await page.get_by_text("9 tools").wait_for()
        row = page.locator(".body .row:visible", has_text="mine")
        assert await row.locator(".kind").inner_text() == "plain, of the session"
        assert await row.locator(".where").inner_text() == "1 worker"
        await row.click()
        panel = page.get_by_role("complementary", name="The selected tool")
        await of(panel, "number").locator("input").fill("3.0")
        assert await result(panel) == "3.0"
        await panel.get_by_text("w2", exact=True).wait_for()
    await page.get_by_text("7 tools").wait_for()
    assert complaints(tab) == []


async def test_a_tool_that_is_not_there_is_said(tab: Tab, hub: Hub) -> None:
    page = await opened(tab, hub, tool="nothing")
    await page.get_by_text("ToolNotFound").first.wait_for()
    assert complaints(tab) == []


# ------------------------------------------------------------------------------------------------------------ the form


def nested(names: int) -> dict[str, Any]:
    """An object of objects of the same kind, all of them required."""
    properties = {f"p{number}": {"$ref": "#/$defs/a"} for number in range(names)}
    return {"type": "object", "required": [*properties], "properties": properties}


ITSELF = {"$ref": "#/$defs/a"}
CHAIN = {f"{at}": {"$ref": f"#/$defs/{at + 1}"} for at in range(3_000)}
HOSTILE_SCHEMAS = {
    "objects": {"$defs": {"a": nested(20)}, **nested(20)},
    "lists": {"$defs": {"a": {"type": "array", "minItems": 20, "items": ITSELF}}, **nested(20)},
    "unions": {"$defs": {"a": {"anyOf": [ITSELF] * 150}}, **nested(5)},
    "unions of types": {"$defs": {"a": {"type": ["object", "array", "string"], "anyOf": [ITSELF] * 3}}, **nested(5)},
    "options": {"$defs": {"a": {"enum": [*range(15_000)]}}, **nested(250)},
    "names": {**nested(1), "$defs": {"a": {**nested(8_000), "$defs": {}}}},
    "references": {"$defs": {"a": {"$ref": "#/$defs/0"}, **CHAIN}, **nested(1)},
    "patterns": {"$defs": {"a": {"type": "string", "pattern": "^(a+)+$"}}, **nested(5)},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE_SCHEMAS)
async def test_a_form_is_made_of_whatever_a_tool_says_of_itself(tab: Tab, hub: Hub, kind: str) -> None:
    async def change(route: Route) -> None:
        told = await (await route.fetch()).json()
        await route.fulfill(json={**told, "arguments": HOSTILE_SCHEMAS[kind]})

    await tab.page.route("**/api/tools/starred", change)
    values: list[Any] = ["a" * 100 + "!", {"p0": {"p1": [[], {}]}}]
    for value in values:
        panel = await with_tool(tab, hub, "starred", args={"p0": value})
        await panel.get_by_role("button", name="Call", exact=True).wait_for()
        await panel.locator(".name", has_text=re.compile("^p0$")).first.wait_for()
        assert await panel.locator("input, textarea, option").count() < 50_000
    assert complaints(tab) == []


async def test_a_form_sends_what_was_filled_in_and_nothing_else(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "everything")
    await of(panel, "text").locator("textarea").fill("ü <b>\n")
    await of(panel, "count").locator("input").fill("9007199254740993")
    await of(panel, "value").locator("input").fill("1")
    taken = eval(await result(panel), EVALUATED)
    assert (taken["text"], taken["count"], taken["node"]) == ("ü <b>\n", 9007199254740993, Node(1))
    assert (taken["price"], taken["raw"], taken["pair"], taken["pet"]) == (
        decimal.Decimal("1.50"),
        b"abc",
        (1, "x"),
        None,
    )
    assert arguments_in(tab.page) == {
        "text": "ü <b>\n",
        "count": {"$type": "int", "value": "9007199254740993"},
        "node": {"value": 1},
    }
    assert tab.complaints == []


EVALUATED: dict[str, Any] = {
    **{cls.__name__: cls for cls in (Node, Cat, Dog)},
    "datetime": dt,
    "UUID": uuid.UUID,
    "Decimal": decimal.Decimal,
    "nan": "nan",
}


async def give(panel: Locator, name: str) -> Locator:
    """Gives an argument that may be left out; returns its part of the form."""
    await of(panel, name).get_by_role("checkbox", name=name, exact=True).check()
    return of(panel, name)


async def test_a_form_has_a_field_for_every_kind_of_argument(tab: Tab, hub: Hub, tmp_path: Path) -> None:
    panel = await with_tool(tab, hub, "everything", {"text": "", "count": 2, "node": {"value": 0}})
    await (await give(panel, "anything")).locator("textarea").fill('{"a": [1.0, 9007199254740993]}')
    await (await give(panel, "number")).locator("input:not([type])").fill("NaN")
    await (await give(panel, "yes")).locator("select").select_option("true")
    await (await give(panel, "choice")).locator("select").select_option("null")
    await (await give(panel, "day")).locator("input[type=date]").fill("2026-01-02")
    await (await give(panel, "at")).locator("input:not([type])").fill("2026-01-02T03:04:05+00:00")
    await (await give(panel, "duration")).locator("input:not([type])").fill("PT90S")
    await (await give(panel, "uid")).locator("input:not([type])").fill("123e4567-e89b-12d3-a456-426614174000")
    await (await give(panel, "price")).locator("textarea").fill("2.50")
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    await (await give(panel, "raw")).locator("input[type=file]").set_input_files(tmp_path / "bytes")
    names = await give(panel, "names")
    for text in ("one", "two", "three"):
        await names.get_by_role("button", name="Add an entry").click()
        await names.locator("textarea").last.fill(text)
    await names.get_by_role("button", name="Move up").last.click()
    await names.get_by_role("button", name="Remove").first.click()
    by_name = await give(panel, "by_name")
    await by_name.get_by_role("button", name="Add a name").click()
    await by_name.get_by_label("Name", exact=True).fill("__proto__")
    await by_name.get_by_label("Value", exact=True).fill("5")
    pet = await give(panel, "pet")
    await pet.locator("select").select_option("Dog")
    await of(pet, "name").locator("textarea").fill("Rex")
    await (await give(panel, "either")).locator("> div select").first.select_option("text")
    await of(panel, "either").locator("textarea").fill("5")
    children = await give(panel, "children")
    await children.get_by_role("button", name="Add an entry").click()
    await of(children, "value").locator("input").fill("-3")
    taken = eval(await result(panel), EVALUATED)
    expected = {
        "anything": {"a": [1.0, 9007199254740993]},
        "yes": True,
        "choice": None,
        "day": dt.date(2026, 1, 2),
        "at": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "duration": dt.timedelta(seconds=90),
        "uid": uuid.UUID("123e4567-e89b-12d3-a456-426614174000"),
        "price": decimal.Decimal("2.50"),
        "raw": bytes(range(256)),
        "names": ["three", "two"],
        "by_name": {"__proto__": 5},
        "pet": Dog("dog", "Rex"),
        "either": "5",
        "number": "nan",
        "node": Node(0, [Node(-3)]),
        "text": "",
        "count": 2,
    }
    assert {name: taken[name] for name in expected} == expected
    assert type(taken["anything"]["a"][0]) is float
    assert tab.complaints == []
    # All of it is there again, and is the same call.
    before = arguments_in(tab.page)
    await tab.page.reload()
    assert eval(await result(panel), EVALUATED) == taken
    assert arguments_in(tab.page) == before
    assert complaints(tab) == []


async def test_nothing_is_sent_while_a_field_is_wrong_and_the_field_says_why(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "everything", {"text": "a", "count": 0, "node": {"value": 0}, "code": "ABC"})
    await panel.get_by_role("button", name="Call", exact=True).click()
    await of(panel, "count").get_by_text("At least 1.").wait_for()
    await of(panel, "code").get_by_text("It must match ^[a-z]+$.").wait_for()
    field = of(panel, "count").locator("input")
    assert (
        await field.evaluate("(field) => document.activeElement === field && field.getAttribute('aria-invalid')")
        == "true"
    )
    await field.fill("many")
    assert await of(panel, "count").locator(".problem:visible").inner_text() == "Give a whole number."
    assert not [url for url in tab.requested if "/execute" in url]
    # What is wrong is in the address as well, and so is not lost.
    await tab.page.wait_for_url(lambda url: "many" in url)
    await tab.page.reload()
    assert await of(panel, "count").locator("input").input_value() == "many"
    assert complaints(tab) == []


async def test_what_the_hub_finds_wrong_is_said_at_its_field(tab: Tab, hub: Hub) -> None:
    args = {
        "text": "a",
        "count": 1,
        "node": {
            "value": 0,
            "children": [{"value": 1}, {"value": 2, "children": [{"value": {"$type": "bytes", "value": ""}}]}],
        },
        "unit": "kelvin",
    }
    panel = await with_tool(tab, hub, "everything", args)
    assert "ValidationError" in await call(panel)
    assert "'celsius' or 'fahrenheit'" in await of(panel, "unit").locator(".problem:visible").inner_text()
    inner = of(panel, "node").locator("li li")
    assert "integer" in await inner.locator(".problem:visible").first.inner_text()
    # It goes when the call is made again.
    await of(panel, "unit").get_by_role("button", name="Use the form").click()
    await inner.get_by_role("button", name="Use the form").click()
    await inner.locator("input[inputmode]").fill("3")
    await result(panel)
    assert await panel.locator(".problem:visible").count() == 0
    assert complaints(tab) == []


async def test_a_form_and_json_show_the_same_arguments_without_loss(tab: Tab, hub: Hub) -> None:
    odd = {
        "text": "a\r\nb",
        "count": 1.5,
        "node": [1],
        "day": {"$type": "date", "value": "2026-01-02"},
        "nobody": {"knows": [None]},
        "unit": 7,
        "number": {"$type": "int", "value": "123456789012345678901"},
        "pair": {"$type": "tuple", "value": [1]},
    }
    panel = await with_tool(tab, hub, "everything", odd)
    switch = panel.get_by_role("button", name="JSON", exact=True)
    await switch.click()
    box = panel.get_by_label("All arguments as JSON")
    shown = json.loads(await box.input_value())
    # A text is what the form sends for a date, and a list for a tuple.
    assert shown == {**odd, "day": "2026-01-02", "pair": [1]}
    await box.fill('{"text": "x", "count": 9007199254740993, "node": {"value": 1}, "anything": 1.0}')
    await switch.click()
    assert await of(panel, "count").locator("input").input_value() == "9007199254740993"
    taken = eval(await result(panel), EVALUATED)
    assert (taken["count"], taken["anything"], type(taken["anything"])) == (9007199254740993, 1.0, float)
    assert tab.complaints == []


async def test_json_that_is_no_object_is_not_sent_and_not_lost(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "everything", form="json")
    box = panel.get_by_label("All arguments as JSON")
    for text, problem in (("{", "not JSON"), ("[1]", "Give an object"), ("", "Give a value")):
        await box.fill(text)
        for button in ("Call", "JSON"):
            await panel.get_by_role("button", name=button, exact=True).click()
            assert problem in await box.evaluate("(box) => box.validationMessage")
        assert await box.input_value() == text
    assert not [url for url in tab.requested if "/execute" in url]
    assert tab.complaints == []


async def test_a_link_fills_a_form_and_calls_nothing(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "starred", {"*": [1, "y", 2.5], "only": True}, timeout="5000", key="k")
    assert await of(panel, "first").locator("input").input_value() == "1"
    assert not [url for url in tab.requested if "/execute" in url or url.endswith("/api/sessions")]
    assert await result(panel) == "(1, 'y', (2.5,), True, {})"
    assert tab.complaints == []


async def test_a_link_with_nonsense_for_arguments_shows_an_empty_form(tab: Tab, hub: Hub) -> None:
    for args in ("{", "5", '"<b>"', "null", "[" * 5_000):
        page = await opened(tab, hub, tool="starred", args=args)
        panel = page.get_by_role("complementary", name="The selected tool")
        await of(panel, "first").locator("input").fill("3")
        assert await result(panel) == "(3, 'x', (), False, {})", args
    assert complaints(tab) == []


async def test_arguments_that_are_too_long_for_an_address_are_sent_all_the_same(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "inject")
    await (await give(panel, "text")).locator("textarea").last.fill("y" * 50_000)
    await panel.get_by_text("too long for the address").wait_for()
    assert await result(panel) == "y" * 50_000
    assert len(tab.page.url) < 1_000
    assert tab.complaints == []


# ----------------------------------------------------------------------------------------------------------- the calls


async def test_a_stream_shows_values_progress_and_log_and_that_it_is_complete(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "countdown", {"start": 3})
    assert re.fullmatch(r"Complete after .*: 4 values", await call(panel, "Stream"))
    await panel.get_by_text("liftoff <b>now</b>").wait_for()
    assert await panel.get_by_label("Values").locator("li").all_inner_texts() == ["3", "2", "1", "0"]
    await panel.get_by_text("3 of 3 at 0").wait_for()
    # The call is one of those that the page knows, too.
    await panel.get_by_role("link", name="Show the call").click()
    await tab.page.get_by_role("complementary").get_by_text("countdown").first.wait_for()
    assert complaints(tab) == []


async def test_values_are_shown_while_a_stream_runs_and_cancel_ends_the_tool(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "wait")
    await panel.get_by_role("button", name="Stream", exact=True).click()
    await panel.get_by_label("Values").get_by_text("here").wait_for()
    async with asyncio.timeout(PATIENCE):
        await hub.waiting.wait()
        assert await panel.get_by_role("button", name="Call", exact=True).is_disabled()
        await panel.get_by_role("button", name="Cancel", exact=True).click()
        await hub.cancelled.wait()
    await panel.get_by_text("Cancelled after").wait_for()
    assert await panel.get_by_label("Values").get_by_text("here").is_visible()
    assert complaints(tab) == []


async def test_of_a_long_stream_the_last_values_are_shown(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "flood", {"count": 5_000})
    assert (await call(panel, "Stream")).endswith("5,000 values")
    await panel.get_by_text("the last 1,000 of 5,000").wait_for()
    items = panel.get_by_label("Values").locator("li")
    assert await items.count() == 1_000
    assert await items.first.inner_text() == "4000"
    assert await items.first.get_attribute("value") == "4001"
    assert complaints(tab) == []


@pytest.mark.parametrize("button", ["Call", "Stream"])
async def test_an_error_of_the_tool_is_shown_with_its_traceback(tab: Tab, hub: Hub, button: str) -> None:
    panel = await with_tool(tab, hub, "fail")
    assert "LookupError" in await call(panel, button)
    await panel.get_by_text("LookupError: no <b>such</b> luck").first.wait_for()
    await panel.get_by_text("Traceback", exact=True).click()
    assert "raise LookupError(message)" in await panel.locator(".failure pre").inner_text()
    assert complaints(tab) == []


async def test_hostile_results_and_errors_stay_text(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "inject")
    shown = await result(panel)
    assert shown.startswith("<img src=x onerror=alert(1)>\u202e\u2066__proto__\n\t</script>xxx")
    async with tab.page.expect_download() as started:
        await panel.get_by_role("button", name="Download").click()
    saved = await (await started.value).path()
    assert saved.read_text(encoding="utf-8") == HOSTILE
    panel = await with_tool(tab, hub, "fail", {"message": HOSTILE})
    await call(panel)
    await panel.get_by_text("__proto__").first.wait_for()
    assert await tab.page.locator("img, script:not([src])").count() == 0
    assert complaints(tab) == []


async def test_a_large_result_is_cut_where_it_is_shown_and_whole_where_it_is_saved(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "flood", {"count": 100_000})
    shown = await result(panel)
    assert re.search(r"… \([\d,]+ more characters\)$", shown)
    async with tab.page.expect_download() as started:
        await panel.get_by_role("button", name="Download").click()
    saved = await (await started.value).path()
    assert json.loads(saved.read_text(encoding="utf-8")) == list(range(100_000))
    assert complaints(tab) == []


async def test_a_timeout_and_an_idempotency_key_are_sent(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "wait")
    await panel.get_by_label("Timeout in ms").fill("50")
    assert "Timeout" in await call(panel)
    panel = await with_tool(tab, hub, "starred", {"first": 1})
    await panel.get_by_label("Idempotency key").fill("once")
    assert await result(panel) == "(1, 'x', (), False, {})"
    # The same key with other arguments is refused.
    await of(panel, "first").locator("input").fill("2")
    assert "Conflict" in await call(panel)
    assert complaints(tab) == []


async def test_the_pages_session_is_made_again_if_it_has_ended(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "starred", {"first": 1})
    await result(panel)
    async with httpx.AsyncClient(base_url=hub.origin, timeout=PATIENCE) as client:
        assert (await client.delete("/api/sessions/dashboard")).status_code == 200
    assert await result(panel) == "(1, 'x', (), False, {})"
    assert complaints(tab) == []


async def test_a_session_that_has_ended_is_said_with_what_one_can_do(tab: Tab, hub: Hub) -> None:
    async with httpx.AsyncClient(base_url=hub.origin, timeout=PATIENCE) as client:
        await client.post("/api/sessions", json={"session_id": "a/b"})
        panel = await with_tool(tab, hub, "starred", {"first": 1}, session="a/b")
        assert await result(panel) == "(1, 'x', (), False, {})"
        assert (await client.delete("/api/sessions/a%2Fb")).status_code == 200
    assert "Failed" in await call(panel)
    await panel.get_by_role("link", name="Call in the dashboard's own session").click()
    await panel.locator(".outcome[data-state]").wait_for(state="detached")
    # What was filled in is still there.
    assert await result(panel) == "(1, 'x', (), False, {})"
    assert complaints(tab) == []


async def test_a_hub_that_is_lost_is_said_and_the_form_stays(tab: Tab, hub: Hub) -> None:
    panel = await with_tool(tab, hub, "starred", {"first": 1})
    await tab.context.set_offline(True)
    assert "Unavailable" in await call(panel)
    await tab.context.set_offline(False)
    assert await result(panel) == "(1, 'x', (), False, {})"


# ------------------------------------------------------------------------------------------------- the same elsewhere


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("everything", {"text": 'it\'s $HOME `id` "q" \\ !\nü', "count": 1, "node": {"value": 0}}),
    "all": (
        "everything",
        {
            "text": "5",
            "count": {"$type": "int", "value": str(2**70)},
            "node": {"value": 1, "children": [{"value": 2}]},
            "anything": {"class": [1, None, True, {"$type": "float", "value": "1.0"}, {"$type": "set", "value": [1]}]},
            "number": {"$type": "float", "value": "inf"},
            "yes": True,
            "unit": "fahrenheit",
            "choice": None,
            "day": "2026-01-02",
            "at": "2026-01-02T03:04:05+00:00",
            "duration": "PT90S",
            "uid": "123e4567-e89b-12d3-a456-426614174000",
            "price": "2.50",
            "raw": {"$type": "bytes", "value": base64.b64encode(b"\x00\xff").decode()},
            "names": ["-", "--json"],
            "pair": [2, "-"],
            "by_name": {"a b": 1},
            "pet": {"kind": "dog", "name": "Rex"},
            "either": "7",
            "code": "ab",
        },
    ),
    "starred": ("starred", {"first": 1, "second": "-", "*rest": [2.5, 3], "only": True, "class": 4}),
    "minus": ("inject", {"text": "-"}),
    "stream": ("countdown", {"start": 2}),
}


async def snippet(panel: Locator, name: str) -> str:
    """Opens one of the snippets; returns its text."""
    await panel.locator("summary", has_text=re.compile(f"^{name}$")).click()
    shown = panel.get_by_label(name, exact=True)
    await shown.filter(has_text=re.compile(r"\S")).wait_for()
    return await shown.inner_text()


async def ran(*command: str) -> str:
    """Runs a command to its end; returns what it has printed."""
    done = await asyncio.to_thread(run, command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("case", CALLS)
async def test_the_same_call_by_curl_python_and_the_command_line_has_the_same_result(
    tab: Tab, hub: Hub, case: str
) -> None:
    name, args = CALLS[case]
    panel = await with_tool(tab, hub, name, args)
    if case == "stream":
        await call(panel, "Stream")
        expected = "\n".join(await panel.get_by_label("Values").locator("li").all_inner_texts())
    else:
        expected = await result(panel)
    curl = await ran("sh", "-c", await snippet(panel, "curl"))
    if case == "stream":
        assert re.findall(r"^event: data\nid: \d+\ndata: (.*)$", curl, re.MULTILINE) == expected.split("\n")
    else:
        assert json.loads(curl)["result"] == expected
    assert (await ran(sys.executable, "-c", await snippet(panel, "Python"))).rstrip("\n") == expected
    line = await ran("sh", "-c", await snippet(panel, "Command line"))
    printed = [json.loads(text) for text in line.splitlines()]
    assert "\n".join(map(str, printed)) == expected
    assert complaints(tab) == []


async def test_the_same_call_needs_the_token_where_the_hub_does(tab: Tab) -> None:
    async with BridgeServer(
        tools=[starred], http_address="127.0.0.1:0", settings=Settings(token=SecretStr("hush"))
    ) as server:
        query = f"?view=tools&tool=starred&args={quote(json.dumps({'first': 1}))}"
        await tab.page.goto(f"http://{server.http_address}/{query}")
        await tab.page.get_by_label("Token").fill("hush")
        await tab.page.keyboard.press("Enter")
        panel = tab.page.get_by_role("complementary", name="The selected tool")
        expected = await result(panel)
        told = {name: await snippet(panel, name) for name in ("curl", "Python", "Command line")}
        commands = {name: ("sh", "-c", text) for name, text in told.items()} | {
            "Python": (sys.executable, "-c", told["Python"])
        }
        for name, command in commands.items():
            assert "hush" not in told[name]
            done = await asyncio.to_thread(run, command, env=environment(TOOL_BRIDGE_TOKEN="hush"))
            assert expected in done.stdout, done.stderr
        # Once the hub has ended, the page cannot reach it.
        assert complaints(tab) == []
