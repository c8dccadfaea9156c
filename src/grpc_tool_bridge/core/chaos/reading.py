"""Reads the rules of chaos from TOML, or from a dict of the same form."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from grpc_tool_bridge.core.chaos.injections import Chaos
from grpc_tool_bridge.core.chaos.rules import Failure, RateLimit, Rule
from grpc_tool_bridge.errors import ERROR_TABLE, ValidationError, error_rule
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.errors.near_names import did_you_mean

T = TypeVar("T")

MAX_SECONDS = 86_400.0
MAX_COUNT = 1_000_000_000
MAX_RULES = 1_000
MAX_NAME_CHARS = 100

_FAILURE_KEYS = ("message", "details", "retryable", "origin")
_EFFECTS = ("latency", "jitter", "error", "drop", "rate_limit", "chunk_latency", "chunk_jitter", "truncate_after")
_KEYS = ("name", "tool", "session", "metadata", "probability", "first_call", "last_call", "when", *_EFFECTS)
_RULE_KEYS = (*_KEYS, *_FAILURE_KEYS)


# The path of a TOML file, a dict of the same form, or rules that were read before.
ChaosSource = str | os.PathLike[str] | Mapping[str, Any] | Chaos


def read_chaos(source: ChaosSource) -> Chaos:
    """Reads rules.

    Args:
        source: Where they are.

    Raises:
        ValidationError: A rule is not valid; the text names the file, the rule and the key.
        OSError: The file cannot be read.
    """
    if isinstance(source, Chaos):
        return source
    if isinstance(source, Mapping):
        return _chaos(_Table(source, "chaos"), "chaos")
    if not isinstance(source, str | os.PathLike):
        raise ValidationError(f"chaos is {clipped_repr(source, 60)}; it must be the path of a TOML file, or a dict")
    import tomllib  # noqa: PLC0415 - only a hub with chaos needs it

    path = Path(source)
    try:
        found = tomllib.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"{path} is not valid TOML: {error}") from None
    return _chaos(_Table(found, str(path)), str(path))


def _chaos(table: "_Table", source: str) -> Chaos:
    table.check_keys(("seed", "rules"))
    seed = table.count("seed", 0, least=0)
    given: list[Any] = table.read("rules", [], list, "a list of tables: write [[rules]] above each")
    if not given:
        table.refuse("", "has no rules; add at least one [[rules]]")
    if len(given) > MAX_RULES:
        table.refuse("", f"has {len(given):,} rules; the limit is {MAX_RULES:,}")
    rules: list[Rule] = []
    for number, item in enumerate(given, 1):
        if not isinstance(item, Mapping):
            table.refuse(f"rule {number}", f"is {clipped_repr(item, 60)}; it must be a table, [[rules]]")
        named = item.get("name")
        label = f"rule {number} ({named!r})" if isinstance(named, str) and named else f"rule {number}"
        rule = _rule(_Table(item, f"{source}: {label}"), number)
        if any(rule.name == other.name for other in rules):
            table.refuse(label, "has the name of another rule; rename one of them, since a draw depends on it")
        rules.append(rule)
    return Chaos(seed, rules, source)


def _rule(table: "_Table", number: int) -> Rule:
    table.check_keys(_RULE_KEYS)
    if not any(key in table for key in _EFFECTS):
        table.refuse("", f"does nothing; set one of {', '.join(_EFFECTS)}")
    first = table.count("first_call", 1, least=1)
    last = table.count("last_call", None, least=first)
    truncate_after = table.count("truncate_after", None, least=0)
    rate_limit = _rate_limit(table)
    when = table.choice("when", "before", ("before", "after"))
    failure = _failure(table, rate_limit, truncated=truncate_after is not None)
    if "when" in table and (failure is None or truncate_after is not None or rate_limit is not None):
        table.refuse("when", "is for error and drop: whether they happen before or after the tool has run")
    return Rule(
        name=table.text("name", f"rule {number}", most=MAX_NAME_CHARS),
        tool=table.text("tool", "*"),
        session=table.text("session", "*", may_be_empty=True),
        metadata=table.texts("metadata"),
        probability=table.number("probability", 1.0, most=1.0),
        first_call=first,
        last_call=last,
        latency=table.number("latency", 0.0),
        jitter=table.number("jitter", 0.0),
        failure=failure,
        when="after" if when == "after" else "before",
        rate_limit=rate_limit,
        chunk_latency=table.number("chunk_latency", 0.0),
        chunk_jitter=table.number("chunk_jitter", 0.0),
        truncate_after=truncate_after,
    )


def _failure(table: "_Table", rate_limit: RateLimit | None, *, truncated: bool) -> Failure | None:
    """Reads how a call fails; None if the rule makes no call fail."""
    drop = table.flag("drop", default=False)
    given = [key for key in ("error", "rate_limit") if key in table] + (["drop"] if drop else [])
    if len(given) > 1:
        table.refuse(given[-1], f"and {given[0]} are both set; a call fails in one way, so make two rules")
    for key in _FAILURE_KEYS:
        if key in table and "error" not in table:
            table.refuse(key, "describes an error; set error, too")
    if rate_limit is not None:
        if truncated:
            table.refuse("truncate_after", "and rate_limit are both set; a refused call has no chunks")
        details = {"retry_after": f"{rate_limit.retry_after:g}"}
        return Failure(error="RateLimitExceeded", message="too many calls; call again later", details=details)
    if drop:
        return Failure()
    if "error" not in table:
        return Failure(error="WorkerUnavailable", message="the stream was cut off") if truncated else None
    origin = table.choice("origin", "bridge", ("bridge", "tool"))
    error = table.text("error", "")
    if origin == "bridge" and error not in ERROR_TABLE:
        hint = did_you_mean(error, ERROR_TABLE)
        table.refuse(
            "error",
            f"is {error!r}, which is not in the table of errors{hint}; for an exception of the tool, "
            'set origin = "tool"',
        )
    retryable: bool | None = table.flag("retryable", default=None)
    by_table = error_rule(error, origin=origin).retryable
    if by_table and retryable is False:
        table.refuse("retryable", f"is false, but clients take every {error} for retryable; choose another error")
    return Failure(
        error=error,
        message=table.text("message", "", may_be_empty=True),
        details=table.texts("details"),
        retryable=by_table if retryable is None else retryable,
        origin=origin,
    )


def _rate_limit(table: "_Table") -> RateLimit | None:
    given = table.read("rate_limit", None, Mapping, "a table, such as {calls = 5, refused = 2, retry_after = 0.5}")
    if given is None:
        return None
    inner = _Table(given, f"{table.where}: rate_limit")
    inner.check_keys(("calls", "refused", "retry_after"))
    if "calls" not in inner:
        inner.refuse("calls", "is missing; set the number of calls that are allowed in a row")
    return RateLimit(
        calls=inner.count("calls", 0, least=0),
        refused=inner.count("refused", 1, least=1),
        retry_after=inner.number("retry_after", 1.0),
    )


class _Table:
    """A table of TOML, whose values are checked as they are read.

    Args:
        values: The values by key.
        where: Names the table in error texts.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def refuse(self, key: str, what: str) -> NoReturn:
        """Raises the error that something of ``key``, or of the table itself, is not valid."""
        separator = ": " if key else ""
        raise ValidationError(f"{self.where}{separator}{key} {what}")

    def check_keys(self, known: Collection[str]) -> None:
        """Refuses keys that are not known."""
        for key in map(str, self._values):
            if key not in known:
                hint = did_you_mean(key, known, f"the keys are {', '.join(known)}")
                self.refuse(f"{key[:60]!r}", f"is not a key{hint}")

    def read(self, key: str, default: T, kind: Any, called: str) -> Any | T:
        """Returns a value that must be a ``kind``; in TOML, true and false are not numbers."""
        if key not in self._values:
            return default
        value = self._values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._refuse_value(key, value, called)
        return value

    def count(self, key: str, default: T, *, least: int) -> int | T:
        """Returns a whole number."""
        called = f"a whole number, {least:,} or more"
        value: Any = self.read(key, default, int, called)
        if key in self._values and not least <= value <= MAX_COUNT:
            self._refuse_value(key, value, called if value < least else f"{called}, up to {MAX_COUNT:,}")
        return value  # type: ignore[no-any-return]

    def number(self, key: str, default: float, *, most: float = MAX_SECONDS) -> float:
        """Returns a number from 0 to ``most``."""
        called = "a number from 0 to 1" if most <= 1 else f"a number of seconds, from 0 to {most:,.0f}"
        value = self.read(key, default, int | float, called)
        if not 0 <= value <= most:
            self._refuse_value(key, value, called)
        return float(value)

    def text(self, key: str, default: str, *, most: int = 4_096, may_be_empty: bool = False) -> str:
        """Returns a text on one line."""
        called = f"a text of {0 if may_be_empty else 1} to {most:,} characters on one line"
        value: str = self.read(key, default, str, called)
        if len(value) > most or not (value or may_be_empty) or not value.isprintable():
            self._refuse_value(key, value, called)
        return value

    def texts(self, key: str) -> Mapping[str, str]:
        """Returns a table of texts."""
        called = 'a table of texts, such as {team = "blue"}'
        values: Mapping[Any, Any] = self.read(key, {}, Mapping, called)
        for name, value in values.items():
            if not isinstance(name, str) or not isinstance(value, str):
                self._refuse_value(f"{key}.{name}", value, "a text")
        return dict(values)

    def flag(self, key: str, *, default: Any) -> Any:
        """Returns true or false."""
        return self.read(key, default, bool, "true or false")

    def choice(self, key: str, default: str, names: Collection[str]) -> str:
        """Returns one of some names."""
        called = " or ".join(f'"{name}"' for name in names)
        value: str = self.read(key, default, str, called)
        if value not in names:
            self._refuse_value(key, value, called + did_you_mean(value, names))
        return value

    def _refuse_value(self, key: str, value: object, called: str) -> NoReturn:
        self.refuse(key, f"is {clipped_repr(value, 60)}; it must be {called}")
