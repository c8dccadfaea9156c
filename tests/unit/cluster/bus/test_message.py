"""Messages of the stream, as the answers of JetStream hold them."""

import base64
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.cluster.bus.message import EXPECTED_LAST, Message, from_api, from_direct, keep_for
from grpc_tool_bridge.errors import StoreError


def test_a_message_is_read_from_the_answer_of_the_leader() -> None:
    headers = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 7\r\nBridge-Id: a:b\r\n\r\n"
    found = from_api(
        {
            "subject": "c.s.x",
            "seq": 8,
            "hdrs": base64.b64encode(headers).decode(),
            "data": base64.b64encode(b"\x00\xff").decode(),
        }
    )
    assert (found.subject, found.sequence, found.data) == ("c.s.x", 8, b"\x00\xff")
    assert (found.previous, found.message_id) == (7, "a:b")


def test_a_message_without_headers_or_data_is_read() -> None:
    found = from_api({"subject": "c.s.x", "seq": 8})
    assert (found.data, found.previous, found.message_id) == (b"", None, None)


def test_a_message_is_kept_for_whole_seconds_at_least_one() -> None:
    assert keep_for(0.2) == {"Nats-TTL": "1s"}
    assert keep_for(86_400.4) == {"Nats-TTL": "86400s"}


@pytest.mark.parametrize("expected", ["", "abc", "-1", "\u0663", "9" * 5_000])
def test_what_a_sender_expected_is_nothing_if_it_is_no_number(expected: str) -> None:
    assert Message("s", 5, b"", {EXPECTED_LAST: expected}).previous is None


@pytest.mark.parametrize("headers", [None, {}, {"Nats-Subject": "s"}, {"Nats-Subject": "s", "Nats-Sequence": "x"}])
def test_an_answer_whose_headers_cannot_be_read_is_an_error_of_the_store(headers: Any) -> None:
    with pytest.raises(StoreError, match="no hub has sent it"):
        from_direct(SimpleNamespace(headers=headers, data=b""))  # type: ignore[arg-type]
