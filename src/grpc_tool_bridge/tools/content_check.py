"""Checks values of JSON against a schema: the structured content of a tool against its output schema.

The schema may be a stranger's, and so may the content: they must not keep this process busy. So a check ends after a
number of steps, of which what is large takes many; references resolve within the schema alone; and what cannot be
bounded is not checked, or checked by a rule of one's own.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
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

# A rule of jsonschema: given the validator, the rule's value, the instance and the schema; None: it is not checked.
Rule = Callable[[Any, Any, Any, Any], Iterable[ContentError] | None] | None
# Rules that take the place of those of the dialect, by their keys.
Rules = tuple[tuple[str, Rule], ...]

# Patterns may take any time, and so may what depends on the names and items that other rules have looked at.
UNBOUNDED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems")
_LENIENT: Rules = tuple((key, None) for key in ("pattern", "uniqueItems", "format", *UNBOUNDED))
# Which properties there may be besides depends on patterns of their names.
_ADDITIONAL = "additionalProperties"
# Rules that look at each of their parts, or at all that is in these, and rules that look at each item of a value.
_BY_LENGTH = frozenset(
    {"properties", "required", "dependentRequired", "dependentSchemas", "dependencies", "allOf", "anyOf", "oneOf",
     "prefixItems", "type"}
)  # fmt: skip
_BY_SIZE = frozenset({"enum", "const"})
_BY_VALUE = frozenset({"items", "prefixItems", "additionalItems", _ADDITIONAL, "propertyNames", "contains"})
_UNIQUE = "uniqueItems"
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
# Resolving one takes as long as so many steps.
_REFERENCE_STEPS = 10


class _TooLongError(Exception):
    """A check takes too many steps."""


class _Run:
    """One check that goes on in a thread.

    Attributes:
        left: The steps that are left.
        sizes: Of rules, by their identity: they live as long as the schema.
        parts: Parts of the schema without a dialect of their own, likewise.
    """

    __slots__ = ("left", "parts", "sizes")

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.sizes: dict[int, int] = {}
        self.parts: dict[int, dict[str, Any]] = {}

    def take(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _TooLongError


class _Running(threading.local):
    """The check that goes on in a thread: rules are functions of a class that all schemas of a dialect share."""

    run = _Run(0)


_running = _Running()


class ContentCheck:
    """A check of values against a schema, which may be used by several threads.

    Args:
        schema: A JSON Schema that ``check_schema`` takes.
        rules: Rules in the place of the dialect's; default: what may take any time is not checked.
    """

    def __init__(self, schema: Mapping[str, Any], rules: Rules = _LENIENT) -> None:
        self._validator = _bounded(_kind_of(schema), rules)(schema, registry=Registry())

    def __call__(self, value: Any) -> str:
        """Returns what is wrong with a value; nothing if it fits. It may take a second: not for an event loop."""
        problem = _problem_of(self._validator, value, MAX_STEPS)
        return f"checking it takes over {MAX_STEPS:,} steps" if problem is None else problem

    def quick(self, value: Any) -> str | None:
        """Returns the same; None: it takes longer to find out."""
        return _problem_of(self._validator, value, QUICK_STEPS)


def content_check(schema: Mapping[str, Any]) -> ContentCheck:
    """Makes a check of values; raises as ``check_schema``."""
    check_schema(schema)
    return ContentCheck(schema)


def check_schema(schema: Mapping[str, Any]) -> None:
    """Checks an output schema itself.

    Raises:
        ValidationError: It is no JSON Schema, is too deep, or takes too long to be checked.
    """
    _refuse_deep(schema, 0)
    kind = _kind_of(schema)
    problem = _problem_of(_checker_of(kind), schema, MAX_STEPS)
    if problem is None:
        raise ValidationError("its output schema is too large to be checked")
    if problem:
        raise ValidationError(f"its output schema is not a JSON Schema: {problem[:300]}")


@lru_cache(maxsize=16)
def _checker_of(kind: Any) -> Any:
    """Returns what checks the schemas of a dialect."""
    of_schemas = validator_for(kind.META_SCHEMA, default=kind)
    # The default registry has what the schema of schemas refers to.
    return _bounded(of_schemas, _LENIENT)(kind.META_SCHEMA, format_checker=None)


def _problem_of(validator: Any, value: Any, steps: int) -> str | None:
    """Returns what is wrong with a value; nothing if it fits, and None if that takes too many steps."""
    before, _running.run = _running.run, _Run(steps)
    found: list[ContentError] = []
    try:
        found.extend(validator.iter_errors(value))
    except _TooLongError:
        if not found:
            return None
    except Unresolvable as unresolved:
        return f"the schema has a reference that leads nowhere: {str(unresolved)[:_SHOWN_CHARS]}"
    except RecursionError:
        return "it is too deep to be checked"
    except Exception as error:  # noqa: BLE001 - such as of a number that is too large for another one
        return f"it cannot be checked: {type(error).__name__}: {str(error)[:_SHOWN_CHARS]}"
    finally:
        _running.run = before
    return _text(best_match(found)) if found else ""


@lru_cache(maxsize=64)
def _bounded(kind: Any, rules: Rules) -> Any:
    """Returns a class of validators whose rules count their steps."""
    functions = {**kind.VALIDATORS, **dict(rules)}
    made: Any = extend(kind, {key: _counting(key, function) for key, function in functions.items()})
    evolve = made.evolve

    def evolve_here(self: Any, **changes: Any) -> Any:
        # For a part of the schema that names a dialect, the library would leave this class, and its bounds.
        schema = changes.get("schema")
        if isinstance(schema, dict) and "$schema" in schema:
            changes["schema"] = _without_dialect(schema)
        return evolve(self, **changes)

    made.evolve = evolve_here
    return made


def _without_dialect(schema: dict[str, Any]) -> dict[str, Any]:
    parts = _running.run.parts
    plain = parts.get(id(schema))
    if plain is None:
        _running.run.take(1 + len(schema) // _STEP_PARTS)
        plain = parts[id(schema)] = {key: value for key, value in schema.items() if key != "$schema"}
    return plain


def _counting(key: str, function: Rule) -> Callable[..., Iterator[ContentError]]:
    def step(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ContentError]:
        if function is None or (key == _ADDITIONAL and "patternProperties" in schema):
            return
        run = _running.run
        run.take(1 + _cost(run, key, rule, value))
        for error in function(validator, rule, value, schema) or ():
            yield error
            # The text of an error repeats the value.
            run.take(1 + len(error.message) // _STEP_CHARS)

    return step


def _cost(run: _Run, key: str, rule: Any, value: Any) -> int:
    if key == _UNIQUE:
        return _cost_of_comparing(value) if rule is True and isinstance(value, list) else 0
    cost = len(value) if key in _BY_VALUE and isinstance(value, list | dict) else 0
    if key in _BY_LENGTH and isinstance(rule, list | dict):
        return cost + len(rule) // _STEP_PARTS
    if key in _REFERENCES:
        return _REFERENCE_STEPS
    if key in _BY_SIZE:
        size = run.sizes.get(id(rule))
        if size is None:
            size = run.sizes[id(rule)] = _parts_in(rule)
        return cost + size // _STEP_PARTS
    return cost


def _cost_of_comparing(items: list[Any]) -> int:
    """Returns the steps of comparing items: those that can be sorted with their neighbours, others with all."""
    if all(type(item) is str for item in items) or all(type(item) in (int, float) for item in items):
        return len(items)
    return len(items) * _parts_in(items)


def _parts_in(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_parts_in, items))


def _kind_of(schema: Mapping[str, Any]) -> Any:
    named = schema.get("$schema", "")
    if isinstance(named, str):
        with contextlib.suppress(ValueError):
            return validator_for(schema)
    raise ValidationError(f"its output schema has a $schema that is no address: {clipped_repr(named, _SHOWN_CHARS)}")


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
