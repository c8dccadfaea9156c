"""The options of ``serve`` in a command line of ``doctor --security``."""

from pathlib import Path

import pytest

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.log import LogLevel
from grpc_tool_bridge.cli.serve_words import after_serve, read_serve


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("doctor --security", "doctor --security"),
        ("doctor --security --config a", "doctor --security -- --config a"),
        ("doctor --config a --json --security", "doctor --json --security -- --config a"),
        ("doctor --security -- --config a", "doctor --security -- --config a"),
        ("doctor --security --help", "doctor --security --help"),
        ("doctor --store a", "doctor --store a"),
        ("serve --security", "serve --security"),
        ("", ""),
    ],
)
def test_what_belongs_to_serve_stands_behind_dashes(words: str, expected: str) -> None:
    assert list(after_serve(words.split())) == expected.split()


def test_words_are_read_as_serve_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOL_BRIDGE_ADDRESS", raising=False)

    options = read_serve(["--config", "a.toml", "--log-level", "debug", "--tools", "x.py", "--reload"])
    assert (options.config, options.log_level, options.reload) == (Path("a.toml"), LogLevel.DEBUG, True)
    assert read_serve([]).address == "127.0.0.1:50051"
    # Typer reads what is written in an unusual way.
    assert read_serve(["--call-timeout", "1e1"]).call_timeout == 10.0
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", "0.0.0.0:1")
    assert read_serve([]).address == "0.0.0.0:1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--confg a", "no such option: --confg"),
        ("a.py", "unexpected extra argument"),
        ("--address nowhere", "--address"),
        ("--help", "serve --help"),
    ],
)
def test_what_serve_does_not_take_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_serve(words.split())
    assert said in str(caught.value)
    del capsys
