import math

from grpc_tool_bridge.core.workers.reports import MAX_FIELDS, report_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, LinkEvent, LogRecord, Progress


def test_a_record_cannot_pass_for_one_of_another_logger_or_time() -> None:
    given = LogRecord(level="alarm", logger="grpc_tool_bridge.auth", message="m", fields={"a": "1"})
    given.timestamp.seconds = 10**17
    record = report_of("tool", LinkEvent(log=given))
    assert isinstance(record, LogRecord)
    assert (record.level, record.logger, record.message, dict(record.fields)) == ("info", "tool", "m", {"a": "1"})
    record.timestamp.ToDatetime()


def test_a_record_is_limited() -> None:
    given = LogRecord(message="x" * 500_000, fields={f"{number:03}": "y" * 5_000 for number in range(2 * MAX_FIELDS)})
    record = report_of("tool", LinkEvent(log=given))
    assert isinstance(record, LogRecord)
    assert sorted(record.fields) == [f"{number:03}" for number in range(MAX_FIELDS)]
    assert record.ByteSize() < given.ByteSize() / 2


def test_progress_has_numbers() -> None:
    found = report_of("tool", LinkEvent(progress=Progress(current=math.nan, total=math.inf, message="half")))
    assert found == Progress(message="half")


def test_other_events_are_no_reports() -> None:
    assert report_of("tool", LinkEvent(ask=Ask(id="1"))) is None
    assert report_of("tool", LinkEvent()) is None
