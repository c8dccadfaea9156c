"""``chaos-proxy``: what it says, how it ends, and what it refuses."""

import builtins
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from grpc_tool_bridge.cli import chaos_proxy as command
from grpc_tool_bridge.cli import main
from integration.test_cli import Start, read_line, runner
from integration.test_cli import start as start  # noqa: PLC0414 - a fixture
from support.patience import PATIENCE


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_where_it_is_and_ends_at_a_signal(start: Start, number: signal.Signals, code: int) -> None:
    process = start("chaos-proxy", "--port", "0", "--seed", "5")
    line = read_line(process)
    address = line.split()[4].removeprefix("http://")
    assert line == f"Toxiproxy's API is at http://{address} (seed 5)\n"
    assert read_line(process) == "Press Ctrl-C to stop\n"
    made = {"name": "it", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
    assert httpx.post(f"http://{address}/proxies", json=made).status_code == 201
    process.send_signal(number)
    assert process.wait(PATIENCE) == code
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_a_config_that_cannot_be_used_is_a_wrong_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli, config = runner(capsys), tmp_path / "toxiproxy.json"
    assert f"cannot read {config}: " in cli("chaos-proxy", "--config", str(config), code=2)
    config.write_text("{}")
    assert f"error: --config {config}: not a JSON list of proxies: " in cli(
        "chaos-proxy", "--config", str(config), code=2
    )
    config.write_text('[{"name": "it"}]')
    text = cli("chaos-proxy", "--config", str(config), code=2)
    assert text == f"error: --config {config}: missing required field: upstream at proxy 1\n"


def test_a_port_in_use_is_an_error_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = runner(capsys)("chaos-proxy", "--port", str(port), code=1)
    assert text == (
        f"error: cannot listen at 127.0.0.1:{port}: Address already in use; choose another --host or --port\n"
    )


def test_a_host_that_does_not_exist_is_an_error_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = runner(capsys)("chaos-proxy", "--host", "nowhere.invalid", "--port", "0", code=1)
    assert text.startswith("error: cannot listen at nowhere.invalid:0: ")


def test_without_the_extra_it_names_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name == "grpc_tool_bridge.testing.toxiproxy.server":
            raise ImportError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    text = runner(capsys)("chaos-proxy", code=1)
    assert text == 'error: chaos-proxy: uvicorn is not installed; run: pip install "grpc-tool-bridge[http]"\n'


@pytest.fixture
def run_shortly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command in this process and ends it once it is ready; gives what it prints."""
    announce = command._announce

    def announce_and_end(*args: Any, **options: Any) -> None:
        announce(*args, **options)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(command, "_announce", announce_and_end)

    def run(*words: str) -> str:
        assert main(["chaos-proxy", "--port", "0", *words]) == 0
        return capsys.readouterr().out

    return run


def test_it_makes_the_proxies_of_its_config(tmp_path: Path, run_shortly: Callable[..., str]) -> None:
    config = tmp_path / "toxiproxy.json"
    config.write_text('[{"name": "it", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}]')
    assert "  it: 127.0.0.1:" in run_shortly("--config", str(config))
    (proxy,) = json.loads(run_shortly("--config", str(config), "--json"))["proxies"]
    assert (proxy["name"], proxy["upstream"], proxy["enabled"]) == ("it", "127.0.0.1:1", True)


def test_without_a_seed_it_tells_the_one_that_it_chose(run_shortly: Callable[..., str]) -> None:
    first, second = (json.loads(run_shortly("--json"))["seed"] for _ in range(2))
    assert first != second
