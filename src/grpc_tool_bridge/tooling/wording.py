"""Puts what pydantic found wrong with an argument into words that fit in a line."""

import re
from collections import abc
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic_core import ErrorDetails, ValidationError

from grpc_tool_bridge.tooling.choosing import CHOICE_MARK, PICK_MARK

_MAX_TOLD = 5
_MAX_SHOWN_CHARS = 60
_MAX_SHOWN_BITS = 128
# "Input should be", "String should have": the argument's name stands in its place.
_SUBJECT = re.compile(r"^(Input |[A-Z][A-Za-z]+ (?:input )?(?=should ))")
_SHOWN_TYPES = (bool, int, float, Decimal, UUID, date, time, timedelta)

_SAID_BETTER = {
    "missing": "is missing",
    "missing_argument": "is missing",
    "unexpected_keyword_argument": "is not known",
    "extra_forbidden": "is not known",
    "no_such_attribute": "is not known",
}


def describe_problems(error: ValidationError, prefix: str = "") -> str:
    """Says what is wrong with one argument.

    Args:
        error: What the argument's validator raised.
        prefix: Where in the argument the value stands that was validated, such as "[3]".

    Returns:
        One line, such as ``should be a valid integer, got 'x' (str)``, or for a value inside the argument
        ``[2].name should be a valid string, got 5 (int)``. After five problems it only counts the rest.
    """
    found = error.errors(include_url=False, include_context=False)
    for item in found:
        item["loc"] = tuple(step for step in item["loc"] if not str(step).startswith(PICK_MARK))
    texts = [f"{prefix}{'' if text.startswith(('.', '[')) else ' '}{text}".lstrip() for text in _tell(found, 0)]
    if len(texts) > _MAX_TOLD:
        texts[_MAX_TOLD:] = [f"and {len(texts) - _MAX_TOLD} more"]
    return "; ".join(texts)


def show(value: Any) -> str:
    """Shows a value that was given, such as ``'x' (str)``: plain ones in full where short, any other by its type."""
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
    """Whether it is an array of no dimensions, which has the method all the same."""
    return getattr(value, "shape", None) == ()


def _tell(found: list[ErrorDetails], depth: int) -> list[str]:
    """Words every error; those of one union, whose choices stand at ``depth`` or below in their paths, become one."""
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
        # The value has the shape of this choice, so what is wrong within it is what the caller wants to know.
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
    got = "" if item["type"] in _SAID_BETTER else f", got {show(item['input'])}"
    return f"{path} {reason}{got}".lstrip()


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
