"""A runtime reports the requests to its model to a hub that asks for that, within bounds."""

import json
from typing import Any
from unittest.mock import Mock

import pytest

from grpc_tool_bridge.agents.model_reports import MAX_ANSWERS, MAX_MESSAGES, model_reporter
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import MODEL_LOGGER, MODEL_REPORTS_KEY


def call_with(metadata: dict[str, str]) -> IncomingCall:
    call = IncomingCall(1, "ExecuteAgent", b"", 0, metadata, 0)
    call.peer = Mock()
    return call


@pytest.mark.parametrize("context", [LOCAL, call_with({}), call_with({"other": "true"})])
def test_nothing_is_reported_to_a_hub_that_does_not_ask(context: RequestContext) -> None:
    assert model_reporter(context) is None


@pytest.mark.parametrize(
    ("answers", "error", "outcome"),
    [(["a", "b"], "", {"answers": ["a", "b"]}), ([], "ServerError: no", {"error": "ServerError: no"})],
)
def test_a_prompt_and_what_came_of_it_are_one_log_record(
    answers: list[str], error: str, outcome: dict[str, Any]
) -> None:
    call = call_with({MODEL_REPORTS_KEY: "true"})
    report = model_reporter(call)
    assert report is not None

    report([{"role": "user", "content": "hello"}], answers, error)

    ((told, record), _) = call.peer.tell.call_args
    assert (told, record.logger) == (call, MODEL_LOGGER)
    assert json.loads(record.message) == {"messages": [{"role": "user", "content": "hello"}], **outcome}


def test_long_and_many_messages_are_bounded() -> None:
    call = call_with({MODEL_REPORTS_KEY: "true"})
    report = model_reporter(call)
    assert report is not None

    report([{"role": "user", "content": ["\U0001f600" * 100_000]}] * 20, ["\U0001f600" * 100_000] * 9, "")

    ((_, record), _) = call.peer.tell.call_args
    told = json.loads(record.message)
    assert (len(told["messages"]), len(told["answers"])) == (MAX_MESSAGES, MAX_ANSWERS)
    assert record.ByteSize() < 1024 * 1024
