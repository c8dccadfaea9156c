"""Tools that take what is large, and say what came of it."""

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pydantic import BaseModel

from grpc_tool_bridge import tool


class Point(BaseModel):
    """Something with fields."""

    x: int
    y: int = 0


async def anything(value: Any) -> str:
    """Takes whatever it is given."""
    return type(value).__name__


async def members(value: set[int]) -> int:
    """Takes a set."""
    return len(value)


async def frozen(value: frozenset[Decimal]) -> int:
    """Takes a set of what is made of texts."""
    return len(value)


async def keyed(value: dict[int, int]) -> int:
    """Takes a dict whose keys are numbers."""
    return len(value)


async def pairs(value: set[tuple[int, int]]) -> int:
    """Takes a set of tuples."""
    return len(value)


async def points(value: list[Point]) -> int:
    """Takes many objects."""
    return len(value)


async def choices(value: list[int | str | Point]) -> int:
    """Takes many of several kinds."""
    return len(value)


async def whole(value: int) -> int:
    """Takes a number."""
    return value % 7


async def part(value: Fraction) -> str:
    """Takes a fraction."""
    return str(value)


async def pattern(value: re.Pattern[str]) -> int:
    """Takes a regular expression."""
    return value.groups


async def numbers(count: int) -> list[int]:
    """Gives many numbers."""
    return [1] * count


async def objects(count: int) -> list[Point]:
    """Gives many objects."""
    return [Point(x=number) for number in range(count)]


async def batches(count: int) -> AsyncIterator[list[int]]:
    """Yields many numbers at once."""
    yield [1] * count


@tool(executor="process")
def counted(value: list[int]) -> int:
    """Takes numbers in a process of its own."""
    return len(value)


TOOLS = [
    anything,
    members,
    frozen,
    keyed,
    pairs,
    points,
    choices,
    whole,
    part,
    pattern,
    numbers,
    objects,
    batches,
    counted,
]
