"""The commands ``approvals``: what waits is listed, granted and denied; and what the audit trail has of it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.audit.keys import make_key
from integration.test_cli import Cli, popen, runner, serving
from support.patience import PATIENCE

SOURCE = """
from grpc_tool_bridge import tool

@tool(approval="required")
async def wipe(table: str, password: str = "") -> str:
    return f"wiped {table}"
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, Any]]:
    source = tmp_path / "approved_tools.py"
    source.write_text(SOURCE)
    make_key(tmp_path / "key")
    trail = ["--audit", f"file:{tmp_path}/audit.log", "--audit-key-file", str(tmp_path / "key")]
    with serving("--tools", str(source), *trail, stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


@pytest.fixture
def cli(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
    return runner(capsys)


def waiting(cli: Cli) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    while not found:
        found = json.loads(cli("approvals", "list", "--json"))
    (approval,) = found
    return approval


def ended(process: "subprocess.Popen[str]") -> tuple[str, int]:
    out, errors = process.communicate(timeout=PATIENCE)
    return f"{out}{errors or ''}".strip(), process.returncode


def test_a_call_that_waits_is_listed_and_runs_once_it_is_granted(cli: Cli, tmp_path: Path) -> None:
    assert "No call waits for approval" in cli("approvals", "list")
    calling = popen("call", "wipe", "orders", "--kwarg", "password=hush-hush")
    approval = waiting(cli)
    assert (approval["tool"], approval["args"], approval["kwargs"]) == (
        "wipe",
        ["orders"],
        {"password": "[redacted]"},
    )
    assert "hush-hush" not in cli("approvals", "list")
    refused = cli("approvals", "grant", approval["approval_id"], "--digest", "0" * 64, code=1)
    assert "the digest is not that of the call that waits" in refused
    text = cli("approvals", "grant", approval["approval_id"])
    assert text.strip() == 'wipe("orders", password="[redacted]") is granted'
    assert ended(calling) == ("wiped orders", 0)
    assert "no call waits for the approval" in cli("approvals", "grant", approval["approval_id"], code=1)
    shown = cli("audit", "show", str(tmp_path / "audit.log"))
    assert f"approve  grant {approval['approval_id']}  allowed" in shown


def test_a_call_that_is_denied_fails_with_the_reason(cli: Cli) -> None:
    calling = popen("call", "wipe", "orders", "--json")
    approval = waiting(cli)
    answer = cli("approvals", "deny", approval["approval_id"], "--reason", "not on a Friday", "--json")
    assert json.loads(answer) == {"approval_id": approval["approval_id"], "tool": "wipe", "granted": False}
    out, code = ended(calling)
    assert code == 1
    assert "the call of wipe was denied: not on a Friday" in out
