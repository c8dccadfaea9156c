"""What the lease of a hub tells, as it is stored."""

import json
import math
from typing import Any

import pytest

from grpc_tool_bridge.cluster.members.hub_record import MAX_CHARS, HubRecord, decoded
from grpc_tool_bridge.core.infos import set_time
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HubInfo


def test_a_record_is_read_as_it_was_written_without_what_is_unknown_or_of_another_type() -> None:
    record = HubRecord("i", "name", "h:1", "h:2", "1.0", 5.5, 3, 4, 600, True, "over")
    data = json.loads(record.encoded())
    data["unknown"] = 1
    assert decoded("i", json.dumps(data).encode(), 9) == HubRecord(
        "i", "name", "h:1", "h:2", "1.0", 5.5, 3, 4, 600, True, "over", sequence=9
    )
    data["room"] = "many"
    assert decoded("i", json.dumps(data).encode(), 9).room == 0


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"null", b"[" * 12_000, b"x" * 1_000_000, b"9" * 9_000])
def test_what_cannot_be_read_is_a_hub_of_which_only_the_life_is_known(data: bytes) -> None:
    assert decoded("i", data, 9) == HubRecord("i", sequence=9, is_newer=True)


def test_of_a_newer_format_only_whether_it_is_closed_is_read(caplog: pytest.LogCaptureFixture) -> None:
    found = decoded("i", b'{"format": 2, "name": "x", "closed": "over"}', 9)
    assert found == HubRecord("i", closed="over", sequence=9, is_newer=True)
    assert "has format 2, and this hub knows 1; update this hub" in caplog.text


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07", "\ud800", "a\r\nERROR forged", "x" * 15_000, "\u202eevil"])
def test_no_text_of_a_lease_can_disturb_a_terminal_a_log_or_an_answer(text: str) -> None:
    names = ("name", "address", "http_address", "version", "closed")
    found = decoded("i", json.dumps({"format": 1, **dict.fromkeys(names, text)}).encode(), 9)
    for name in names:
        read = getattr(found, name)
        assert read.isprintable()
        assert len(read) <= MAX_CHARS
    HubInfo(name=found.name, address=found.address, reason=found.closed)


@pytest.mark.parametrize("number", [10**30, -1, math.nan, math.inf, -math.inf, 1e300, True, "5", [1], {}])
def test_no_number_of_a_lease_is_too_large_to_be_told(number: Any) -> None:
    data = json.dumps({"format": 1, **dict.fromkeys(("started", "room", "sessions", "reserved"), number)}).encode()
    found = decoded("i", data, 9)
    told = HubInfo(room=found.room, sessions=found.sessions)
    set_time(told.started_at, found.started)
    assert min(told.room, told.sessions, found.reserved, found.started) >= 0
    assert found.reserved <= 2**62


def test_an_absurd_format_is_said_in_a_few_letters(caplog: pytest.LogCaptureFixture) -> None:
    assert decoded("i", json.dumps({"format": "\x1b[2J" + "x" * 9_000, "closed": [1]}).encode(), 9).closed == ""
    assert "\x1b" not in caplog.text
    assert len(caplog.text) < 1_000
