"""Compares a request with recorded ones, and says where they differ."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge.values.redaction import REDACTED

# Differences that are listed, and characters of each value.
MAX_LISTED = 10
MAX_CHARS = 120

# Fields of requests that do not decide what is answered.
_IGNORED = frozenset({"context", "config", "idempotency_key", "run_id", "metadata"})
_ARGUMENTS = frozenset({"args", "kwargs"})
_TAG = {"$type", "value"}

Leaves = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which a request is not as recorded.

    Attributes:
        place: The place, such as ``b.items[3].price``.
        text: What was recorded there, and what was called with.
    """

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def leaves_of(request: Mapping[str, Any], exact: Mapping[str, Any], tools: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a request by place; arguments by the names of their parameters.

    Args:
        request: The request as JSON.
        exact: The values that the JSON does not hold.
        tools: The specs of the tools as JSON, by id.
    """
    decisive = {
        name: value for name, value in request.items() if name not in _IGNORED and (value or name not in _ARGUMENTS)
    }
    leaves = dict(_leaves(decisive))
    leaves.update({place: ("exact", json.dumps(held, sort_keys=True)) for place, held in exact.items()})
    names = {f"args[{at}]": name for at, name in enumerate(_parameters(tools.get(str(request.get("tool_id")))))}
    items = request.get("items")
    for number, item in enumerate(items if isinstance(items, list) else ()):
        spec = tools.get(str(item.get("tool_id"))) if isinstance(item, dict) else None
        names |= {f"items[{number}].args[{at}]": name for at, name in enumerate(_parameters(spec))}
    return {_renamed(place, names): value for place, value in leaves.items()}


def _parameters(spec: Any) -> list[str]:
    try:
        return [str(argument["name"]) for argument in spec["arguments"]]
    except (TypeError, KeyError):
        return []


def _renamed(place: str, names: Mapping[str, str]) -> str:
    before, at, rest = place.partition("args[")
    number, closed, rest = rest.partition("]")
    name = names.get(f"{before}args[{number}]") if at and closed else None
    if name is not None and (not before or before.startswith("items[")):
        prefix = before.rstrip(".")
        return f"{prefix}.{name}{rest}" if prefix else f"{name}{rest}"
    if place.startswith("kwargs."):
        return place.removeprefix("kwargs.")
    return place.replace("].kwargs.", "].", 1) if place.startswith("items[") else place


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value and not _is_tagged_leaf(value):
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list) and value:
        for at, item in enumerate(value):
            yield from _leaves(item, f"{place}[{at}]")
    else:
        yield place, value


def _is_tagged_leaf(value: Mapping[str, Any]) -> bool:
    return value.keys() == _TAG and not isinstance(value["value"], dict | list)


def key_of(leaves: Leaves) -> str | None:
    """Returns what is the same for equal requests; None if something in it was redacted."""
    text = json.dumps(sorted(leaves.items()), default=str)
    return None if REDACTED in text else text


def differences(recorded: Leaves, called: Leaves) -> list[Difference]:
    """Returns where a request differs from a recorded one; what was redacted there is equal to anything."""
    found: list[Difference] = []
    # Places that are a value on one side, and have parts on the other.
    parted = {place for place in recorded if place not in called and any(_is_within(other, place) for other in called)}
    parting = {place for place in called if place not in recorded and any(_is_within(one, place) for one in recorded)}
    for place, value in recorded.items():
        if place in called:
            if not _same(value, called[place]):
                found.append(Difference(place, f"recorded {_shown(value)}, called with {_shown(called[place])}"))
        elif place in parted:
            if value != REDACTED:
                found.append(Difference(place, f"recorded {_shown(value)}, called with a value that has parts"))
        elif not any(_is_within(place, outer) for outer in parting):
            found.append(Difference(place, f"recorded {_shown(value)}, called without it"))
    for place, value in called.items():
        if place in parting:
            found.append(Difference(place, f"recorded a value that has parts, called with {_shown(value)}"))
        elif place not in recorded and not any(_is_within(place, outer) for outer in parted):
            found.append(Difference(place, f"not recorded, called with {_shown(value)}"))
    return found


def _is_within(place: str, outer: str) -> bool:
    return place.startswith(outer) and place[len(outer) : len(outer) + 1] in {".", "["}


def _same(recorded: Any, called: Any) -> bool:
    if isinstance(recorded, str) and REDACTED in recorded:
        return (isinstance(called, str) and _fits(recorded.split(REDACTED), called)) or recorded == REDACTED
    if isinstance(recorded, dict) and isinstance(called, dict):
        return recorded.keys() == called.keys() and all(_same(recorded[name], called[name]) for name in recorded)
    return type(recorded) is type(called) and bool(recorded == called)


def _fits(parts: list[str], text: str) -> bool:
    """Returns whether a text has all parts in order, the first at its start and the last at its end."""
    if not text.startswith(parts[0]):
        return False
    at = len(parts[0])
    for part in parts[1:-1]:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return text.endswith(parts[-1]) and len(text) - len(parts[-1]) >= at


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        held = json.loads(value[1])
        text = f"a value of {held['bytes']:,} bytes" if "bytes" in held else f"a value of type {held.get('type')}"
        return text[:MAX_CHARS]
    if isinstance(value, dict) and value.keys() == _TAG:
        return f"{value['$type']} {_shown(value['value'])}"[:MAX_CHARS]
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


def listed(found: list[Difference]) -> str:
    """Writes differences, one a line."""
    more = [f"and {len(found) - MAX_LISTED:,} more"] if len(found) > MAX_LISTED else []
    return "\n".join(f"  {line}" for line in [*map(str, found[:MAX_LISTED]), *more])
