"""Values of every kind as results for MCP clients."""

import base64
import enum
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import jsonschema
import numpy as np
import pandas as pd
import pydantic
import pytest

from grpc_tool_bridge import Audio, BridgeServer, Image, Resource, ResourceLink, ToolWorker, tool
from integration.mcp_clients import NEW, OLD, VERSIONS, RawClient, answer_of, sdk_client
from support.waiting import soon

PNG = b"\x89PNG\x00\xff"
BASE64 = base64.b64encode(PNG).decode()


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)


class Tree(pydantic.BaseModel):
    name: str
    children: list["Tree"] = []


def _returning(name: str, annotation: Any, value: Any) -> Any:
    async def function() -> Any:
        return value

    function.__annotations__["return"] = annotation
    return tool(name=name)(function)


MOMENT = datetime(2024, 2, 28, 12, 30, tzinfo=UTC)

# What a tool declares, what it returns, and the data that a program reads.
DECLARED: list[tuple[Any, Any, Any]] = [
    (int, 3, 3),
    (int, 2**60, 2**60),
    (float, 1.5, 1.5),
    (bool, True, True),
    (str, "é \U0001f600", "é \U0001f600"),
    (bytes, PNG, BASE64),
    (None, None, None),
    (int | None, None, None),
    (int | None, 4, 4),
    (list[int], [1, 2], [1, 2]),
    (tuple[int, str], (1, "a"), [1, "a"]),
    (set[int], {3}, [3]),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict[str, Any], {"a": None, "$type": 1}, {"a": None, "$type": 1}),
    (Literal["a", "b"], "a", "a"),
    (Color, Color.RED, "red"),
    (date, date(2024, 2, 28), "2024-02-28"),
    (datetime, MOMENT, "2024-02-28T12:30:00Z"),
    (time, time(1, 2, 3), "01:02:03"),
    (timedelta, timedelta(hours=1), "PT1H"),
    (uuid.UUID, uuid.UUID(int=5), str(uuid.UUID(int=5))),
    (Decimal, Decimal("1.50"), "1.50"),
    (Point, Point(1, ["t"]), {"x": 1, "tags": ["t"]}),
    (list[Point], [Point(1)], [{"x": 1, "tags": []}]),
    (Tree, Tree(name="a", children=[Tree(name="b")]), {"name": "a", "children": [{"name": "b", "children": []}]}),
    (list[Tree], [Tree(name="a")], [{"name": "a", "children": []}]),
    (dict[str, list[date]], {"d": [date(2024, 2, 28)]}, {"d": ["2024-02-28"]}),
    (Any, 7, None),
]
# What JSON has no form for that the schema allows.
NOT_WRITTEN: list[tuple[Any, Any]] = [(float, float("nan")), (float, float("inf")), (list[float], [float("nan")])]


@pytest.mark.parametrize("version", VERSIONS)
async def test_structured_content_is_what_the_schema_says(version: str) -> None:
    tools = [_returning(f"t{number:02}", kind, value) for number, (kind, value, _) in enumerate(DECLARED)]
    async with BridgeServer(tools=tools, http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        ask = client.new if version == NEW else client.old
        listed = answer_of(await soon(ask("tools/list")))["result"]["tools"]
        for spec, (kind, value, data) in zip(listed, DECLARED, strict=True):
            call = client.call_new if version == NEW else client.call_old
            result = await soon(call(spec["name"]))
            schema = spec.get("outputSchema")
            if schema is None:
                assert kind is Any
                assert "structuredContent" not in result
                continue
            jsonschema.Draft202012Validator.check_schema(schema)
            content = result["structuredContent"]
            jsonschema.validate(content, schema)
            assert (content["result"] if schema.get("x-fastmcp-wrap-result") else content) == data, (kind, value)
            if version == OLD:
                assert schema["type"] == "object"
            if value is not None:
                assert result["content"][0]["type"] == "text"


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_json_cannot_write_has_no_structured_content(version: str) -> None:
    tools = [_returning(f"t{number}", kind, value) for number, (kind, value) in enumerate(NOT_WRITTEN)]
    async with BridgeServer(tools=tools, http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        for number in range(len(tools)):
            result = await soon((client.call_new if version == NEW else client.call_old)(f"t{number}"))
            assert "structuredContent" not in result
            assert "NaN" in result["content"][0]["text"] or "Infinity" in result["content"][0]["text"]


def _media() -> list[Any]:
    @tool
    async def picture() -> Image:
        return Image(PNG)

    @tool
    async def sound() -> Audio:
        return Audio(b"RIFF")

    @tool
    async def document() -> Resource:
        return Resource("file:///a.txt", "text")

    @tool
    async def blob() -> Resource:
        return Resource("file:///a.bin", b"\x00", "image/x-icon")

    @tool
    async def link() -> ResourceLink:
        return ResourceLink("https://example.com/a", "a", description="A.")

    @tool
    async def mixed() -> list[Any]:
        return ["before", Image(PNG), {"n": 1}, Resource("file:///a.txt", "text")]

    @tool
    async def nested() -> dict[str, Any]:
        return {"caption": "a cat", "pictures": [Image(PNG), {"deep": Audio(b"RIFF")}]}

    @tool
    async def pair() -> tuple[Any, ...]:
        return ("text", Image(PNG))

    @tool
    async def frames() -> AsyncIterator[Image]:
        yield Image(PNG)
        yield Image(b"2")

    return [picture, sound, document, blob, link, mixed, nested, pair, frames]


IMAGE = {"type": "image", "data": BASE64, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": base64.b64encode(b"RIFF").decode(), "mimeType": "audio/wav"}
TEXT_RESOURCE = {"type": "resource", "resource": {"uri": "file:///a.txt", "mimeType": "text/plain", "text": "text"}}
EXPECTED: dict[str, list[Any]] = {
    "picture": [IMAGE],
    "sound": [AUDIO],
    "document": [TEXT_RESOURCE],
    "blob": [{"type": "resource", "resource": {"uri": "file:///a.bin", "mimeType": "image/x-icon", "blob": "AA=="}}],
    "link": [{"type": "resource_link", "uri": "https://example.com/a", "name": "a", "description": "A."}],
    "mixed": [{"type": "text", "text": "before"}, IMAGE, {"type": "text", "text": '{"n":1}'}, TEXT_RESOURCE],
    "nested": [
        {"type": "text", "text": '{"caption":"a cat","pictures":["[image 1]",{"deep":"[audio 2]"}]}'},
        IMAGE,
        AUDIO,
    ],
    "pair": [{"type": "text", "text": "text"}, IMAGE],
    "frames": [IMAGE, {**IMAGE, "data": base64.b64encode(b"2").decode()}],
}


@pytest.mark.parametrize("where", ["hub", "worker"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_images_and_the_like_are_content_of_their_kind(version: str, where: str) -> None:
    tools = _media()
    offered = tools if where == "hub" else []
    async with BridgeServer("127.0.0.1:0", tools=offered, http_address="127.0.0.1:0") as server:
        if where == "worker":
            async with ToolWorker(server.address, tools=tools):
                await _check_media(server, version)
        else:
            await _check_media(server, version)


async def _check_media(server: BridgeServer, version: str) -> None:
    async with RawClient(server) as client:
        await client.connect()
        call = client.call_new if version == NEW else client.call_old
        for name, expected in EXPECTED.items():
            result = await soon(call(name))
            assert result["content"] == expected, name
    # The SDK's client refuses a result that is not what the schema says.
    async with sdk_client(server, version) as client:
        listed = {item.name: item for item in (await soon(client.list_tools())).tools}
        for name in EXPECTED:
            result = await soon(client.call_tool(name))
            assert not result.is_error
        assert listed["picture"].output_schema is None


@pytest.mark.parametrize("version", VERSIONS)
async def test_streams_frames_and_arrays_are_text_and_nothing_is_lost(version: str) -> None:
    @tool
    async def count() -> AsyncIterator[int]:
        yield 1
        yield 2

    @tool
    async def frame() -> pd.DataFrame:
        return pd.DataFrame({"a": [1, 2]})

    @tool
    async def array() -> Any:
        return np.array([1.5, 2.5])

    @tool
    async def nothing() -> Any:
        return None

    tools = [count, frame, array, nothing]
    async with BridgeServer(tools=tools, http_address="127.0.0.1:0") as server, sdk_client(server, version) as client:
        counted = await soon(client.call_tool("count"))
        assert counted.structured_content == ({"result": [1, 2]} if version == OLD else [1, 2])
        assert json.loads(counted.content[0].text) == [1, 2]
        assert (await soon(client.call_tool("frame"))).content[0].text == "a\n1\n2\n"
        assert (await soon(client.call_tool("array"))).content[0].text == "[1.5,2.5]"
        assert (await soon(client.call_tool("nothing"))).content == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "make", [lambda: "x" * 5_000_000, lambda: list(range(200_000)), lambda: Image(b"x" * 3_000_000)]
)
async def test_large_results_arrive_whole(version: str, make: Callable[[], Any]) -> None:
    @tool
    async def large() -> Any:
        return make()

    # The SDK's client takes events of the old protocol up to 1 MiB.
    async with BridgeServer(tools=[large], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        (block,) = (await soon((client.call_new if version == NEW else client.call_old)("large")))["content"]
        value = make()
        if isinstance(value, Image):
            assert base64.b64decode(block["data"]) == value.data
        else:
            assert block["text"] == (value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))
