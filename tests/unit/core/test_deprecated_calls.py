from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.core import deprecated_calls
from grpc_tool_bridge.core.deprecated_calls import DeprecatedCalls


def call(caller: str, name: str = "old", deprecated: str = "use new", run_id: str = "") -> Any:
    parent = SimpleNamespace(tool=SimpleNamespace(name=caller), run_id=run_id)
    return SimpleNamespace(
        parent=parent, tool=SimpleNamespace(name=name, deprecated=deprecated), session=SimpleNamespace(id="s")
    )


def test_each_caller_and_tool_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    calls = DeprecatedCalls()
    for made in (call("a"), call("a"), call("b"), call("a", deprecated=""), call("a", "older"), call("a", run_id="r")):
        calls.note(made)
    assert [record.getMessage() for record in caplog.records] == [
        "the tool a calls the tool old, which is deprecated: use new",
        "the tool b calls the tool old, which is deprecated: use new",
        "the tool a calls the tool older, which is deprecated: use new",
    ]


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deprecated_calls, "MAX_REMEMBERED", 2)
    calls = DeprecatedCalls()
    for caller in "abc":
        calls.note(call(caller))
    assert [key[0] for key in calls._noted] == ["b", "c"]
