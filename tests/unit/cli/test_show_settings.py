"""``settings`` shows what a hub would have, and no secret."""

import json
from pathlib import Path

import pytest

from grpc_tool_bridge.cli import main
from grpc_tool_bridge.config import Settings


def test_settings_of_the_environment_and_the_file_are_shown_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.toml"
    file.write_text('call_timeout = 7.5\nagent_api_base = "http://me:hidden@host/v1"\nhttp_hosts = ["a", "b"]\n')
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", "very-secret")
    monkeypatch.setenv("TOOL_BRIDGE_SHOW_TRACEBACKS", "false")
    assert main(["settings", "--config", str(file), "--json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert list(found) == list(Settings.model_fields)
    assert (found["call_timeout"], found["show_tracebacks"], found["http_hosts"]) == (7.5, False, ["a", "b"])
    assert (found["token"], found["agent_api_base"]) == ("********", "http://***@host/v1")
    assert main(["settings", "--config", str(file)]) == 0
    table = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1] for line in table.splitlines()[2:]}
    assert (rows["call_timeout"], rows["show_tracebacks"], rows["http_hosts"]) == ("7.5", "off", "a,")
    assert rows["stream_timeout"] == "300"
    assert "very-secret" not in out + table
    assert "hidden" not in out + table
    assert "hidden" not in out + table


def test_a_wrong_setting_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.toml"
    file.write_text("call_timeout = -1\n")
    assert main(["settings", "--config", str(file)]) == 2
    assert "setting call_timeout" in capsys.readouterr().err
