"""Templates: plain data in which a text such as ``"$page.links.0"`` refers to a value that is known later.

A reference is a whole text: ``$``, a name, and the path into the value of that name, with a dot before each key, index
or field. ``$$`` at the start of a text stands for a literal ``$``. References are replaced inside dicts and lists too.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import Any

from pydantic import BaseModel

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Levels of dicts and lists in one template.
_MAX_DEPTH = 32
# How many keys of a value the error for a missing key lists.
_MAX_TOLD = 20
_MAX_TEXT = 60

_REFERENCE = re.compile(rf"\$({NAME.pattern})((?:\.[^.]+)*)")


def is_reference(template: Any) -> bool:
    """Whether a template is a reference, valid or not."""
    return isinstance(template, str) and template.startswith("$") and not template.startswith("$$")


def check_template(template: Any, known: Collection[str], depth: int = 0) -> None:
    """Checks a template before its values are known; only ``known`` names are defined.

    Raises:
        ValueError: It refers to something undefined, or has a value that JSON cannot carry.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")
    if is_reference(template):
        _check_reference(template, known)
    elif isinstance(template, dict):
        for key, item in template.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not text")  # noqa: TRY004 - a wrong template, like any other
            check_template(item, known, depth + 1)
    elif isinstance(template, list):
        for item in template:
            check_template(item, known, depth + 1)
    elif not isinstance(template, str | int | float | None) or (isinstance(template, float) and not isfinite(template)):
        raise ValueError(f"{template!r} cannot be written as JSON; make it an input with a default")


def fill_template(template: Any, values: Mapping[str, Any]) -> Any:
    """Replaces the references in a checked template by their values, each with its own type.

    Raises:
        LookupError: A value has no such part; the text says what it has.
    """
    if is_reference(template):
        return _look_up(template, values)
    if isinstance(template, str):
        return template[1:] if template.startswith("$$") else template
    if isinstance(template, dict):
        return {key: fill_template(item, values) for key, item in template.items()}
    if isinstance(template, list):
        return [fill_template(item, values) for item in template]
    return template


def _check_reference(reference: str, known: Collection[str]) -> None:
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise ValueError(
            f"{reference!r} is not a reference such as '$name.key'; to send this text itself, write {f'${reference}'!r}"
        )
    if found[1] not in known:
        there = ", ".join(f"'${name}'" for name in known) or "nothing"
        raise ValueError(f"{reference!r} is not defined here; defined names: {there}")


def _look_up(reference: str, values: Mapping[str, Any]) -> Any:
    name, *path = reference[1:].split(".")
    value = values[name]
    for place, key in enumerate(path):
        try:
            value = _part(value, key)
        except (LookupError, ValueError):
            above = ".".join([f"${name}", *path[:place]])
            raise LookupError(f"{reference!r}: {above} has no {key!r}; it is {_describe(value)}") from None
    return value


def _part(value: Any, key: str) -> Any:
    """Returns a part of plain data. Attributes other than fields are out of reach, since they lead to code."""
    if isinstance(value, Mapping):
        return value[key]
    if isinstance(value, list | tuple):
        return value[int(key)]
    if key in _fields(value):
        return getattr(value, key)
    raise LookupError(key)


def _fields(value: Any) -> Sequence[str]:
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return ()


def _describe(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        return f"a {kind} of {len(value):,}"
    keys = list(value) if isinstance(value, Mapping) else _fields(value)
    if not keys:
        return f"an empty {kind}" if isinstance(value, Mapping) else f"of type {kind}"
    told = ", ".join(repr(key)[:_MAX_TEXT] for key in keys[:_MAX_TOLD])
    return f"a {kind} with {told}" + (f" and {len(keys) - _MAX_TOLD:,} more" if len(keys) > _MAX_TOLD else "")
