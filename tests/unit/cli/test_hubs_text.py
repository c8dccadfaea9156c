"""What ``hubs`` prints."""

from typing import Any

import pytest

from grpc_tool_bridge.cli import hubs_text
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


def hub(**fields: Any) -> pb.HubInfo:
    given: dict[str, Any] = {"name": "h1", "state": "serving", "sessions": 3, "room": 9}
    info = pb.HubInfo(**{**given, **fields})
    info.time.FromSeconds(1)
    return info


def test_a_row_has_a_cell_for_each_column_and_no_counts_of_a_hub_that_is_silent() -> None:
    row = hubs_text.row(hub(), answered=True)
    assert len(row) == len(hubs_text.COLUMNS)
    assert row[5] == 3
    silent = hubs_text.row(hub(), answered=False)
    assert len(silent) == len(hubs_text.COLUMNS)
    assert silent[5] == ""
    assert str(silent[1]) == "serving, silent"
    assert "(asked)" in str(hubs_text.row(hub(is_self=True), answered=True)[0])


def test_programs_get_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    facts = hubs_text.facts(hub(clock_ahead_us=1_500_000), answered=True)
    fields = set(pb.HubInfo.DESCRIPTOR.fields_by_name) - {"clock_ahead_us"}
    assert set(facts) == fields | {"answered", "clock_ahead"}
    assert facts["clock_ahead"] == 1.5
    assert facts["started_at"] is None


def test_why_a_hub_does_not_serve_or_has_no_link_stands_beneath_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    cut_off = hub(state="cut off", reason="no\nNATS", link="connecting", link_error="timed out")
    hubs_text.show([cut_off, hub(name="h2")], [])
    *_, first, second = capsys.readouterr().out.splitlines()
    assert (first, second) == ("h1: cut off: no NATS", "h1: link connecting: timed out")
