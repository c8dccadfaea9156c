"""Quotas as users write them: how much each of some principals may use."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from grpc_tool_bridge.auth.rules_text import read_rules, tables_in
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.rpc.authentication import Principal

MAX_QUOTA_BYTES = 1024 * 1024
MAX_QUOTAS = 1_000
MAX_LISTED = 1_000
MAX_NAME_CHARS = 256
# What a limit may be at most.
MAX_LIMIT = 10**15

LIMITS = ("calls_per_minute", "concurrent_calls", "bytes_per_minute", "sessions", "agent_tokens_per_day")
_FIELDS = ("principals", "groups", *LIMITS)


class QuotaRule(NamedTuple):
    """How much each principal may use to whom it applies; the limits of others are not touched by what one uses.

    Attributes:
        principals: Names, with ``*`` and ``?`` for any characters.
        groups: Groups, of which the principal has one.
        calls_per_minute: Calls from outside; nested calls are free. 0: any number, as for all limits.
        concurrent_calls: Calls that run at once; further ones wait within their deadlines.
        bytes_per_minute: Bytes of the requests and the answers of calls, of streams, and of variables that are set.
        sessions: Sessions that it has made and that have not ended.
        agent_tokens_per_day: Tokens of models, of agents that the hub runs for it.
    """

    principals: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()
    calls_per_minute: int = 0
    concurrent_calls: int = 0
    bytes_per_minute: int = 0
    sessions: int = 0
    agent_tokens_per_day: int = 0

    def applies_to(self, principal: Principal) -> bool:
        """Returns whether it is for a principal."""
        return not self.groups.isdisjoint(principal.groups) or any(
            fnmatchcase(principal.name, pattern) for pattern in self.principals
        )


def first_for(rules: Sequence[QuotaRule], principal: Principal) -> QuotaRule | None:
    """Returns the quota that a principal has, which is the first that is for it; None: it has none."""
    return next((rule for rule in rules if rule.applies_to(principal)), None)


def read_quotas(path: Path) -> tuple[QuotaRule, ...]:
    """Reads a TOML file of quotas.

    Args:
        path: Its file, with a table ``[[quotas]]`` for each.

    Raises:
        ValidationError: It is not valid; the text names the file, the quota and the field.
        OSError: It cannot be read.
    """
    given = tables_in(read_rules(path, MAX_QUOTA_BYTES), str(path), "quotas", MAX_QUOTAS)
    return tuple(_quota(fields, f"{path}: quota {number}") for number, fields in enumerate(given, 1))


def _quota(fields: Mapping[str, Any], label: str) -> QuotaRule:
    for field in fields:
        if field not in _FIELDS:
            more = did_you_mean(field, _FIELDS, f"a quota has {', '.join(_FIELDS)}")
            raise ValidationError(f"{label}: unknown field {clipped_repr(field, 60)}{more}")
    principals, groups = _names(fields, "principals", label), _names(fields, "groups", label)
    if not principals and not groups:
        raise ValidationError(
            f'{label} says nobody: add principals = ["name"] or groups = ["name"]; principals = ["*"] is all'
        )
    limits = {name: _limit(fields[name], name, label) for name in LIMITS if name in fields}
    if not limits:
        raise ValidationError(f"{label} limits nothing: add {', '.join(LIMITS)}")
    return QuotaRule(tuple(principals), frozenset(groups), **limits)


def _names(fields: Mapping[str, Any], field: str, label: str) -> Sequence[str]:
    given = fields.get(field, [])
    if not isinstance(given, list):
        raise ValidationError(f"{label}: {field} must be a list of texts, not {clipped_repr(given, 60)}")
    if len(given) > MAX_LISTED:
        raise ValidationError(f"{label}: {field} lists {len(given):,} texts; the limit is {MAX_LISTED:,}")
    for text in given:
        if not isinstance(text, str) or not 0 < len(text) <= MAX_NAME_CHARS:
            raise ValidationError(f"{label}: {field}: {clipped_repr(text, 60)} is no text of 1 to {MAX_NAME_CHARS}")
    return given


def _limit(value: Any, field: str, label: str) -> int:
    if type(value) is not int or not 0 < value <= MAX_LIMIT:
        raise ValidationError(f"{label}: {field} must be an integer of 1 or more, not {clipped_repr(value, 60)}")
    return value
