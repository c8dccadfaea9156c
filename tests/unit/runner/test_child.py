"""What a spawned process does, as far as it can be seen without one; the tests of the processes show the rest."""

import threading
from collections.abc import Iterator

import pytest

from grpc_tool_bridge.aio.portal import Portal
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCall, LogRecord, Progress
from grpc_tool_bridge.runner.child import MAX_EVENT_BACKLOG, Child, Job


class FullPipe:
    """A pipe whose other end takes nothing."""

    def __init__(self) -> None:
        self.posted: list[Envelope] = []
        self.backlog = 0

    def post(self, envelope: Envelope) -> None:
        self.posted.append(envelope)
        self.backlog += MAX_EVENT_BACKLOG // 2


@pytest.fixture
def child() -> Iterator[Child]:
    portal = Portal()
    yield Child(portal, max_depth=100, max_message_bytes=1_000)
    portal.close()


def test_events_that_nobody_takes_are_dropped(child: Child) -> None:
    pipe = FullPipe()
    child._pipe = pipe  # type: ignore[assignment]  # no more of a pipe than is used
    job = Job(5, LinkCall(), threading.Semaphore(0))
    for event in (Progress(current=1), LogRecord(message="m"), Progress(current=2)):
        child._tell(job, event)
    first, second = pipe.posted
    assert (first.id, first.event.progress.current) == (5, 1)
    assert second.event.log.message == "m"
