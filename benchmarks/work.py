"""The work that the bridge and its bare peers both do."""

import random
from collections.abc import AsyncGenerator, Iterator
from itertools import count

from grpc_tool_bridge import Tool, tool

CHUNK_BYTES = 64 * 1024
_HEADER_BYTES = 16

# Chunks differ by their header and take turns with these bodies. So each is new, and all of it can be checked at the
# cost of one comparison of memory.
_BODIES = tuple(random.Random(seed).randbytes(CHUNK_BYTES - _HEADER_BYTES) for seed in range(8))


class WrongAnswerError(Exception):
    """What came back is not what was asked for, so the time it took means nothing."""


async def add(a: int, b: int) -> int:
    """Adds two integers."""
    return a + b


async def chunks(seed: int, number: int) -> AsyncGenerator[bytes, None]:
    """Yields ``number`` chunks of 64 KiB, each unlike any other."""
    for index in range(number):
        yield _header(seed, index) + _BODIES[index % len(_BODIES)]


def check_chunk(chunk: bytes, seed: int, index: int) -> None:
    """Raises WrongAnswerError unless ``chunk`` is the one that ``chunks`` yields at ``index``."""
    body = _BODIES[index % len(_BODIES)]
    if len(chunk) != CHUNK_BYTES or not chunk.startswith(_header(seed, index)) or not chunk.endswith(body):
        raise WrongAnswerError(f"chunk {index} of the stream {seed} has other bytes than were sent")


def check_sum(a: int, b: int, answer: object) -> None:
    """Raises WrongAnswerError unless ``answer`` is the sum."""
    if answer != a + b:
        raise WrongAnswerError(f"{a} + {b} was answered with {answer!r}")


def pairs() -> Iterator[tuple[int, int]]:
    """Yields pairs of integers, none of them twice."""
    return ((number, number * 7 + 3) for number in count(1_000))


def make_tools(number: int) -> list[Tool]:
    """Makes ``chunks`` and so many tools that add: ``add``, ``add_1``, ``add_2`` and so on."""
    adders = [tool(add)] + [tool(name=f"add_{index}")(add) for index in range(1, number)]
    return [*adders, tool(chunks)]


def _header(seed: int, index: int) -> bytes:
    return seed.to_bytes(8, "big") + index.to_bytes(8, "big")
