"""Which models an agent may have, and that keys stay in the environment of its runtime."""

import logging
from typing import Any

import pytest
from dspy.utils.exceptions import DSPyError, LMAuthError

from grpc_tool_bridge.agents.model_errors import model_error
from grpc_tool_bridge.agents.models import choose_model, make_lm
from grpc_tool_bridge.agents.settings import AgentSettings
from grpc_tool_bridge.errors import AccessError, ValidationError
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Failure
from unit.agents.fakes import FakeSession, calculate, made, ran, runtime_of

OURS = "http://127.0.0.1:8000/v1"
SETTINGS = AgentSettings(model="openai/small", api_base=OURS)
# As no pattern knows it: only the environment says that it is a key.
KEY = "zebra.of.the.environment"


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "API_KEY",
        "openai_api_key",
        "api_token",
        "aws_secret_access_key",
        "azure_ad_token",
        "vertex_credentials",
        "headers",
        "extra_headers",
        "default_headers",
        "authorization",
        "password",
        "cookies",
    ],
)
def test_a_key_in_a_message_is_refused_without_being_repeated(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        choose_model({name: KEY}, SETTINGS)
    assert "environment of the agent runtime" in caught.value.details[name]
    assert KEY not in f"{caught.value} {caught.value.details}"


@pytest.mark.parametrize("name", ["base_url", "engine", "custom_llm_provider", "extra_body", "callbacks", "proxy"])
def test_a_setting_that_is_not_listed_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        choose_model({name: "anything"}, SETTINGS)
    assert caught.value.details[name].startswith("unknown; there are temperature,")


@pytest.mark.parametrize(
    "api_base",
    [
        "http://127.0.0.1:9/v1",
        f"{OURS}/../other",
        f"{OURS}?to=elsewhere",
        "http://127.0.0.1:8000@elsewhere.test/v1",
        OURS.upper(),
    ],
)
def test_a_base_url_that_the_runtime_does_not_know_is_refused(api_base: str) -> None:
    with pytest.raises(AccessError, match="does not know this api_base"):
        choose_model({"api_base": api_base}, SETTINGS)


def test_an_lm_of_the_runtimes_own_is_asked_nowhere_else() -> None:
    settings = AgentSettings(model="openai/small", api_base=OURS, lm=ScriptedLM())
    with pytest.raises(AccessError, match="does not know this api_base"):
        choose_model({"api_base": OURS}, settings)


def test_the_base_url_of_one_provider_is_not_that_of_another() -> None:
    settings = AgentSettings(model="openai/small", api_base=OURS, allowed_models=("anthropic/large",))
    assert choose_model({"model": "anthropic/large"}, settings).api_base is None
    with pytest.raises(AccessError, match="does not know this api_base"):
        choose_model({"model": "anthropic/large", "api_base": OURS}, settings)


@pytest.mark.parametrize("model", ["anthropic/large", "custom_openai/small", "lm_studio/small", "OpenAI/small"])
@pytest.mark.parametrize("api_base", [OURS, None])
def test_a_runtime_with_a_model_offers_no_other_provider(model: str, api_base: str | None) -> None:
    settings = AgentSettings(model="openai/small", api_base=api_base)
    assert choose_model({"model": "openai/large"}, settings).api_base == api_base
    with pytest.raises(AccessError, match="but openai's; others are listed where it is started"):
        choose_model({"model": model}, settings)


def test_a_runtime_with_a_base_url_alone_offers_what_is_served_there() -> None:
    settings = AgentSettings(api_base=OURS)
    assert choose_model({"model": "hosted_vllm/small"}, settings).api_base == OURS
    with pytest.raises(AccessError, match="but those that its api_base serves"):
        choose_model({"model": "anthropic/large"}, settings)


def test_a_runtime_with_neither_offers_any_model_that_names_its_provider() -> None:
    choice = choose_model({"model": "anthropic/large"}, AgentSettings())
    assert (choice.model, choice.api_base) == ("anthropic/large", None)


def test_a_login_of_whoever_runs_the_runtime_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XAI_API_KEY", raising=False)
    with pytest.raises(AccessError, match="its environment needs XAI_API_KEY"):
        choose_model({"model": "xai/grok"}, AgentSettings())
    monkeypatch.setenv("XAI_API_KEY", KEY)
    assert choose_model({"model": "xai/grok"}, AgentSettings()).model == "xai/grok"


@pytest.mark.parametrize("provider", ["litellm_proxy", "lm_studio"])
def test_a_server_without_an_address_is_not_looked_for_elsewhere(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{provider.upper()}_API_BASE"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValidationError, match=f"needs the address of its server.*{variable}"):
        choose_model({"model": f"{provider}/x"}, AgentSettings())
    monkeypatch.setenv(variable, OURS)
    assert choose_model({"model": f"{provider}/x"}, AgentSettings()).model == f"{provider}/x"


def test_a_cache_is_kept_only_where_the_runtime_keeps_one() -> None:
    with pytest.raises(AccessError, match="TOOL_BRIDGE_AGENT_CACHE"):
        choose_model({"cache": True}, SETTINGS)
    caching = AgentSettings(model="openai/small", cache=True)
    assert choose_model({}, caching).options["cache"] is True
    assert choose_model({"cache": False}, caching).options["cache"] is False


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"api_base": "http://me:hunter2secret@127.0.0.1/v1"}, "contains a user or a password"),
        ({"api_base": "127.0.0.1:8000/v1"}, "is not a base URL"),
        ({"api_base": "file:///etc/passwd"}, "is not a base URL"),
        ({"allowed_api_bases": ["http://me@127.0.0.1/v1"]}, "contains a user or a password"),
        ({"allowed_models": ["small"]}, "has no provider"),
    ],
)
def test_settings_that_would_send_keys_astray_are_refused_without_being_shown(
    setting: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        AgentSettings(**setting)
    assert "hunter2secret" not in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        "http://elsewhere.test/v1",
        "openai/http://elsewhere.test/v1",
        "openai//elsewhere.test",
        "openai/../other",
        "openai/a..b",
        "login:openai/small",
        "openai/a b",
        "openai/a\nb",
        "/small",
        "small",
        "openai/",
        "x" * 1_000,
    ],
)
def test_a_model_that_is_no_name_is_refused(model: str) -> None:
    with pytest.raises(ValidationError, match="is not a model name with its provider"):
        choose_model({"model": model}, SETTINGS)


def test_a_list_of_models_leaves_no_others() -> None:
    settings = AgentSettings(model="openai/small", allowed_models=("openai/large",))
    assert choose_model({"model": "openai/large"}, settings).model == "openai/large"
    assert choose_model({"model": "openai/small"}, settings).model == "openai/small"
    with pytest.raises(AccessError, match="it offers openai/small, openai/large"):
        choose_model({"model": "openai/other"}, settings)


def test_an_agent_without_a_model_is_told_where_to_name_one() -> None:
    with pytest.raises(ValidationError, match="TOOL_BRIDGE_AGENT_MODEL"):
        choose_model({}, AgentSettings())


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("temperature", 3, "a number from 0 to 2"),
        ("temperature", True, "a number from 0 to 2"),
        ("temperature", float("nan"), "a number from 0 to 2"),
        ("max_tokens", 1.5, "a whole number"),
        ("max_tokens", 0, "a whole number"),
        ("max_tokens", True, "a whole number"),
        ("num_retries", 11, "a whole number from 0 to 10"),
        ("stop", [1], "a text, or a list"),
        ("stop", ["end"] * 17, "a list of at most 16"),
        ("temperature", KEY, "a number from 0 to 2"),
        ("cache", "yes", "true or false"),
        ("model", "", "a text"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(name: str, value: Any, needed: str) -> None:
    with pytest.raises(ValidationError) as caught:
        choose_model({name: value}, SETTINGS)
    assert needed in caught.value.details[name]
    assert KEY not in f"{caught.value} {caught.value.details}"


# ----------------------------------------------------------------------------------------------------- what is made


def test_an_agent_takes_the_runtimes_model_and_base_url_and_no_cache() -> None:
    choice = choose_model({}, SETTINGS)
    assert (choice.model, choice.api_base, choice.options["cache"]) == ("openai/small", OURS, False)


def test_an_answer_of_the_model_has_the_time_that_the_agent_or_the_runtime_gives_it() -> None:
    settings = AgentSettings(model="openai/small", model_timeout=7)
    assert choose_model({}, settings).options["timeout"] == 7
    assert choose_model({"timeout": 3}, settings).options["timeout"] == 3


def test_settings_that_dspy_refuses_for_the_model_are_a_validation_error() -> None:
    choice = choose_model({"model": "openai/o3", "temperature": 0.5}, SETTINGS)
    with pytest.raises(ValidationError, match=r"llm_config: .*temperature") as caught:
        make_lm(choice, SETTINGS)
    assert set(caught.value.details) == {"llm_config"}


def test_one_text_at_which_the_model_stops_is_a_list_of_one() -> None:
    assert choose_model({"stop": "END"}, SETTINGS).options["stop"] == ["END"]


def test_an_agent_may_name_the_runtimes_base_url_or_one_that_is_listed() -> None:
    settings = AgentSettings(model="openai/small", api_base=OURS, allowed_api_bases=("http://127.0.0.1:8001/v1/",))
    assert choose_model({"api_base": f"{OURS}/"}, settings).api_base == f"{OURS}/"
    assert choose_model({"api_base": "http://127.0.0.1:8001/v1"}, settings).api_base == "http://127.0.0.1:8001/v1"


def test_a_whole_number_may_come_from_a_client_that_has_none() -> None:
    tokens = choose_model({"max_tokens": 256.0}, SETTINGS).options["max_tokens"]
    assert (tokens, type(tokens)) == (256, int)


@pytest.mark.parametrize(("ours", "theirs", "least"), [(0, 50, 50), (100, 0, 100), (100, 50, 50), (100, 500, 100)])
def test_of_two_limits_of_tokens_the_lower_holds(ours: int, theirs: int, least: int) -> None:
    config = {"max_total_tokens": theirs} if theirs else {}
    settings = AgentSettings(model="openai/small", max_total_tokens=ours)
    assert choose_model(config, settings).max_total_tokens == least


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert make_lm(choose_model({}, SETTINGS), SETTINGS).kwargs["api_key"] == "none"


@pytest.mark.parametrize(
    "settings", [AgentSettings(model="openai/small"), AgentSettings(model="anthropic/small", api_base=OURS)]
)
def test_a_provider_that_asks_for_a_key_is_not_gone_to_without_one(
    settings: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert "api_key" not in make_lm(choose_model({}, settings), settings).kwargs


def test_the_runtimes_key_stays_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    lm = make_lm(choose_model({}, SETTINGS), SETTINGS)
    assert KEY not in repr(vars(lm))
    assert "api_key" not in lm.kwargs


# ------------------------------------------------------------------------------------------------------ what is told


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "azure_ad_token", "MY_SECRET", "DB_PASSWORD"])
def test_a_key_of_the_environment_is_blanked_out_of_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, KEY)
    error = model_error(LMAuthError(f"Incorrect API key provided: {KEY}.", status=401))
    assert error is not None
    assert "Incorrect API key provided: ***" in error.message
    assert error.details["status"] == "401"
    assert KEY not in f"{error} {error.details}"


@pytest.mark.parametrize(
    "key", ["sk-proj-abcdef", "sk-abc****wxyz", "gsk_abcdef", "AIzaSyAbcdefgh_1", "Bearer abc.def"]
)
def test_what_looks_like_a_key_is_blanked_out_of_an_error(key: str) -> None:
    error = model_error(LMAuthError(f"refused {key}", status=401))
    assert error is not None
    assert error.message.endswith("refused ***")


def test_a_variable_too_short_for_a_key_blanks_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSET_TOKEN", "")
    monkeypatch.setenv("SHORT_KEY", "a")
    error = model_error(LMAuthError("a wrong key", status=401))
    assert error is not None
    assert error.message == "LMAuthError: a wrong key"


def test_a_long_error_of_the_model_is_cut() -> None:
    error = model_error(LMAuthError("x" * 5_000, status=401))
    assert error is not None
    assert len(error.message) < 1_000


def test_what_is_no_error_of_the_model_is_left_to_others() -> None:
    assert model_error(RuntimeError("a fault")) is None


async def test_a_key_of_the_environment_is_in_no_chunk_and_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    for answer in (Failure(401, f"wrong key {KEY}"), f"no fields but {KEY}"):
        runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([answer] * 4))
        chunks = await ran(runtime, await made(runtime, max_iters=1))
        assert chunks[-1].HasField("error")
        assert "***" in chunks[-1].error.message
        assert KEY not in str(chunks)
    assert KEY not in caplog.text


async def test_a_model_whose_key_is_missing_says_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    lm = make_lm(choose_model({"model": "anthropic/claude"}, AgentSettings()), AgentSettings())
    with pytest.raises(DSPyError) as caught:
        await lm.acall("What is 2 + 2?")
    error = model_error(caught.value)
    assert error is not None
    assert error.message == (
        "the agent runtime has no key for anthropic/claude; its environment needs ANTHROPIC_API_KEY"
    )


def test_an_error_of_the_model_is_told_without_the_advice_for_programs_that_call_it() -> None:
    error = model_error(LMAuthError("[openai/x] refused\n\n  To fix:\n    - Pass the key explicitly", status=401))
    assert error is not None
    assert error.message == "LMAuthError: [openai/x] refused"


def test_an_error_shows_neither_who_logs_in_nor_the_files_of_a_traceback() -> None:
    said = "cannot connect to http://me:hunter2secret@host/v1\nTraceback (most recent call last):\n  File secret.py"
    error = model_error(LMAuthError(said, status=401))
    assert error is not None
    assert error.message == "LMAuthError: cannot connect to http://***@host/v1\n"
