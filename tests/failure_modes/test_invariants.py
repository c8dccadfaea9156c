"""The model of the failure suite sees what it is there for."""

import asyncio
from typing import Any

import pytest

from failure_modes import invariants
from failure_modes.invariants import Effects, Ledger, Writes, is_complete, rises
from grpc_tool_bridge import ToolExecutionError, UnavailableError


async def outcome(result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    return result


async def noted(result: Any) -> Ledger:
    ledger = Ledger()
    await ledger.call("it", outcome(result), deadline=0.0, is_right=lambda value: value == 1)
    assert (ledger.begun, ledger.ended) == (1, 1)
    return ledger


async def test_a_right_result_and_a_typed_error_are_as_they_should_be() -> None:
    right, failed = await noted(1), await noted(UnavailableError("gone"))
    assert (right.right, right.wrong, failed.right, failed.wrong) == (1, [], 0, [])
    assert list(failed.errors) == ["gone"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (2, "it ended with 2"),
        (ToolExecutionError("it", "KeyError", "gone"), "it ended with ToolExecutionError: "),
        (KeyError("gone"), "it ended with KeyError('gone'), which is no error of the bridge"),
        (TimeoutError("late"), "it ended with TimeoutError('late'), which is no error of the bridge"),
    ],
)
async def test_any_other_end_is_wrong(result: Any, text: str) -> None:
    (wrong,) = (await noted(result)).wrong
    assert wrong.startswith(text)


async def test_a_call_that_does_not_end_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "MARGIN", 0.01)
    monkeypatch.setattr(invariants, "_BUSY", 0.0)
    ledger = Ledger()
    never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert not await ledger.call("it", never, deadline=0.01, is_right=bool)
    assert ledger.wrong == ["it has not ended 0.01 s after its deadline of 0.01 s"]


def test_what_took_effect_twice_or_never_is_named() -> None:
    effects = Effects({"a": True, "b": False, "c": True, "d": False})
    assert list(effects.compare({"a": 1, "b": 2, "d": 1})) == [
        "b took effect 2 times",
        "c was acknowledged and never took effect",
    ]


def test_acknowledged_writes_are_in_the_history_in_their_order() -> None:
    writes = Writes([(0, 1), (2, 3)])
    assert list(writes.compare([(0, 1), (1, 2), (2, 3)])) == []
    assert len(list(writes.compare([(0, 1), (1, 2)]))) == 1
    assert len(list(writes.compare([(0, 1), (2, 4)]))) == 1
    assert len(list(writes.compare([(2, 3), (0, 1)]))) == 1
    assert len(list(Writes([(2, 3), (0, 1)]).compare([(0, 1), (2, 3)]))) == 1


def test_a_watch_has_no_gap_and_no_repetition() -> None:
    assert is_complete([(0, 1), (1, 2), (1, 3), (2, 4)])
    assert not is_complete([(0, 1), (2, 2)])
    assert not is_complete([(0, 1), (1, 1)])
    assert not is_complete([(1, 1), (0, 2)])
    assert rises([(0, 1), (0, 1), (4, 5)])
    assert not rises([(1, 2), (0, 1)])
