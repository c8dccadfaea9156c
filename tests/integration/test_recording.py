"""A hub is recorded over a real connection, and its recording is played to the same program."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf import any_pb2
from pydantic import SecretStr

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolBridgeError,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
    serialize_value,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing import MockBridgeServer, Recorder, Recording, RecordingError, ScriptedLM
from grpc_tool_bridge.testing.model_script import Prompt, fields, step
from support.waiting import until

PASSWORD = "hunter-22-secret"
LARGE = "large " * 5_000


async def add(a: int, b: int) -> int:
    for _ in range(random.randrange(4)):
        await asyncio.sleep(0)
    return a + b


async def both(x: int, ctx: ToolContext) -> int:
    """Calls another tool twice at the same time."""
    ctx.progress(1, 2, "half")
    ctx.log("on it", token=PASSWORD)
    first, second = await asyncio.gather(ctx.call_tool("add", x, 1), ctx.call_tool("add", x, 2))
    return int(first + second)


async def login(user: str, password: str, note: str = "") -> dict[str, Any]:
    raise PermissionError(f"{user} may not enter with {password} ({note})")


async def keys() -> dict[str, Any]:
    return {"name": "bob", "api_key": PASSWORD, "nested": [{"password": PASSWORD}], "note": f"it is {PASSWORD}"}


async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number
    if n > 3:
        raise ValueError("too far")


async def rich(data: bytes) -> dict[str, Any]:
    return {"price": Decimal("1.10"), "pair": (1, 2), "array": np.arange(3), "data": data}


async def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": [1, 2]})


async def large(text: str) -> str:
    return text


async def whoami(ctx: ToolContext) -> str:
    return f"session {ctx.session_id}"


TOOLS = [add, both, login, keys, count, rich, frame, large, whoami]


def model(prompt: Prompt) -> str:
    if "next_tool_name" not in prompt.system:
        return fields(reasoning="the tool says so", answer="3")
    return step("I add.", "add", a=1, b=2) if "observation_0" not in prompt.user else step("Done.", "finish")


async def outcome(work: Any) -> Any:
    """Returns what a call gives, whether it fails or not."""
    try:
        return await work
    except ToolBridgeError as error:
        return error.error_type, error.message, getattr(error, "remote_traceback", "")


async def program(address: str, number: int, watched: Callable[[], Any] | None = None) -> list[Any]:
    """Uses a hub in every way; returns what it was told, without ids."""
    told: list[Any] = []
    async with GRPCToolBridge(address) as bridge:
        tools = await bridge.initialize(metadata={"user": "bob"})
        context = bridge.session_context
        told += await asyncio.gather(*(tools["add"](number, other) for other in range(5)))
        told += await asyncio.gather(*(tools["both"](other) for other in range(3)))
        told.append(await outcome(tools["login"]("bob", PASSWORD, note=f"{PASSWORD}!")))
        told.append(await outcome(tools["add"]("x", 1)))
        told.append(await outcome(bridge.call_tool("ad", 1)))
        told.append(await tools["keys"]())
        told.append([value async for value in tools["count"].stream(3)])
        told.append(await outcome(tools["count"](5)))
        told.append(str(await tools["rich"](b"\x00\xff")))
        told.append((await tools["frame"]()).to_dict())
        told.append(await tools["large"](LARGE))
        told.append(
            await bridge.execute_batch([{"tool_id": "add", "args": [1, 2]}, {"tool_id": "add", "args": [3, 4]}])
        )
        await context.set_variable("x", number)
        changes = context.watch_variables("x")
        told.append((await anext(changes)).value)
        await context.set_variable("x", [number, None])
        await context.set_variable("api_key", PASSWORD)
        await context.set_variable("hidden", "top-secret-value", {"secret": True})
        told.append(await context.get_variable("x"))
        told.append(await context.get_variable("missing", "default"))
        told.append([item.name for item in await context.list_variables()])
        told.append((await anext(changes)).value)
        await changes.aclose()
        if watched is not None:
            await until(watched)
        told.append(await context.get_variable("hidden"))
        agent_id = await bridge.create_react_agent("question -> answer", tool_names=["add"])
        asked = {"agent_id": agent_id, "input": {"question": f"1 + 2, not {PASSWORD}"}}
        async for chunk in bridge.execute_agent_streaming(asked):
            told.append({name: value for name, value in chunk.items() if name not in {"run_id", "metrics", "agent_id"}})
    return told


async def recorded(path: Path, **options: Any) -> list[Any]:
    """Records two programs at the same time; returns what they were told."""
    recorder = Recorder(path, **options)
    settings = Settings(token=None)
    async with BridgeServer(tools=TOOLS, agents={"lm": ScriptedLM(model)}, settings=settings, recorder=recorder) as hub:
        return list(await asyncio.gather(program(hub.address, 1), program(hub.address, 2)))


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def texts_in(folder: Path) -> dict[Path, str]:
    return {file: file.read_text(encoding="utf-8") for file in folder.rglob("*") if file.is_file()}


def redacted(told: Any) -> Any:
    """Returns what a program was told as a recording has it."""
    return json.loads(
        re.sub(r"session '[^']+'", "session", json.dumps(told, default=str))
        .replace(f"{PASSWORD}!", "[redacted]!")
        .replace(PASSWORD, "[redacted]")
        .replace("top-secret-value", "[redacted]")
    )


async def test_the_same_run_gives_the_same_bytes_and_its_recording_tells_the_program_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    told = await recorded(first)
    await recorded(second)

    assert first.read_bytes() == second.read_bytes()
    with MockBridgeServer.from_recording(first) as server:
        # The other one first: sessions are found by what they call.
        replayed = await asyncio.gather(program(server.address, 2), program(server.address, 1))
        assert (server.mismatches, server.unplayed) == ([], [])
    assert redacted([replayed[1], replayed[0]]) == redacted(told)


async def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    await recorded(tmp_path / "r.jsonl", redact=["user"])

    texts = texts_in(tmp_path)
    assert len(texts) == 3
    for file, text in texts.items():
        for secret in (PASSWORD, "top-secret-value", '"user": "bob"'):
            assert secret not in text, file
    assert "bob may not enter with [redacted] ([redacted]!)" in (tmp_path / "r.jsonl").read_text()


async def test_the_recording_is_readable_with_stable_ids(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    async with BridgeServer(tools=TOOLS, recorder=Recorder(path)) as hub, GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        await tools["both"](5)
        await tools["whoami"]()

    told = [event for event in events(path) if "tool" not in event]
    who = {"session": "session-1"}
    outer, first, second = ({**who, "call": f"call-{number}"} for number in ("1", "1.1", "1.2"))
    assert told[:9] == [
        {**who, "opened": {}},
        {**outer, "method": "ExecuteTool", "request": {"tool_id": "both", "args": [5]}},
        {**outer, "progress": {"current": 1.0, "total": 2.0, "message": "half"}},
        {
            **outer,
            "log": {"level": "info", "logger": "both", "message": "on it", "fields": {"token": "[redacted]"}},
        },
        {**outer, "answer": {"success": True, "result": 13}},
        {**first, "within": "call-1", "method": "ExecuteTool", "request": {"tool_id": "add", "args": [5, 1]}},
        {**first, "answer": {"success": True, "result": 6}},
        {**second, "within": "call-1", "method": "ExecuteTool", "request": {"tool_id": "add", "args": [5, 2]}},
        {**second, "answer": {"success": True, "result": 7}},
    ]
    assert told[-2]["answer"]["result"] == "session session-1"
    assert told[-1] == {**who, "ended": {"force": True}}


async def test_tools_of_workers_and_agents_elsewhere_are_recorded_with_their_models_answers(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lm = ScriptedLM(model)
    async with (
        BridgeServer(recorder=Recorder(path)) as hub,
        ToolWorker(hub.address, tools=TOOLS),
        ToolWorker(hub.address, agents={"lm": lm}),
    ):
        await program(hub.address, 1)

    recording = Recording(path)
    assert recording.model_answers() == [model(prompt) for prompt in lm.prompts]
    nested = [str(call.number) for call in recording.sessions[0].calls if call.is_nested]
    # Six of the tool "both", and one of the agent.
    assert len(nested) == 7
    # The answers are the script of another run.
    async with (
        BridgeServer(tools=TOOLS, agents={"lm": ScriptedLM(recording.model_answers())}) as hub,
        GRPCToolBridge(hub.address) as bridge,
    ):
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("question -> answer", tool_names=["add"])
        asked = {"agent_id": agent_id, "input": {"question": "1 + 2"}}
        chunks = [chunk async for chunk in bridge.execute_agent_streaming(asked)]
    assert chunks[-1]["final_answer"] == {"answer": "3"}


async def test_a_call_that_was_not_recorded_says_which_argument_differs(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    async with BridgeServer(tools=TOOLS, recorder=Recorder(path)) as hub, GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        await tools["large"]("a")
        await tools["add"](1, 2)
        await tools["add"](3, 4)

    with MockBridgeServer.from_recording(path) as server:
        async with GRPCToolBridge(server.address) as bridge:
            tools = await bridge.initialize()
            with pytest.raises(ToolExecutionError) as failure:
                await tools["add"](3, 5)
            assert failure.value.error_type == "RecordingMismatch"
            assert str(path) in failure.value.message
            assert "the nearest is call-3, line 16:\n  b: recorded 4, called with 5" in failure.value.message
            with pytest.raises(ToolExecutionError, match=r"ad is not in session-1 .*; did you mean add\?"):
                await bridge.call_tool("ad", 1)
            assert await tools["add"](1, b=2) == 3
            assert await tools["add"](3, 4) == 7
            with pytest.raises(ToolExecutionError, match=r"add is 2 times in session-1 .* and was called once more"):
                await tools["add"](3, 4)
            with pytest.raises(ToolBridgeError, match="GetSessionVariable of x is not in session-1"):
                await bridge.session_context.get_variable("x")
        assert len(server.mismatches) == 4
        assert [text.partition(":")[0] for text in server.unplayed] == ["ExecuteTool of large"]


async def test_an_answer_can_be_replaced_and_a_recording_can_be_played_twice(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    await recorded_add(path)

    with MockBridgeServer.from_recording(path) as server:
        for _ in range(2):
            async with GRPCToolBridge(server.address) as bridge:
                await bridge.initialize()
                assert await bridge.call_tool("add", 1, 2) == 3
        server.set_response("ExecuteTool", RuntimeError("replaced"))
        async with GRPCToolBridge(server.address) as bridge:
            await bridge.initialize()
            with pytest.raises(ToolBridgeError):
                await bridge.call_tool("add", 1, 2)


def test_in_time_needs_the_times(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    asyncio.run(recorded_add(path))

    with pytest.raises(ValueError, match="the speed must be above 0"):
        MockBridgeServer.from_recording(path, in_time=True, speed=0)
    Path(f"{path}.times").unlink()
    with pytest.raises(RecordingError, match=r"its times \(.*r.jsonl.times\) are not there"):
        MockBridgeServer.from_recording(path, in_time=True)


async def recorded_add(path: Path) -> None:
    async with BridgeServer(tools=TOOLS, recorder=Recorder(path)) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        await bridge.call_tool("add", 1, 2)


async def test_in_time_plays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    async with BridgeServer(tools=TOOLS, recorder=Recorder(path)) as hub, GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        await tools["add"](1, 2)
        assert [value async for value in tools["count"].stream(3)] == [0, 1, 2]

    with MockBridgeServer.from_recording(path, in_time=True, speed=100) as server:
        async with GRPCToolBridge(server.address) as bridge:
            tools = await bridge.initialize()
            assert await tools["add"](1, 2) == 3
            assert [value async for value in tools["count"].stream(3)] == [0, 1, 2]


async def test_the_hubs_own_token_is_never_recorded_and_the_http_gateway_is_recorded_too(tmp_path: Path) -> None:
    import httpx

    path, token = tmp_path / "r.jsonl", "the-token-of-the-hub"
    settings = Settings(token=SecretStr(token))
    async with (
        BridgeServer(tools=TOOLS, http_address="127.0.0.1:0", settings=settings, recorder=Recorder(path)) as hub,
        httpx.AsyncClient(
            base_url=f"http://{hub.http_address}", headers={"Authorization": f"Bearer {token}"}
        ) as client,
    ):
        opened = (await client.post("/api/sessions", json={})).json()
        made = f"/api/sessions/{opened['session_id']}/tools/large/execute"
        answer = (await client.post(made, json={"args": [f"a {token}"]})).json()
        assert answer["result"] == f"a {token}"

    assert token not in path.read_text()
    assert '"result": "a [redacted]"' in path.read_text()


async def test_a_watched_hub_is_recorded_as_well(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    async with BridgeServer(tools=TOOLS, recorder=Recorder(path)) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        watch = bridge.client.admin.watch(kinds=["call"])
        first = asyncio.ensure_future(anext(watch))
        await until(lambda: hub.hub._feed._watchers)
        await bridge.call_tool("both", 1)
        assert (await first).operation == "started"
        await watch.aclose()

    assert [event["call"] for event in events(path) if "within" in event] == ["call-1.1", "call-1.2"]


async def test_rubbish_of_a_peer_is_recorded_or_left_out_and_the_recording_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    deep = serialize_value(1)
    for _ in range(200):
        deep = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Any", value=deep.SerializeToString())
    rubbish = [
        any_pb2.Any(),
        any_pb2.Any(type_url="type.example.com/no.such.Type", value=b"\xff\xfe"),
        any_pb2.Any(type_url="type.googleapis.com/dspex.bridge.RichValue", value=b"\xff" * 50),
        any_pb2.Any(type_url="type.googleapis.com/pandas.DataFrame", value=b"no arrow"),
        any_pb2.Any(type_url="type.googleapis.com/dspex.bridge.Json", value=b"\x0a\x05[[[[["),
        deep,
    ]
    async with BridgeServer(tools=TOOLS, recorder=Recorder(path)) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        for value in rubbish:
            for session_id in (bridge.session_id or "", "\u202eno such session\ue000"):
                request = pb.ToolCallRequest(
                    session_id=session_id, tool_id="add", args=[value], kwargs={"password": value}
                )
                response = await bridge.client.stub.ExecuteTool(request)
                assert not response.success
        assert await bridge.call_tool("add", 1, 2) == 3

    calls = list(Recording(path).calls())
    assert len(calls) == 2 * len(rubbish) + 1
    assert calls[-1].end is not None
    # What an editor would hide or turn around is escaped.
    assert all(character.isprintable() for line in path.read_text(encoding="utf-8").splitlines() for character in line)


async def test_a_hub_that_records_nothing_is_served_itself() -> None:
    async with BridgeServer(tools=TOOLS) as server:
        assert server._served is server.hub
        assert server.hub.admission.observer is None
