"""Makes the calls of a recording to a real hub, and compares its answers with the recorded ones."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpc_tool_bridge.client.bridge import GRPCToolBridge
from grpc_tool_bridge.config import BATCH_TIMEOUT, STREAM_TIMEOUT
from grpc_tool_bridge.errors import ToolBridgeError, error_info
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.testing.recording import entries
from grpc_tool_bridge.testing.recording.differences import differences, leaves_of, listed
from grpc_tool_bridge.testing.recording.messages import Slots, write_message
from grpc_tool_bridge.testing.recording.recording import RecordedCall, RecordedSession, Recording
from grpc_tool_bridge.testing.recording.scribe import SessionState
from grpc_tool_bridge.values.redaction import REDACTED

# What differs from run to run, or tells how something was done.
_NOT_COMPARED = frozenset({"metrics", "stacktrace"})


def assert_plays(recording: Recording, address: str) -> None:
    """Makes the calls of a recording to the hub at an address, in order, and checks that it answers as recorded.

    Calls of tools, streams, batches and variables are made; those with a secret in them, watches, agents, and calls
    that were cancelled are not.

    Args:
        recording: The recording.
        address: The hub.

    Raises:
        AssertionError: An answer is not as recorded; the text names each such call, and what differs.
        ToolBridgeError: The hub cannot be reached.
    """
    # In a thread, since the caller may have an event loop that runs.
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(asyncio.run, _played(recording, address)).result()
    assert not found, "\n".join([f"{recording.path} was not answered as recorded:", *found])  # noqa: S101 - its purpose


async def _played(recording: Recording, address: str) -> list[str]:
    found: list[str] = []
    for session in recording.sessions:
        async with GRPCToolBridge(address) as bridge:
            await bridge.initialize(metadata=session.opened.get("metadata") or None)
            found += await _played_session(recording, session, bridge)
    return found


async def _played_session(recording: Recording, session: RecordedSession, bridge: GRPCToolBridge) -> list[str]:
    found: list[str] = []
    state = SessionState()
    for call in session.calls:
        end = call.end
        if call.is_nested or call.method not in _MADE or end is None or end.content == "cancelled":
            continue
        if REDACTED in str(call.request):
            continue
        request = recording.message(METHODS[call.method].request, call.request, call.exact)
        request.session_id = bridge.session_id
        differing = _different(call, await _answers(call, request, bridge, state), session)
        if differing:
            found.append(f"{call}: {call.method} {call.request.get('tool_id', '')}\n{differing}")
    return found


async def _answers(call: RecordedCall, request: Any, bridge: GRPCToolBridge, state: SessionState) -> list[Any]:
    """Makes a call; returns its answers as JSON, without what differs from run to run."""
    caller = bridge.client.caller
    try:
        if METHODS[call.method].response_streaming:
            messages = [message async for message in caller.stream(call.method, request, timeout=STREAM_TIMEOUT)]
        else:
            messages = [await caller.unary(call.method, request, BATCH_TIMEOUT)]
    except ToolBridgeError as error:
        return [_plain(error_info(error), bridge, state)]
    return [_plain(message, bridge, state) for message in messages]


def _plain(message: Any, bridge: GRPCToolBridge, state: SessionState) -> tuple[Any, Any]:
    slots = Slots()
    own = bridge.session_id or ""

    def clean(place: str, value: Any) -> Any:
        if place == "message" and isinstance(value, str) and value.isdecimal():
            return str(state.revision(int(value)))
        return value.replace(own, REDACTED) if isinstance(value, str) else value

    return write_message(message, slots, clean, state.revision), slots.exact


def _different(call: RecordedCall, answers: list[Any], session: RecordedSession) -> str:
    wanted = [event for event in call.events if event.kind in {entries.ANSWER, entries.CHUNK, entries.ERROR}]
    if len(wanted) != len(answers):
        return f"  {len(wanted)} messages were recorded, and {len(answers)} came"
    for event, (written, exact) in zip(wanted, answers, strict=True):
        recorded = leaves_of(_compared(event.content), event.exact, session.tools)
        # The id of the session may be anywhere.
        recorded = {
            place: value.replace(str(session), REDACTED) if isinstance(value, str) else value
            for place, value in recorded.items()
        }
        found = differences(recorded, leaves_of(_compared(written), exact, session.tools))
        if found:
            return listed(found).replace("called with", "answered with").replace("called without", "answered without")
    return ""


def _compared(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _compared(item) for name, item in value.items() if name not in _NOT_COMPARED}
    return value


_MADE = frozenset(
    {
        "ExecuteTool", "StreamTool", "BatchExecuteTools", "GetSessionVariable", "SetSessionVariable",
        "DeleteSessionVariable", "ListSessionVariables",
    }
)  # fmt: skip
