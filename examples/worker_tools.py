"""A tool for workers: it is CPU-bound, so it runs in its own processes.

::

    grpc-tool-bridge worker examples/worker_tools.py
"""

import math

from grpc_tool_bridge import tool


@tool(executor="process", idempotent=True)
def count_primes(start: int, stop: int) -> int:
    """Counts the primes from ``start`` up to, but not including, ``stop``.

    Args:
        start: The first number.
        stop: The end of the range, exclusive.
    """
    if stop < start:
        raise ValueError(f"the range ends at {stop:,}, before its start at {start:,}")
    return sum(_is_prime(number) for number in range(max(start, 2), stop))


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
