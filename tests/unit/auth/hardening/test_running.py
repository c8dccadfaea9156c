"""How a hub runs, and what it shows of calls."""

from pathlib import Path

from grpc_tool_bridge.auth.hardening.running import development, models, shown, traces, user
from unit.auth.hardening.deployments import EVERYWHERE, found, hub, texts


def test_root_is_told() -> None:
    assert found(user, hub()) == [("user", "ok")]
    assert found(user, hub(uid=0)) == [("user", "warn")]
    assert found(user, hub(uid=None)) == []


def test_options_for_development_are_told() -> None:
    assert found(development, hub()) == []
    assert found(development, hub(development=("--reload", "--chaos"))) == [("development", "warn")] * 2
    assert found(development, hub(development=("--chaos",), address=EVERYWHERE)) == [("development", "fail")]


def test_what_is_shown_of_calls_is_told() -> None:
    assert found(shown, hub()) == [("tracebacks", "ok"), ("log", "ok")]
    assert found(shown, hub(address=EVERYWHERE))[0] == ("tracebacks", "warn")
    assert found(shown, hub({"tokens_file": "tokens"}))[0] == ("tracebacks", "warn")
    assert found(shown, hub({"show_tracebacks": False}, address=EVERYWHERE))[0] == ("tracebacks", "ok")
    assert found(shown, hub(logs_debug=True))[1] == ("log", "warn")
    assert found(shown, hub(recording=Path("a.rec")))[2:] == [("recording", "warn")]


def test_a_model_elsewhere_is_reached_with_tls() -> None:
    assert found(models, hub()) == []
    assert found(models, hub(agents=True)) == [("models", "ok")]
    assert found(models, hub({"agent_api_base": "http://127.0.0.1:8000/v1"}, agents=True)) == [("models", "ok")]
    plain = hub({"agent_allowed_api_bases": "http://user:pass@models.example/v1"}, agents=True)
    assert found(models, plain) == [("models", "warn")]
    assert "pass" not in texts(models, plain)


def test_traces_that_leave_the_machine_in_plain_are_told() -> None:
    assert found(traces, hub()) == []
    assert found(traces, hub(collectors=("https://otel.example", "http://localhost:4317"))) == [("traces", "ok")]
    assert found(traces, hub(collectors=("http://otel.example:4317",))) == [("traces", "warn")]
