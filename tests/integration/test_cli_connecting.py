"""How commands reach the hub: proxies, tokens without TLS, files that others can read, addresses with secrets."""

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from anyio.from_thread import start_blocking_portal

from grpc_tool_bridge.cli import main
from integration.connect_proxy import ConnectProxy, connect_proxy
from integration.test_cli import PATIENCE, TOKEN, TOOLS, popen, read_line, runner, serving, wait_for_log

SECRET = "s3cr3t-w0rd"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(connect_proxy()) as made:
        yield made


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """The address of a hub for all tests that leave it as it was."""
    with serving("--tools", TOOLS, stderr=subprocess.DEVNULL) as (announced, _):
        yield announced["address"]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may enter; the one that pytest makes is its owner's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def doctor(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, tuple[str, str]]:
    """Runs ``doctor``; gives status and text of each check by name."""
    assert main(["doctor", "--json", "--connect-timeout", "1", *words]) == code
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    return {check["name"]: (check["status"], check["text"]) for check in json.loads(captured.out)["checks"]}


# --------------------------------------------------------------------------------------------------------- proxies


def test_a_command_goes_through_no_proxy_that_only_the_environment_names(
    hub: str, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
    words = ["call", "add", "1", "--address", hub]
    run = runner(capsys)
    assert run(*words) == "3\n"
    assert not proxy.asked
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert run(*words) == "3\n"
    assert run(*words, "--proxy", f"http://ann:{SECRET}@{proxy.address}") == "3\n"
    assert len(proxy.asked) == 1
    monkeypatch.setenv("TOOL_BRIDGE_PROXY", "env")
    monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
    assert run(*words) == "3\n"
    assert len(proxy.asked) == 2


@contextmanager
def worker(*words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    with popen("worker", f"{TOOLS}:add", *words, env=os.environ | environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_worker_waits_for_no_proxy_that_only_the_environment_names(hub: str) -> None:
    with worker("--session", "w", "--address", hub, "--json", http_proxy="http://127.0.0.1:1") as process:
        assert json.loads(read_line(process))["tools"] == ["add"]


def test_a_worker_behind_a_wrong_proxy_says_what_it_tries(hub: str) -> None:
    with worker("--address", hub, TOOL_BRIDGE_PROXY=f"http://ann:{SECRET}@127.0.0.1:1") as process:
        wait_for_log(process, f"waiting for the hub at {hub} (through the proxy http://***@127.0.0.1:1)")
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert SECRET not in out + err


def test_doctor_names_the_variables_that_are_not_used(
    hub: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "proxy" not in doctor(capsys, "--address", hub)
    monkeypatch.setenv("http_proxy", f"http://ann:{SECRET}@127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", f"http://ann:{SECRET}@127.0.0.1:2")
    status, text = doctor(capsys, "--address", hub)["proxy"]
    assert status == "ok"
    assert text.startswith("grpc_proxy, http_proxy set, but not used: the hub is reached directly")


def test_doctor_goes_through_the_proxy_as_a_program_would(
    hub: str, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://ann:{SECRET}@{proxy.address}"
    checks = doctor(capsys, "--address", hub, "--proxy", uri)
    assert checks["proxy"] == ("ok", f"the hub is reached through http://***@{proxy.address}")
    assert checks["connect"][0] == checks["link"][0] == "ok"
    # The bare connection, single calls, and a link.
    assert len(proxy.asked) == 3
    monkeypatch.setenv("https_proxy", uri)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    text = doctor(capsys, "--address", hub, "--proxy", "env")["proxy"][1]
    assert text == "https_proxy set, but not for this address"
    assert len(proxy.asked) == 3


def test_doctor_says_ok_of_no_connection_that_does_not_reach_the_hub(
    hub: str, proxy: ConnectProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    for answer, said in [("HTTP/1.1 503 Busy", ": HTTP/1.1 503 Busy"), ("SSH-2.0", ": SSH-2.0")]:
        proxy.answer = answer
        checks = doctor(capsys, "--address", hub, "--proxy", f"http://ann:{SECRET}@{proxy.address}", code=1)
        assert checks["connect"][0] == "fail"
        assert checks["connect"][1].endswith(said)
    checks = doctor(capsys, "--address", hub, "--proxy", "http://127.0.0.1:1", code=1)
    assert checks["connect"][0] == "fail"
    assert "through the proxy http://127.0.0.1:1: Connection refused" in checks["connect"][1]


def test_doctor_says_that_what_takes_a_connection_and_is_silent_is_no_hub(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        checks = doctor(capsys, "--address", "{}:{}".format(*silent.getsockname()), code=1)
    assert checks["health"][0] == "fail"
    assert "accepted the connection, but did not answer as a hub does" in checks["health"][1]


@pytest.mark.parametrize(
    "words", [["--proxy", f"ann:{SECRET}@p:1"], ["--proxy", f"https://ann:{SECRET}@p:1"], ["--proxy", ""]]
)
def test_a_proxy_that_cannot_be_used_is_a_wrong_argument(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = runner(capsys)("tools", *words, code=2)
    assert text.startswith("error: --proxy ")
    assert SECRET not in text


# -------------------------------------------------------------------------------------------- tokens and addresses


@pytest.mark.parametrize("command", [["tools"], ["vars", "list", "--session", "s"], ["worker", f"{TOOLS}:add"]])
def test_a_token_is_sent_to_no_other_machine_without_tls(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", TOKEN)
    text = runner(capsys)(*command, "--address", "hub.invalid:1", code=2)
    assert "the token would be sent to hub.invalid:1 without TLS" in text
    assert TOKEN not in text


def test_a_token_is_sent_without_tls_where_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", TOKEN)
    words = ["tools", "--address", "hub.invalid:1", "--connect-timeout", "0"]
    assert "no hub answered" in runner(capsys)(*words, "--allow-insecure", code=1)
    monkeypatch.setenv("TOOL_BRIDGE_ALLOW_INSECURE", "1")
    assert "no hub answered" in runner(capsys)(*words, code=1)


def test_doctor_says_that_the_token_would_be_read(
    hub: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", TOKEN)
    # Reaches the same hub, and yet is no address that stays on this machine for sure.
    checks = doctor(capsys, "--address", hub.replace("127.0.0.1", "0.0.0.0"), code=1)
    assert checks["token"][0] == "fail"
    assert "without TLS" in checks["token"][1]


@pytest.mark.parametrize("command", ["tools", "doctor", "serve", "worker"])
@pytest.mark.parametrize("address", [f"ann:{SECRET}@hub:1", f"grpc://{SECRET}@hub:1", f"hub:1?token={SECRET}"])
def test_an_address_with_a_secret_is_not_echoed(
    command: str, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [command, *([TOOLS] if command == "worker" else [])]
    for given in (["--address", address], []):
        text = runner(capsys)(*words, *given, code=2)
        assert text.startswith("error: --address: ")
        assert SECRET not in text
        monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", address)


# ---------------------------------------------------------------------------------------------------------- files


def token_file(folder: Path, mode: int) -> str:
    file = folder / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize("command", [["tools"], ["serve", "--address", "127.0.0.1:0"], ["worker", f"{TOOLS}:add"]])
def test_a_token_that_every_user_can_read_is_refused_by_every_command(
    command: list[str], shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = token_file(shared, 0o644)
    text = runner(capsys)(*command, "--token-file", file, code=2)
    assert text == f"error: token_file {file}: every user of this machine can read it; chmod 600 {file}\n"


def test_a_key_that_every_user_can_read_is_refused(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issued = trustme.CA().issue_cert("localhost")
    key, cert = shared / "key", shared / "cert"
    issued.private_key_pem.write_to_path(str(key))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    key.chmod(0o644)
    words = ["serve", "--address", "127.0.0.1:0", "--tls-cert", str(cert), "--tls-key", str(key)]
    text = runner(capsys)(*words, code=2)
    assert text == f"error: tls_key {key}: every user of this machine can read it; chmod 600 {key}\n"


def test_a_token_that_others_could_read_is_warned_of_after_the_result(
    hub: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = token_file(tmp_path, 0o640)
    assert main(["call", "add", "1", "--address", hub, "--token-file", file]) == 0
    captured = capsys.readouterr()
    assert captured.out == "3\n"
    assert captured.err == f"warning: token_file {file}: its group {os.getgid()} can read it; chmod 600 {file}\n"


def test_a_token_comes_through_a_pipe(hub: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, f"{TOKEN}\n".encode())
    os.close(writing)
    words: list[Any] = ["doctor", "--json", "--address", hub, "--token-file", f"/dev/fd/{reading}"]
    with popen(*words, pass_fds=[reading]) as process:
        os.close(reading)
        out, _ = process.communicate(timeout=PATIENCE)
    assert {"name": "token", "status": "ok", "text": "accepted"} in json.loads(out)["checks"]


# ------------------------------------------------------------------------------------------------ several addresses


def test_a_command_goes_to_the_first_address_that_answers(hub: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "--address", f"127.0.0.1:1,{hub}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_where_no_address_answers_each_is_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "--address", "127.0.0.1:1,127.0.0.1:2", "--connect-timeout", "0"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "none of the 2 hubs serves: 127.0.0.1:1: Failed to connect" in said
    assert "; 127.0.0.1:2: Failed to connect" in said
    assert "is it running? grpc-tool-bridge serve --tools" in said


def test_doctor_checks_each_address(hub: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--connect-timeout", "1", "--address", f"{hub},127.0.0.1:1"]) == 1
    found = json.loads(capsys.readouterr().out)
    checks = [(check["name"], check["status"], check["text"]) for check in found["checks"]]
    assert ("health", "ok", f"{hub}: the hub serves") in checks
    failed = [(name, text) for name, status, text in checks if status == "fail"]
    assert failed == [
        ("connect", "127.0.0.1:1: cannot connect to 127.0.0.1:1: Connection refused; is the hub running there?")
    ]
    assert [name for name, _, _ in checks].count("version") == 1


def test_a_worker_of_the_command_line_serves_the_first_that_answers(hub: str) -> None:
    worker = popen("worker", TOOLS, "--address", f"127.0.0.1:1,{hub}", "--json", "--prefix", "several.")
    try:
        assert json.loads(read_line(worker))["address"] == hub
    finally:
        worker.terminate()
        worker.communicate(timeout=PATIENCE)
