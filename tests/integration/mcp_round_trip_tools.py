"""Tools whose results go from one bridge to another by MCP."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import numpy as np

from grpc_tool_bridge import Audio, Image, Resource, ResourceLink, ToolContext, tool
from grpc_tool_bridge.errors import ValidationError

PIXELS = b"\x89PNG\x00\xff"
NESTED = {"list": [1, 2.5, "é", None, True, {"deep": [[], {}]}], "": {}}
QUESTION = {
    "type": "object",
    "properties": {
        "size": {"type": "string", "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]},
        "colors": {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}, "maxItems": 2},
        "count": {"type": "integer", "minimum": 1},
        "sure": {"type": "boolean"},
    },
    "required": ["size", "count"],
}


class Busy(Exception):
    retryable = True
    details: ClassVar[dict[str, str]] = {"retry_after": "2"}


@dataclass
class Point:
    x: int
    y: float | None = None


@dataclass(frozen=True)
class Case:
    """What a tool declares, what it returns, and what arrives: the same, if ``arrives`` is not given."""

    declares: Any
    returns: Any
    arrives: Any = ...

    @property
    def expected(self) -> Any:
        return self.returns if self.arrives is ... else self.arrives


_IMAGE = {"type": "image", "data": PIXELS, "mime_type": "image/png"}
_LINK = {"type": "resource_link", "uri": "file:///b", "name": "b", "mime_type": "", "description": "B"}

CASES: dict[str, Case] = {
    "none": Case(None, None),
    "true": Case(bool, True),
    "int": Case(int, -3),
    "large_int": Case(int, 2**100),
    "float": Case(float, 0.1),
    "whole_float": Case(float, 2.0),
    "text": Case(str, "é \U0001f600\n"),
    "empty_text": Case(str, ""),
    "json_text": Case(str, '{"a": 1}'),
    "list": Case(list[int], [1, 2**70, 3]),
    "empty_list": Case(list[int], []),
    "nested": Case(dict[str, Any], NESTED),
    "optional": Case(int | None, None),
    "undeclared_object": Case(Any, NESTED),
    "class": Case(Point, Point(1), {"x": 1, "y": None}),
    "image": Case(Any, Image(PIXELS), _IMAGE),
    "audio": Case(Any, Audio(PIXELS), {"type": "audio", "data": PIXELS, "mime_type": "audio/wav"}),
    "document": Case(
        Any,
        Resource("file:///a", "A", "text/plain"),
        {"type": "resource", "uri": "file:///a", "contents": "A", "mime_type": "text/plain"},
    ),
    "bytes_document": Case(
        Any,
        Resource("file:///a", PIXELS, "image/png"),
        {"type": "resource", "uri": "file:///a", "contents": PIXELS, "mime_type": "image/png"},
    ),
    "link": Case(Any, ResourceLink("file:///b", "b", description="B"), _LINK),
    "text_and_image": Case(Any, ["a text", Image(PIXELS)], ["a text", _IMAGE]),
    # What JSON does not have.
    "bytes": Case(bytes, PIXELS, "iVBORwD/"),
    "date": Case(date, date(2024, 2, 28), "2024-02-28"),
    "moment": Case(datetime, datetime(2024, 2, 28, 12, tzinfo=UTC), "2024-02-28T12:00:00Z"),
    "duration": Case(timedelta, timedelta(seconds=90), "PT1M30S"),
    "decimal": Case(Decimal, Decimal("0.10"), "0.10"),
    "uuid": Case(UUID, UUID(int=1), str(UUID(int=1))),
    "tuple": Case(tuple[int, str], (1, "a"), [1, "a"]),
    "set": Case(set[int], {1}, [1]),
    "array": Case(Any, np.arange(3), "[0,1,2]"),
    "int_keys": Case(dict[int, str], {1: "a"}, {"1": "a"}),
    # Without a declared type, only objects and media are more than their text.
    "undeclared_list": Case(Any, [1, "a"], '[1,"a"]'),
    "undeclared_int": Case(Any, 2**100, str(2**100)),
    "undeclared_none": Case(Any, None),
    # Media stand beside what they were in, and one alone in a list is itself.
    "nested_image": Case(Any, {"n": 1, "image": Image(PIXELS)}, ['{"n":1,"image":"[image 1]"}', _IMAGE]),
    "list_of_one_image": Case(Any, [Image(PIXELS)], _IMAGE),
}


def _returning(name: str, case: Case) -> Any:
    async def function() -> Any:
        return case.returns

    function.__annotations__["return"] = case.declares
    return tool(name=name)(function)


# Where a command line looks for tools.
globals().update({f"case_{name}": _returning(name, case) for name, case in CASES.items()})


@tool
def echo(value: dict[str, Any]) -> dict[str, Any]:
    """Gives back what it gets."""
    return value


@tool(name="infinite")
def infinite() -> float:
    """Returns what JSON cannot write, and a text is not what it declares."""
    return math.inf


@tool
def fail(how: str) -> str:
    """Fails in many ways."""
    if how == "bridge":
        raise ValidationError("it is too long", details={"limit": "5", "place": "é"})
    if how == "retryable":
        raise Busy("try again")
    raise KeyError(how)


@tool
async def ask(ctx: ToolContext) -> dict[str, Any]:
    """Asks, and gives back the answer."""
    answer = await ctx.ask("Which one?", QUESTION)
    return {"action": answer.action, "content": answer.content}
