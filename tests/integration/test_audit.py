"""Every call has exactly one line in the audit trail of a real hub, whichever way it took."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge, LocalToolBridge, Settings, ToolBridge, ToolContext, ToolWorker
from grpc_tool_bridge.auth.audit.checking import Report, TrailCheck
from grpc_tool_bridge.auth.audit.files import files_of
from grpc_tool_bridge.auth.audit.keys import make_key, read_keys
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.server import BridgeServer
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.stubs import RpcTransport
from integration.agent_runtime import SIGNATURE, ObedientAgents
from support.joined_hubs import joined_hubs
from support.waiting import soon, until


async def add(a: int, b: int = 1, password: str = "") -> int:
    return a + b


def in_thread(a: int) -> int:
    return a


async def fails(a: int) -> int:
    raise ValueError("a secret of the tool")


async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


async def outer(a: int, ctx: ToolContext) -> int:
    result: int = await ctx.call_tool("add", a, 2)
    return result


async def endless() -> None:
    await asyncio.Event().wait()


async def remote(a: int) -> int:
    return a * 2


TOOLS = [add, in_thread, fails, count, outer, endless]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_key(tmp_path / "key")
    return tmp_path


def settings_in(place: Path, **settings: Any) -> Settings:
    return Settings(audit=f"file:{place}/audit.log", audit_key_file=place / "key", **settings)


@asynccontextmanager
async def linked(place: Path, **settings: Any) -> AsyncIterator[tuple[BridgeServer, GRPCToolBridge]]:
    server = BridgeServer(tools=TOOLS, settings=settings_in(place, token="word", **settings))
    async with server, GRPCToolBridge(server.address, token="word") as bridge:
        await bridge.initialize("s")
        yield server, bridge


def checked(place: Path) -> Report:
    return TrailCheck(read_keys(place / "key")).check(files_of(place / "audit.log"))


def calls(place: Path) -> list[dict[str, Any]]:
    """Returns the lines of calls of a trail that is intact and ended."""
    assert not checked(place).findings
    lines = [json.loads(line) for path in files_of(place / "audit.log") for line in path.read_text().splitlines()]
    return [line for line in lines if line["event"] == "call"]


def ways(place: Path) -> list[tuple[str, str, str]]:
    return [(line["action"], line["tool"], line["outcome"]) for line in calls(place)]


async def test_each_call_has_one_line_that_says_who_and_what(place: Path) -> None:
    async with linked(place) as (_, bridge):
        await bridge.call_tool("add", 1, 2)
        await bridge.call_tool("in_thread", 1)
        for name, argument in (("fails", 1), ("nope", 1), ("add", "x")):
            with pytest.raises(ToolBridgeError):
                await bridge.call_tool(name, argument)
        assert [value async for value in bridge.stream_tool("count", 3)] == [0, 1, 2]
    assert ways(place) == [
        ("call", "add", "ok"),
        ("call", "in_thread", "ok"),
        ("call", "fails", "error"),
        ("call", "nope", "refused"),
        ("call", "add", "error"),
        ("stream", "count", "ok"),
    ]
    first, *_, stream = calls(place)
    assert first["who"] == {"name": "token", "method": "token"}
    assert first["peer"].startswith("link ")
    assert first["session"] == "s"
    assert len(first["digest"]) == 32
    assert "arguments" not in first
    assert stream["id"]
    text = (place / "audit.log").read_text()
    assert "a secret of the tool" not in text
    assert "word" not in text


async def test_equal_arguments_have_equal_digests_whichever_way_they_came(place: Path) -> None:
    async with linked(place) as (server, bridge):
        await bridge.call_tool("add", a=5, b=2)
        await bridge.call_tool("add", b=2, a=5)
        await bridge.execute_batch([{"tool_id": "add", "kwargs": {"b": 2, "a": 5}}])
        async with server.bridge() as local:
            await local.initialize("s")
            await local.call_tool("add", b=2, a=5)
        await bridge.call_tool("add", a=5, b=3)
    *equal, other = [line["digest"] for line in calls(place)]
    assert len(equal) == 4
    assert len(set(equal)) == 1
    assert other not in equal


async def test_large_arguments_have_a_digest(place: Path) -> None:
    async def size(data: bytes) -> int:
        return len(data)

    server = BridgeServer(tools=[size], settings=settings_in(place))
    async with server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        for byte in (b"a", b"a", b"b"):
            assert await bridge.call_tool("size", byte * 1_000_000) == 1_000_000
    first, second, other = [line["digest"] for line in calls(place)]
    assert first == second != other


async def test_items_of_batches_and_nested_calls_have_their_lines(place: Path) -> None:
    async with linked(place) as (_, bridge):
        await bridge.execute_batch([{"tool_id": "add", "args": (1,)}, {"tool_id": "fails", "args": (1,)}])
        assert await bridge.call_tool("outer", 5) == 7
    assert ways(place) == [
        ("call", "add", "ok"),
        ("call", "fails", "error"),
        ("call", "add", "ok"),
        ("call", "outer", "ok"),
    ]
    item, _, nested, above = calls(place)
    assert item["batch"] is True
    assert nested["via"] == ["tool:outer"]
    assert nested["parent"] == above["id"]
    assert nested["who"] == above["who"]


async def test_a_cancelled_call_and_an_answer_that_is_kept_have_their_lines(place: Path) -> None:
    async with linked(place) as (server, bridge):
        task = asyncio.create_task(bridge.call_tool("endless"))
        await until(lambda: server.hub.admission.active)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not server.hub.admission.active)
        once = bridge.tools["add"].with_options(idempotency_key="k")
        assert [await once(1, 2), await once(1, 2)] == [3, 3]
    assert ways(place) == [("call", "endless", "cancelled"), ("call", "add", "ok"), ("call", "add", "kept")]


async def test_calls_that_are_forwarded_to_a_worker_have_their_lines(place: Path) -> None:
    async with linked(place) as (server, bridge), ToolWorker(server.address, [remote], token="word"):
        await until(lambda: server.hub.registry.by_name(None).get("remote"))
        assert await bridge.call_tool("remote", 4) == 8
        with pytest.raises(ToolBridgeError):
            await bridge.call_tool("remote", "x")
    assert ways(place) == [("call", "remote", "ok"), ("call", "remote", "error")]


async def test_an_agent_its_run_and_its_calls_have_their_lines(place: Path) -> None:
    async with linked(place) as (server, bridge), ToolWorker(server.address, agents=ObedientAgents(), token="word"):
        agent_id = await bridge.create_react_agent(SIGNATURE)
        asked = {"agent_id": agent_id, "input": {"call": "add", "arguments": {"a": 1}}}
        await soon(_read(bridge.execute_agent_streaming(asked)))
        with pytest.raises(ToolBridgeError):
            await soon(_read(bridge.execute_agent_streaming({**asked, "agent_id": "nobody"})))
    assert ways(place) == [
        ("create_agent", agent_id, "ok"),
        ("call", "add", "ok"),
        ("run", agent_id, "ok"),
        ("run", "nobody", "refused"),
    ]
    created, nested, run, _ = calls(place)
    assert nested["via"] == [f"agent:{agent_id}"]
    assert nested["parent"] == run["id"]
    assert nested["who"] == run["who"] == created["who"] == {"name": "token", "method": "token"}


async def test_a_call_that_runs_at_another_hub_has_a_line_at_each(tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("a", "b")}
    for folder in places.values():
        folder.mkdir()
        make_key(folder / "key")
    audited = {
        name: {"audit": f"file:{folder}/audit.log", "audit_key_file": folder / "key"} for name, folder in places.items()
    }
    async with joined_hubs(a=audited["a"], b={"tools": [add, in_thread, count, fails], **audited["b"]}) as (a, _):
        await a.knows("add", "in_thread", "count", "fails")
        async with a.open_bridge() as bridge:
            await bridge.initialize("s")
            await bridge.call_tool("add", 1)
            await bridge.call_tool("in_thread", 1)
            assert [value async for value in bridge.stream_tool("count", 2)] == [0, 1]
            with pytest.raises(ToolBridgeError):
                await bridge.call_tool("fails", 1)
    expected = [
        ("call", "add", "ok"),
        ("call", "in_thread", "ok"),
        ("stream", "count", "ok"),
        ("call", "fails", "error"),
    ]
    assert [ways(folder) for folder in places.values()] == [expected, expected]


async def _read(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


async def test_a_plain_rpc_and_a_call_of_this_process_say_where_they_came_from(place: Path) -> None:
    async with linked(place) as (server, _):
        async with ToolBridge(
            ToolBridgeClient(RpcTransport(Connection(address=server.address, token="word")))
        ) as plain:
            await plain.initialize("s")
            await plain.call_tool("add", 1)
        async with server.bridge() as local:
            await local.initialize("s")
            await local.call_tool("add", 1)
    rpc, local_line = calls(place)
    assert rpc["peer"].startswith("rpc ipv4:127.0.0.1:")
    assert (local_line["peer"], local_line["who"]) == ("this process", None)


async def test_arguments_and_results_are_kept_where_asked_without_secrets(place: Path) -> None:
    async with linked(place, audit_arguments=True, audit_results=True) as (_, bridge):
        await bridge.call_tool("add", 1, b=2, password="open sesame")
        await bridge.call_tool("add", 1, 2, "open sesame")
    named, placed = calls(place)
    assert named["arguments"] == {"args": [1], "kwargs": {"b": 2, "password": "[redacted]"}}
    assert placed["arguments"] == {"args": [1, 2, "[redacted]"], "kwargs": {}}
    assert named["result"] == 3
    assert "sesame" not in (place / "audit.log").read_text()


async def test_what_cannot_be_audited_is_refused_until_it_can_be(place: Path) -> None:
    async with LocalToolBridge([add], settings=settings_in(place)) as bridge:
        await bridge.initialize()
        audit: Any = bridge.hub.admission.audit
        audit._writer.refuses = True
        audit._writer.why = "no space left on device"
        with pytest.raises(ToolBridgeError, match="no space left on device"):
            await bridge.call_tool("add", 1)
        with pytest.raises(StoreError):
            audit.decision(Principal("bot"), "read", "color", allowed=True)
        audit._writer.put('"time":"","event":"wakes"')
        await until(lambda: not audit.refuses)
        assert await bridge.call_tool("add", 1) == 2
        audit.decision(Principal("bot"), "read", "color", allowed=False, rule="r1", peer="link x")
        assert bridge.hub.counts()["hub.audit_lost"] == 1
    lines = [json.loads(line) for line in (place / "audit.log").read_text().splitlines()]
    [decision] = [line for line in lines if line["event"] == "decision"]
    assert (decision["who"]["name"], decision["action"], decision["allowed"]) == ("bot", "read", False)
    assert (decision["resource"], decision["rule"]) == ("color", "r1")
    assert not checked(place).is_broken


async def test_a_hundred_calls_at_once_over_many_files_have_one_line_each(place: Path) -> None:
    async with linked(place, audit_max_bytes=20_000) as (_, bridge):
        await soon(asyncio.gather(*(bridge.call_tool("add", number) for number in range(1_000))))
        await until(lambda: len(files_of(place / "audit.log")) > 1)
        await soon(asyncio.gather(*(bridge.call_tool("add", number) for number in range(1_000))))
    assert ways(place) == [("call", "add", "ok")] * 2_000


HUB = """
import asyncio, sys
from grpc_tool_bridge import LocalToolBridge, Settings
async def add(a: int) -> int: return a
async def main():
    settings = Settings(audit="file:" + sys.argv[1], audit_key_file=sys.argv[2])
    async with LocalToolBridge([add], settings=settings) as bridge:
        await bridge.initialize()
        for _ in range(50): await bridge.call_tool("add", 1)
        while bridge.hub.counts()["hub.audit_waiting"] or bridge.hub.counts()["hub.audit_lines"] < 51:
            await asyncio.sleep(0.01)
        print("there", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_a_hub_that_was_killed_leaves_an_intact_trail_that_the_next_one_continues(place: Path) -> None:
    for life in (1, 2):
        command = [sys.executable, "-c", HUB, f"{place}/audit.log", f"{place}/key"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
            os.kill(process.pid, signal.SIGKILL)
        report = checked(place)
        assert not report.is_broken
        assert [chain.lines for chain in report.chains] == [51] * life
        assert "has no end after line 50" in report.findings[0].text


def test_commands_make_a_key_and_check_and_show_a_trail(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "grpc_tool_bridge", "audit", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    key = str(tmp_path / "key")
    assert run("key", key)[0] == 0
    assert run("key", key)[0] == 2

    async def audited() -> None:
        async with linked(tmp_path) as (_, bridge):
            await bridge.call_tool("add", 1)
            with pytest.raises(ToolBridgeError):
                await bridge.call_tool("nope", 1)

    asyncio.run(audited())
    trail = tmp_path / "audit.log"
    assert run("verify", str(trail), "--key-file", key)[0] == 0
    code, shown = run("show", str(trail), "--outcome", "refused", "--json")
    assert code == 0
    assert json.loads(shown)["tool"] == "nope"
    code, facts = run("verify", str(trail), "--key-file", key, "--json")
    assert json.loads(facts)["intact"] is True
    trail.write_text(trail.read_text().replace('"tool":"add"', '"tool":"sub"'))
    code, told = run("verify", str(trail), "--key-file", key)
    assert code == 1
    assert "audit.log:3:" in told
    assert "was changed" in told
