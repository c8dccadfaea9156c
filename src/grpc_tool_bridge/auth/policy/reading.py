"""Reads a policy from a TOML file, and says what is wrong with it by line, rule and field."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from grpc_tool_bridge.auth.policy.globs import MAX_GLOB_CHARS, MAX_STARS
from grpc_tool_bridge.auth.policy.model import PARTS, RESOURCES, Action, Policy, Rule
from grpc_tool_bridge.auth.rules_text import read_rules, tables_in
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.errors.near_names import did_you_mean

MAX_POLICY_BYTES = 4 * 1024 * 1024
MAX_RULES = 10_000
MAX_LISTED = 1_000

_FIELDS = ("name", "allow", "deny", "principals", "groups", "resources")
_ALL = "*"
_HEADER = re.compile(r"\s*\[\[\s*(rules|\"rules\"|'rules')\s*\]\]")


def read_policy(path: Path) -> Policy:
    """Reads a policy.

    Args:
        path: Its file.

    Raises:
        ValidationError: It is not valid; the text names the file, the line, the rule and the field.
        OSError: It cannot be read.
    """
    return parse_policy(read_rules(path, MAX_POLICY_BYTES), str(path))


def parse_policy(text: str, source: str = "the policy") -> Policy:
    """As ``read_policy``, for the text of a file that is called ``source``."""
    given = tables_in(text, source, "rules", MAX_RULES)
    lines = text.splitlines()
    headers = [number for number, line in enumerate(lines, 1) if _HEADER.match(line)]
    rules: list[Rule] = []
    names: dict[str, int] = {}
    for number, fields in enumerate(given, 1):
        begin = headers[number - 1] if len(headers) == len(given) else 0
        end = headers[number] - 1 if begin and number < len(given) else len(lines)
        reader = _RuleReader(fields, number, source, begin, lines[begin:end] if begin else [])
        rule = reader.rule()
        if rule.name in names:
            reader.refuse("name", f"rule {names[rule.name]} has the same name; rename one of them")
        names[rule.name] = number
        rules.append(rule)
    return Policy(tuple(rules), source)


class _RuleReader:
    """Reads one rule.

    Args:
        fields: As they stand in the file.
        number: Of the rule in the file.
        source: The file's name.
        line: The line of its header; 0: not known.
        lines: Those after its header.
    """

    def __init__(self, fields: Mapping[str, Any], number: int, source: str, line: int, lines: list[str]) -> None:
        self._fields = fields
        self._source = source
        self._line = line
        self._lines = lines
        name = fields.get("name")
        self._label = f"rule {number}"
        if isinstance(name, str) and name:
            self._label += f" ({clipped_repr(name, 60)})"

    def rule(self) -> Rule:
        """Returns the rule; raises ValidationError."""
        for field in self._fields:
            if field not in _FIELDS:
                more = did_you_mean(field, _FIELDS, f"a rule has {', '.join(_FIELDS)}")
                self.refuse(field, f"unknown field{more}")
        name = self._fields.get("name")
        if not isinstance(name, str) or not name or len(name) > MAX_GLOB_CHARS or not name.isprintable():
            self.refuse("name", "must be a text that tells the rule from others; decisions name it")
        if ("allow" in self._fields) is ("deny" in self._fields):
            self.refuse("", 'must have one of allow and deny, such as allow = ["call"]')
        effect = "allow" if "allow" in self._fields else "deny"
        principals = self._globs("principals")
        groups = self._texts("groups")
        if not principals and not groups:
            self.refuse("", 'says nobody: add principals = ["name"] or groups = ["name"]; principals = ["*"] is all')
        actions = self._actions(effect)
        resources = self._globs("resources")
        if not resources:
            kinds = "; ".join(dict.fromkeys(RESOURCES[action] for action in sorted(actions)))
            self.refuse("resources", f'is missing; list {kinds}, or ["*"] for all')
        self._check_parts(actions, resources)
        return Rule(
            name, effect == "allow", frozenset(principals), frozenset(groups), actions, frozenset(resources), self._line
        )

    def _actions(self, effect: str) -> frozenset[Action]:
        named = self._texts(effect)
        if not named:
            self.refuse(effect, f'is empty; list actions: {", ".join(Action)}, or "*" for all')
        for text in named:
            if text != _ALL and text not in set(Action):
                self.refuse(
                    effect,
                    f"{clipped_repr(text, 60)} is no action"
                    + did_you_mean(text, list(Action), f"the actions are {', '.join(Action)}"),
                )
        return frozenset(Action) if _ALL in named else frozenset(map(Action, named))

    def _check_parts(self, actions: Collection[Action], resources: Collection[str]) -> None:
        """Refuses a rule that administers nothing, which is a slip."""
        if set(actions) != {Action.ADMINISTER}:
            return
        for text in resources:
            if text not in PARTS and "*" not in text and "?" not in text:
                self.refuse(
                    "resources",
                    f"{clipped_repr(text, 60)} is no part of a hub"
                    + did_you_mean(text, PARTS, f"the parts are {', '.join(PARTS)}"),
                )

    def _globs(self, field: str) -> list[str]:
        texts = self._texts(field)
        for text in texts:
            if text.count("*") > MAX_STARS:
                self.refuse(field, f"{clipped_repr(text, 60)} has over {MAX_STARS} stars")
        return texts

    def _texts(self, field: str) -> list[str]:
        given = self._fields.get(field, [])
        if isinstance(given, str):
            self.refuse(field, f"must be a list: [{clipped_repr(given, 60)}]")
        if not isinstance(given, list):
            self.refuse(field, f"must be a list of texts, not {clipped_repr(given, 60)}")
        if len(given) > MAX_LISTED:
            self.refuse(field, f"lists {len(given):,} texts; the limit is {MAX_LISTED:,}")
        for text in given:
            if not isinstance(text, str) or not text:
                self.refuse(field, f"has {clipped_repr(text, 60)}; each must be a text that is not empty")
            if len(text) > MAX_GLOB_CHARS:
                self.refuse(field, f"has a text of {len(text):,} characters; the limit is {MAX_GLOB_CHARS}")
        return given

    def refuse(self, field: str, why: str) -> NoReturn:
        """Raises the error for a field; empty: for the whole rule."""
        line = self._line
        written = re.compile(rf"""\s*["']?{re.escape(field)}["']?\s*=""")
        if field and line:
            line += next((place for place, text in enumerate(self._lines, 1) if written.match(text)), 0)
        where = f", line {line}" if line else ""
        named = f"{field}: " if field else ""
        raise ValidationError(f"{self._source}{where}: {self._label}: {named}{why}")
