"""Exponential back-off."""

import random
from collections.abc import Iterator

# The first wait before a retry, doubled each time up to the last; each is shortened at random, so that callers that
# failed together do not retry together.
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0


def back_off() -> Iterator[float]:
    """Yields the seconds to wait before each retry, endlessly."""
    wait = RETRY_FIRST_SECONDS
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        wait = min(wait * 2, RETRY_LAST_SECONDS)
