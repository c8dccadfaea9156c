"""Lines of an audit trail for people."""

import pytest

from grpc_tool_bridge.cli.audit_text import show_line


def test_a_refused_authentication_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    show_line(
        {
            "time": "2026-12-01T00:15:08.720448771Z",
            "event": "decision",
            "action": "authenticate",
            "who": None,
            "resource": "",
            "allowed": False,
            "reason": "the token has expired\x1b[0m",
            "peer": "ipv4:10.0.0.7:1",
        }
    )

    shown = capsys.readouterr().out
    assert "authenticate" in shown
    assert "denied  'reason=the token has expired\\x1b[0m'  peer=ipv4:10.0.0.7:1" in shown
