"""Log lines of a tool's process."""

import asyncio
import logging

import pytest

from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord
from grpc_tool_bridge.runner.logs import MAX_BURST, PipeHandler, log_here
from support.patience import PATIENCE


async def test_a_flood_is_cut_and_told_of_once() -> None:
    sent: list[LogRecord] = []
    told = asyncio.Event()

    def post(record: LogRecord) -> None:
        sent.append(record)
        if "were dropped" in record.message:
            told.set()

    handler = PipeHandler(asyncio.get_running_loop(), post)
    logger = logging.getLogger("flood")
    logger.propagate = False
    logger.addHandler(handler)
    for number in range(MAX_BURST * 20):
        logger.warning("line %d %s", number, "x" * 10_000)
    async with asyncio.timeout(PATIENCE):
        await told.wait()
    assert len(sent) < MAX_BURST * 10
    assert max(len(record.message) for record in sent) < 5_000
    assert sum("were dropped" in record.message for record in sent) == 1


def test_a_record_keeps_level_and_logger_and_makes_no_logger(caplog: pytest.LogCaptureFixture) -> None:
    log_here(LogRecord(level="error", logger="never.made.here", message="m %s", fields={"traceback": "T"}), 7)
    (record,) = caplog.records
    assert (record.levelname, record.name, record.getMessage(), record.process) == (
        "ERROR",
        "never.made.here",
        "m %s",
        7,
    )
    assert record.exc_text == "T"
    assert "never.made.here" not in logging.root.manager.loggerDict
