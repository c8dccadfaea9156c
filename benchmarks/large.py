"""The figure of a large argument, and the arguments."""

import functools
import mmap
import random
import statistics
import time
from collections.abc import Sequence
from itertools import count

from benchmarks.processes import link_bridge, running
from benchmarks.timing import Plan, Sample, in_rounds, ratios
from benchmarks.work import WrongAnswerError

PAYLOAD_BYTES = 9_000_000
_HEADER_BYTES = 8


def payload(number: int) -> bytes:
    """Makes an argument of 9 MB, unlike that of any other number."""
    return number.to_bytes(_HEADER_BYTES, "big") + _body()


def check_size(answer: object) -> None:
    """Raises WrongAnswerError unless ``answer`` is the length of an argument."""
    if answer != PAYLOAD_BYTES:
        raise WrongAnswerError(f"{PAYLOAD_BYTES} bytes arrived as {answer!r}")


async def argument(plan: Plan) -> dict[str, Sample]:
    """An argument of 9 MB to a tool that answers with its length, against one copy of it into fresh memory."""
    numbers = count()
    calls = plan.amount(4, 2)
    async with running("hub") as hub, link_bridge(hub.address) as bridge:
        size = bridge.tools["size"]

        async def link() -> Sequence[float]:
            seconds = []
            for data in [payload(next(numbers)) for _ in range(calls)]:
                start = time.perf_counter()
                answer = await size(data)
                seconds.append(time.perf_counter() - start)
                check_size(answer)
            return seconds

        async def memcpy() -> Sequence[float]:
            return [_copied(payload(next(numbers))) for _ in range(calls)]

        taken = await in_rounds(plan, {"link": link, "memcpy": memcpy})
    medians = {name: [statistics.median(seconds) for seconds in rounds] for name, rounds in taken.items()}
    details = {f"{name}, ms": statistics.median(seconds) * 1e3 for name, seconds in medians.items()}
    return {"large-argument": Sample(ratios(medians["link"], medians["memcpy"]), details)}


@functools.cache
def _body() -> bytes:
    return random.Random(PAYLOAD_BYTES).randbytes(PAYLOAD_BYTES - _HEADER_BYTES)


def _copied(data: bytes) -> float:
    """Copies into memory that comes from the system, as a process gets it for what it receives; returns the seconds."""
    start = time.perf_counter()
    with mmap.mmap(-1, len(data), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as fresh:
        fresh[:] = data
        seconds = time.perf_counter() - start
        if fresh[:] != data:
            raise WrongAnswerError("a copy has other bytes")
    return seconds
