"""What is asked of a hub that is no call has a line in its audit trail, and so has who was not let in."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import AccessError, GRPCToolBridge, Settings, ToolBridgeError, ToolWorker
from grpc_tool_bridge.auth.audit.files import files_of
from grpc_tool_bridge.auth.audit.keys import make_key
from grpc_tool_bridge.server import BridgeServer
from support.callers import bridge, hub
from support.waiting import soon

POLICY = """
[[rules]]
name = "all in their sessions"
allow = ["open", "read", "write", "call", "register"]
principals = ["*"]
resources = ["*"]

[[rules]]
name = "no keys"
deny = ["write"]
principals = ["*"]
resources = ["key*"]
"""


async def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    make_key(tmp_path / "key")
    (tmp_path / "policy.toml").write_text(POLICY)
    return {
        "audit": f"file:{tmp_path}/audit.log",
        "audit_key_file": tmp_path / "key",
        "policy": tmp_path / "policy.toml",
    }


def decisions(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for path in files_of(folder / "audit.log") for line in path.read_text().splitlines()]
    return [line for line in lines if line["event"] == "decision"]


async def test_sessions_variables_and_registrations_have_a_line_each(settings: dict[str, Any], tmp_path: Path) -> None:
    async with hub([add], settings=settings) as server, bridge(server, "ada") as ada:
        await ada.initialize("s")
        variables = ada.session_context
        await variables.set_variable("x", 1)
        assert await variables.get_variable("x") == 1
        with pytest.raises(ToolBridgeError, match="may not write"):
            await variables.set_variable("key-of-all", "hidden-value")
        await ada.share_session("eve")
        assert await ada.tools["add"](1, 2) == 3
    found = [(line["who"]["name"], line["action"], line["resource"], line["allowed"]) for line in decisions(tmp_path)]
    assert found[:5] == [
        ("ada", "open", "s", True),
        ("ada", "write", "x", True),
        ("ada", "read", "x", True),
        ("ada", "write", "key-of-all", False),
        ("ada", "share", "eve", True),
    ]
    assert "hidden-value" not in "".join(path.read_text() for path in files_of(tmp_path / "audit.log"))


async def test_a_worker_s_registration_has_a_line(settings: dict[str, Any], tmp_path: Path) -> None:
    del settings["policy"]
    server = BridgeServer(settings=Settings(**settings, token=SecretStr("word")))
    async with server:
        worker = ToolWorker(server.address, tools=[add], token="word")
        async with worker:
            pass
    assert [(line["action"], line["resource"]) for line in decisions(tmp_path) if line["action"] == "register"] == [
        ("register", "add")
    ]


@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_who_is_not_let_in_has_a_line(settings: dict[str, Any], tmp_path: Path, transport: Any) -> None:
    del settings["policy"]
    async with BridgeServer(settings=Settings(**settings, token=SecretStr("word"))) as server:
        stranger = GRPCToolBridge(server.address, token="a-wrong-word", transport=transport)
        with pytest.raises(AccessError):
            await soon(stranger.initialize("s"))
        await stranger.close()
    (line, *_) = decisions(tmp_path)
    assert (line["action"], line["allowed"]) == ("authenticate", False)
    assert "a-wrong-word" not in (tmp_path / "audit.log").read_text()
