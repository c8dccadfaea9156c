"""The work that both the bridge and its peers do."""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator
from itertools import count, repeat

from grpc_tool_bridge import Tool, ToolContext, tool

CHUNK_BYTES = 64 * 1024
_HEADER_BYTES = 16
# Some 70 ms of a processor's time.
_STEPS = 5_000_000

# Chunks differ by their header and alternate between these bodies. So each is new, and can be checked completely by one
# comparison of memory.
_BODIES = tuple(random.Random(seed).randbytes(CHUNK_BYTES - _HEADER_BYTES) for seed in range(8))


class WrongAnswerError(Exception):
    """The answer is wrong, so its time means nothing."""


async def add(a: int, b: int) -> int:
    """Adds two integers."""
    return a + b


async def add_up(expression: str) -> str:
    """Adds the two integers of a text such as "2 + 3"."""
    a, b = expression.split("+")
    return str(int(a) + int(b))


def add_slowly(a: int, b: int) -> int:
    """Adds two integers by counting up to their sum, which keeps a processor busy."""
    # Floats, since the cost of integers depends on where a process allocates them.
    total = float(a + b - _STEPS)
    for _ in repeat(None, _STEPS):
        total += 1.0
    return int(total)


async def chunks(seed: int, number: int) -> AsyncGenerator[bytes, None]:
    """Yields ``number`` chunks of 64 KiB, each unlike any other."""
    for index in range(number):
        yield _header(seed, index) + _BODIES[index % len(_BODIES)]


async def count_up(number: int) -> AsyncGenerator[int, None]:
    """Counts up to ``number``."""
    for index in range(number):
        yield index


async def report(number: int, ctx: ToolContext) -> int:
    """Reports its progress ``number`` times."""
    for index in range(number):
        ctx.progress(index, number)
        await asyncio.sleep(0)
    return number


async def size(data: bytes) -> int:
    """Returns how many bytes it was given."""
    return len(data)


class Gate:
    """A tool whose calls wait until they are released.

    Attributes:
        inside: How many wait.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._open = asyncio.Event()

    async def wait(self, a: int, b: int) -> int:
        """Adds two integers once it is released."""
        self.inside += 1
        try:
            await self._open.wait()
        finally:
            self.inside -= 1
        return a + b

    def let_out(self) -> None:
        """Releases waiting and later calls."""
        self._open.set()


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
    """Yields pairs of integers, all of them different."""
    return ((number, number * 7 + 3) for number in count(1_000))


def make_tools(number: int, gate: Gate) -> list[Tool]:
    """Makes one tool of each kind, the gate's ``wait``, and so many ``add``, ``add_1`` and so on."""
    adders: list[Tool] = [tool(add)] + [tool(name=name)(add) for name in adder_names(number)[1:]]
    streams: list[Tool] = [tool(chunks), tool(name="count")(count_up), tool(report)]
    return [*adders, *streams, tool(size), tool(gate.wait), tool(executor="process")(add_slowly)]


def adder_names(number: int) -> list[str]:
    """Names so many tools that add."""
    return ["add", *(f"add_{index}" for index in range(1, number))]


def _header(seed: int, index: int) -> bytes:
    return seed.to_bytes(8, "big") + index.to_bytes(8, "big")
