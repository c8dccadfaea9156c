"""Messages of the stream, as the answers of JetStream hold them."""

import base64

from grpc_tool_bridge.cluster.message import from_api, keep_for


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
