"""What the lease of a hub tells, as it is stored."""

import json

import pytest

from grpc_tool_bridge.cluster.hub_record import HubRecord, decoded


def test_a_record_is_read_as_it_was_written_without_what_is_unknown_or_of_another_type() -> None:
    record = HubRecord("i", "name", "h:1", "h:2", "1.0", 5.5, 3, 4, 600, True, "over")
    data = json.loads(record.encoded())
    data["unknown"] = 1
    assert decoded("i", json.dumps(data).encode(), 9) == HubRecord(
        "i", "name", "h:1", "h:2", "1.0", 5.5, 3, 4, 600, True, "over", sequence=9
    )
    data["room"] = "many"
    assert decoded("i", json.dumps(data).encode(), 9).room == 0


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"null"])
def test_what_cannot_be_read_is_a_hub_of_which_only_the_life_is_known(data: bytes) -> None:
    assert decoded("i", data, 9) == HubRecord("i", sequence=9, is_newer=True)


def test_of_a_newer_format_only_whether_it_is_closed_is_read(caplog: pytest.LogCaptureFixture) -> None:
    found = decoded("i", b'{"format": 2, "name": "x", "closed": "over"}', 9)
    assert found == HubRecord("i", closed="over", sequence=9, is_newer=True)
    assert "has format 2, and this hub knows 1; update this hub" in caplog.text
