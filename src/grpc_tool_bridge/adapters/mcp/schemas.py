"""Checks structured content against the output schema of its tool.

The schema is a stranger's, and so is the content: they must not keep this process busy. So patterns are not checked,
nor whether items are unique or properties unevaluated; references resolve within the schema alone; and a check ends
after a number of steps, of which what is large takes many.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jsonschema.exceptions import ValidationError as ContentError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr

# Steps of one check, each about a microsecond or some.
MAX_STEPS = 500_000
# Those of one that need not leave the event loop.
QUICK_STEPS = 2_000
# Levels of objects and lists in a schema; deeper ones are refused, since checking recurses.
MAX_LEVELS = 128
_SHOWN_CHARS = 120
# Characters of the text of a problem, and parts of a rule, that take a step.
_STEP_CHARS = 64
_STEP_PARTS = 4

_UNCHECKED = ("pattern", "patternProperties", "uniqueItems", "format", "unevaluatedProperties", "unevaluatedItems")
# Which properties there may be besides depends on patterns of their names.
_ADDITIONAL = "additionalProperties"
# Rules that look at each of their parts, or at all that is in these, and rules that look at each item of a value.
_BY_LENGTH = frozenset(
    {"properties", "required", "dependentRequired", "dependentSchemas", "dependencies", "allOf", "anyOf", "oneOf",
     "prefixItems", "type"}
)  # fmt: skip
_BY_SIZE = frozenset({"enum", "const"})
_BY_VALUE = frozenset({"items", "prefixItems", "additionalItems", _ADDITIONAL, "propertyNames", "contains"})
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
# Resolving one takes as long as so many steps.
_REFERENCE_STEPS = 10


class _TooLongError(Exception):
    """A check takes too many steps."""


class ContentCheck:
    """A check of values against a schema; may be used by several threads, but only by one for ``quick``.

    Args:
        schema: A JSON Schema.

    Raises:
        ValidationError: It is none, is too deep, or takes too long to be checked itself.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        _refuse_deep(schema, 0)
        kind = _kind_of(schema)
        _refuse_invalid(kind, schema)
        self._quick = _Checker(kind, schema, QUICK_STEPS)
        self._whole = _Checker(kind, schema, MAX_STEPS)
        self._lock = threading.Lock()

    def __call__(self, value: Any) -> str:
        """Returns what is wrong with a value; nothing if it fits. It may take a second: not for an event loop."""
        with self._lock:
            problem = self._whole.problem_of(value)
        return f"checking it takes over {MAX_STEPS:,} steps" if problem is None else problem

    def quick(self, value: Any) -> str | None:
        """Returns the same; None: it takes longer to find out."""
        return self._quick.problem_of(value)


def content_check(schema: Mapping[str, Any]) -> ContentCheck:
    """Makes a check of values; raises as ``ContentCheck``."""
    return ContentCheck(schema)


class _Checker:
    """A validator that takes so many steps for each value, and no more."""

    def __init__(self, kind: Any, schema: Mapping[str, Any], most: int, **options: Any) -> None:
        self._most = self._left = most
        # By the identity of a rule, which lives as long as the schema.
        self._sizes: dict[int, int] = {}
        rules = {key: self._counting(key, function) for key, function in kind.VALIDATORS.items()}
        self._validator = extend(kind, rules)(schema, **(options or {"registry": Registry()}))

    def problem_of(self, value: Any) -> str | None:
        """Returns what is wrong with a value; nothing if it fits, and None if that takes too many steps."""
        self._left = self._most
        found: list[ContentError] = []
        try:
            found.extend(self._validator.iter_errors(value))
        except _TooLongError:
            if not found:
                return None
        except Unresolvable as unresolved:
            return f"the schema has a reference that leads nowhere: {str(unresolved)[:_SHOWN_CHARS]}"
        except RecursionError:
            return "it is too deep to be checked"
        except Exception as error:  # noqa: BLE001 - such as of a number that is too large for another one
            return f"it cannot be checked: {type(error).__name__}: {str(error)[:_SHOWN_CHARS]}"
        return _text(best_match(found)) if found else ""

    def _counting(
        self, key: str, function: Callable[..., Iterable[ContentError] | None]
    ) -> Callable[..., Iterator[ContentError]]:
        is_checked = key not in _UNCHECKED

        def step(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ContentError]:
            if not is_checked or (key == _ADDITIONAL and "patternProperties" in schema):
                return
            self._take(1 + self._cost(key, rule, value))
            for error in function(validator, rule, value, schema) or ():
                yield error
                # The text of an error repeats the value.
                self._take(1 + len(error.message) // _STEP_CHARS)

        return step

    def _take(self, steps: int) -> None:
        if self._left < 0:
            raise _TooLongError
        self._left -= steps

    def _cost(self, key: str, rule: Any, value: Any) -> int:
        cost = len(value) if key in _BY_VALUE and isinstance(value, list | dict) else 0
        if key in _BY_LENGTH and isinstance(rule, list | dict):
            return cost + len(rule) // _STEP_PARTS
        if key in _REFERENCES:
            return _REFERENCE_STEPS
        if key in _BY_SIZE:
            size = self._sizes.get(id(rule))
            if size is None:
                size = self._sizes[id(rule)] = _parts_in(rule)
            return cost + size // _STEP_PARTS
        return cost


def _parts_in(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_parts_in, items))


def _kind_of(schema: Mapping[str, Any]) -> Any:
    named = schema.get("$schema", "")
    if isinstance(named, str):
        with contextlib.suppress(ValueError):
            return validator_for(schema)
    raise ValidationError(f"its output schema has a $schema that is no address: {clipped_repr(named, _SHOWN_CHARS)}")


def _refuse_invalid(kind: Any, schema: Mapping[str, Any]) -> None:
    # The default registry has what the schema of schemas refers to.
    checker = _Checker(validator_for(kind.META_SCHEMA, default=kind), kind.META_SCHEMA, MAX_STEPS, format_checker=None)
    problem = checker.problem_of(schema)
    if problem is None:
        raise ValidationError("its output schema is too large to be checked")
    if problem:
        raise ValidationError(f"its output schema is not a JSON Schema: {problem[:300]}")


def _refuse_deep(schema: Any, level: int) -> None:
    if level > MAX_LEVELS:
        raise ValidationError(f"its output schema has over {MAX_LEVELS} levels")
    items = schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()
    for item in items:
        _refuse_deep(item, level + 1)


def _text(error: ContentError) -> str:
    place = error.json_path.removeprefix("$").lstrip(".")
    value = clipped_repr(error.instance, _SHOWN_CHARS)
    what = error.message[:300]
    if error.validator == "type":
        what = f"should be of the type {error.validator_value}, got {value}"
    elif error.validator == "enum":
        what = f"should be one of {clipped_repr(error.validator_value, _SHOWN_CHARS)}, got {value}"
    return f"{place}: {what}" if place else what
