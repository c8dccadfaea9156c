"""Writes entries as lines: stable ids instead of random ones, and nothing that is secret."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing.recording.entries import ANSWER, CALL, LOG, MODEL, TOOL, CallLog, Entry, SessionLog
from grpc_tool_bridge.testing.recording.lines import OWN_SESSION, number_text
from grpc_tool_bridge.testing.recording.messages import Slots, write_message
from grpc_tool_bridge.values.redaction import Redactor

# An id that a program has made, alone or behind a word: those that people choose are the same in the next run.
_MADE_ID = re.compile(
    r"(?<![0-9A-Za-z])(?:[a-z]+-)?"
    r"(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{12,64})(?![0-9A-Za-z])"
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,16}\b")
_LAST_NAME = re.compile(r"([^.\[\]]+)(?:\[\d+\])*$")

# Metadata that is different for each call.
_TRACES = ("traceparent", "tracestate")

# Ids of one session that are remembered.
MAX_IDS = 100_000


@dataclass(slots=True)
class SessionState:
    """What the lines of one session need to know of earlier ones.

    Attributes:
        ids: What stands for its random ids.
        revisions: What stands for the revisions of its variables.
        secrets: Its secret variables.
    """

    ids: dict[str, str] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def revision(self, number: int) -> int:
        """Returns the number that stands for a revision: its place among those that were seen."""
        return self.revisions.setdefault(number, len(self.revisions) + 1) if number else 0

    def add_id(self, random: str, stable: str) -> None:
        """Makes an id known if it is a random one."""
        if _MADE_ID.fullmatch(random) and len(self.ids) < MAX_IDS:
            self.ids.setdefault(random, stable)


class Scribe:
    """Writes entries as lines.

    Args:
        redactor: Removes what is secret.
        store: Stores the content of a large value; arguments: its name and the content.
    """

    def __init__(self, redactor: Redactor, store: Callable[[str, bytes], None]) -> None:
        self._redactor = redactor
        self._store = store
        self._workers: dict[str, str] = {}

    def add_worker(self, worker_id: str) -> None:
        """Makes the id of a worker known, which errors may name."""
        self._workers.setdefault(worker_id, f"worker-{len(self._workers) + 1}")

    def line(self, entry: Entry) -> dict[str, Any]:
        """Returns the line of an entry."""
        session, call, message = entry.session, entry.call, entry.message()
        state = _state_of(session)
        line: dict[str, Any] = {"at": entry.at, "session": f"session-{session.number}"}
        if call is not None:
            line["call"] = number_text(call.number)
        if entry.kind == CALL and call is not None:
            _learn_request(state, call, message)
            if len(call.number) > 1:
                line["within"] = number_text(call.number[:-1])
            line["method"] = call.method
        elif entry.kind == ANSWER and call is not None:
            _learn_answer(state, call, message)
        while True:
            known, slots = self._redactor.known, Slots()
            written = self._written(entry, message, state, slots)
            # A secret may be named after a text in which it is.
            if self._redactor.known == known:
                break
        for name, data in slots.files.items():
            self._store(name, data)
        if isinstance(written, dict) and call is not None and written.get("run_id") == number_text(call.number):
            # The id that its caller has made for this run.
            del written["run_id"]
        line["request" if entry.kind == CALL else entry.kind] = written
        if slots.exact:
            line["exact"] = slots.exact
        return line

    def _written(self, entry: Entry, message: Any, state: SessionState, slots: Slots) -> Any:
        if isinstance(message, Message):
            return self._message(entry, message, state, slots)
        if entry.kind == MODEL:
            return self._clean(message, state, forms=True)
        # How a stream ended.
        return message

    def _message(self, entry: Entry, message: Message, state: SessionState, slots: Slots) -> dict[str, Any]:
        method = entry.call.method if entry.call is not None else ""
        secret_variable = entry.secret or _names_secret(message, state) or self._is_secret_variable(message)
        if isinstance(message, pb.SetVariableRequest) and secret_variable:
            state.secrets.add(message.variable_name)
        forms = entry.kind != TOOL
        if isinstance(message, pb.ToolCallRequest | pb.ToolStreamRequest):
            for name in _TRACES:
                message.context.pop(name, None)
        if isinstance(message, pb.AgentExecutionChunk):
            message.ClearField("agent_id")
            message.ClearField("run_id")

        def clean(place: str, value: Any) -> Any:
            name = entry.names.get(place) or (_last_name(place) if forms else "")
            if self._redactor.is_secret(name) or (secret_variable and place == "value"):
                return self._redactor.json(value, secret=True)
            if method == "SetSessionVariable" and place == "message" and isinstance(value, str) and value.isdecimal():
                return str(state.revision(int(value)))
            cleaned = self._clean(value, state, forms=forms)
            if entry.kind == LOG or "error" in place:
                return _map_texts(cleaned, lambda text: _ADDRESS.sub(" at 0x…", text))
            return cleaned

        return write_message(message, slots, clean, state.revision)

    def _is_secret_variable(self, message: Message) -> bool:
        name = getattr(message, "variable_name", "") or (message.name if isinstance(message, pb.VariableUpdate) else "")
        return bool(name) and self._redactor.is_secret(name)

    def _clean(self, value: Any, state: SessionState, *, forms: bool) -> Any:
        if isinstance(value, str):
            return self._stable(self._redactor.text(value, forms=forms), state)
        return _map_texts(self._redactor.json(value), lambda text: self._stable(text, state))

    def _stable(self, text: str, state: SessionState) -> str:
        def known(found: re.Match[str]) -> str:
            return state.ids.get(found[0]) or self._workers.get(found[0]) or found[0]

        return _MADE_ID.sub(known, text) if len(text) >= 12 else text  # noqa: PLR2004 - the shortest id


def _state_of(session: SessionLog) -> SessionState:
    if session.state is None:
        session.state = SessionState()
        session.state.add_id(session.session_id, OWN_SESSION)
    state: SessionState = session.state
    return state


def _learn_request(state: SessionState, call: CallLog, request: Any) -> None:
    number = number_text(call.number)
    for name in ("request_id", "stream_id", "batch_id", "run_id", "idempotency_key"):
        made = getattr(request, name, "")
        if made:
            state.add_id(made, number)
    if isinstance(request, pb.SetVariableRequest) and request.metadata.secret:
        state.secrets.add(request.variable_name)


def _learn_answer(state: SessionState, call: CallLog, answer: Any) -> None:
    if isinstance(answer, pb.CreateReActAgentResponse) and answer.agent_id:
        state.ids.setdefault(answer.agent_id, _agent_text(call))
    error_id = answer.error.details.get("error_id", "") if hasattr(answer, "error") else ""
    if error_id:
        state.ids.setdefault(error_id, f"error-{number_text(call.number)[5:]}")


def _agent_text(call: CallLog) -> str:
    """Returns what stands for an agent: named after the call that created it."""
    return f"agent-{number_text(call.number)[5:]}"


def _names_secret(message: Message, state: SessionState) -> bool:
    if isinstance(message, pb.SetVariableRequest):
        return message.metadata.secret or message.variable_name in state.secrets
    if isinstance(message, pb.VariableResponse):
        return message.metadata.secret
    return isinstance(message, pb.VariableUpdate) and message.name in state.secrets


def _last_name(place: str) -> str:
    found = _LAST_NAME.search(place)
    return found[1] if found else ""


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Applies a function to every text of a JSON value, names included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {change(name): _map_texts(item, change) for name, item in value.items()}
    return value
