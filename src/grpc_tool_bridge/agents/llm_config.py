"""An agent's ``llm_config``: which settings of a model an agent may make, and what each may be."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from grpc_tool_bridge.errors import ValidationError

_MAX_STOPS = 16
_MAX_SECONDS = 3_600
_MAX_RETRIES = 10
_SECRET = re.compile(r"key|token$|secret|passw|credential|header|auth|bearer|cookie", re.IGNORECASE)


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
    """Checks the settings that an agent makes.

    Args:
        config: Settings by name.

    Returns:
        The settings, each as DSPy takes it.

    Raises:
        ValidationError: One is unknown, wrong, or not the agent's to make; ``details`` has each by name.
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
