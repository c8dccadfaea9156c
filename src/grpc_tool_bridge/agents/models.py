"""Chooses the model of an agent, and its address.

An agent may name a model and its sampling settings, but not keys, headers, or a base URL that the runtime does not
know, since the runtime's key would be sent there. For the same reason, an agent of a runtime with its own model cannot
choose another provider, unless the runtime lists it.
"""

import importlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import dspy
from dspy.clients.backend_selection import select_backend
from dspy.utils.exceptions import DSPyError

from grpc_tool_bridge.agents.model_errors import shown
from grpc_tool_bridge.agents.settings import AgentSettings
from grpc_tool_bridge.errors import AccessError, ValidationError

# "provider/model". A leading colon would name another access, such as the login of the runtime's user; "//" a URL.
_PART = r"[A-Za-z0-9][\w.@+-]{0,127}"
_MODEL = re.compile(rf"{_PART}/{_PART}(?:(?:/|::?){_PART}){{0,8}}")

# Self-hosted servers, with the variable for the key. Many require no key, but their clients do.
_SELF_RUN: Mapping[str, str] = MappingProxyType(
    {
        "openai": "OPENAI_API_KEY",
        "litellm_proxy": "LITELLM_PROXY_API_KEY",
        "hosted_vllm": "HOSTED_VLLM_API_KEY",
        "lm_studio": "LM_STUDIO_API_KEY",
        "llamafile": "LLAMAFILE_API_KEY",
        "ollama": "OLLAMA_API_KEY",
        "ollama_chat": "OLLAMA_API_KEY",
    }
)
_NO_KEY = "none"
# DSPy treats these as keyless, and does not read the variable.
_KEYLESS = frozenset({"hosted_vllm", "ollama", "ollama_chat"})
# Without an address, DSPy would send their keys to OpenAI.
_NEEDS_ADDRESS = frozenset({"litellm_proxy", "lm_studio"})
# Without the variable, this one would use the login of the runtime's user.
_LOGIN = {"xai": "XAI_API_KEY"}

_MAX_STOPS = 16
_MAX_SECONDS = 3_600
_MAX_RETRIES = 10
_SECRET = re.compile(r"key|token$|secret|passw|credential|header|auth|bearer|cookie", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of one agent.

    Attributes:
        model: Its name, such as "openai/gpt-4o-mini"; None if the runtime has its own LM.
        api_base: Its base URL; None for the provider's own.
        options: Further arguments of ``dspy.LM``.
        max_total_tokens: Maximum tokens of a run; 0: unlimited.
    """

    model: str | None
    api_base: str | None
    options: Mapping[str, Any]
    max_total_tokens: int


def choose_model(config: Mapping[str, Any], settings: AgentSettings) -> ModelChoice:
    """Returns the model for an agent's ``llm_config``, which has settings by name.

    Raises:
        ValidationError: A setting is unknown, not valid or not allowed; or no model is named anywhere.
        AccessError: The runtime does not offer this model or base URL to agents.
    """
    read = read_llm_config(config)
    model = _model(read.pop("model", None), settings)
    api_base = _api_base(read.pop("api_base", None), model, settings)
    _check_address(model, api_base, settings)
    if read.get("cache") and not settings.cache:
        raise AccessError("the agent runtime has no cache; start it with TOOL_BRIDGE_AGENT_CACHE=1")
    limits = [limit for limit in (read.pop("max_total_tokens", 0), settings.max_total_tokens) if limit]
    options = {"cache": settings.cache, "timeout": settings.model_timeout, **read}
    return ModelChoice(model, api_base, options, min(limits, default=0))


def make_lm(choice: ModelChoice, settings: AgentSettings) -> Any:
    """Creates the LM.

    Raises:
        ValidationError: DSPy refuses the settings for this model.
    """
    if settings.lm is not None:
        return settings.lm
    options = dict(choice.options)
    if choice.api_base is not None:
        options["api_base"] = choice.api_base
        provider = _provider(choice.model or "")
        if provider in _SELF_RUN:
            key = os.environ.get(_SELF_RUN[provider])
            if not key or provider in _KEYLESS:
                options["api_key"] = key or _NO_KEY
    try:
        return dspy.LM(choice.model, **options)
    except (ValueError, TypeError, DSPyError) as error:
        raise ValidationError(
            f"llm_config: {shown(str(error))}", details={"llm_config": type(error).__name__}
        ) from None


def load_engine(lm: Any) -> None:
    """Imports the library that sends the LM's requests; call it in a thread, because it takes seconds."""
    if isinstance(lm, dspy.LM) and isinstance(lm.engine, str) and not select_backend(lm).native:
        importlib.import_module("litellm")


def _model(named: str | None, settings: AgentSettings) -> str | None:
    if named is None or named == settings.model:
        if settings.model is None and settings.lm is None:
            raise ValidationError(
                "the agent has no model: name one in llm_config (agent --model), or start the runtime with --model "
                "(TOOL_BRIDGE_AGENT_MODEL)",
                details={"model": "missing"},
            )
        return settings.model
    if settings.lm is not None or named in settings.allowed_models:
        return named
    if settings.allowed_models:
        known = ", ".join(dict.fromkeys([*filter(None, [settings.model]), *settings.allowed_models]))
        raise AccessError(f"the agent runtime does not offer the model {shown(named)!r}; it offers {known}")
    if not _MODEL.fullmatch(named) or ".." in named:
        raise ValidationError(
            f"llm_config: model {shown(named)!r} is not a model name with its provider, such as 'openai/gpt-4o-mini'",
            details={"model": "no name"},
        )
    if (settings.model or settings.api_base) and not _is_ours(named, settings):
        ours = f"{_provider(settings.model)}'s" if settings.model else "those that its api_base serves"
        raise AccessError(
            f"the agent runtime does not offer the model {shown(named)!r}, but {ours}; others are listed where it is "
            "started (TOOL_BRIDGE_AGENT_ALLOWED_MODELS)"
        )
    variable = _LOGIN.get(_provider(named))
    if variable is not None and not os.environ.get(variable):
        raise AccessError(f"the agent runtime has no key for {named}; its environment needs {variable}")
    return named


def _api_base(named: str | None, model: str | None, settings: AgentSettings) -> str | None:
    # The key of another provider must not be sent to this address.
    ours = settings.api_base if settings.lm is None and _is_ours(model or "", settings) else None
    if named is None:
        return ours
    if named.rstrip("/") not in {base.rstrip("/") for base in (ours, *settings.allowed_api_bases) if base}:
        raise AccessError(
            "the agent runtime does not know this api_base for this model; it is set where the runtime is started "
            "(--api-base, TOOL_BRIDGE_AGENT_API_BASE), or listed there (TOOL_BRIDGE_AGENT_ALLOWED_API_BASES)"
        )
    return named


def _check_address(model: str | None, api_base: str | None, settings: AgentSettings) -> None:
    provider = _provider(model or "")
    if api_base is not None or settings.lm is not None or provider not in _NEEDS_ADDRESS:
        return
    variable = f"{provider.upper()}_API_BASE"
    if not os.environ.get(variable):
        raise ValidationError(
            f"llm_config: the model {model} needs the address of its server; the agent runtime is started with it "
            f"(--api-base, or {variable})",
            details={"api_base": "missing"},
        )


def _is_ours(model: str, settings: AgentSettings) -> bool:
    if settings.model is None:
        return _provider(model) in _SELF_RUN
    return _provider(model) == _provider(settings.model)


def _provider(model: str) -> str:
    """Returns the provider of a model; for a model without one, the model's name, which matches no provider."""
    return model.partition("/")[0]


# -------------------------------------------------------------------------------------------------- settings of a model


def _number(low: float, high: float) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return check


def _whole(low: int, high: int) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        # A client without integers sends 256.0.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value % 1:
            raise ValueError(f"a whole number from {low:,} to {high:,}")
        return int(value)

    return check


def _flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - one kind of refusal
    return value


def _stops(value: Any) -> Any:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > _MAX_STOPS or not all(isinstance(stop, str) for stop in stops):
        raise ValueError(f"a text, or a list of at most {_MAX_STOPS}")
    return stops


def _text(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


_MANY = 2**31
# Passed on to the model.
_SAMPLING: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "temperature": _number(0, 2),
        "top_p": _number(0, 1),
        "max_tokens": _whole(1, _MANY),
        "stop": _stops,
        "seed": _whole(-_MANY, _MANY),
        "presence_penalty": _number(-2, 2),
        "frequency_penalty": _number(-2, 2),
    }
)
_OPTIONS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        **_SAMPLING,
        "model": _text,
        "api_base": _text,
        "timeout": _number(0.1, _MAX_SECONDS),
        "num_retries": _whole(0, _MAX_RETRIES),
        "cache": _flag,
        "max_total_tokens": _whole(1, _MANY),
    }
)


def read_llm_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Checks an agent's settings by name, and converts each for DSPy.

    Raises:
        ValidationError: A setting is unknown, not valid, or not allowed; ``details`` has the problems by name.
    """
    wrong: dict[str, str] = {}
    read: dict[str, Any] = {}
    for name, value in config.items():
        check = _OPTIONS.get(name)
        if check is None:
            wrong[name] = (
                "not accepted in a message; set API keys in the environment of the agent runtime"
                if _SECRET.search(name)
                else f"unknown; there are {', '.join(_OPTIONS)}"
            )
            continue
        try:
            read[name] = check(value)
        except ValueError as error:
            wrong[name] = f"needs {error}"
    if wrong:
        parts = "; ".join(f"{name}: {problem}" for name, problem in wrong.items())
        raise ValidationError(f"llm_config: {parts}", details=wrong)
    return read
