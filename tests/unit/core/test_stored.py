"""What a durable store has kept of a hub."""

import dataclasses

import pytest

from grpc_tool_bridge.core.stored import StoredCall, StoredRun, StoredSession, StoredState


def test_a_session_that_has_nothing_shares_nothing_with_another() -> None:
    first, second = StoredSession("a", 1.0, {}), StoredSession("b", 2.0, {})
    first.agents["x"] = None  # type: ignore[assignment]  # any will do
    first.runs.append(StoredRun("r", "x", b"", 1.0))
    first.runs[0].chunks.append((b"", True))
    assert (second.agents, second.runs, second.variables) == ({}, [], [])
    assert StoredRun("s", "x", b"", 1.0).chunks == []


def test_a_state_and_a_call_stay_as_they_are() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        StoredState("e", 1, [], {}).epoch = "f"  # type: ignore[misc]  # that is the point
    with pytest.raises(dataclasses.FrozenInstanceError):
        StoredCall(b"", None).answer = None  # type: ignore[misc]  # likewise
