"""Lines of the log, and what tools report, on their way into the event loop."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.core import log_lines
from grpc_tool_bridge.core.log_lines import MAX_MESSAGE_CHARS, LogLines, Report
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress

LOG = logging.getLogger("grpc_tool_bridge.here")


class Taken:
    """What was handed on, and what was lost."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.for_all: list[bool] = []
        self.lost = 0
        self.lines = LogLines(self.take, self.lose)

    def take(self, report: Report) -> None:
        self.reports.append(report.of)
        self.for_all.append(report.for_all)

    def lose(self, count: int) -> None:
        self.lost += count

    @property
    def messages(self) -> list[str]:
        return [report.message for report in self.reports if isinstance(report, LogRecord)]


@pytest.fixture
def level() -> Iterator[None]:
    logger = logging.getLogger("grpc_tool_bridge")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(before)


@pytest.fixture
async def taken(level: None) -> Any:
    made = Taken()
    made.lines.follow(on=True)
    yield made
    made.lines.follow(on=False)


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def call_of(session_id: str = "s", *, watched: bool | None = None) -> Any:
    class Call:
        session = SimpleNamespace(id=session_id)

    call: Any = Call()
    call.watched = watched
    return call


async def test_lines_from_info_up_are_taken_with_what_they_say(taken: Taken) -> None:
    LOG.debug("too low")
    LOG.info("one of %d", 2, extra={"session_id": "mine"})
    LOG.warning("odd")
    LOG.critical("broken")
    # Other handlers say what is wrong with it.
    broken = {"name": "grpc_tool_bridge.\ud800", "msg": "%d", "args": ("no number",), "levelno": logging.ERROR}
    taken.lines._handler.handle(logging.makeLogRecord(broken))
    await turn()
    assert [(line.level, line.message) for line in taken.reports] == [
        ("info", "one of 2"),
        ("warning", "odd"),
        ("error", "broken"),
        ("error", "a line that cannot be formatted"),
    ]
    first = taken.reports[0]
    assert (first.logger, first.fields) == ("grpc_tool_bridge.here", {"session_id": "mine"})
    assert first.timestamp.seconds > 0


async def test_a_long_line_is_cut(taken: Taken) -> None:
    LOG.info("x" * 100_000)
    await turn()
    (message,) = taken.messages
    assert message.startswith("x" * MAX_MESSAGE_CHARS)
    assert len(message) < MAX_MESSAGE_CHARS + 100


async def test_other_threads_bring_theirs(taken: Taken) -> None:
    thread = threading.Thread(target=LOG.info, args=("from a thread",))
    thread.start()
    thread.join()
    await turn()
    assert taken.messages == ["from a thread"]


async def test_a_tools_line_comes_once_with_its_session(taken: Taken) -> None:
    logging.getLogger("grpc_tool_bridge.tool").info("add: hello")
    record = LogRecord(message="hello", logger="add")
    taken.lines.take(record, call_of("mine"))
    await turn()
    (line,) = taken.reports
    assert (line.message, line.fields) == ("hello", {"session_id": "mine"})
    # It may be on its way to the caller.
    assert not record.fields


async def test_a_call_whose_tool_reports_often_is_told_once_a_turn(taken: Taken) -> None:
    call, other = call_of(), call_of()
    for _ in range(3):
        taken.lines.take(Progress(), call)
    taken.lines.take(Progress(), other)
    await turn()
    taken.lines.take(Progress(), call)
    await turn()
    assert taken.reports == [call, other, call]


async def test_what_calls_outside_the_sample_report_is_not_for_all(taken: Taken) -> None:
    LOG.info("of the hub")
    for watched in (None, False, True):
        taken.lines.take(LogRecord(message=str(watched)), call_of(watched=watched))
        taken.lines.take(Progress(), call_of(watched=watched))
    await turn()
    assert taken.for_all == [True, *[False] * 4, True, True]


async def test_what_handing_on_logs_itself_is_not_told(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def take(report: Report) -> None:
        seen.append(report.of)
        LOG.info("took one")

    monkeypatch.setattr(taken.lines, "_take", take)
    LOG.info("first")
    await turn()
    await turn()
    assert [line.message for line in seen] == ["first"]


async def test_too_many_lines_lose_the_oldest_and_are_counted(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(log_lines.MAX_WAITING + 5):
        LOG.info("line %d", number)
    await turn()
    assert taken.lost == 5
    assert (len(taken.messages), taken.messages[0]) == (log_lines.MAX_WAITING, "line 5")
    LOG.info("one more")
    await turn()
    assert taken.lost == 5


async def test_nothing_is_taken_once_it_ends(level: None) -> None:
    taken = Taken()
    taken.lines.follow(on=True)
    taken.lines.follow(on=True)
    taken.lines.follow(on=False)
    LOG.info("late")
    await turn()
    assert taken.reports == []


def test_lines_for_a_loop_that_is_closed_are_dropped(level: None) -> None:
    taken = Taken()

    async def follow() -> None:
        taken.lines.follow(on=True)

    asyncio.run(follow())
    LOG.info("nobody hears")
    assert taken.reports == []

    async def leave() -> None:
        taken.lines.follow(on=False)

    asyncio.run(leave())
