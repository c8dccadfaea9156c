import asyncio
from types import SimpleNamespace
from typing import Any

from grpc_tool_bridge.link.reports import MAX_WAITING, Reports
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord
from support.waiting import until


class Link:
    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []

    def report(self, number: int, event: Any) -> None:
        self.sent.append((number, event.message))


async def test_a_record_of_the_loop_is_sent_at_once() -> None:
    link = Link()
    Reports(SimpleNamespace(link=link, number=7)).send(LogRecord(message="now"))
    assert link.sent == [(7, "now")]


async def test_records_of_threads_are_sent_in_order_and_the_oldest_left_out() -> None:
    link = Link()
    reports = Reports(SimpleNamespace(link=link, number=7))

    def send() -> None:
        for number in range(MAX_WAITING + 5):
            reports.send(LogRecord(message=str(number)))

    thread = asyncio.get_running_loop().run_in_executor(None, send)
    # The loop has no turn until all of them wait.
    while not thread.done() and len(reports._waiting) < MAX_WAITING:
        pass
    await thread
    await until(lambda: not reports._waiting)
    messages = [message for _, message in link.sent]
    assert messages == sorted(messages, key=int)
    assert messages[-1] == str(MAX_WAITING + 4)


async def test_a_record_after_one_that_waits_is_not_sent_before_it() -> None:
    link = Link()
    reports = Reports(SimpleNamespace(link=link, number=7))
    await asyncio.gather(asyncio.to_thread(reports.send, LogRecord(message="first")))
    reports.send(LogRecord(message="second"))
    await until(lambda: not reports._waiting)
    assert [message for _, message in link.sent] == ["first", "second"]
