"""The hub over HTTP, as curl, a browser or a colleague's program uses it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import date, datetime
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import BridgeServer, Settings, ToolContext, ValidationError, tool
from grpc_tool_bridge.core.sample import BURST_SECONDS
from integration.agent_runtime import SIGNATURE, ObedientAgents
from support.patience import PATIENCE
from support.waiting import soon, until

S = "/api/sessions/s"
JSON = {"content-type": "application/json"}


class Tools:
    """The tools, and how they went."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.runs = 0

    def all(self) -> list[Any]:
        return [
            self.add, self.echo, self.plan, self.count, self.fail, self.fail_late, self.wait, self.wait_silently,
            self.once, self.day, self.days, self.flags,
            tool(name="rare", limits={"rate_limit_per_minute": 1})(self.rare),
        ]  # fmt: skip

    async def add(self, a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    async def echo(self, value: Any) -> Any:
        return value

    async def plan(self, day: date, tags: list[str], ratio: float = 1.0, raw: bytes = b"", note: str = "") -> list[Any]:
        assert type(day) is date
        return [day, tags, ratio, raw, note]

    async def count(self, n: int, ctx: ToolContext) -> AsyncIterator[int]:
        for number in range(n):
            ctx.progress(number, n, "counting")
            yield number
        ctx.log("done", level="warning", n=n)

    async def fail(self) -> None:
        raise LookupError("no such thing")

    async def fail_late(self) -> AsyncIterator[int]:
        yield 1
        raise LookupError("no such thing")

    async def wait(self) -> AsyncIterator[int]:
        yield 1
        await self._forever("wait")

    async def wait_silently(self) -> AsyncIterator[int]:
        await self._forever("wait_silently")
        yield 1

    async def once(self) -> str:
        self.runs += 1
        return uuid.uuid4().hex

    async def day(self) -> date:
        return date(2024, 2, 28)

    async def days(self) -> AsyncIterator[date]:
        yield date(2024, 2, 28)

    async def flags(self, events: str, plain: str) -> AsyncIterator[str]:
        yield f"{events} {plain}"

    async def rare(self) -> int:
        return 1

    async def _forever(self, name: str) -> None:
        self.started.append(name)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise


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

        async def start(agents: Any = None, **settings: Any) -> httpx.AsyncClient:
            hub = BridgeServer(
                tools=tools.all(), http_address="127.0.0.1:0", agents=agents, settings=Settings(**settings)
            )
            servers.append(await stack.enter_async_context(hub))
            url = f"http://{hub.http_address}"
            return await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=PATIENCE))

        yield start


@pytest.fixture
async def client(serve: Serve) -> httpx.AsyncClient:
    made = await serve()
    assert (await made.post("/api/sessions", json={"session_id": "s"})).status_code == 201
    return made


async def call(client: httpx.AsyncClient, name: str, **body: Any) -> httpx.Response:
    return await client.post(f"{S}/tools/{name}/execute", json=body)


def events_of(text: str) -> list[tuple[str, str, Any]]:
    """Reads server-sent events: of each its name, its id and its data."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if "data" in fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


# --------------------------------------------------------------------------------------------------------------- calls


async def test_a_call_is_answered_with_its_result(client: httpx.AsyncClient) -> None:
    response = await call(client, "add", args=[2], kwargs={"b": 3})
    answer = response.json()
    assert response.status_code == 200
    assert list(answer) == ["success", "result", "error", "metrics", "request_id"]
    assert (answer["success"], answer["result"], answer["error"]) == (True, 5, None)
    assert answer["metrics"]["duration_ms"] >= 1


async def test_a_request_has_the_id_that_it_was_given_or_one_of_its_own(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{S}/tools/add/execute", json={"args": [1]}, headers={"x-request-id": "mine-1"})
    assert (response.headers["x-request-id"], response.json()["request_id"]) == ("mine-1", "mine-1")
    ids = {(await call(client, "add", args=[1])).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    response = await client.get("/healthz", headers={"x-request-id": "x" * 300})
    assert (response.status_code, response.json()["error"]["type"]) == (422, "ValidationError")


@pytest.mark.parametrize(
    ("name", "body", "status", "error_type"),
    [
        ("add", {"args": ["x"]}, 422, "ValidationError"),
        ("add", {"kwargs": {"c": 1}}, 422, "ValidationError"),
        ("add", {"args": [1], "more": 1}, 422, "ValidationError"),
        ("add", {"args": {"a": 1}}, 422, "ValidationError"),
        ("add", {"args": [1], "timeout_ms": -1}, 422, "ValidationError"),
        ("add", {"args": [1], "timeout_ms": True}, 422, "ValidationError"),
        ("add", {"args": [{"$type": "date", "value": "never"}]}, 422, "ValidationError"),
        ("nothing", {}, 404, "ToolNotFound"),
        ("fail", {}, 500, "LookupError"),
        ("wait_silently", {"timeout_ms": 20}, 504, "TimeoutError"),
    ],
)
async def test_a_call_that_fails_has_the_status_of_its_error(
    client: httpx.AsyncClient, name: str, body: dict[str, Any], status: int, error_type: str
) -> None:
    response = await client.post(f"{S}/tools/{name}/execute", json=body)
    assert (response.status_code, response.json()["error"]["type"]) == (status, error_type)
    assert response.headers["content-type"] == "application/json"


async def test_sessions_that_are_not_there_say_so(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/sessions/other/tools/add/execute", json={"args": [1]})
    assert (response.status_code, response.json()["error"]["type"]) == (404, "SessionNotFound")
    assert (await client.delete(S)).status_code == 200
    response = await call(client, "add", args=[1])
    assert (response.status_code, response.json()["error"]["type"]) == (410, "SessionExpired")


async def test_a_limit_says_when_to_try_again(client: httpx.AsyncClient) -> None:
    assert (await call(client, "rare")).status_code == 200
    response = await call(client, "rare")
    assert (response.status_code, response.json()["error"]["type"]) == (429, "RateLimitExceeded")
    assert 1 <= int(response.headers["retry-after"]) <= 60


async def test_a_call_with_a_key_runs_once(client: httpx.AsyncClient, tools: Tools) -> None:
    answers = [await client.post(f"{S}/tools/once/execute", json={}, headers={"idempotency-key": key}) for key in "aab"]
    results = [answer.json()["result"] for answer in answers]
    assert results[0] == results[1] != results[2]
    assert tools.runs == 2


@pytest.mark.parametrize(
    "value",
    [
        None, True, 2**53, -(2**70), 1.0, 1e300, "ü\u2028", [1, [2.5]], {"b": 1, "a": {}},
        {"$type": "int", "value": str(10**400)},
        {"$type": "float", "value": "nan"},
        {"$type": "float", "value": "-inf"},
        {"$type": "bytes", "value": "AAEC/w=="},
        {"$type": "Decimal", "value": "1.10"},
        {"$type": "datetime", "value": "2024-02-28T01:02:03+01:00"},
        {"$type": "timedelta", "value": 1.5},
        {"$type": "tuple", "value": [1, {"$type": "date", "value": "2024-02-28"}]},
        {"$type": "dict", "value": [[1, "one"]]},
        {"$type": "numpy.ndarray", "value": {"dtype": "<i8", "data": [[1, 2]]}},
    ],
    ids=str,
)  # fmt: skip
async def test_values_arrive_as_they_left(client: httpx.AsyncClient, value: Any) -> None:
    sent = json.dumps({"args": [value]})
    response = await client.post(f"{S}/tools/echo/execute", content=sent, headers=JSON)
    result = response.json()["result"]
    if isinstance(value, int) and abs(value) > 2**53 - 1 and value is not True:
        # Most parsers of JSON would change it.
        assert result == {"$type": "int", "value": str(value)}
    else:
        assert (result, type(result)) == (value, type(value))


async def test_a_schema_says_what_plain_json_means(client: httpx.AsyncClient) -> None:
    kwargs = {"day": "2024-02-28", "tags": ["a"], "ratio": 2, "raw": "AAEC/w=="}
    response = await call(client, "plan", kwargs=kwargs)
    day, tags, ratio, raw, _ = response.json()["result"]
    assert (day, tags, ratio) == ({"$type": "date", "value": "2024-02-28"}, ["a"], 2)
    assert raw == {"$type": "bytes", "value": "AAEC/w=="}


@pytest.mark.parametrize(
    ("query", "day"), [("", {"$type": "date", "value": "2024-02-28"}), ("?plain=true", "2024-02-28")]
)
async def test_results_are_plain_where_their_reader_asks_for_it(
    client: httpx.AsyncClient, query: str, day: Any
) -> None:
    assert (await client.post(f"{S}/tools/day/execute{query}", json={})).json()["result"] == day
    assert (await client.post(f"{S}/tools/days/execute{query}", json={})).json()["result"] == [day]
    for response in (
        await client.get(f"{S}/tools/days/stream{query}"),
        await client.post(f"{S}/tools/days/stream{query}", json={}),
    ):
        assert events_of(response.text)[0] == ("data", "0", day)
    requests = [{"tool_id": name} for name in ("day", "days", "none")]
    results = (await client.post(f"{S}/tools/batch{query}", json={"requests": requests})).json()["results"]
    assert [item["result"] for item in results] == [day, [day], None]


async def test_an_argument_in_the_query_may_be_called_as_a_flag_is(client: httpx.AsyncClient) -> None:
    response = await client.get(f"{S}/tools/flags/stream?events=a&plain=b")
    assert events_of(response.text)[0] == ("data", "0", "a b")


async def test_a_batch_has_failed_items_in_their_place(client: httpx.AsyncClient) -> None:
    requests = [
        {"tool_id": "add", "args": [1]},
        {"tool_id": "fail"},
        {"tool_id": "no"},
        {"tool_id": "add", "args": [5]},
    ]
    answer = (await client.post(f"{S}/tools/batch", json={"requests": requests})).json()
    assert [item["result"] for item in answer["results"]] == [2, None, None, 6]
    types = [item["error"] and item["error"]["type"] for item in answer["results"]]
    assert types == [None, "LookupError", "ToolNotFound", None]
    assert answer["metrics"]["failed_items"] == 2
    response = await client.post(f"{S}/tools/batch", json={"requests": [{"tool_id": "add"}] * 101})
    assert (response.status_code, response.json()["error"]["type"]) == (422, "ValidationError")
    response = await client.post(f"{S}/tools/batch", json={"requests": [{"tool_id": "add", "index": -1}]})
    assert "index must be from 0" in response.json()["error"]["message"]


async def test_tools_are_listed_with_their_schemas(client: httpx.AsyncClient) -> None:
    listed = (await client.get(f"{S}/tools")).json()["tools"]
    assert {item["name"] for item in listed} >= {"add", "count", "rare"}
    spec = (await client.get(f"{S}/tools/add")).json()
    assert json.loads(spec["input_schema"])["required"] == ["a"]
    assert spec == next(item for item in listed if item["name"] == "add")


async def test_tools_are_searched_and_cut_to_a_prefix(client: httpx.AsyncClient, servers: list[BridgeServer]) -> None:
    async def names(**query: Any) -> list[str]:
        response = await client.get(f"{S}/tools", params=query)
        assert response.status_code == 200, response.text
        return [item["name"] for item in response.json()["tools"]]

    @tool
    def zebra_ride(minutes: int) -> None:
        """Rides through the savanna."""

    assert await names(search="riding the savanna") == []
    await servers[0].hub.store.register_tools("s", [zebra_ride])
    assert await names(search="riding the savanna") == ["zebra_ride"]
    assert await names(search="count", limit=1) == ["count"]
    assert len(await names(search="", limit=3)) == 3
    assert await names(prefix="zeb") == await names(search="", prefix="zeb") == ["zebra_ride"]
    for query, told in (("search=x&limit=101", "up to 100"), (f"prefix={'x' * 257}", "at most 256")):
        refused = await client.get(f"{S}/tools?{query}")
        assert (refused.status_code, told in refused.text) == (422, True)
    assert (await client.get("/api/sessions/none/tools?search=x")).status_code == 404


# ------------------------------------------------------------------------------------------------------------- streams


async def test_a_stream_is_sent_as_events(client: httpx.AsyncClient) -> None:
    response = await client.get(f"{S}/tools/count/stream?n=3")
    assert response.headers["content-type"].startswith("text/event-stream")
    *data, (last, _, end) = events_of(response.text)
    assert data == [("data", str(number), number) for number in range(3)]
    assert (last, end["total_chunks"]) == ("complete", 3)


async def test_a_stream_tells_of_progress_and_log_where_asked_for(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{S}/tools/count/stream?events=true", json={"kwargs": {"n": 2}})
    found = events_of(response.text)
    names = [name for name, _, _ in found]
    assert sorted(names) == ["complete", "data", "data", "log", "progress", "progress"]
    progress = next(data for name, _, data in found if name == "progress")
    assert progress == {"current": 0, "total": 2, "message": "counting"}
    log = next(data for name, _, data in found if name == "log")
    assert (log["level"], log["message"], log["fields"]) == ("warning", "done", {"n": "2"})
    response = await client.get(f"{S}/tools/count/stream?n=1&events=perhaps")
    assert response.status_code == 422


async def test_a_stream_is_sent_as_lines_where_asked_for(client: httpx.AsyncClient) -> None:
    response = await client.get(f"{S}/tools/count/stream?n=2", headers={"accept": "application/x-ndjson"})
    assert response.headers["content-type"] == "application/x-ndjson"
    *data, end = [json.loads(line) for line in response.text.splitlines()]
    assert data == [{"data": 0}, {"data": 1}]
    assert end["complete"]["total_chunks"] == 2
    response = await client.get(f"{S}/tools/fail_late/stream", headers={"accept": "application/x-ndjson"})
    assert [list(json.loads(line)) for line in response.text.splitlines()] == [["data"], ["error"]]


async def test_an_error_is_a_status_before_the_first_value_and_an_event_after_it(client: httpx.AsyncClient) -> None:
    response = await client.get(f"{S}/tools/fail/stream")
    assert (response.status_code, response.json()["error"]["type"]) == (500, "LookupError")
    response = await client.get(f"{S}/tools/count/stream?n=x")
    assert (response.status_code, response.json()["error"]["type"]) == (422, "ValidationError")
    response = await client.get(f"{S}/tools/fail_late/stream")
    assert response.status_code == 200
    (_, _, value), (name, _, error) = events_of(response.text)
    assert (value, name, error["type"], error["message"]) == (1, "error", "LookupError", "no such thing")


@pytest.mark.parametrize("name", ["wait", "wait_silently"])
async def test_a_reader_that_leaves_stops_the_tool(client: httpx.AsyncClient, tools: Tools, name: str) -> None:
    async with client.stream("GET", f"{S}/tools/{name}/stream") as response:
        assert response.status_code == 200
        await until(lambda: tools.started)
    await until(lambda: tools.cancelled == [name])


async def test_a_caller_that_leaves_cancels_its_call(
    client: httpx.AsyncClient, tools: Tools, servers: list[BridgeServer]
) -> None:
    calling = asyncio.create_task(call(client, "wait_silently"))
    await until(lambda: tools.started)
    calling.cancel()
    await until(lambda: tools.cancelled)
    await until(lambda: not servers[0].hub.admission.active)


async def test_arguments_are_read_from_the_query_by_the_schema(client: httpx.AsyncClient) -> None:
    query = {"day": "2024-02-28", "tags": ["x", "1"], "ratio": "0.5", "raw": "AAEC/w==", "note": "12"}
    response = await client.get(f"{S}/tools/plan/stream", params=query)
    ((_, _, value), _) = events_of(response.text)
    assert value[1:] == [["x", "1"], 0.5, {"$type": "bytes", "value": "AAEC/w=="}, "12"]
    response = await client.get(f"{S}/tools/count/stream?n=1&n=2")
    assert (response.status_code, "came 2 times" in response.json()["error"]["message"]) == (422, True)


async def test_a_hundred_readers_at_once(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(*(client.get(f"{S}/tools/count/stream?n=20") for _ in range(100)))
    assert {len(events_of(response.text)) for response in responses} == {21}


# ----------------------------------------------------------------------------------------------- sessions and variables


async def test_a_session_is_created_once_described_and_ended(client: httpx.AsyncClient) -> None:
    again = await client.post("/api/sessions", json={"session_id": "s"})
    assert (again.status_code, again.json()["resumed"]) == (200, True)
    made = await client.post("/api/sessions", json={"metadata": {"who": "me"}})
    assert made.status_code == 201
    path = f"/api/sessions/{made.json()['session_id']}"
    described = (await client.get(path)).json()
    assert described["metadata"] == {"who": "me"}
    assert datetime.fromisoformat(described["created_at"]).tzinfo is not None
    listed = (await client.get("/api/sessions")).json()["sessions"]
    assert [item["session_id"] for item in listed] == ["s", made.json()["session_id"]]
    assert (await client.delete(path)).status_code == 200
    assert (await client.get(path)).status_code == 410
    bodies: list[Any] = [{"session_id": 1}, {"metadata": {"a": 1}}, {"config": {"no": 1}}, {"who": 1}, []]
    for body in bodies:
        response = await client.post("/api/sessions", json=body)
        assert (response.status_code, response.json()["error"]["type"]) == (422, "ValidationError")


async def test_names_with_slashes_and_spaces_are_names(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/sessions", json={"session_id": "a/b c%2F?#ü"})).status_code == 201
    path = "/api/sessions/a%2Fb%20c%252F%3F%23%C3%BC"
    assert (await client.get(path)).json()["session_id"] == "a/b c%2F?#ü"
    assert (await client.put(f"{path}/variables/x%2Fwatch", json={"value": 1})).status_code == 200
    assert (await client.get(f"{path}/variables/x%2Fwatch")).json()["value"] == 1


async def test_variables_are_set_read_listed_and_deleted(client: httpx.AsyncClient) -> None:
    body = {"value": {"$type": "Decimal", "value": "1.5"}, "metadata": {"tags": {"unit": "m"}}}
    revision = (await client.put(f"{S}/variables/x", json=body)).json()["revision"]
    read = (await client.get(f"{S}/variables/x")).json()
    assert read["value"] == body["value"]
    assert (read["metadata"]["tags"], read["metadata"]["revision"]) == ({"unit": "m"}, revision)
    listed = (await client.get(f"{S}/variables?prefix=x&tags=unit=m")).json()["variables"]
    assert [item["name"] for item in listed] == ["x"]
    assert (await client.get(f"{S}/variables?prefix=y")).json()["variables"] == []
    conflict = await client.put(f"{S}/variables/x", json={"value": 1}, headers={"if-match": str(revision + 9)})
    assert (conflict.status_code, conflict.json()["error"]["type"]) == (409, "RevisionConflict")
    new = await client.put(f"{S}/variables/x", json={"value": 1}, headers={"if-match": str(revision)})
    assert new.json()["revision"] > revision
    assert (await client.delete(f"{S}/variables/x")).status_code == 200
    gone = await client.get(f"{S}/variables/x")
    assert (gone.status_code, gone.json()["error"]["type"]) == (404, "VariableNotFound")
    assert (await client.put(f"{S}/variables/x", json={"metadata": {}})).status_code == 422


async def read_events(client: httpx.AsyncClient, path: str, count: int, **headers: str) -> list[tuple[str, str, Any]]:
    """Reads so many events of a stream, and leaves."""
    lines: list[str] = []
    async with client.stream(
        "GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
    ) as it:
        assert it.status_code == 200
        async for line in it.aiter_lines():
            lines.append(line)
            if len(events_of("\n".join(lines))) == count and not line:
                break
    return events_of("\n".join(lines))


async def test_a_watch_goes_on_where_it_was_with_nothing_missed_and_nothing_twice(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await client.put(f"{S}/variables/x", json={"value": number})
    ((_, first, change),) = await soon(read_events(client, f"{S}/variables/watch?names=x", 1))
    assert (change["name"], change["value"], change["operation"]) == ("x", 2, "set")
    for number in range(3, 6):
        await client.put(f"{S}/variables/x", json={"value": number})
        await client.put(f"{S}/variables/y", json={"value": number})
    missed = await soon(read_events(client, f"{S}/variables/watch?names=x", 3, last_event_id=first))
    assert [data["value"] for _, _, data in missed] == [3, 4, 5]
    response = await client.get(f"{S}/variables/watch", headers={"last-event-id": "no"})
    assert (response.status_code, response.json()["error"]["type"]) == (422, "ValidationError")


async def test_a_watch_of_nothing_begins_at_once(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", f"{S}/variables/watch") as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert await soon(anext(lines)) == ":"


# -------------------------------------------------------------------------------------------- agents and what goes on


async def test_an_agent_runs_and_is_attached_to(serve: Serve) -> None:
    client = await serve(agents=ObedientAgents())
    await client.post("/api/sessions", json={"session_id": "s"})
    made = await client.post(f"{S}/agents", json={"signature": SIGNATURE})
    assert made.status_code == 201, made.text
    path = f"{S}/agents/{made.json()['agent_id']}/execute"
    found = events_of((await client.post(path, json={"input": {"question": "q"}, "run_id": "r1"})).text)
    assert found[-1][0] == "complete"
    assert [number for _, number, _ in found] == [str(number) for number in range(len(found))]
    again = events_of((await client.get(f"{S}/runs/r1", headers={"last-event-id": "0"})).text)
    assert again == found[1:]
    assert (await client.get(f"{S}/runs/other")).status_code == 404
    assert (await client.get("/api/runs")).json()["runs"][0]["run_id"] == "r1"


async def test_calls_are_listed_and_cancelled(client: httpx.AsyncClient, tools: Tools) -> None:
    calling = asyncio.create_task(call(client, "wait_silently"))
    await until(lambda: tools.started)
    (running,) = (await client.get("/api/calls?session_id=s")).json()["calls"]
    assert (running["tool_id"], running["state"]) == ("wait_silently", "running")
    assert (await client.delete(f"/api/calls/{running['call_id']}?reason=enough")).status_code == 200
    response = await soon(calling)
    assert (response.status_code, response.json()["error"]["type"]) == (499, "Cancelled")
    assert "enough" in response.json()["error"]["message"]
    assert (await client.delete("/api/calls/none")).status_code == 404
    assert (await client.get("/api/workers")).json() == {"workers": [], "next_page_token": "", "missing_hubs": []}
    assert (await client.get("/api/calls?page_size=x")).status_code == 422


async def test_events_tell_what_happens(client: httpx.AsyncClient) -> None:
    reading = asyncio.create_task(read_events(client, "/api/events?kinds=call", 2))
    while not reading.done():
        await call(client, "add", args=[1])
        await asyncio.sleep(0.01)
    (_, _, first), (_, _, second) = await soon(reading)
    assert first["call"]["tool_id"] == second["call"]["tool_id"] == "add"


async def test_events_of_a_sample_tell_how_many_calls_were_left_out(client: httpx.AsyncClient) -> None:
    url = "/api/events?kinds=call&calls_per_second=1"
    reading = asyncio.create_task(read_events(client, url, 2 * BURST_SECONDS + 1))
    while not reading.done():
        # Its end is told, though it is not in the sample.
        await call(client, "add", args=["no number"])
    events = [event for _, _, event in await soon(reading)]
    assert sum(int(event["omitted_calls"]) for event in events) > 0
    response = await client.get("/api/events?calls_per_second=-1")
    assert (response.status_code, "calls_per_second" in response.text) == (422, True)


async def test_slow_and_failed_calls_are_looked_up_afterwards(client: httpx.AsyncClient) -> None:
    await call(client, "add", args=[1, 2])
    await call(client, "add", args=["no number"])

    async def found(query: str) -> list[dict[str, Any]]:
        response = await client.get(f"/api/history/calls?{query}")
        assert response.status_code == 200, response.text
        calls: list[dict[str, Any]] = response.json()["calls"]
        return calls

    slow = await found("")
    assert [one["tool_id"] for one in slow] == ["add", "add"]
    assert slow[0]["duration_us"] >= slow[1]["duration_us"]
    assert len(await found("kind=slow&limit=1&tool=add&session_id=s")) == 1
    assert await found("tool=other") == await found("worker=w") == await found("session_id=other") == []
    (bare,), (full,) = await found("kind=failed"), await found("kind=failed&arguments=true")
    assert (bare["state"], bare["error"]["type"], bare["error"]["message"]) == ("failed", "ValidationError", "")
    assert full["error"]["message"]
    assert not full["args"]
    for query, said in (
        ("kind=quick", "kind must be slow or failed, not 'quick'"),
        ("limit=1001", "limit must be 0 (the default, 100) to 1,000, not 1,001"),
        ("limit=x", "limit must be a number"),
        (f"worker={'x' * 257}", "worker has 257 characters; names have at most 256"),
    ):
        response = await client.get(f"/api/history/calls?{query}")
        assert response.status_code == 422
        assert said in response.json()["error"]["message"]


# ------------------------------------------------------------------------------------------------------- who may call


async def test_a_token_is_required_where_there_is_one(serve: Serve) -> None:
    client = await serve(token="hush")
    for path in ("/api/sessions", "/api/events"):
        response = await client.get(path)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert response.json()["error"]["type"] == "Unauthenticated"
    assert (await client.get("/api/sessions", headers={"authorization": "Bearer wrong"})).status_code == 401
    assert (await client.get("/api/sessions?token=hush")).status_code == 401
    assert (await client.get("/api/sessions", headers={"authorization": "Bearer hush"})).status_code == 200
    for path in ("/healthz", "/readyz"):
        assert (await client.get(path)).status_code == 200


async def test_a_browser_logs_in_for_a_cookie(serve: Serve) -> None:
    client = await serve(token="hush")
    refused = await client.post("/api/login", json={"token": "wrong"})
    assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
    given = (await client.post("/api/login", json={"token": "hush"})).headers["set-cookie"]
    assert "HttpOnly" in given
    assert "SameSite=Strict" in given
    assert "hush" not in given
    assert (await client.get("/api/sessions")).status_code == 200
    client.cookies.clear()
    forged = await client.get("/api/sessions", headers={"cookie": "tool_bridge_login=forged"})
    assert forged.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
async def test_a_page_of_another_site_cannot_call(
    client: httpx.AsyncClient, tools: Tools, headers: dict[str, str]
) -> None:
    for method, path in (("GET", f"{S}/tools/wait/stream"), ("POST", f"{S}/tools/once/execute"), ("GET", "/healthz")):
        response = await client.request(method, path, headers={**JSON, **headers}, content="{}")
        assert (response.status_code, response.json()["error"]["type"]) == (403, "PermissionDenied")
    assert (tools.started, tools.runs) == ([], 0)


async def test_the_hubs_own_page_and_named_origins_can_call(serve: Serve) -> None:
    client = await serve(http_origins=("https://ok.example",), http_hosts=("hub.example",))
    own = str(client.base_url).rstrip("/")
    for headers in ({"origin": own, "sec-fetch-site": "same-origin"}, {"host": "hub.example:1"}, {"host": "localhost"}):
        assert (await client.get("/healthz", headers=headers)).status_code == 200
    allowed = {"origin": "https://ok.example", "sec-fetch-site": "cross-site"}
    response = await client.get("/healthz", headers=allowed)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "https://ok.example")
    preflight = await client.options("/api/sessions", headers=allowed)
    assert preflight.status_code == 204
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in (await client.get("/healthz")).headers


@pytest.mark.parametrize(
    ("content", "headers", "status", "error_type"),
    [
        ("{}", {"content-type": "text/plain"}, 415, "UnsupportedMediaType"),
        ("{}", {"content-type": "application/x-www-form-urlencoded"}, 415, "UnsupportedMediaType"),
        ("{}", {}, 415, "UnsupportedMediaType"),
        ("{}", {**JSON, "content-encoding": "gzip"}, 415, "UnsupportedMediaType"),
        ("{", JSON, 422, "ValidationError"),
        ('{"args": NaN}', JSON, 422, "ValidationError"),
        (b"\xff", JSON, 422, "ValidationError"),
        ("[" * 100_000, JSON, 422, "ValidationError"),
        ("1", JSON, 422, "ValidationError"),
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused(
    client: httpx.AsyncClient, content: Any, headers: dict[str, str], status: int, error_type: str
) -> None:
    response = await client.post(f"{S}/tools/add/execute", content=content, headers=headers)
    assert (response.status_code, response.json()["error"]["type"]) == (status, error_type)


async def test_a_body_over_the_limit_is_refused(serve: Serve, servers: list[BridgeServer]) -> None:
    client = await serve(max_message_bytes=100_000)
    await client.post("/api/sessions", json={"session_id": "s"})
    response = await client.post(f"{S}/tools/echo/execute", json={"args": ["x" * 300_000]})
    assert (response.status_code, response.json()["error"]["type"]) == (413, "MessageTooLarge")
    response = await client.post(f"{S}/tools/echo/execute", json={"args": ["x" * 150_000]})
    assert (response.status_code, response.json()["error"]["type"]) == (413, "MessageTooLarge")
    await until(lambda: servers[0].hub.memory.used < 100_000)


async def test_paths_and_methods_that_are_not_there_are_told(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/nothing")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "RouteNotFound")
    response = await client.patch("/api/sessions", json={})
    assert (response.status_code, response.json()["error"]["type"]) == (405, "MethodNotAllowed")
    assert set(response.headers["allow"].split(", ")) >= {"POST"}
    # A stream would run its tool.
    assert (await client.head(f"{S}/tools/wait/stream")).status_code == 405


# --------------------------------------------------------------------------------------------- peers that do not behave


async def raw(client: httpx.AsyncClient, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(data)
    return reader, writer


async def test_a_request_that_does_not_arrive_is_given_up(serve: Serve) -> None:
    client = await serve(hello_timeout=0.1, request_timeout=0.1)
    for head in (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: "):
        reader, writer = await raw(client, head)
        assert await soon(reader.read()) == b""
        writer.close()
    head = b"POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9"
    reader, writer = await raw(client, head + b"\r\n\r\n{")
    assert b" 408 " in await soon(reader.readline())
    writer.close()


async def test_a_head_that_is_too_large_is_refused(client: httpx.AsyncClient) -> None:
    reader, writer = await raw(client, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 1_000_000)
    assert b" 400 " in await soon(reader.readline())
    writer.close()


async def test_a_reader_that_takes_nothing_holds_its_tool_up_and_then_loses_it(
    serve: Serve, servers: list[BridgeServer]
) -> None:
    client = await serve(stream_timeout=0.5)
    await client.post("/api/sessions", json={"session_id": "s"})
    _, writer = await raw(
        client, f"GET {S}/tools/count/stream?n=100000000 HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    )
    hub = servers[0].hub
    await until(lambda: hub.admission.active)
    await until(lambda: not hub.admission.active)
    writer.close()


async def test_a_hub_that_drains_ends_its_streams_and_is_not_ready(
    client: httpx.AsyncClient, tools: Tools, servers: list[BridgeServer]
) -> None:
    async with (
        client.stream("GET", f"{S}/variables/watch") as watch,
        client.stream("GET", f"{S}/tools/wait/stream") as stream,
    ):
        await until(lambda: tools.started)
        stopping = asyncio.create_task(servers[0].stop(0.2))
        await until(lambda: servers[0].hub.admission.draining)
        texts = [b"".join([part async for part in response.aiter_bytes()]).decode() for response in (watch, stream)]
        assert [events_of(text)[-1][2]["type"] for text in texts] == ["WorkerUnavailable", "Cancelled"]
    await soon(stopping)
    with pytest.raises(httpx.ConnectError):
        await client.get("/readyz")


async def test_an_address_that_others_reach_needs_tls_and_a_token() -> None:
    with pytest.raises(ValidationError, match="can be reached from other machines"):
        await BridgeServer(http_address="0.0.0.0:0").start()
    with pytest.raises(ValidationError, match="http_address"):
        BridgeServer(http_address="nowhere")
