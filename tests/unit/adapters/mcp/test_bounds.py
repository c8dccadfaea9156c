import time

import pytest

from grpc_tool_bridge.adapters.mcp.bounds import Bucket, one_line, shown_name


def test_a_bucket_gives_what_it_has_and_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bucket = Bucket(rate=2, burst=3)
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    assert bucket.is_empty
    now[0] += 1
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] += 1_000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_texts_of_a_server_stay_on_one_line_and_leave_the_terminal_alone() -> None:
    assert one_line("a\x1b[2Jb\r\n2026 ERROR c\u2028d\x9be\tf") == "a[2Jb2026 ERROR cde\tf"
    assert shown_name("x\n" * 1_000_000) == "x" * 64 + "…"
