"""MCP over two pipes: plain calls, which take the short way, are answered as the SDK answers them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import Image, LocalToolBridge, ToolContext, tool
from grpc_tool_bridge.gateway.mcp import direct_lines
from grpc_tool_bridge.gateway.mcp.server import make_server
from grpc_tool_bridge.gateway.mcp.sessions import SessionClients, SessionKey
from grpc_tool_bridge.gateway.mcp.stdio import serve_descriptors
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers
from integration.mcp_clients import without_id
from support.patience import PATIENCE
from support.waiting import until

NEW, OLD = "2026-07-28", "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ASKING = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
PIXEL = b"\x89PNG\r\n\x1a\n"


class Waiting:
    """What the calls of ``wait`` do; its events belong to the loop of one test."""

    started: asyncio.Event
    ended: asyncio.Event


@tool
async def add(a: int, b: int = 1) -> int:
    return a + b


@tool
def text(kind: str) -> Any:
    return {
        "none": None,
        "unicode": "ä\u2028\U0001f600",
        "half": "\ud800",
        "nan": float("nan"),
        "list": [1, "two", None, {"three": 3.5}],
        "object": {"a": {"b": [1]}},
        "image": [Image(PIXEL, "image/png"), "and text"],
        "large": "x" * 300_000,
        "bytes": b"\x00\xff",
    }[kind]


@tool
def fail(how: str) -> str:
    raise {"value": ValueError, "key": KeyError, "exit": SystemExit}[how](f"no {how}")


@tool
async def report(ctx: ToolContext) -> str:
    ctx.progress(1, 2, "half")
    ctx.log("a line", level="warning")
    return "done"


@tool
async def ask(ctx: ToolContext) -> str:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = await ctx.ask("Who?", schema)
    return str(answer.content)


@tool
async def wait() -> str:
    Waiting.started.set()
    try:
        await asyncio.Event().wait()
    finally:
        Waiting.ended.set()
    return ""


class Client:
    """A client that writes lines.

    Args:
        version: Of the protocol that it speaks.
        reads, writes: Its ends of the pipes.
    """

    def __init__(self, version: str, reads: int, writes: int) -> None:
        self.version = version
        self.writes = writes
        self._reads = reads
        self._rest = b""

    async def read(self) -> Any:
        while b"\n" not in self._rest:
            data = await asyncio.to_thread(os.read, self._reads, 1_000_000)
            assert data, "the server ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def send(self, *messages: Any) -> None:
        os.write(self.writes, b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def request(self, request_id: Any, name: Any, arguments: Any = None, **more: Any) -> dict[str, Any]:
        params = {"name": name, "arguments": arguments or {}, **more}
        if self.version == NEW:
            params.setdefault("_meta", META)
        return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}

    async def open(self) -> None:
        """Makes itself known, by a handshake or not, and by a first call."""
        if self.version == OLD:
            params = {
                "protocolVersion": OLD,
                "capabilities": {"elicitation": {}},
                "clientInfo": {"name": "test", "version": "1"},
            }
            self.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
            await self.read()
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.send(self.request(0, "add", {"a": 1}))
        assert (await self.read())["result"]["content"][0]["text"] == "2"


@asynccontextmanager
async def served(version: str, monkeypatch: pytest.MonkeyPatch, *, direct: bool) -> AsyncIterator[Client]:
    (their_reads, our_writes), (our_reads, their_writes) = os.pipe(), os.pipe()
    async with LocalToolBridge([add, text, fail, report, ask, wait]) as bridge, asyncio.timeout(PATIENCE):
        sessions = SessionClients(lambda _: bridge.client, SessionKey("s", is_own=True), idle_timeout=1e6, most=1)
        handlers = ToolHandlers(sessions)
        server = make_server(sessions, "1", handlers)
        if not direct:
            monkeypatch.setattr(direct_lines.DirectLines, "take", lambda *_: False)
        serving = asyncio.ensure_future(
            serve_descriptors(server, handlers, their_reads, their_writes, max_line=1_000_000)
        )
        client = Client(version, our_reads, our_writes)
        try:
            await client.open()
            yield client
        finally:
            os.close(client.writes)
            await serving
            await sessions.aclose()
            for end in (their_reads, our_reads, their_writes):
                os.close(end)


@pytest.fixture(autouse=True)
async def _waiting() -> None:
    Waiting.started, Waiting.ended = asyncio.Event(), asyncio.Event()


@pytest.fixture
def directly(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the short way said of each line since the client was known."""
    found: list[bool] = []
    take: Callable[..., bool] = direct_lines.DirectLines.take

    def noted(self: Any, line: bytes) -> bool:
        taken = take(self, line)
        if self._clients:
            found.append(taken)
        return taken

    monkeypatch.setattr(direct_lines.DirectLines, "take", noted)
    return found


PLAIN = [
    ("add", {"a": 2, "b": 3}),
    ("add", {"a": 2}),
    ("add", {"a": "two"}),
    ("add", {"b": 2}),
    ("add", {"a": 1, "c": 2}),
    ("add", {"a": 2**70}),
    ("add", None),
    ("nothing", {}),
    *(("text", {"kind": kind}) for kind in ("none", "unicode", "nan", "list", "object", "image", "large", "bytes")),
    *(("fail", {"how": how}) for how in ("value", "key", "exit")),
]


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_plain_calls_are_answered_as_by_the_sdk(
    version: str, directly: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[bool, list[Any]] = {}
    for direct in (True, False):
        async with served(version, monkeypatch, direct=direct) as client:
            answers[direct] = []
            for number, (name, arguments) in enumerate(PLAIN):
                client.send(client.request(number, name, arguments))
                answers[direct].append(await client.read())
    assert directly == [True] * len(PLAIN)
    for direct, by_sdk in zip(answers[True], answers[False], strict=True):
        assert without_id(direct) == without_id(by_sdk)


UNUSUAL: list[tuple[str, dict[str, Any]]] = [
    ("an id that is text", {"id": "1"}),
    ("another field", {"more": 1}),
    ("no version", {"jsonrpc": "1.0"}),
    ("another method", {"method": "tools/calls"}),
]
UNUSUAL_PARAMS: list[tuple[str, dict[str, Any]]] = [
    ("a name that is none", {"name": 3}),
    ("arguments that are none", {"arguments": [1]}),
    ("another parameter", {"inputResponses": {}}),
    ("a progress token", {"_meta": {**META, "progressToken": 1}}),
    ("another client", {"_meta": {**META, "io.modelcontextprotocol/clientInfo": {"name": "other", "version": "1"}}}),
    ("another protocol", {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2020-01-01"}}),
    ("a level", {"_meta": {**META, "io.modelcontextprotocol/logLevel": "info"}}),
    ("no meta", {"_meta": None}),
]


@pytest.mark.parametrize("version", [NEW, OLD])
@pytest.mark.parametrize("case", [*UNUSUAL, *UNUSUAL_PARAMS], ids=lambda case: case[0])
async def test_what_is_unusual_is_left_to_the_sdk(
    version: str, case: tuple[str, dict[str, Any]], directly: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(version, monkeypatch, direct=True) as client:
        request = client.request(7, "add", {"a": 1})
        (request if case in UNUSUAL else request["params"]).update(case[1])
        client.send(request)
        answer = await client.read()
        assert directly == [False]
        assert "result" in answer or "error" in answer
        client.send(client.request(8, "add", {"a": 2}))
        assert (await client.read())["result"]["content"][0]["text"] == "3"
        assert directly == [False, True]


async def test_log_messages_come_before_the_result(directly: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(OLD, monkeypatch, direct=True) as client:
        client.send(client.request(1, "report"))
        logged, answer = await client.read(), await client.read()
        assert logged["method"] == "notifications/message"
        assert logged["params"]["data"] == "a line"
        assert answer["result"]["content"][0]["text"] == "done"
    assert directly == [True]


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_an_answer_that_cannot_be_written_is_an_error(
    version: str, directly: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def written(_: Any) -> bytes:
        raise RuntimeError("no room")

    async with served(version, monkeypatch, direct=True) as client:
        monkeypatch.setattr(direct_lines, "written", written)
        client.send(client.request(1, "add", {"a": 1}))
        answer = await client.read()
        assert (answer["id"], answer["error"]["code"]) == (1, -32603)
        assert "could not be written" in answer["error"]["message"]
    assert directly == [True]
    assert "no room" in caplog.text


async def test_a_question_is_asked_and_its_answer_goes_to_the_tool(
    directly: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(OLD, monkeypatch, direct=True) as client:
        client.send(client.request(1, "ask"))
        asked = await client.read()
        assert asked["method"] == "elicitation/create"
        content = {"action": "accept", "content": {"name": "Ada"}}
        client.send({"jsonrpc": "2.0", "id": asked["id"], "result": content})
        assert "Ada" in (await client.read())["result"]["content"][0]["text"]
    assert directly[0] is True


async def test_a_question_of_the_latest_protocol_is_a_result(
    directly: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(NEW, monkeypatch, direct=True) as client:
        for number in (1, 2):
            client.send(client.request(number, "ask", _meta=ASKING))
            answer = await client.read()
            assert answer["result"]["resultType"] == "input_required"
            assert len(answer["result"]["inputRequests"]) == 1
        assert directly == [False, True]


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_a_cancelled_call_ends_and_is_not_answered(
    version: str, directly: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(version, monkeypatch, direct=True) as client:
        client.send(client.request(5, "wait"))
        await Waiting.started.wait()
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
        await Waiting.ended.wait()
        client.send(client.request(5, "add", {"a": 1}))
        answer = await client.read()
        assert (answer["id"], answer["result"]["content"][0]["text"]) == (5, "2")
    assert directly == [True, False, True]


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_the_end_cancels_calls_and_answers_them(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(version, monkeypatch, direct=True) as client:
        client.send(client.request(5, "wait"))
        await Waiting.started.wait()
        os.close(client.writes)
        client.writes = os.dup(0)
        assert (await client.read())["error"] == {"code": -32000, "message": "Connection closed"}
    await until(Waiting.ended.is_set)


async def test_a_call_of_an_id_that_is_in_flight_is_left_to_the_sdk(
    directly: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(NEW, monkeypatch, direct=True) as client:
        client.send(client.request(5, "wait"))
        await Waiting.started.wait()
        client.send(client.request(5, "add", {"a": 1}))
        assert (await client.read())["result"]["content"][0]["text"] == "2"
        assert directly == [True, False]
