"""``mcp --print-config``: what applications need to start the server, and no secret."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.cli import direct
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.grpc_options import GrpcOptions
from grpc_tool_bridge.cli.mcp_config import config_of
from grpc_tool_bridge.cli.mcp_stdio_options import McpOptions
from grpc_tool_bridge.cli.options import HubOptions


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TOOL_BRIDGE_") or name == "PYTHONPATH"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def printed(form: str, *words: str) -> dict[str, Any]:
    """Returns the block for a command line."""
    plain = direct.read(["mcp", "--print-config", form, *words])
    assert plain is not None
    command, values = plain
    given: dict[str, Any] = {}
    command._function = lambda **options: given.update(options)
    command.run(values)
    options, services, hub = given["options"], given["services"], given["hub"]
    assert isinstance(options, McpOptions)
    assert isinstance(services, GrpcOptions)
    assert isinstance(hub, HubOptions)
    return config_of(given["tools"] or [], options, services, hub)


def entry(form: str, *words: str) -> dict[str, Any]:
    (servers,) = printed(form, *words).values()
    (found,) = servers.values()
    assert isinstance(found, dict)
    return found


def test_each_application_has_its_own_form() -> None:
    claude, cursor, vscode = (printed(form, "--name", "x") for form in ("claude", "cursor", "vscode"))
    assert set(claude["mcpServers"]["x"]) == {"command", "args"}
    assert cursor["mcpServers"]["x"]["type"] == vscode["servers"]["x"]["type"] == "stdio"
    assert list(printed("claude")["mcpServers"]) == ["grpc-tool-bridge"]


def test_the_command_is_absolute_and_says_which_hub() -> None:
    found = entry("claude")
    assert Path(found["command"]).is_absolute()
    assert found["args"][-3:] == ["mcp", "--address", "127.0.0.1:50051"]
    assert "env" not in found


def test_without_an_installed_command_python_runs_the_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = entry("claude")
    assert found["command"] == str(tmp_path / "python")
    assert found["args"][:3] == ["-m", "grpc_tool_bridge.cli", "mcp"]


def test_options_are_repeated_with_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    words = ["--address", "hub:1", "--tls-ca", "ca.pem", "--session", "s", "--tool-filter", "a", "--tool-filter", "b"]
    words += ["--log-level", "debug", "--config", "f.toml", "--max-message-bytes", "1000"]
    assert entry("vscode", *words)["args"][-17:] == [
        *("mcp", "--address", "hub:1", "--tls-ca", str(tmp_path / "ca.pem")),
        *("--session", "s", "--tool-filter", "a", "--tool-filter", "b"),
        *("--config", str(tmp_path / "f.toml"), "--log-level", "debug", "--max-message-bytes", "1000"),
    ]


def test_switches_are_repeated_as_they_were_given() -> None:
    assert "--tls" in entry("claude", "--tls")["args"]
    assert "--no-show-tracebacks" in entry("claude", "--tools", "m", "--no-show-tracebacks")["args"]


def test_files_are_absolute_and_modules_are_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tools.py").write_text("")
    found = entry("claude", "--tools", "mine:add", "--tools", "other/tools.py:f", "--tools", "json")
    file = str(tmp_path / "other" / "tools.py")
    assert found["args"][-6:] == ["--tools", "mine:add", "--tools", f"{file}:f", "--tools", "json"]
    assert found["env"] == {"PYTHONPATH": str(tmp_path)}
    assert "env" not in entry("claude", "--tools", "json")


def test_a_file_of_tools_is_found_and_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ArgumentError, match=r"--tools ~/t.py: the file .* does not exist"):
        entry("claude", "--tools", "~/t.py")
    (tmp_path / "t.py").write_text("")
    assert entry("claude", "--tools", "~/t.py:f")["args"][-1] == f"{tmp_path / 't.py'}:f"


def test_the_environment_that_counts_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", "src")
    monkeypatch.setenv("TOOL_BRIDGE_CALL_TIMEOUT", "7")
    monkeypatch.setenv("TOOL_BRIDGE_MAX_THREADS", "3")
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", "hub:1")
    (tmp_path / "t.py").write_text("")
    local = entry("claude", "--tools", "t.py", "--max-threads", "5")
    assert local["env"] == {"TOOL_BRIDGE_CALL_TIMEOUT": "7", "PYTHONPATH": str(tmp_path / "src")}
    assert local["args"][-2:] == ["--max-threads", "5"]


@pytest.mark.parametrize("form", ["cursor", "vscode"])
def test_a_token_of_the_environment_is_passed_on_by_its_name(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", "s3cret")
    monkeypatch.setenv("TOOL_BRIDGE_PROXY", "http://me:s3cret@proxy:1")
    found = entry(form)
    assert found["env"]["TOOL_BRIDGE_TOKEN"] == "${env:TOOL_BRIDGE_TOKEN}"
    assert found["env"]["TOOL_BRIDGE_PROXY"] == "${env:TOOL_BRIDGE_PROXY}"
    assert "s3cret" not in str(found)


def test_an_application_that_passes_nothing_on_needs_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", "s3cret")
    with pytest.raises(ArgumentError, match=r"TOOL_BRIDGE_TOKEN is secret, .* --token-file FILE") as caught:
        entry("claude")
    assert "s3cret" not in str(caught.value)
    assert entry("claude", "--token-file", "token")["args"][-2:] == ["--token-file", str(tmp_path / "token")]
    (tmp_path / "t.py").write_text("")
    assert "env" not in entry("claude", "--tools", "t.py")


def test_the_file_of_the_token_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN_FILE", "token")
    assert entry("claude")["args"][-2:] == ["--token-file", str(tmp_path / "token")]


def test_the_password_of_a_proxy_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="put it in TOOL_BRIDGE_PROXY") as caught:
        entry("vscode", "--proxy", "http://me:s3cret@proxy:1")
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("TOOL_BRIDGE_PROXY", "http://me:s3cret@proxy:1")
    with pytest.raises(ArgumentError, match="TOOL_BRIDGE_PROXY is secret"):
        entry("claude")
    assert entry("claude", "--proxy", "http://proxy:1")["args"][-2:] == ["--proxy", "http://proxy:1"]


def test_grpc_services_are_repeated_with_absolute_paths(tmp_path: Path) -> None:
    words = ["--grpc", "weather=grpcs://weather:443", "--grpc-methods", "weather.*", "--descriptor-set", "w.pb"]
    words += ["--grpc-tls-ca", "ca.pem", "--grpc-forward", "tenant"]
    assert entry("claude", *words)["args"][-11:] == [
        *("mcp", "--grpc-methods", "weather.*", "--descriptor-set", str(tmp_path / "w.pb")),
        *("--grpc-forward", "tenant", "--grpc-tls-ca", str(tmp_path / "ca.pem")),
        *("--grpc", "weather=grpcs://weather:443"),
    ]


def test_metadata_of_grpc_services_is_passed_on_by_the_name_of_its_variable(tmp_path: Path) -> None:
    words = ["--grpc", "h:1", "--grpc-metadata", "authorization=env:TOKEN"]
    assert entry("vscode", *words)["env"] == {"TOKEN": "${env:TOKEN}"}
    assert entry("vscode", *words)["args"][-2:] == ["--grpc", "h:1"]
    with pytest.raises(ArgumentError, match=r"TOKEN is secret, .* give that as --grpc-config FILE"):
        entry("claude", *words)
    (tmp_path / "services.toml").write_text(
        '[services.a]\naddress = "h:1"\nmetadata = { authorization = "env:OTHER", plain = "x" }\n'
    )
    found = entry("cursor", "--grpc-config", "services.toml")
    assert found["env"] == {"OTHER": "${env:OTHER}"}
    assert found["args"][-2:] == ["--grpc-config", str(tmp_path / "services.toml")]
    with pytest.raises(ArgumentError, match="OTHER is secret"):
        entry("claude", "--grpc-config", "services.toml")
    with pytest.raises(ArgumentError, match=r"cannot read missing\.toml"):
        entry("cursor", "--grpc-config", "missing.toml")


def test_a_value_of_metadata_is_not_printed() -> None:
    with pytest.raises(ArgumentError, match="give it as authorization=env:NAME") as caught:
        entry("vscode", "--grpc", "h:1", "--grpc-metadata", "authorization=s3cret")
    assert "s3cret" not in str(caught.value)
