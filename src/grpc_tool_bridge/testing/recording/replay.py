"""Answers requests as a recording says, for a server without a hub, tools or a model."""

import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from grpc_tool_bridge.errors import (
    CallCancelledError,
    SessionNotFoundError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    error_from_info,
    error_info,
)
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.testing.recording import entries
from grpc_tool_bridge.testing.recording.differences import differences, key_of, leaves_of, listed
from grpc_tool_bridge.testing.recording.messages import Slots, write_message
from grpc_tool_bridge.testing.recording.recording import RecordedCall, RecordedEvent, RecordedSession, Recording

MISMATCH = "RecordingMismatch"

# Reading a variable once more than was recorded gives what it gave before.
_REPEATABLE = frozenset({"GetSessionVariable", "ListSessionVariables"})
# What a request calls, by method; other methods call nothing that has a name.
_CALLED = {
    "ExecuteTool": "tool_id", "StreamTool": "tool_id", "GetSessionVariable": "variable_name",
    "SetSessionVariable": "variable_name", "DeleteSessionVariable": "variable_name", "ExecuteAgent": "agent_id",
}  # fmt: skip
# Calls of which the nearest is looked for.
_MAX_COMPARED = 1_000


@dataclass(eq=False, slots=True)
class _Waiting:
    """A recorded call that was not played yet."""

    call: RecordedCall
    leaves: dict[str, Any]
    played: bool = False


@dataclass(eq=False, slots=True)
class Play:
    """A session of a client, and how far the recorded one was played.

    Attributes:
        session: The recorded session.
        begun: Whether any of its calls was played.
        waiting: Its calls by method and by what they call.
        exact: Its calls by method and by what is the same for equal requests.
        last: The last call that was played for each of these.
    """

    session: RecordedSession
    begun: bool = False
    waiting: dict[tuple[str, str], list[_Waiting]] = field(default_factory=lambda: defaultdict(list))
    exact: dict[tuple[str, str | None], deque[_Waiting]] = field(default_factory=lambda: defaultdict(deque))
    last: dict[tuple[str, str | None], RecordedCall] = field(default_factory=dict)

    def take(self, other: "Play") -> None:
        """Becomes the play of another recorded session."""
        self.session, self.begun = other.session, other.begun
        self.waiting, self.exact, self.last = other.waiting, other.exact, other.last


class Replay:
    """Answers requests as a recording says; from any thread.

    Each recorded call is played once. A request that no recorded call is left for is an error that says what differs
    from the nearest one.

    Args:
        recording: The recording.

    Attributes:
        mismatches: The texts of these errors.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.mismatches: list[str] = []
        self._lock = threading.Lock()
        self._plays: dict[str, Play] = {}
        self._taken: set[int] = set()
        self._played: set[RecordedCall] = set()
        self._leaves: dict[RecordedCall, dict[str, Any]] = {}

    def unplayed(self) -> list[str]:
        """Returns the recorded calls that no client has made."""
        with self._lock:
            return [f"{_title(call)}: {call}" for call in self.recording.calls() if call not in self._played]

    # --------------------------------------------------------------------------------------------------- sessions

    def open(self, request: pb.InitializeSessionRequest) -> pb.InitializeSessionResponse:
        """Opens a session: the recorded one of that id, else the next one with the same metadata, else the next."""
        with self._lock:
            session_id = request.session_id or f"replayed-{len(self._plays) + 1}"
            resumed = session_id in self._plays
            if not resumed:
                self._plays[session_id] = self._new_play(self._choose(request))
            specs = self._specs(self._plays[session_id].session)
        return pb.InitializeSessionResponse(
            success=True,
            session_id=session_id,
            resumed=resumed,
            tools=specs,
            tool_count=len(specs),
            capabilities=["streaming", "batch", "variables", "agents"],
        )

    def tools(self, session_id: str) -> list[pb.ToolSpec]:
        """Returns the tools of a session."""
        with self._lock:
            return self._specs(self._play(session_id).session)

    def close(self, session_id: str) -> None:
        """Ends a session."""
        with self._lock:
            self._plays.pop(session_id, None)

    def knows(self, session_id: str) -> bool:
        """Returns whether a session is open."""
        return session_id in self._plays

    def _choose(self, request: pb.InitializeSessionRequest) -> RecordedSession:
        sessions = self.recording.sessions
        if not sessions:
            raise ValidationError(f"the recording {self.recording.path} has no sessions", error_type=MISMATCH)
        if len(self._taken) >= len(sessions):
            # Once more from the beginning.
            self._taken.clear()
        left = [session for session in sessions if session.number not in self._taken]
        metadata = dict(request.metadata)
        same = [session for session in left if session.opened.get("metadata", {}) == metadata]
        chosen = (same or left)[0]
        self._taken.add(chosen.number)
        return chosen

    def _new_play(self, session: RecordedSession) -> Play:
        play = Play(session)
        for call in session.calls:
            if not call.is_nested:
                leaves = self._leaves.get(call)
                if leaves is None:
                    leaves = self._leaves[call] = leaves_of(call.request, call.exact, session.tools)
                waiting = _Waiting(call, leaves)
                called = str(call.request.get(_CALLED.get(call.method, ""), ""))
                play.waiting[call.method, called].append(waiting)
                play.exact[call.method, key_of(waiting.leaves)].append(waiting)
        return play

    def _play(self, session_id: str) -> Play:
        play = self._plays.get(session_id)
        if play is None:
            raise SessionNotFoundError(f"there is no session {session_id!r:.100}; open it with InitializeSession first")
        return play

    def _specs(self, session: RecordedSession) -> list[pb.ToolSpec]:
        return [self.recording.message(pb.ToolSpec, spec, {}) for spec in session.tools.values()]

    # ------------------------------------------------------------------------------------------------------ calls

    def find(self, method: str, request: Any) -> RecordedCall:
        """Returns the recorded call that a request repeats, which is then played.

        Raises:
            SessionNotFoundError: The session is not open.
            ValidationError: No recorded call is left that it could repeat; its type is "RecordingMismatch".
        """
        slots = Slots()
        with self._lock:
            play = self._play(request.session_id)
            found = self._match(play, method, request, slots)
            if found is None and not play.begun:
                found = self._match_elsewhere(play, method, request, slots)
            if found is None:
                text = self._mismatch(play, method, _written(request, play, slots), slots)
                self.mismatches.append(text)
                raise ValidationError(text, error_type=MISMATCH)
            self._played.add(found)
            return found

    def _match(self, play: Play, method: str, request: Any, slots: Slots) -> RecordedCall | None:
        written = _written(request, play, slots)
        leaves = leaves_of(written, slots.exact, play.session.tools)
        key = (method, key_of(leaves))
        same = play.exact.get(key)
        while same:
            waiting = same.popleft()
            if not waiting.played:
                return _take(play, waiting, key)
        for waiting in play.exact.get((method, None), ()):
            if not waiting.played and not differences(waiting.leaves, leaves):
                return _take(play, waiting, key)
        return play.last.get(key) if method in _REPEATABLE else None

    def _match_elsewhere(self, play: Play, method: str, request: Any, slots: Slots) -> RecordedCall | None:
        """Looks in the other sessions that are left: clients may open theirs in another order than was recorded."""
        for session in self.recording.sessions:
            holder = next((one for one in self._plays.values() if one.session is session and not one.begun), None)
            if session is play.session or (session.number in self._taken and holder is None):
                continue
            other = self._new_play(session)
            found = self._match(other, method, request, slots)
            if found is None:
                continue
            if holder is not None:
                holder.take(self._new_play(play.session))
            else:
                self._taken.discard(play.session.number)
                self._taken.add(session.number)
            play.take(other)
            return found
        return None

    def _mismatch(self, play: Play, method: str, written: dict[str, Any], slots: Slots) -> str:
        called = str(written.get(_CALLED.get(method, ""), ""))
        title = f"{method} of {called}" if called else method
        where = f"{play.session} of the recording {self.recording.path}"
        known = play.waiting.get((method, called))
        if not known:
            names = [name for kind, name in play.waiting if kind == method and name]
            return f"{title} is not in {where}{did_you_mean(called, names, n=1)}"
        left = [waiting for waiting in known if not waiting.played]
        if not left:
            times = "once" if len(known) == 1 else f"{len(known):,} times"
            return f"{title} is {times} in {where}, and was called once more"
        leaves = leaves_of(written, slots.exact, play.session.tools)
        found = [(differences(waiting.leaves, leaves), waiting.call) for waiting in left[:_MAX_COMPARED]]
        nearest, call = min(found, key=lambda pair: len(pair[0]))
        return (
            f"{title} was called differently than in {where}; the nearest is {call.name}, line {call.place}:\n"
            + listed(nearest)
        )

    # ---------------------------------------------------------------------------------------------------- answers

    def answer(self, call: RecordedCall, request: Any) -> Any:
        """Returns the recorded answer to a request.

        Raises:
            ToolBridgeError: The recorded call failed with it, or has no answer.
        """
        end = call.end
        method = METHODS[call.method]
        if end is None:
            raise UnavailableError(f"the recording {self.recording.path} ends before {call.name} was answered")
        if end.kind == entries.END:
            raise CallCancelledError(f"{call.name} was cancelled by its caller when it was recorded")
        if end.kind == entries.ERROR:
            raise self._error(end)
        answer = self.recording.message(method.response, end.content, end.exact)
        if hasattr(answer, "request_id"):
            answer.request_id = request.request_id
        if isinstance(answer, pb.ToolCallResponse):
            answer.metrics.duration_ms = 1
        return answer

    def chunks(self, call: RecordedCall, request: Any) -> Iterator[tuple[RecordedEvent, Message]]:
        """Yields the recorded messages of a stream, each with its event.

        Raises:
            ToolBridgeError: The recorded stream failed with it.
        """
        kind, data = METHODS[call.method].response, 0
        chunks = [event for event in call.events if event.kind == entries.CHUNK]
        for sequence, event in enumerate(chunks):
            message = self.recording.message(kind, event.content, event.exact)
            if isinstance(message, pb.ToolStreamChunk):
                data += message.HasField("data")
                message.stream_id, message.sequence = request.stream_id or call.name, sequence
                if message.HasField("complete"):
                    message.complete.total_chunks = data
                    message.complete.metrics.duration_ms = 1
            elif isinstance(message, pb.AgentExecutionChunk):
                message.agent_id, message.run_id = request.agent_id, request.run_id or call.name
                message.sequence = sequence
                if sequence < request.from_sequence:
                    continue
            elif isinstance(message, pb.VariableUpdate):
                message.epoch = "replayed"
            yield event, message
        end = call.end
        if end is not None and end.kind == entries.ERROR:
            raise self._error(end)
        if end is None and call.method in {"StreamTool", "ExecuteAgent"}:
            raise UnavailableError(f"the recording {self.recording.path} ends before {call.name} was over")

    def _error(self, event: RecordedEvent) -> ToolBridgeError:
        return error_from_info(self.recording.message(pb.ErrorInfo, event.content, event.exact))


def failure(method: str, error: ToolBridgeError) -> Message | None:
    """Returns the answer that holds an error; None if the method fails with a status."""
    kind = METHODS[method].response
    if "error" not in kind.DESCRIPTOR.fields_by_name:
        return None
    answer: Any = kind()
    info = error_info(error)
    answer.error.CopyFrom(info)
    if isinstance(answer, pb.StatusResponse):
        answer.message = info.message
    told: Message = answer
    return told


def _take(play: Play, waiting: _Waiting, key: tuple[str, str | None]) -> RecordedCall:
    waiting.played = play.begun = True
    play.last[key] = waiting.call
    return waiting.call


def _written(request: Any, play: Play, slots: Slots) -> dict[str, Any]:
    """Writes a request as the recorder does, with the recorded name of its session."""
    session_id, name = request.session_id, str(play.session)

    def clean(place: str, value: Any) -> Any:
        del place
        return _renamed(value, session_id, name) if len(session_id) >= _MIN_ID_CHARS else value

    return write_message(request, slots, clean)


# A shorter id may be a part of any word.
_MIN_ID_CHARS = 12


def _renamed(value: Any, session_id: str, name: str) -> Any:
    if isinstance(value, str):
        return value.replace(session_id, name)
    if isinstance(value, list):
        return [_renamed(item, session_id, name) for item in value]
    if isinstance(value, dict):
        return {_renamed(key, session_id, name): _renamed(item, session_id, name) for key, item in value.items()}
    return value


def _title(call: RecordedCall) -> str:
    called = call.request.get(_CALLED.get(call.method, ""), "")
    return f"{call.method} of {called}" if called else call.method
