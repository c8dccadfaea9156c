"""Which request a question of a tool belongs to.

All requests of a session share a client of the hub. So the task that makes a call says, by ``answered_by``, who answers
the questions of the tool, and of the tools that it calls.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from grpc_tool_bridge.transport.stubs import Answerer

_answerer: ContextVar[Answerer | None] = ContextVar("answerer", default=None)


class RequestAnswerers:
    """Finds who answers the questions of a call by the request that makes it; an ``Answerers``."""

    def here(self) -> Answerer | None:
        """See ``Answerers``."""
        return _answerer.get()


@contextlib.contextmanager
def answered_by(answerer: Answerer | None) -> Iterator[None]:
    """Says who answers the questions of the calls that the running task makes in the block; None: nobody can."""
    token = _answerer.set(answerer)
    try:
        yield
    finally:
        _answerer.reset(token)
