"""How an argument is given: by position, by name, or any number of them; ``custom_rules`` of its spec say it.

The wire has no field for it. An argument without such a rule is given either way.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec

POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
POSITIONAL_OR_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD

# Any, since the class of the kinds has no public name.
KIND_RULES: Mapping[Any, str] = {
    POSITIONAL_ONLY: "positional-only",
    KEYWORD_ONLY: "keyword-only",
    VAR_POSITIONAL: "var-positional",
    VAR_KEYWORD: "var-keyword",
}
KINDS_BY_RULE: Mapping[str, Any] = {rule: kind for kind, rule in KIND_RULES.items()}
# The beginning of a rule that gives another name of an argument.
ALIAS_RULE = "also named "
# The rule of an argument that takes more values than its type says: what runs the tool converts them.
CONVERTED_RULE = "converted"
_STARS = {VAR_POSITIONAL: "*", VAR_KEYWORD: "**"}


def kind_of(argument: ArgumentSpec) -> Any:
    """Returns how an argument is given, as ``inspect.Parameter`` has it."""
    rules = (rule for rule in argument.validation.custom_rules if rule in KINDS_BY_RULE)
    return KINDS_BY_RULE.get(next(rules, ""), POSITIONAL_OR_KEYWORD)


def stars_of(argument: ArgumentSpec) -> str:
    """Returns what stands before an argument in a signature: ``*``, ``**`` or nothing."""
    return _STARS.get(kind_of(argument), "")
