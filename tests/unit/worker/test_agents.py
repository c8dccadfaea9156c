"""What a worker may be given to run agents."""

from typing import Any

import pytest

from grpc_tool_bridge.agents.runtime import AgentRuntime
from grpc_tool_bridge.agents.settings import AgentSettings
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.worker import agents as worker_agents
from grpc_tool_bridge.worker.agents import agent_settings, make_agents
from integration.agent_runtime import ObedientAgents

SETTINGS = Settings(agent_model="openai/small", agent_api_base="http://127.0.0.1:1/v1")


def open_session(*_: Any) -> Any:
    raise AssertionError("no run is begun")


@pytest.mark.parametrize("source", [None, False])
def test_a_worker_runs_no_agents_unless_it_is_told_to(source: Any) -> None:
    assert make_agents(source, SETTINGS, open_session) is None


def test_a_callable_makes_the_runtime() -> None:
    agents = ObedientAgents()
    made: object = make_agents(agents, SETTINGS, open_session)
    assert made is agents
    assert agents.open_session is open_session


@pytest.mark.parametrize(
    ("source", "model", "api_base"),
    [
        (True, "openai/small", "http://127.0.0.1:1/v1"),
        ({"model": "openai/large"}, "openai/large", "http://127.0.0.1:1/v1"),
        ({"model": "openai/large", "api_base": None}, "openai/large", None),
        (AgentSettings(model="openai/own"), "openai/own", None),
    ],
)
def test_what_is_given_rules_over_the_settings(source: Any, model: str, api_base: str | None) -> None:
    chosen = agent_settings(source, SETTINGS)
    assert (chosen.model, chosen.api_base) == (model, api_base)
    assert isinstance(make_agents(source, SETTINGS, open_session), AgentRuntime)


def test_what_the_settings_say_of_agents_reaches_their_runtime() -> None:
    settings = Settings(
        agent_allowed_models=("openai/a", "openai/b"),
        agent_allowed_api_bases=("http://127.0.0.1:2/v1",),
        agent_max_total_tokens=9,
        agent_cache=True,
    )
    chosen = agent_settings(True, settings)
    assert chosen.allowed_models == ("openai/a", "openai/b")
    assert chosen.allowed_api_bases == ("http://127.0.0.1:2/v1",)
    assert (chosen.max_total_tokens, chosen.cache) == (9, True)


def test_a_setting_that_cannot_be_is_named_without_its_value() -> None:
    with pytest.raises(ValidationError) as caught:
        agent_settings({"api_base": "http://me:hunter2secret@host/v1", "max_runs": 0}, SETTINGS)
    assert caught.value.details.keys() == {"api_base", "max_runs"}
    assert caught.value.message.startswith("agents: api_base contains a user or a password")
    assert "hunter2secret" not in f"{caught.value} {caught.value.details}"


@pytest.mark.parametrize(
    ("source", "text"), [("yes", "agents must be True, .*, not 'yes'"), ({"modell": "x"}, "modell")]
)
def test_what_cannot_be_is_refused(source: Any, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        make_agents(source, SETTINGS, open_session)


def test_without_dspy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_agents, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"grpc-tool-bridge\[dspy\]"):
        make_agents(True, SETTINGS, open_session)
