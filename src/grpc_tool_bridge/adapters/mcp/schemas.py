"""Checks structured content against the output schema of its tool.

The schema is a stranger's: it must not keep this process busy. So patterns are not checked, nor whether items are
unique, references resolve within the schema alone, and a check ends after a number of steps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jsonschema import SchemaError
from jsonschema.exceptions import ValidationError as ContentError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr

# Steps of one check, each about a microsecond or some.
MAX_STEPS = 200_000
# Levels of a schema; deeper ones are refused, since checking recurses.
MAX_LEVELS = 64
_SHOWN_CHARS = 120

# Keys of a schema whose values are schemas by name, a schema or a list of them; all others are data or plain values.
_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_SINGLE = frozenset(
    {"items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "additionalItems", "contains",
     "not", "if", "then", "else", "propertyNames", "contentSchema"}
)  # fmt: skip
_LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_UNCHECKED = frozenset({"pattern", "uniqueItems", "format", "$schema"})
# Which properties there may be besides depends on patterns of their names.
_BY_PATTERN = frozenset({"patternProperties", "additionalProperties", "unevaluatedProperties"})


class _TooLongError(Exception):
    """A check takes too many steps."""


def content_check(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """Makes a check of values.

    Returns:
        A function that returns what is wrong with a value; nothing if it fits.

    Raises:
        ValidationError: It is not a JSON Schema, or is too deep.
    """
    plain = _plain(schema, 0)
    kind = validator_for(schema)
    try:
        kind.check_schema(plain)
    except SchemaError as error:
        raise ValidationError(f"its output schema is not a JSON Schema: {error.message[:200]}") from None
    except RecursionError:
        raise ValidationError("its output schema is too deep") from None
    counted, steps = _counted(kind)
    validator = counted(plain, registry=Registry())

    def check(value: Any) -> str:
        steps[0] = MAX_STEPS
        try:
            error: ContentError | None = best_match(validator.iter_errors(value))
        except _TooLongError:
            return f"checking it takes over {MAX_STEPS:,} steps"
        except Unresolvable as unresolved:
            return f"the schema has a reference that leads nowhere: {str(unresolved)[:_SHOWN_CHARS]}"
        except RecursionError:
            return "it is too deep to be checked"
        return "" if error is None else _text(error)

    return check


def _text(error: ContentError) -> str:
    place = error.json_path.removeprefix("$").lstrip(".")
    value = clipped_repr(error.instance, _SHOWN_CHARS)
    what = error.message[:300]
    if error.validator == "type":
        what = f"should be of the type {error.validator_value}, got {value}"
    elif error.validator == "enum":
        what = f"should be one of {clipped_repr(error.validator_value, _SHOWN_CHARS)}, got {value}"
    return f"{place}: {what}" if place else what


def _counted(kind: Any) -> tuple[Any, list[int]]:
    """Returns a class of validators that counts its steps down, and the counter."""
    steps = [MAX_STEPS]

    def counting(function: Callable[..., Iterable[ContentError] | None]) -> Callable[..., Iterator[ContentError]]:
        def step(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ContentError]:
            steps[0] -= 1
            if steps[0] < 0:
                raise _TooLongError
            yield from function(validator, rule, value, schema) or ()

        return step

    return extend(kind, {key: counting(function) for key, function in kind.VALIDATORS.items()}), steps


def _plain(schema: Any, level: int) -> Any:
    """Copies a schema without what is not checked."""
    if level > MAX_LEVELS:
        raise ValidationError(f"its output schema has over {MAX_LEVELS} levels")
    if not isinstance(schema, Mapping):
        return schema
    left_out = _UNCHECKED | (_BY_PATTERN if "patternProperties" in schema else frozenset())
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in left_out:
            continue
        if key in _NAMED and isinstance(value, Mapping):
            made[key] = {name: _plain(item, level + 1) for name, item in value.items()}
        elif key in _LISTED or (key == "items" and isinstance(value, list)):
            made[key] = [_plain(item, level + 1) for item in value] if isinstance(value, list) else value
        elif key in _SINGLE:
            made[key] = _plain(value, level + 1)
        else:
            made[key] = value
    return made
