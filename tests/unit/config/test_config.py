"""Settings: their defaults, their ranges, and where they come from."""

from pathlib import Path
from typing import Any

import pydantic
import pytest
from pydantic import SecretStr

from grpc_tool_bridge.cli.settings import model_text
from grpc_tool_bridge.config import Settings, load_settings, read_token


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert settings.max_message_bytes == 10 * 1024 * 1024
    assert settings.max_batch_items == 100
    assert (settings.call_timeout, settings.stream_timeout, settings.batch_timeout) == (30, 300, 600)
    assert (settings.keepalive_time, settings.keepalive_timeout) == (30, 10)
    assert (settings.max_sessions, settings.session_idle_timeout) == (1_000, 300)
    assert (settings.max_session_calls, settings.max_session_waiting) == (100, 10_000)
    assert settings.max_depth == 100
    assert settings.bearer_token() is None


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"max_message_bytes": 0}, "max_message_bytes"),
        ({"call_timeout": 0}, "call_timeout"),
        ({"session_idle_timeout": 30 * 86_400 + 1}, "session_idle_timeout"),
        ({"max_sessions": 100_001}, "max_sessions"),
        ({"max_depth": 501}, "max_depth"),
        ({"shutdown_grace": -1}, "shutdown_grace"),
        ({"call_timeot": 5}, "call_timeot"),
        ({"tls_cert": "c.pem"}, "tls_key is not set"),
        ({"tls_key": "k.pem"}, "tls_cert is not set"),
        ({"token": "t", "token_file": "f"}, "give one of them"),
    ],
)
def test_a_setting_that_cannot_be_is_named(values: dict[str, Any], name: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=name):
        Settings(**values)


def test_a_list_is_written_with_commas_in_the_environment_and_as_a_list_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('agent_allowed_models = ["openai/a"]\nagent_allowed_api_bases = ["http://a/v1", "http://b/v1"]\n')
    monkeypatch.setenv("TOOL_BRIDGE_AGENT_ALLOWED_MODELS", "openai/b, openai/c,")
    settings = load_settings({}, file)
    assert settings.agent_allowed_models == ("openai/b", "openai/c")
    assert settings.agent_allowed_api_bases == ("http://a/v1", "http://b/v1")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError):
        Settings().max_sessions = 5


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_token_is_never_shown() -> None:
    settings = Settings(token="hush")  # type: ignore[arg-type]  # pydantic takes a plain text
    assert settings.bearer_token() == "hush"
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()


def test_the_token_is_read_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hush\n")
    assert Settings(token_file=file).bearer_token() == "hush"
    with pytest.raises(FileNotFoundError):
        Settings(token_file=tmp_path / "none").bearer_token()


@pytest.mark.parametrize("token", ["", "two words", "ümlaut", "a\n", "\x7f"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_taken_for_none(token: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the token is empty or has characters other than printable ASCII") as got:
        Settings(token=token).bearer_token()  # type: ignore[arg-type]  # pydantic takes a plain text
    assert not token or token not in str(got.value)
    file = tmp_path / "token"
    file.write_text(token.replace("a\n", "a b"))
    with pytest.raises(ValueError, match=f"the token in {file} is empty"):
        read_token(None, file)


def test_no_token_is_none() -> None:
    assert read_token(None, None) is None


def test_flags_rule_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text("call_timeout = 1\nstream_timeout = 1\nbatch_timeout = 1\ntoken = 'from the file'\n")
    monkeypatch.setenv("TOOL_BRIDGE_CALL_TIMEOUT", "2")
    monkeypatch.setenv("TOOL_BRIDGE_STREAM_TIMEOUT", "2")
    settings = load_settings({"call_timeout": 3.0, "max_sessions": None}, file)
    assert (settings.call_timeout, settings.stream_timeout, settings.batch_timeout) == (3, 2, 1)
    assert settings.max_sessions == 1_000
    assert settings.token is not None
    assert settings.token.get_secret_value() == "from the file"
    assert type(settings) is Settings


def test_without_a_file_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_MAX_SESSIONS", "5")
    assert load_settings({}, None).max_sessions == 5
    monkeypatch.setenv("TOOL_BRIDGE_MAX_SESSIONS", "many")
    with pytest.raises(pydantic.ValidationError, match="max_sessions"):
        load_settings({}, None)


def test_an_empty_token_in_the_environment_does_not_open_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", "")
    with pytest.raises(ValueError, match="the token is empty"):
        load_settings({}, None).bearer_token()


def test_one_files_settings_do_not_leak_into_the_next(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text("max_sessions = 7\n")
    assert load_settings({}, file).max_sessions == 7
    assert load_settings({}, None).max_sessions == 1_000


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    with pytest.raises(FileNotFoundError):
        load_settings({}, file)
    file.write_text("= 5")
    with pytest.raises(ValueError, match=r"bridge\.toml is not valid TOML"):
        load_settings({}, file)
    file.write_text("max_sesions = 5\ncall_timeot = 1\n")
    with pytest.raises(ValueError, match=r"bridge\.toml: no setting is called call_timeot, max_sesions"):
        load_settings({}, file)


@pytest.mark.parametrize(
    "given",
    [
        {"tokn": "hush-hush"},
        {"token": ["hush-hush"]},
        {"token": "hush-hush", "token_file": "x"},
        {"token": "hush-hush", "tls_key": "x"},
        {"token": "hush-hush", "max_sessions": "many"},
    ],
)
def test_settings_that_cannot_be_show_no_value(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        Settings(**given)
    assert "hush-hush" not in f"{caught.value} {caught.value!r}"


def test_settings_show_neither_a_token_nor_what_a_base_url_may_hold() -> None:
    settings = Settings(token=SecretStr("hush-hush"), agent_model="x/y", agent_api_base="http://ann:hush-hush@hub/v1")
    assert "hush-hush" not in f"{settings!r} {settings}"
    assert model_text(settings) == "x/y at http://***@hub/v1"
