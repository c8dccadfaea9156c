"""What a page about a hub reads over HTTP: the last minutes, the limits, the tools, the agents, the hub itself."""

import asyncio
import base64
import json
import platform
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import httpx
import jsonschema
import pytest
from pydantic import BaseModel

from grpc_tool_bridge import BridgeServer, Settings, ToolWorker, tool
from grpc_tool_bridge.adapters.mcp import import_mcp
from grpc_tool_bridge.core import history
from grpc_tool_bridge.gateway import limits
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.mcp_servers import honest_command
from support.patience import PATIENCE
from support.waiting import soon, until

S = "/api/sessions/s"
NO_CALLS = {"calls": 0, "errors": 0, "active": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None}


class Tools:
    """Tools, and what they wait for."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.waiting = 0

    def all(self) -> list[Any]:
        return [self.add, self.fail, self.hold, tool(name="rare", limits={"rate_limit_per_minute": 4})(self.rare)]

    async def add(self, a: int, b: int = 1) -> int:
        """Adds two numbers.

        They may be of any size.
        """
        return a + b

    async def fail(self) -> None:
        raise LookupError("no such thing")

    async def hold(self) -> None:
        self.waiting += 1
        await self.go_on.wait()

    async def rare(self) -> int:
        return 1


Serve = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture
async def servers() -> list[BridgeServer]:
    return []


@pytest.fixture
async def serve(tools: Tools, servers: list[BridgeServer]) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def start(offered: Any = None, **options: Any) -> httpx.AsyncClient:
            hub = BridgeServer(tools=tools.all() if offered is None else offered, http_address="127.0.0.1:0", **options)
            servers.append(await stack.enter_async_context(hub))
            url = f"http://{hub.http_address}"
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=PATIENCE))
            assert (await client.post("/api/sessions", json={"session_id": "s"})).status_code == 201
            return client

        yield start
        tools.go_on.set()


async def call(client: httpx.AsyncClient, name: str, session: str = S, **body: Any) -> httpx.Response:
    return await client.post(f"{session}/tools/{name}/execute", json=body)


async def read(client: httpx.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


async def read_until(client: httpx.AsyncClient, path: str, condition: Callable[[Any], object]) -> Any:
    """Reads again and again until ``condition`` holds for the answer."""

    async def reading() -> Any:
        while not condition(found := await read(client, path)):
            pass
        return found

    return await soon(reading())


# ------------------------------------------------------------------------------------------------- the last minutes


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has points be added after short intervals."""
    monkeypatch.setattr(history, "INTERVAL_SECONDS", 0.005)


@pytest.mark.usefixtures("quick")
async def test_calls_are_in_the_points_and_in_the_sums(serve: Serve, servers: list[BridgeServer], tools: Tools) -> None:
    client = await serve()
    for _ in range(3):
        await call(client, "add", args=[1])
    await call(client, "fail")
    holding = asyncio.create_task(call(client, "hold"))
    await until(lambda: tools.waiting)

    def is_whole(answer: Any) -> bool:
        return bool(answer["total"]["calls"] == 4 and answer["total"]["active"] == 1)

    found = await read_until(client, "/api/history/tools", is_whole)
    assert 0 < found["seconds"] <= 600
    assert [(row["name"], row["calls"], row["errors"], row["active"]) for row in found["tools"]] == [
        ("add", 3, 0, 0), ("fail", 1, 1, 0), ("hold", 0, 0, 1),
    ]  # fmt: skip
    assert found["total"]["p50_ms"] <= found["total"]["p95_ms"] <= found["total"]["p99_ms"]
    points = (await read(client, "/api/history"))["points"]
    assert sum(point["calls"] for point in points) == 4
    assert points[-1]["active"] == 1
    assert [point["sequence"] for point in points] == sorted({point["sequence"] for point in points})
    moments = [datetime.fromisoformat(point["at"]) for point in points]
    assert moments == sorted(moments)
    of_tool = (await read(client, "/api/history?tool=add"))["points"]
    assert sum(point["calls"] for point in of_tool) == 3
    tools.go_on.set()
    await holding
    await read_until(client, "/api/history?tool=hold", lambda answer: answer["points"][-1]["active"] == 0)


@pytest.mark.usefixtures("quick")
async def test_only_points_that_were_not_seen_are_read(serve: Serve, servers: list[BridgeServer]) -> None:
    client = await serve()
    first = await read_until(client, "/api/history", lambda answer: len(answer["points"]) > 2)
    assert (first["interval_ms"], first["epoch"]) == (5, servers[0].hub.store.revisions.epoch)
    last = first["points"][-1]["sequence"]
    path = f"/api/history?since={last}&epoch={first['epoch']}"
    again = await read_until(client, path, lambda answer: answer["points"])
    assert again["points"][0]["sequence"] == last + 1
    other = await read(client, f"/api/history?since={last}&epoch=other")
    assert other["points"][0]["sequence"] == 1


@pytest.mark.usefixtures("quick")
async def test_workers_are_told_apart(serve: Serve, servers: list[BridgeServer], tools: Tools) -> None:
    client = await serve([])
    async with (
        ToolWorker(servers[0].address, tools=[tools.add, tools.fail], worker_id="w1"),
        ToolWorker(servers[0].address, tools=[tools.hold], worker_id="w2"),
    ):
        await call(client, "add", args=[1])
        await call(client, "fail")
        holding = asyncio.create_task(call(client, "hold"))
        await until(lambda: tools.waiting)

        def is_whole(answer: Any) -> bool:
            return bool(answer["total"]["calls"] == 2 and answer["total"]["active"] == 1)

        found = await read_until(client, "/api/history/workers?sort=name", is_whole)
        rows = [(row["name"], row["calls"], row["errors"], row["active"]) for row in found["workers"]]
        assert rows == [("w1", 2, 1, 0), ("w2", 0, 0, 1)]
        points = (await read(client, "/api/history?worker=w1"))["points"]
        assert sum(point["calls"] for point in points) == 2
        tools.go_on.set()
        await holding


@pytest.mark.usefixtures("quick")
async def test_rows_are_sorted_limited_and_chosen(serve: Serve) -> None:
    client = await serve()
    await asyncio.gather(*(call(client, name) for name in ["fail", "fail", "rare", "rare", "rare"]))
    await call(client, "add", args=[1])
    await read_until(client, "/api/history/tools", lambda answer: answer["total"]["calls"] == 6)

    async def names(query: str) -> list[str]:
        return [row["name"] for row in (await read(client, f"/api/history/tools?{query}"))["tools"]]

    assert await names("") == ["rare", "fail", "add"]
    assert await names("sort=errors") == ["fail", "add", "rare"]
    assert await names("sort=name") == ["add", "fail", "rare"]
    assert await names("sort=name&limit=2") == ["add", "fail"]
    assert await names("prefix=fa") == ["fail"]
    assert await names("prefix=x") == []
    assert await names("find=AR") == ["rare"]
    assert await names("find=a&prefix=a") == ["add"]
    # Without the limit.
    assert (await read(client, "/api/history/tools?limit=1&find=a"))["count"] == 3
    for sort in ("p50", "p95", "p99"):
        rows = (await read(client, f"/api/history/tools?sort={sort}"))["tools"]
        values = [row[f"{sort}_ms"] for row in rows]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/api/history/tools?sort=size", "sort must be one of calls, errors, p50, p95, p99, name, not 'size'"),
        ("/api/history/workers?limit=1001", "limit must be 0 (the default, 100) to 1,000, not 1,001"),
        ("/api/history/tools?limit=x", "limit must be a number from 0 to 2,147,483,647, not 'x'"),
        ("/api/history?since=-1", "since must be a number from 0 to 2,147,483,647, not '-1'"),
        ("/api/history?tool=a&worker=b", "tool and worker are both given"),
        (f"/api/history?tool={'x' * 257}", "tool has 257 characters; names have at most 256"),
        (f"/api/history/calls?worker={'x' * 257}", "worker has 257 characters; names have at most 256"),
        (f"/api/history/tools?find={'x' * 257}", "find has 257 characters; names have at most 256"),
        ("/api/tools?page_token=x", "page_token 'x' is not from the list of tools"),
        ("/api/tools?page_size=-1", "page_size must be a number from 0 to"),
        ("/api/agents?page_token=x", "page_token 'x' is not from the list of agents"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(serve: Serve, path: str, why: str) -> None:
    response = await (await serve()).get(path)
    assert response.status_code == 422
    assert response.json()["error"]["type"] == "ValidationError"
    assert why in response.json()["error"]["message"]


async def test_an_idle_hub_has_nothing_to_tell(serve: Serve) -> None:
    client = await serve()
    found = await read(client, "/api/history/tools")
    assert (found["seconds"], found["total"], found["tools"]) == (0, NO_CALLS, [])
    points = await read(client, "/api/history")
    assert (points["interval_ms"], points["points"]) == (2_000, [])
    assert (await read(client, "/api/agents")) == {"agents": [], "next_page_token": ""}


# ------------------------------------------------------------------------------------------------- the hub, its limits


async def test_the_hub_says_what_it_is(serve: Serve, servers: list[BridgeServer], tools: Tools) -> None:
    client = await serve()
    (server,) = servers
    holding = asyncio.create_task(call(client, "hold"))
    async with ToolWorker(server.address, tools=[]):
        await until(lambda: tools.waiting)
        found = await read(client, "/api/hub")
        assert found.pop("uptime_seconds") > 0
        assert found.pop("version")
        assert found == {
            "name": "",
            "epoch": server.hub.store.revisions.epoch, "python": platform.python_version(), "address": server.address,
            "serving": True, "needs_token": False, "injects_faults": False, "sessions": 1, "tools": 4, "workers": 1,
            "durable": False, "store_failure": "", "connections": 1, "active_calls": 1, "agent_runs": 0,
            "event_watches": 0,
        }  # fmt: skip
    async with client.stream("GET", "/api/events"):
        await until(server.hub.event_watches)
        assert (await read(client, "/api/hub"))["event_watches"] == 1
    tools.go_on.set()
    await holding


def limits_by(found: Any, **wanted: str) -> list[tuple[str, int, int, int]]:
    """Returns of some limits how much is used, may be used, and waits."""
    return [
        (limit["name"], limit["used"], limit["limit"], limit["waiting"])
        for limit in found["limits"]
        if all(limit[name] == text for name, text in wanted.items())
    ]


async def test_limits_say_how_much_of_them_is_used(serve: Serve, servers: list[BridgeServer], tools: Tools) -> None:
    settings = Settings(max_sessions=4, max_session_calls=2, max_threads=3, max_processes=2, max_session_variables=8)
    held = tool(name="narrow", limits={"max_concurrent_calls": 1})(tools.hold)
    client = await serve([*tools.all(), held], settings=settings)
    await client.post("/api/sessions", json={"session_id": "t"})
    await client.put(f"{S}/variables/x", json={"value": 1})
    holding = [asyncio.create_task(call(client, "hold")) for _ in range(3)]
    await until(lambda: tools.waiting == 2)
    holding += [asyncio.create_task(call(client, "narrow", "/api/sessions/t")) for _ in range(2)]
    await until(lambda: tools.waiting == 3)
    session = servers[0].hub.store.peek("s")
    await until(lambda: session.limiter is not None and session.limiter.waiting == 1)
    narrow = servers[0].hub.store.tools["narrow"]
    await until(lambda: narrow.limiter is not None and narrow.limiter.waiting == 1)
    found = await read(client, "/api/limits")
    assert limits_by(found, name="max_sessions", title="Sessions") == [("max_sessions", 2, 4, 0)]
    assert limits_by(found, name="max_threads") == [("max_threads", 0, 3, 0)]
    assert limits_by(found, name="max_processes") == [("max_processes", 0, 2, 0)]
    assert limits_by(found, name="max_session_calls", of="s") == [("max_session_calls", 2, 2, 1)]
    assert limits_by(found, name="max_session_variables", of="s") == [("max_session_variables", 1, 8, 0)]
    assert limits_by(found, kind="tool", of="narrow") == [("max_concurrent_calls", 1, 1, 1)]
    parts = [(limit["used"] / limit["limit"], limit["waiting"]) for limit in found["limits"]]
    assert parts == sorted(parts, reverse=True)
    # What is full, and where calls wait, comes first.
    assert {limit["of"] for limit in found["limits"][:2]} == {"s", "narrow"}
    tools.go_on.set()
    await asyncio.gather(*holding)
    again = await read(client, "/api/limits")
    assert limits_by(again, name="max_session_calls") == limits_by(again, kind="tool") == []


async def test_calls_of_the_last_minute_count_towards_a_rate(serve: Serve) -> None:
    client = await serve()
    assert limits_by(await read(client, "/api/limits"), kind="tool") == []
    for _ in range(3):
        await call(client, "rare")
    assert limits_by(await read(client, "/api/limits"), unit="per minute") == [("rate_limit_per_minute", 3, 4, 0)]


async def test_threads_and_processes_that_tools_take_are_counted(serve: Serve, servers: list[BridgeServer]) -> None:
    go_on = threading.Event()
    running: list[int] = []

    def block() -> None:
        running.append(1)
        go_on.wait(PATIENCE)

    client = await serve([block], settings=Settings(max_threads=2))
    holding = [asyncio.create_task(call(client, "block")) for _ in range(3)]
    await until(lambda: len(running) == 2)
    found = await read_until(client, "/api/limits", lambda answer: limits_by(answer, name="max_threads")[0][3])
    assert limits_by(found, name="max_threads") == [("max_threads", 2, 2, 1)]
    go_on.set()
    await asyncio.gather(*holding)
    await read_until(client, "/api/limits", lambda answer: not limits_by(answer, name="max_threads")[0][1])


async def test_a_worker_is_as_full_as_its_calls_are_many(
    serve: Serve, servers: list[BridgeServer], tools: Tools
) -> None:
    client = await serve([])
    async with ToolWorker(servers[0].address, tools=[tools.hold], worker_id="w", capacity=2):
        holding = [asyncio.create_task(call(client, "hold")) for _ in range(3)]
        await until(lambda: tools.waiting == 2)

        def waits(answer: Any) -> bool:
            return bool(limits_by(answer, name="max_worker_waiting"))

        found = await read_until(client, "/api/limits", waits)
        assert limits_by(found, kind="worker", of="w") == [("capacity", 2, 2, 0)]
        assert limits_by(found, kind="tool", of="hold") == [("max_worker_waiting", 1, 10_000, 0)]
        tools.go_on.set()
        await asyncio.gather(*holding)


async def test_of_many_limits_the_fullest_are_told(
    serve: Serve, servers: list[BridgeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SINGLE", 3)
    client = await serve(settings=Settings(max_session_variables=100))
    for number in range(30):
        session_id = f"n{number}"
        await client.post("/api/sessions", json={"session_id": session_id})
        variables = servers[0].hub.store.variables(session_id)
        for name in range(number):
            variables.set(str(name), 1)
    found = await read(client, "/api/limits")
    single = [limit for limit in found["limits"] if limit["kind"] != "hub"]
    assert [(limit["of"], limit["used"]) for limit in single] == [("n29", 29), ("n28", 28), ("n27", 27)]


# ---------------------------------------------------------------------------------------------------------------- tools


async def test_tools_are_listed_in_a_line_each(serve: Serve, servers: list[BridgeServer], tools: Tools) -> None:
    client = await serve()
    async with (
        ToolWorker(servers[0].address, tools=[tool(name="away", idempotent=True, version="2")(tools.rare)]),
        ToolWorker(servers[0].address, tools=[tool(name="away", idempotent=True, version="2")(tools.rare)]),
        ToolWorker(servers[0].address, tools=[tool(name="add")(tools.add)], session_id="s"),
    ):
        listed = (await read(client, "/api/tools"))["tools"]
        assert [line["name"] for line in listed] == ["add", "away", "fail", "hold", "rare"]
        own = {
            "type": "STANDARD",
            "idempotent": False,
            "version": "",
            "workers": 0,
            "of_hub": True,
            "tags": [],
            "deprecated": "",
        }
        assert listed[0] == {
            "name": "add", "tool_id": "add", "description": "Adds two numbers.", "of_session": False, **own,
        }  # fmt: skip
        away = {"idempotent": True, "version": "2", "workers": 2, "of_hub": False, "of_session": False}
        assert listed[1].items() >= away.items()
        seen = (await read(client, "/api/tools?session_id=s"))["tools"]
        assert [line["name"] for line in seen] == ["add", "away", "fail", "hold", "rare"]
        assert seen[0].items() >= {"of_session": True, "of_hub": False, "workers": 1}.items()
        # The whole of it is that of the session as well.
        assert len((await read(client, "/api/tools/add?session_id=s"))["workers"]) == 1
        assert (await read(client, "/api/tools/add"))["workers"] == []


async def test_tools_are_listed_page_by_page_while_they_change(serve: Serve, servers: list[BridgeServer]) -> None:
    registry = None
    specs = [pb.ToolSpec(name=f"t{number:03}") for number in range(250)]
    client = await serve([])
    registry = servers[0].hub.registry
    registry.register_batch("", specs)
    first = await read(client, "/api/tools")
    assert len(first["tools"]) == 100
    registry.unregister("", ["t099", "t100", "t000"])
    second = await read(client, f"/api/tools?page_token={first['next_page_token']}")
    last = await read(client, f"/api/tools?page_size=1000&page_token={second['next_page_token']}")
    names = [line["name"] for page in (first, second, last) for line in page["tools"]]
    # One that was there all the time is listed once.
    assert names == [f"t{number:03}" for number in range(250) if number != 100]
    assert last["next_page_token"] == ""
    refused = await client.get(f"/api/tools?session_id=s&page_token={first['next_page_token']}")
    assert refused.status_code == 422


async def test_a_tool_or_a_session_that_is_not_there_is_named(serve: Serve) -> None:
    client = await serve()
    unknown = await client.get("/api/tools/ad")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "ToolNotFound")
    assert unknown.json()["error"]["message"] == "the hub sees no tool 'ad'; did you mean add?"
    in_session = await client.get("/api/tools/ad?session_id=s")
    assert (in_session.status_code, in_session.json()["error"]["type"]) == (404, "ToolNotFound")
    await client.delete(S)
    for path in ("/api/tools", "/api/tools/add", "/api/agents"):
        gone = await client.get(f"{path}?session_id=s")
        assert (gone.status_code, gone.json()["error"]["type"]) == (410, "SessionExpired"), path
        unknown = await client.get(f"{path}?session_id=other")
        assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "SessionNotFound"), path


async def test_reading_about_a_session_does_not_keep_it_from_becoming_idle(
    serve: Serve, servers: list[BridgeServer]
) -> None:
    client = await serve()
    store = servers[0].hub.store
    before = store.peek("s").last_activity
    for path in ("/api/tools", "/api/tools/add", "/api/agents"):
        await read(client, f"{path}?session_id=s")
    assert store.peek("s").last_activity == before


class Colour(Enum):
    RED = "red"
    BLUE = 3


@dataclass
class Point:
    x: float
    tags: list[str] = field(default_factory=list)
    raw: bytes = b"hi"


class Shape(BaseModel):
    points: list[Point]
    colour: Colour = Colour.RED
    inner: "Shape | None" = None


async def shapes(  # noqa: PLR0917 - all kinds of them
    kind: Literal["flat", "solid", 3],
    shape: Shape,
    numbers: list[int],
    by_name: dict[str, float],
    either: int | str | Point,
    colour: Colour = Colour.BLUE,
    when: datetime = datetime(2024, 2, 28, 12),  # noqa: DTZ001 - a moment without a zone
    day: date = date(2024, 2, 29),
    lasts: timedelta = timedelta(hours=1),
    price: Decimal = Decimal("1.50"),
    data: bytes = b"\xfb\xff",
    count: int | None = None,
    point: Point = Point(1.5, ["a"]),  # noqa: B008 - never changed
    ratio: float = float("nan"),
    big: int = 2**60,
    pair: tuple[int, str] = (1, "x"),
) -> list[Any]:
    """Takes everything."""
    return [colour, when, day, lasts, price, data, count, point, pair]


DEFAULTS = ["colour", "when", "day", "lasts", "price", "data", "count", "point", "ratio", "big", "pair"]
REQUIRED = ["kind", "shape", "numbers", "by_name", "either"]
GIVEN = {
    "kind": "flat", "shape": {"points": [{"x": 1}]}, "numbers": [1], "by_name": {"a": 1.5}, "either": "text",
}  # fmt: skip


@pytest.mark.parametrize("place", ["hub", "worker", "session"])
async def test_a_form_can_be_made_from_the_arguments_of_a_tool(
    serve: Serve, servers: list[BridgeServer], place: str
) -> None:
    client = await serve([shapes] if place == "hub" else [])
    async with AsyncExitStack() as stack:
        query = ""
        if place != "hub":
            session_id = "s" if place == "session" else None
            query = "?session_id=s" if session_id else ""
            worker = ToolWorker(servers[0].address, tools=[shapes], worker_id="w", session_id=session_id)
            await stack.enter_async_context(worker)
        found = await read(client, f"/api/tools/shapes{query}")
        assert found["workers"] == ([] if place == "hub" else ["w"])
        assert found["spec"]["description"] == "Takes everything."
        schema = found["arguments"]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["required"] == REQUIRED
        assert list(schema["properties"]) == [*REQUIRED, *DEFAULTS]
        assert schema["properties"]["kind"]["enum"] == ["flat", "solid", 3]
        assert schema["$defs"]["Colour"] == {"enum": ["red", 3], "title": "Colour"}
        assert schema["$defs"]["Shape"]["properties"]["points"]["items"] == {"$ref": "#/$defs/Point"}
        assert schema["$defs"]["Point"]["properties"]["raw"]["default"] == base64.b64encode(b"hi").decode()
        defaults = {name: part["default"] for name, part in schema["properties"].items() if "default" in part}
        # NaN has no form in JSON, and not every reader of JSON reads such a large integer exactly.
        assert defaults.keys() == {*DEFAULTS} - {"ratio", "big"}
        jsonschema.validate({**GIVEN, **defaults}, schema)
        # What a form that is filled in with them sends means the same as to leave them out.
        answers = [await call(client, "shapes", kwargs=kwargs) for kwargs in (GIVEN, {**GIVEN, **defaults})]
        assert answers[0].json()["success"], answers[0].text
        assert answers[0].json()["result"] == answers[1].json()["result"], answers[1].text


async def test_a_schema_that_is_none_takes_anything(serve: Serve, servers: list[BridgeServer]) -> None:
    client = await serve([])
    older = '{"type": "object", "properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": {}}}'
    servers[0].hub.registry.register_batch(
        "",
        [
            pb.ToolSpec(name="none"),
            pb.ToolSpec(name="broken", output_schema="nonsense"),
            pb.ToolSpec(name="older", input_schema=older),
        ],
    )
    for name in ("none", "broken"):
        found = await read(client, f"/api/tools/{name}")
        assert (found["arguments"], found["result"]) == ({"type": "object"}, {})
    found = await read(client, "/api/tools/older")
    assert found["arguments"]["definitions"] == {"A": {}}


async def test_tools_of_an_mcp_server_are_described_like_any_others(serve: Serve) -> None:
    client = await serve([], sources=[import_mcp(honest_command(), name="honest")])
    listed = (await read(client, "/api/tools"))["tools"]
    assert listed
    assert all(line["name"].startswith("honest") for line in listed)
    for line in listed:
        found = await read(client, f"/api/tools/{line['tool_id']}")
        jsonschema.Draft202012Validator.check_schema(found["arguments"])
        assert found["arguments"]["type"] == "object"


# ----------------------------------------------------------------------------------------------------- secret variables


async def changes_of(client: httpx.AsyncClient, count: int, query: str = "", last: str = "") -> list[tuple[Any, ...]]:
    """Reads so many changes of variables: of each what happened, the name, the value, and whether it is secret."""
    found: list[tuple[Any, ...]] = []
    headers = {"accept": "application/x-ndjson", **({"last-event-id": last} if last else {})}
    async with client.stream("GET", f"{S}/variables/watch?{query}", headers=headers) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            data = json.loads(line)["data"]
            found.append((data["operation"], data["name"], data["value"], data["secret"]))
            if len(found) == count:
                break
    return found


async def test_a_watch_may_leave_out_what_secret_variables_hold(serve: Serve, servers: list[BridgeServer]) -> None:
    client = await serve(settings=Settings(watch_history=4))
    epoch = servers[0].hub.store.revisions.epoch
    await client.put(f"{S}/variables/open", json={"value": 1})
    await client.put(f"{S}/variables/key", json={"value": "hush", "metadata": {"secret": True}})
    hidden, shown = ("set", "key", None, True), ("set", "key", "hush", True)
    assert await soon(changes_of(client, 2, "secrets=false")) == [("set", "open", 1, False), hidden]
    assert await soon(changes_of(client, 2)) == [("set", "open", 1, False), shown]
    begun = f"{epoch}:{servers[0].hub.store.variables('s').revision}"
    # One that becomes secret later was set to the same value before.
    await client.put(f"{S}/variables/late", json={"value": "hush"})
    await client.put(f"{S}/variables/late", json={"value": "hush", "metadata": {"secret": True}})
    await client.put(f"{S}/variables/key", json={"value": "hush!"})
    await client.delete(f"{S}/variables/key")
    assert await soon(changes_of(client, 4, "secrets=false", begun)) == [
        ("set", "late", None, True), ("update", "late", None, True), ("update", "key", None, True),
        ("delete", "key", None, True),
    ]  # fmt: skip
    # More changes than are kept: what is there is told anew.
    await client.put(f"{S}/variables/open", json={"value": 2})
    again = await soon(changes_of(client, 3, "secrets=false", begun))
    assert again == [("reset", "", None, False), ("set", "late", None, True), ("set", "open", 2, False)]
    listed = (await client.get(f"{S}/variables")).text
    assert "late" in listed
    assert "hush" not in listed


async def test_a_watch_says_what_is_wrong_with_how_secrets_are_asked_for(serve: Serve) -> None:
    response = await (await serve()).get(f"{S}/variables/watch?secrets=no")
    assert response.status_code == 422
    assert response.json()["error"]["message"] == "secrets must be true or false, not 'no'"


# --------------------------------------------------------------------------------------------------------------- agents


async def test_agents_are_listed_with_their_runs(serve: Serve) -> None:
    agents = ObedientAgents()
    client = await serve(agents=agents)
    await client.post("/api/sessions", json={"session_id": "t"})
    ids = {}
    for session, names in (("s", ["add", "fail"]), ("s", []), ("t", ["search_tools"])):
        body = {"signature": SIGNATURE, "tool_names": names, "max_iters": 3}
        made = await client.post(f"/api/sessions/{session}/agents", json=body)
        assert made.status_code == 201, made.text
        ids[session, *names] = made.json()["agent_id"]
    agent_id = ids["s", "add", "fail"]
    running = asyncio.create_task(
        client.post(f"{S}/agents/{agent_id}/execute", json={"input": {"wait": True}, "run_id": "r"})
    )
    await until(lambda: agents.running)
    listed = (await read(client, "/api/agents"))["agents"]
    found = {
        (line["session_id"], *line["tools"]): (line["agent_id"], line["tool_count"], line["runs"]) for line in listed
    }
    assert found == {
        ("s", "add", "fail"): (agent_id, 2, 1),
        ("s",): (ids["s",], 4, 0),
        ("t", "search_tools"): (ids["t", "search_tools"], 4, 0),
    }
    assert {(line["signature"], line["max_iters"]) for line in listed} == {(SIGNATURE, 3)}
    assert len((await read(client, "/api/agents?session_id=t"))["agents"]) == 1
    first = await read(client, "/api/agents?page_size=2")
    rest = await read(client, f"/api/agents?page_size=2&page_token={first['next_page_token']}")
    assert [*first["agents"], *rest["agents"]] == listed
    agents.go_on.set()
    await running
    assert {line["runs"] for line in (await read(client, "/api/agents"))["agents"]} == {0}
    await client.delete(S)
    assert len((await read(client, "/api/agents"))["agents"]) == 1
