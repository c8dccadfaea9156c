"""Describes pydantic's validation errors in one line."""

import re
from collections import abc
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic_core import ErrorDetails, ValidationError

from grpc_tool_bridge.optional import home_of
from grpc_tool_bridge.tools.reading import CHOICE_MARK, PICK_MARK

_MAX_TOLD = 5
_MAX_SHOWN_CHARS = 60
_MAX_SHOWN_BITS = 128
# "Input should be", "String should have": replaced by the argument's name.
_SUBJECT = re.compile(r"^(Input |[A-Z][A-Za-z]+ (?:input )?(?=should ))")
# With this many problems of one value, there may be more that were not looked for.
_PART = 200
_SHOWN_TYPES = (bool, int, float, Decimal, UUID, date, time, timedelta)

_SEQUENCE_PROBLEMS = frozenset({"list_type", "tuple_type", "set_type", "frozen_set_type"})
_MAPPING_PROBLEMS = frozenset({"dict_type", "model_type", "model_attributes_type", "dataclass_type"})
_DATE_PROBLEMS = frozenset({"date_type", "date_from_datetime_inexact"})

_SAID_BETTER = {
    "missing": "is missing",
    "missing_argument": "is missing",
    "unexpected_keyword_argument": "is not known",
    "extra_forbidden": "is not known",
    "no_such_attribute": "is not known",
}


def describe_problems(error: ValidationError, prefix: str = "") -> str:
    """Describes what is wrong with one argument.

    Args:
        error: What the argument's validator raised.
        prefix: Path of the validated value inside the argument, such as "[3]".

    Returns:
        One line, such as ``should be a valid integer, got 'x' (str)``, or for a value inside the argument
        ``[2].name should be a valid string, got 5 (int)``. After five problems it only counts the rest.
    """
    found = error.errors(include_url=False, include_context=False)
    for item in found:
        item["loc"] = tuple(step for step in item["loc"] if not str(step).startswith(PICK_MARK))
    texts = [f"{prefix}{'' if text.startswith(('.', '[')) else ' '}{text}".lstrip() for text in _tell(found, 0)]
    if len(texts) > _MAX_TOLD:
        # Only a part of a large set or dict was checked.
        least = "at least " if len(texts) >= _PART else ""
        texts[_MAX_TOLD:] = [f"and {least}{len(texts) - _MAX_TOLD} more"]
    return "; ".join(texts)


def show(value: Any) -> str:
    """Shows a given value, such as ``'x' (str)``: short plain values in full, any other by its type."""
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, str | bytes):
        text = repr(value[:_MAX_SHOWN_CHARS])
        return f"{text}… ({kind} of {len(value):,})" if len(value) > _MAX_SHOWN_CHARS else f"{text} ({kind})"
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN_BITS:
        return f"{kind} of {value.bit_length():,} bits"
    if isinstance(value, _SHOWN_TYPES) or _is_numpy_scalar(value):
        return f"{str(value)[:_MAX_SHOWN_CHARS]} ({kind})"
    return f"{kind} of {len(value):,}" if isinstance(value, abc.Collection) and not _has_no_length(value) else kind


def _is_numpy_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and _has_no_length(value)


def _has_no_length(value: Any) -> bool:
    """Whether it is an array of no dimensions, which has ``__len__`` but no length."""
    return getattr(value, "shape", None) == ()


def _tell(found: list[ErrorDetails], depth: int) -> list[str]:
    """Describes every error; those of one union, whose choices are at ``depth`` or below in their paths, become one."""
    texts: list[str] = []
    unions: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
    for item in found:
        at = _first_choice(item["loc"], depth)
        if at is None:
            texts.append(_sentence(item, _reason(item)))
        else:
            group = unions.setdefault(item["loc"][:at], [])
            if not group:
                texts.append("")
            group.append(item)
    told = iter([_tell_union(items, len(place)) for place, items in unions.items()])
    return [part for text in texts for part in ([text] if text else next(told))]


def _tell_union(found: list[ErrorDetails], at: int) -> list[str]:
    inside = [item for item in found if len(item["loc"]) > at + 1 and _first_choice(item["loc"], at + 1) != at + 1]
    if inside:
        # The value has the shape of this choice, so report what is wrong within it.
        first = inside[0]["loc"][at]
        return _tell([item for item in inside if item["loc"][at] == first], at + 1)
    reasons = list(dict.fromkeys(_reason(item) for item in found))
    reasons[1:] = [reason.removeprefix("should be ") for reason in reasons[1:]]
    return [_sentence(found[0], " or ".join(reasons), found[0]["loc"][:at])]


def _first_choice(place: tuple[int | str, ...], start: int) -> int | None:
    for at in range(start, len(place)):
        if str(place[at]).startswith(CHOICE_MARK):
            return at
    return None


def _reason(item: ErrorDetails) -> str:
    better = _SAID_BETTER.get(item["type"])
    if better:
        return better
    text = " ".join(item["msg"].split())
    return _SUBJECT.sub("", text.removeprefix("Value error, ").removeprefix("Assertion failed, ")).removesuffix(".")


def _sentence(item: ErrorDetails, reason: str, place: tuple[int | str, ...] | None = None) -> str:
    path = _path(item["loc"] if place is None else place)
    got = "" if item["type"] in _SAID_BETTER else f", got {_package(item)}{show(item['input'])}{_advice(item)}"
    return f"{path} {reason}{got}".lstrip()


def _package(item: ErrorDetails) -> str:
    """Returns the package of a class that has a namesake in another package."""
    package = home_of(type(item["input"]))
    return f"{package}." if package and item["type"] == "is_instance_of" and item["msg"].endswith("Frame") else ""


def _advice(item: ErrorDetails) -> str:
    """Suggests a replacement for a value that is reasonable, but must not be converted silently."""
    value, problem = item["input"], item["type"]
    if problem in _SEQUENCE_PROBLEMS and isinstance(value, set | frozenset):
        return ": it has no order, use sorted(…) or list(…) of it"
    if problem in _DATE_PROBLEMS and isinstance(value, datetime):
        return ": use its date()"
    if problem == "int_type" and isinstance(value, Decimal) and value.is_finite() and _is_whole(value):
        return ": use int(…) of it"
    if problem == "is_instance_of" and isinstance(value, float) and item["msg"].endswith(" Decimal"):
        return ": use Decimal(str(…)) of it"
    return _frame_advice(value, problem) if home_of(type(value)) is not None else ""


def _is_whole(value: Decimal) -> bool:
    # Not by way of an int: converting 1E+99999999 to one takes minutes.
    return value == value.to_integral_value()


def _frame_advice(value: Any, problem: str) -> str:
    if problem in _MAPPING_PROBLEMS and hasattr(value, "to_dict"):
        return ": use its to_dict()"
    if problem not in _SEQUENCE_PROBLEMS or type(value).__name__ not in ("DataFrame", "Table"):
        return ""
    rows = {"pandas": 'to_dict("records")', "polars": "to_dicts()", "pyarrow": "to_pylist()"}
    return f": use its {rows[home_of(type(value)) or '']}"


def _path(place: tuple[int | str, ...]) -> str:
    parts = []
    for step in place:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif step == "[key]":
            parts.append(" (the key)")
        elif not step.startswith(CHOICE_MARK):
            parts.append(f".{step}" if step.isidentifier() else f"[{step[:_MAX_SHOWN_CHARS]!r}]")
    return "".join(parts)
