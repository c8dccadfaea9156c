"""Whether and when a failed call is tried again."""

import random
from collections.abc import Iterator

from grpc_tool_bridge.errors import ToolBridgeError, ToolExecutionError

# The first wait before a further try, doubled for each, up to the last; each is shortened at random, so that callers
# who failed together do not come back together.
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0
# Who is told to wait longer than this is better told so at once.
RETRY_AFTER_LIMIT = 3_600.0


def is_retryable(error: ToolBridgeError) -> bool:
    """Tells whether the same call may succeed later: UNAVAILABLE, DEADLINE_EXCEEDED, or an answer marked retryable."""
    return error.retryable


def is_of_the_tool(error: ToolBridgeError) -> bool:
    """Tells whether the tool ran and raised this: no answer was lost."""
    return isinstance(error, ToolExecutionError) and error.details.get("origin") == "tool"


def back_off() -> Iterator[float]:
    """Yields the seconds to wait before each further try, without end."""
    wait = RETRY_FIRST_SECONDS
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        wait = min(wait * 2, RETRY_LAST_SECONDS)
