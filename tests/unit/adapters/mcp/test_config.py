import json
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.adapters.mcp.config import (
    OAuthOptions,
    config_of,
    distinct,
    names_file,
    read_config_file,
    shown_url,
)
from grpc_tool_bridge.errors import ValidationError


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("uvx mcp-server-time --local-timezone UTC", "time"),
        ("npx -y @modelcontextprotocol/server-everything@1.2.3", "everything"),
        ("python -m mcp_server_git", "git"),
        ("python /some/where/weather.py --fast", "weather"),
        ("docker run -i --rm ghcr.io/acme/github-mcp-server", "github"),
        ("uvx 'mcp-server-fetch>=1'", "fetch"),
        ("/opt/bin/tool", "tool"),
        ("node", "node"),
        ("https://mcp.example.com/mcp?a=b", "example.com"),
        ("http://localhost:8000/mcp", "localhost_8000"),
        ("mine=uvx mcp-server-time", "mine"),
        ("mine=https://example.com/?x=y", "mine"),
    ],
)
def test_a_server_has_a_name(source: str, name: str) -> None:
    assert config_of(source).name == name


def test_a_command_is_split_without_a_shell() -> None:
    config = config_of("run 'a b' $HOME; rm -rf | x")
    assert config.command == ("run", "a b", "$HOME;", "rm", "-rf", "|", "x")
    assert config_of(["a", "b c"], name="x").command == ("a", "b c")
    assert config_of(Path("/opt/server"), name="x").command == ("/opt/server",)


def test_an_address_keeps_its_query_and_hides_it() -> None:
    config = config_of("https://user:pw@example.com:8443/mcp?key=secret#f", headers={"Authorization": "Bearer t0p"})
    assert config.url == "https://user:pw@example.com:8443/mcp?key=secret#f"
    assert config.where == "https://example.com:8443/mcp"
    assert "secret" not in repr(config)
    assert "t0p" not in repr(config)
    assert shown_url("http://[::1]:80/x") == "http://[::1]:80/x"


@pytest.mark.parametrize(
    ("source", "options", "text"),
    [
        ("", {}, "needs a command"),
        ("a 'b", {}, "cannot be split"),
        ("https://", {}, "must be https://HOST/PATH"),
        ("http://[::1", {}, "must be https://HOST/PATH"),
        ("https://a.b", {"env": {"A": "b"}}, "env: not for an address"),
        ("a", {"headers": {"A": "b"}}, "headers: not for a command"),
        ("a", {"oauth": OAuthOptions()}, "oauth: not for a command"),
        ("a", {"env": {"A=": "b"}}, "the variable 'A='"),
        ("https://a.b", {"headers": {"A b": "c"}}, "is not the name of a header"),
        ("https://a.b", {"headers": {"A": "c\r\nB: d"}}, "must be printable"),
        (["a", "\0"], {}, "without NUL"),
        ("a", {"name": "..."}, "cannot be called"),
    ],
)
def test_a_wrong_source_is_refused(source: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config_of(source, **options)
    assert text in caught.value.message


def written(folder: Path, whole: Any) -> Path:
    path = folder / "servers.json"
    path.write_text(whole if isinstance(whole, str) else json.dumps(whole))
    return path


@pytest.mark.parametrize("place", [("mcpServers",), ("servers",), ("mcp", "servers")])
def test_the_files_of_known_programs_are_read(
    place: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    whole: Any = {
        "files": {
            "command": "npx",
            "args": ["-y", "server", "${env:KEY}"],
            "env": {"TOKEN": "${KEY}", "MODE": "${NO_SUCH:-fast}"},
            "cwd": "/tmp",
            "type": "stdio",
            "alwaysAllow": ["x"],
        },
        "remote": {
            "url": "https://example.com/mcp",
            "type": "streamable-http",
            "headers": {"Authorization": "Bearer ${KEY}"},
            "oauth": {"client_id": "me", "port": 9999, "token_file": "/x/tokens"},
        },
        "off": {"command": "x", "disabled": True},
    }
    for key in reversed(place):
        whole = {key: whole}
    files, remote = read_config_file(written(tmp_path, whole))
    assert (files.name, files.command, files.cwd) == ("files", ("npx", "-y", "server", "s3cret"), "/tmp")
    assert files.env == {"TOKEN": "s3cret", "MODE": "fast"}
    assert (remote.kind, remote.url) == ("http", "https://example.com/mcp")
    assert remote.headers == {"Authorization": "Bearer s3cret"}
    assert remote.oauth == OAuthOptions(client_id="me", port=9999, token_file=Path("/x/tokens"))
    assert "files: these keys are not known here, and are ignored: alwaysAllow" in caplog.text
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr([files, remote])


@pytest.mark.parametrize(
    ("whole", "text"),
    [
        ("{", "not valid JSON (line 1, column 2)"),
        ({"mcpServer": {}}, """did you mean 'mcpServers' instead of 'mcpServer'?"""),
        ({"mcpServers": {"a": {"comand": "x"}}}, """a url; did you mean 'command' instead of 'comand'?"""),
        ({"servers": {"a": {"command": "x", "env": {"K": "${input:key}"}}}}, "write ${env:NAME}"),
        ("[]", 'needs an object "mcpServers"'),
        ({"mcpServers": []}, 'needs an object "mcpServers"'),
        ({"mcpServers": {"a": 1}}, "server 'a': it must be an object"),
        ({"mcpServers": {"a": {}}}, "either a command or a url"),
        ({"mcpServers": {"a": {"command": "x", "url": "https://y"}}}, "both a command and a url"),
        ({"mcpServers": {"a": {"command": ["x"]}}}, '"command" must be a text'),
        ({"mcpServers": {"a": {"command": "x", "args": "y"}}}, '"args" must be a list'),
        ({"mcpServers": {"a": {"command": "x", "env": {"A": 1}}}}, '"env" must be an object of texts'),
        ({"mcpServers": {"a": {"command": "x", "env": {"A": "${NO_SUCH_ONE}"}}}}, "NO_SUCH_ONE is not set; set it"),
        ({"mcpServers": {"a": {"url": "https://x", "type": "sse"}}}, "type sse"),
        ({"mcpServers": {"a": {"url": "https://x", "type": "carrier pigeon"}}}, "is unknown"),
        ({"mcpServers": {"a": {"url": "https://x", "type": "stdio"}}}, "needs 'command'"),
        ({"mcpServers": {"a": {"url": "ftp://x"}}}, "must be https://"),
        ({"mcpServers": {"a": {"url": "https://x", "oauth": {"scop": "y"}}}}, "did you mean scope?"),
        ({"mcpServers": {"a": {"url": "https://x", "oauth": {"port": -1}}}}, '"port" must be'),
        ({"mcpServers": {"a": {"url": "https://x", "oauth": 1}}}, '"oauth" must be true'),
    ],
)
def test_a_wrong_file_is_refused(whole: Any, text: str, tmp_path: Path) -> None:
    path = written(tmp_path, whole)
    with pytest.raises(ValidationError) as caught:
        read_config_file(path)
    assert text in caught.value.message
    assert str(path) in caught.value.message


def test_two_servers_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two MCP servers are called 'time'"):
        distinct([config_of("uvx mcp-server-time"), config_of("time=npx x")])


def test_a_file_of_vs_code_has_comments(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"servers": {"a": {"type": "stdio", "command": "x", /* of mine */ "args": ["y",]}}, } // done')
    (server,) = read_config_file(path)
    assert (server.name, server.command) == ("a", ("x", "y"))


def test_the_home_is_found_in_the_path_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, {"mcpServers": {"a": {"command": "x"}}}).rename(tmp_path / "mine.json")
    assert [server.name for server in read_config_file("~/mine.json")] == ["a"]


@pytest.mark.parametrize(
    ("source", "is_file"),
    [("a.json", True), ("~/a.json", True), (" a.json ", True), ("node a.js b.json", False), ("uvx a", False)],
)
def test_a_file_is_told_from_a_command(source: str, is_file: bool) -> None:
    assert names_file(source) is is_file


def test_a_file_with_a_space_in_its_path_is_one_if_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "my servers.json"
    assert not names_file(str(path))
    path.touch()
    assert names_file(str(path))
