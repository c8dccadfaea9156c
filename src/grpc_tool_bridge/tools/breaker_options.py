"""When a tool that keeps failing is held back, as its spec says."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# In the metadata of a spec: a JSON object with the fields of a rule.
BREAKER_KEY = "breaker"

MAX_FAILURES = 1_000_000
MAX_SECONDS = 86_400.0


class BreakerRule(NamedTuple):
    """When a tool is held back.

    Attributes:
        failures: Failures in a row after which it is held back; 0: never. None: as the hub's settings say.
        seconds: How long, before a call tries it again. None: as the hub's settings say.
    """

    failures: int | None = None
    seconds: float | None = None


def breaker_text(name: str, given: Mapping[str, Any]) -> str:
    """Writes the option of a tool for its metadata.

    Raises:
        TypeError: It is not a dict.
        ValueError: A field is not known, or its value is not valid.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: breaker must be a dict such as {{'failures': 5, 'seconds': 30}}, not {given!r}")
    rule = _checked(f"{name}: breaker", given)
    return json.dumps({key: value for key, value in rule._asdict().items() if value is not None})


def breaker_of(spec: ToolSpec) -> BreakerRule:
    """Reads when a tool is held back.

    Raises:
        ValidationError: What its metadata says is not valid.
    """
    text = spec.metadata.get(BREAKER_KEY, "")
    if not text:
        return BreakerRule()
    where = f"tool {spec.name!r}: metadata[{BREAKER_KEY!r}]"
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ValidationError(f"{where} is {clipped_repr(text, 60)}; it must be JSON such as {_EXAMPLE}")
    try:
        return _checked(where, given)
    except ValueError as error:
        raise ValidationError(str(error)) from None


_EXAMPLE = '{"failures": 5, "seconds": 30}'


def _checked(where: str, given: Mapping[str, Any]) -> BreakerRule:
    for key in given:
        if key not in BreakerRule._fields:
            known = f"its fields are {' and '.join(BreakerRule._fields)}"
            hint = did_you_mean(str(key), BreakerRule._fields, known, n=1)
            raise ValueError(f"{where} has no {str(key)[:60]!r}{hint}")
    failures, seconds = given.get("failures"), given.get("seconds")
    if failures is not None and (type(failures) is not int or not 0 <= failures <= MAX_FAILURES):
        raise ValueError(f"{where}: failures is {clipped_repr(failures, 60)}; it must be a whole number, 0 (never) or "
                         f"more, up to {MAX_FAILURES:,}")  # fmt: skip
    if seconds is not None and (type(seconds) not in (int, float) or not 0 < seconds <= MAX_SECONDS):
        raise ValueError(f"{where}: seconds is {clipped_repr(seconds, 60)}; it must be a number above 0, up to "
                         f"{MAX_SECONDS:,.0f}")  # fmt: skip
    return BreakerRule(failures, seconds)
