"""Clients that nobody here wrote: grpcurl reads the hub's services by reflection, and ghz puts load on its RPCs.

They send JSON that fits the proto, so the proto is all that they know of the bridge.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.needs import needs
from support.programs import ROOT, announced, run, running

TOKEN = "a-token-that-is-long-enough-for-this"
SERVICE = "dspex.bridge.SnakepitBridge"
ANY = "type.googleapis.com/google.protobuf."
CALLS = 2_000

TOOLS = '''
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def count(n: int):
    """Counts."""
    for number in range(n):
        yield number
'''


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hub")
    (folder / "some_tools.py").write_text(TOOLS)
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    tools = ["--tools", "some_tools:add", "--tools", "some_tools:count"]
    command = ["grpc-tool-bridge", "serve", "--address", "127.0.0.1:0", "--token-file", "token", "--json", *tools]
    with running(command, cwd=folder) as hub:
        told = announced(hub)["address"]
        opened = rpc(told, "InitializeSession", {"session_id": "s", "config": {"max_concurrent_tools": 50}})
        assert json.loads(opened)["success"]
        yield told


def integer(value: int) -> dict[str, str]:
    """An integer of 64 bits as an Any, in JSON as protobuf writes it."""
    return {"@type": f"{ANY}Int64Value", "value": str(value)}


def grpcurl(*words: str, token: str = TOKEN) -> str:
    """Returns what grpcurl prints."""
    done = run(["grpcurl", "-plaintext", "-H", f"authorization: Bearer {token}", *words])
    return done.stdout or done.stderr


def rpc(address: str, method: str, request: Any, *, token: str = TOKEN) -> str:
    """Calls a method by grpcurl; returns what it prints."""
    return grpcurl("-d", json.dumps(request), address, f"{SERVICE}/{method}", token=token)


# ------------------------------------------------------------------------------------------------------------ grpcurl


@needs("grpcurl")
def test_grpcurl_lists_the_services(address: str) -> None:
    assert grpcurl(address, "list").split() == [
        "dspex.bridge.SnakepitBridge",
        "dspex.bridge.ToolBridgeAdmin",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]


@needs("grpcurl")
def test_grpcurl_describes_every_method_of_the_proto(address: str) -> None:
    described = grpcurl(address, "describe", SERVICE)
    proto = (ROOT / "proto" / "dspex_bridge.proto").read_text(encoding="utf-8")
    service = proto.split("service SnakepitBridge {")[1].split("\n}")[0]
    assert set(re.findall(r"rpc (\w+)", described)) == set(re.findall(r"rpc (\w+)", service))


@needs("grpcurl")
def test_grpcurl_asks_for_health(address: str) -> None:
    assert json.loads(grpcurl(address, "grpc.health.v1.Health/Check")) == {"status": "SERVING"}


@needs("grpcurl")
def test_grpcurl_calls_a_tool_and_reads_a_stream(address: str) -> None:
    call = {"session_id": "s", "tool_id": "add", "args": [integer(2)], "kwargs": {"b": integer(3)}}
    answer = json.loads(rpc(address, "ExecuteTool", call))
    assert answer["result"] == integer(5)

    stream = {"session_id": "s", "tool_id": "count", "args": [integer(3)], "stream_id": "x"}
    chunks = json.loads("[" + rpc(address, "StreamTool", stream).replace("}\n{", "},{") + "]")
    assert [chunk["data"]["value"] for chunk in chunks if "data" in chunk] == ["0", "1", "2"]
    assert chunks[-1]["complete"]["total_chunks"] == 3


@needs("grpcurl")
def test_grpcurl_without_the_token_is_refused_and_learns_no_names(address: str) -> None:
    assert "requires a token" in run(["grpcurl", "-plaintext", address, "list"]).stderr
    assert "Unauthenticated" in rpc(address, "GetSessionInfo", {"session_id": "s"}, token="another")


# ---------------------------------------------------------------------------------------------------------------- ghz


def ghz(address: str, method: str, request: Any, *words: str) -> Any:
    """Makes ``CALLS`` calls of a method, 50 at once over two connections; returns the report."""
    load = ["--total", str(CALLS), "--concurrency", "50", "--connections", "2", "--timeout", "60s"]
    token = json.dumps({"authorization": f"Bearer {TOKEN}"})
    metadata = ["--metadata", token, "--reflect-metadata", token]
    called = ["--insecure", "--call", f"{SERVICE}/{method}", "--data", json.dumps(request), "--format", "json"]
    done = run(["ghz", *load, *metadata, *called, *words, address])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs("ghz")
def test_ghz_calls_a_tool_thousands_of_times_without_an_error(address: str) -> None:
    call = {"session_id": "s", "tool_id": "add", "args": [integer(2)], "kwargs": {"b": integer(3)}}
    report = ghz(address, "ExecuteTool", call)
    assert report["count"] == CALLS
    assert report["statusCodeDistribution"] == {"OK": CALLS}
    assert not report["errorDistribution"]
    metrics = json.loads(rpc(address, "GetMetrics", {"metric_names": ["tool.add.*"]}))["metrics"]
    # What the hub says of a tool that fails is no status of gRPC.
    assert metrics["tool.add.errors"] == {"integer_value": "0"}
    assert int(metrics["tool.add.calls"]["integer_value"]) >= CALLS


@needs("ghz")
def test_ghz_reads_streams_without_an_error(address: str) -> None:
    stream = {"session_id": "s", "tool_id": "count", "args": [integer(3)], "stream_id": "{{.RequestNumber}}"}
    report = ghz(address, "StreamTool", stream)
    assert report["statusCodeDistribution"] == {"OK": CALLS}
