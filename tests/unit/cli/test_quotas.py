"""``quotas check`` and ``quotas explain``."""

import json
from pathlib import Path

import pytest

from grpc_tool_bridge.cli import quotas
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError

TEXT = """
[[quotas]]
groups = ["analysts"]
calls_per_minute = 6000
sessions = 3

[[quotas]]
principals = ["r*"]
concurrent_calls = 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "quotas.toml"
    made.write_text(TEXT)
    return made


def test_valid_quotas_are_counted(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quotas.check_quotas(path) == 0
    assert capsys.readouterr().out == f"{path}: 2 quotas\n"
    assert quotas.check_quotas(path, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "quotas": 2}


def test_what_is_wrong_is_named(path: Path) -> None:
    path.write_text(TEXT.replace("sessions", "session"))
    with pytest.raises(CommandError, match=r"quota 1: unknown field 'session'; did you mean sessions\?"):
        quotas.check_quotas(path)
    with pytest.raises(CommandError, match="none"):
        quotas.check_quotas(path.with_name("none"))


def test_a_principal_has_the_first_quota_that_is_for_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quotas.explain_quota("reports", quotas=path) == 0
    assert quotas.explain_quota("reports", group=["analysts"], quotas=path) == 0
    assert quotas.explain_quota("ann", quotas=path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "reports has quota 2: concurrent_calls 2",
        "reports has quota 1: calls_per_minute 6,000, sessions 3",
        "ann has no quota",
    ]
    assert quotas.explain_quota("ann", quotas=path, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"principal": "ann", "quota": None, "limits": {}}


def test_without_a_file_the_settings_name_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_QUOTAS", str(path))
    assert quotas.explain_quota("r1") == 0
    assert "quota 2" in capsys.readouterr().out
    monkeypatch.delenv("TOOL_BRIDGE_QUOTAS")
    with pytest.raises(ArgumentError, match="no quotas are set"):
        quotas.explain_quota("r1")
