"""The checks at a real hub find a peer that does something wrong there."""

from functools import partial
from typing import Any

import pytest
from conformance.checks import FAILED, PASSED, UNSUPPORTED
from conformance.hub_checks import check_hub

from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkHello
from unit.conformance.fakes import Altered


class Scripted:
    """A peer whose answers to an action are given; it does not have the others."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def ask(self, do: str, **_: Any) -> dict[str, Any]:
        self.asked.append(do)
        return {"id": 1, **self._answers.get(do, {"error": {"type": "Unimplemented", "message": "not yet"}})}


CONNECTED = {"ok": {"session_id": "conformance", "tools": ["echo", "fail", "count", "wait"]}}


def outcomes(peer: Any, name: str) -> dict[str, str]:
    return {one.name: one.outcome for one in check_hub(peer, name)}


def test_a_peer_without_these_actions_is_not_a_failure() -> None:
    found = check_hub(Scripted())
    assert {one.outcome for one in found} == {UNSUPPORTED}
    assert {one.action for one in found} == {"client", "worker"}


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        ({"ok": {"meaning": {"kind": "text", "text": "é"}}}, PASSED),
        ({"ok": {"meaning": {"kind": "text", "text": "Ã©"}}}, FAILED),
        ({"ok": {}}, FAILED),
        ({"error": {"type": "ToolNotFound", "message": "no"}}, FAILED),
    ],
)
def test_the_answer_to_a_call_is_compared(call: Any, outcome: str) -> None:
    found = outcomes(Scripted(connect=CONNECTED, call=call), "client calls: by position")
    assert found == {
        "client hello: opens a session and reads its tools": PASSED,
        "client calls: by position": outcome,
    }


def test_an_error_of_the_wrong_origin_is_found() -> None:
    error = {"error": {"type": "ValueError", "message": "no such thing", "origin": "bridge"}}
    (_, found) = check_hub(Scripted(connect=CONNECTED, call=error), "client errors: raised")
    assert found.outcome == FAILED
    assert "'origin': 'bridge'" in found.detail


def test_items_in_another_order_are_found() -> None:
    items = [{"kind": "integer", "text": str(number)} for number in reversed(range(1_000))]
    found = outcomes(Scripted(connect=CONNECTED, stream={"ok": {"items": items}}), "client streams: reads")
    assert found["client streams: reads one"] == FAILED


def test_a_part_of_the_tools_is_found() -> None:
    found = outcomes(Scripted(connect={"ok": {"session_id": "conformance", "tools": ["echo"]}}), "client hello")
    assert found == {"client hello: opens a session and reads its tools": FAILED}


def test_a_worker_whose_hello_limits_the_calls_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.link.dialer.LinkHello", partial(LinkHello, capacity=7))
    peer = Altered()
    found = outcomes(peer, "worker calls: nested ones")
    assert "ok" in peer.ask("stop_serving")
    assert found == {
        "worker tools: registers them": PASSED,
        "worker calls: nested ones on a worker that is full": FAILED,
    }
