"""``doctor --security``: how a hub's options become what is checked, and how that is shown."""

import json
from pathlib import Path

import pytest

from grpc_tool_bridge.cli.app import main
from grpc_tool_bridge.cli.security_checks import examine_security

SECRET = "hunter2-hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "TOKEN_FILE", "STORE", "ADDRESS", "POLICY"):
        monkeypatch.delenv(f"TOOL_BRIDGE_{name}", raising=False)


def found(*words: str) -> dict[str, str]:
    """Returns the states by name, of which a failure counts before a warning."""
    worst: dict[str, str] = {}
    for check in examine_security(words):
        if worst.get(check.name) != "fail":
            worst[check.name] = check.status
    return worst


def test_options_environment_and_file_count_as_for_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("allow_insecure = true\n")
    config.chmod(0o600)

    assert found("--config", str(config))["allow_insecure"] == "warn"
    assert found("--config", str(config), "--no-allow-insecure")["allow_insecure"] == "ok"
    assert found("--address", "0.0.0.0:1")["tls"] == "fail"
    assert "token" not in found()
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", SECRET)
    assert found()["token"] == "warn"


def test_each_option_that_is_no_setting_is_looked_at(tmp_path: Path) -> None:
    chaos = tmp_path / "chaos.toml"

    assert found("--reload", "--chaos", str(chaos))["development"] == "warn"
    assert found("--log-level", "debug")["log"] == "warn"
    assert found("--record", str(tmp_path / "a.rec"))["recording"] == "ok"
    assert found("--http", "0.0.0.0:1")["http"] == "fail"
    assert found("--agents")["models"] == "ok"


def test_a_store_is_looked_at_where_it_is(tmp_path: Path) -> None:
    assert found("--store", f"sqlite:///{tmp_path}/hub.db")["store"] == "ok"
    nats = found("--store", f"nats://user:{SECRET}@nats.example:4222/hubs")
    assert (nats["nats"], nats["cluster_secret"]) == ("fail", "warn")


def test_settings_that_are_not_valid_are_a_check_of_their_own() -> None:
    for words in (["--store", "nowhere"], ["--tls-cert", "a.pem"], ["--config", "/nowhere/hub.toml"]):
        (check,) = examine_security(words)
        assert (check.name, check.status) == ("settings", "fail")
        assert "serve refuses to start" in check.text


def test_the_command_prints_lines_or_json_and_fails_if_a_check_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", SECRET)

    assert main(["doctor", "--security"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("warn token               it is in the environment") for line in lines)

    assert main(["doctor", "--security", "--json", "--address", "0.0.0.0:1"]) == 1
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["ok"] is False
    assert {check["name"] for check in facts["checks"] if check["status"] == "fail"} == {"tls"}
    assert json.loads(told.err)["error"]["exit_code"] == 1
    assert SECRET not in told.out + told.err + "".join(lines)


def test_words_without_the_flag_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "hub.toml"]) == 2
    assert "--security only" in capsys.readouterr().err


def test_what_the_environment_says_to_clients_does_not_matter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", "127.0.0.1:0")
    monkeypatch.setenv("TOOL_BRIDGE_TLS_CA", "/nowhere/ca.pem")

    assert main(["doctor", "--security"]) == 0
    assert capsys.readouterr().out.startswith("ok   tls")


def test_a_collector_of_the_environment_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel.example:4317")

    assert found()["traces"] == "warn"
    assert "traces" not in found("--no-otel")
